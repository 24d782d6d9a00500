package switchboard_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// runSeen is what a device has of one run, of whichever thread it is: from a snapshot and live.
type runSeen struct {
	events []wire.MessageType
	text   string
}

// take adds a frame. Text must go on where it was.
func (r *runSeen) take(t *testing.T, env wire.Envelope) {
	t.Helper()
	switch {
	case env.Type == wire.ThreadSnapshot:
		snapshot := payload[wire.Thread](t, env)
		for _, msg := range snapshot.Messages {
			r.take(t, msg)
		}
		for _, run := range snapshot.Runs {
			for _, s := range run.Streams {
				r.text = s.Text
			}
		}
	case env.Type == wire.StreamChunk:
		chunk := payload[wire.StreamChunkPayload](t, env)
		if chunk.Start > len(r.text) {
			t.Fatalf("got text from %d on, and have %q", chunk.Start, r.text)
		}
		r.text = r.text[:chunk.Start] + chunk.Text
	case env.Type.RunEvent():
		r.events = append(r.events, env.Type)
	}
}

// until takes frames up to an event of the run, if that is not there yet.
func (r *runSeen) until(c *device, typ wire.MessageType) {
	c.t.Helper()
	for !slices.Contains(r.events, typ) {
		r.take(c.t.(*testing.T), c.next())
	}
}

func (r *runSeen) whole(t *testing.T, what string) {
	t.Helper()
	wantEqual(t, what+": events", r.events, []wire.MessageType{wire.AgentStarted, wire.StreamOpen, wire.StreamComplete, wire.AgentCompleted})
	wantEqual(t, what+": text", r.text, "hello world")
}

// TestARunThatIsStartedAtOnceIsSeenByWhoNamedTheThread: the naming and the message that starts
// the run go out in one go, and so does another device's, on another node. In the former system
// the run could begin before the thread was bound, and its first events went nowhere.
func TestARunThatIsStartedAtOnceIsSeenByWhoNamedTheThread(t *testing.T) {
	for _, verb := range []string{
		`{"type":"thread_open","message_id":"o","payload":{"thread_id":"t1"}}`,
		`{"type":"switch_thread","message_id":"o","payload":{"thread_id":"t1"}}`,
		`{"type":"subscribe","message_id":"o","payload":{"threads":["t1"]}}`,
	} {
		for _, room := range []string{"", "team"} {
			t.Run(verb+room, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					_, one, two := twoNodes(t, membroker.Options{})
					one.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, func(_ context.Context, run *switchboard.Run, _ switchboard.Envelope) error {
						_, err := io.WriteString(run.Stream("answer"), "hello world")
						return err
					})
					devices := []*device{}
					for _, s := range []*server{one, two} {
						c := s.connect(t, request{token: "alice room:team:*", path: "/ws?thread=other"})
						if room != "" {
							c.send(`{"type":"subscribe","payload":{"rooms":[%q]}}`, room)
							c.expect(wire.Subscribed)
						}
						devices = append(devices, c)
					}
					// The other device has named the thread when the run is started.
					devices[1].send("%s", verb)
					synctest.Wait()
					ask := `{"type":"user_message","message_id":"m","thread_id":"t1","payload":{"content":"?"}}`
					if room != "" {
						ask = `{"type":"user_message","message_id":"m","thread_id":"t1","topic":"room/team","payload":{"content":"?"}}`
					}
					devices[0].send("%s", verb)
					devices[0].send("%s", ask)
					for i, c := range devices {
						var seen runSeen
						seen.until(c, wire.AgentCompleted)
						seen.whole(t, fmt.Sprint("device ", i))
					}
				})
			})
		}
	}
}

// steps is a driver that does something at one of the calls that are made to it.
type steps struct {
	broker.Driver
	left atomic.Int64 // until then; negative: never
	do   func()
}

func (d *steps) step() {
	if d.left.Add(-1) == 0 {
		d.do()
	}
}

func (d *steps) Get(ctx context.Context, key string) (broker.Item, error) {
	d.step()
	return d.Driver.Get(ctx, key)
}

func (d *steps) Watch(ctx context.Context, prefix string) iter.Seq2[broker.Change, error] {
	d.step()
	return d.Driver.Watch(ctx, prefix)
}

func (d *steps) Heads(ctx context.Context, exact bool, topics ...broker.Key) ([]wire.Position, error) {
	d.step()
	return d.Driver.Heads(ctx, exact, topics...)
}

func (d *steps) Since(ctx context.Context, topic broker.Key, pos wire.Position, limit int) ([]broker.Entry, wire.Position, error) {
	d.step()
	return d.Driver.Since(ctx, topic, pos, limit)
}

func (d *steps) Before(ctx context.Context, topic broker.Key, pos wire.Position, limit int) ([]broker.Entry, error) {
	d.step()
	return d.Driver.Before(ctx, topic, pos, limit)
}

func (d *steps) Read(ctx context.Context, topic, stream broker.Key, from, limit int) (string, int, error) {
	d.step()
	return d.Driver.Read(ctx, topic, stream, from, limit)
}

// TestARunThatBeginsWhileAThreadIsOpenedIsSeenWhole starts a run, and writes, on another node, at
// each of the calls that opening a thread makes to the broker, in turn.
func TestARunThatBeginsWhileAThreadIsOpenedIsSeenWhole(t *testing.T) {
	for _, verb := range []string{"thread_open", "switch_thread"} {
		for _, to := range []switchboard.Target{switchboard.User("alice"), switchboard.Room("team")} {
			t.Run(verb+" "+to.String(), func(t *testing.T) {
				for at := int64(1); ; at++ {
					if !beginsAt(t, verb, to, at) {
						if at < 5 {
							t.Errorf("opening a thread has made %d calls: this test tests little", at-1)
						}
						return
					}
				}
			})
		}
	}
}

// beginsAt is false if the opening has made fewer calls.
func beginsAt(t *testing.T, verb string, to switchboard.Target, at int64) (reached bool) {
	synctest.Test(t, func(t *testing.T) {
		drive := membroker.New(membroker.Options{})
		hooked := &steps{Driver: drive.Node()}
		t.Cleanup(func() { _, _ = hooked.Close(), drive.Close() })
		one, two := newServer(t, switchboard.Options{Broker: drive, Node: "one"}), newServer(t, switchboard.Options{Broker: hooked, Node: "two"})
		c := two.connect(t, request{token: "alice room:team:*", path: "/ws?thread=other"})
		var run *switchboard.Run
		hooked.do = func() {
			reached = true
			var err error
			if run, err = one.Runs().Start(context.Background(), switchboard.RunOptions{Agent: "writer", To: to, Thread: "t1", ID: "R"}); err == nil {
				_, err = io.WriteString(run.Stream("answer"), "hello")
			}
			if err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		hooked.left.Store(at)
		room := ""
		if to.String() == "room/team" {
			room = "team"
		}
		c.send(`{"type":%q,"message_id":"o","payload":{"thread_id":"t1","room":%q}}`, verb, room)
		var seen runSeen
		seen.take(t, c.await(wire.ThreadSnapshot))
		synctest.Wait()
		hooked.left.Store(-1)
		if !reached {
			return
		}
		if _, err := io.WriteString(run.Stream("answer"), " world"); err != nil {
			t.Fatal(err)
		}
		if _, err := run.Complete(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		seen.until(c, wire.AgentCompleted)
		seen.whole(t, fmt.Sprint("at call ", at))
	})
	return reached
}
