package switchboard_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

func TestATakeoverThatIsCutShortIsCarriedThrough(t *testing.T) {
	for _, test := range []struct {
		name  string
		lease time.Duration
		end   string
	}{
		{"to stop the run of a process", 0, "agent_cancelled"},
		{"to stop the run of a producer", time.Minute, "agent_death"},
	} {
		for _, step := range []string{"record", "seal", "stream_complete", "agent_cancelled"} {
			t.Run(test.name+" at "+step, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					_, nodes, drivers := hookedNodes(t)
					run, err := nodes[0].Runs().Start(context.Background(), switchboard.RunOptions{
						Agent: "writer", To: switchboard.User("alice"), ID: "R", Lease: test.lease,
					})
					if err != nil {
						t.Fatal(err)
					}
					if _, err := run.Stream("answer").AppendAt(t.Context(), 0, "begin"); err != nil {
						t.Fatal(err)
					}
					var down atomic.Bool
					down.Store(true)
					var h hooks
					switch step {
					case "record":
						h.put = func(key string, do func() (uint64, error)) (uint64, error) {
							if strings.Contains(key, "/r/") && down.Load() {
								_, _ = do() // nobody hears of it
								return 0, broker.ErrUnavailable
							}
							return do()
						}
					case "seal":
						h.seal = func(context.Context) error {
							if down.Load() {
								return broker.ErrUnavailable
							}
							return nil
						}
					default:
						h.publish = unavailable(&down, wire.MessageType(step))
					}
					drivers[1].set(h)
					b := nodes[1].as(t, "alice")
					b.send(`{"type":"stop_agent","message_id":"s","payload":{"run_id":"R"}}`)
					time.Sleep(20 * time.Second)
					down.Store(false)
					time.Sleep(2 * time.Minute)
					got := nodes[0].logOf(t, "R")
					if last := got[len(got)-1]; last != test.end && last != "agent_cancelled" || len(got) != 4 {
						t.Errorf("got %v, want an end by %s", got, test.end)
					}
				})
			})
		}
	}
}

func TestStopGoesOnWhereTheLogDoesNotReachBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drive := membroker.New(membroker.Options{})
		other := drive.Node()
		t.Cleanup(func() { _, _ = other.Close(), drive.Close() })
		keep := broker.Retention{Messages: 10, Age: time.Hour}
		one := newServer(t, switchboard.Options{Broker: drive, Node: "one", Retention: keep})
		two := newServer(t, switchboard.Options{Broker: other, Node: "two", Retention: keep})
		ended := make(chan error, 1)
		one.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, waiter(ended))
		a, b := one.as(t, "alice"), two.as(t, "alice")
		ack, _ := a.ask("m", "t1", "Write")
		time.Sleep(time.Second)
		for i := range 20 {
			one.note(t, switchboard.User("alice"), i)
		}
		b.send(`{"type":"stop_agent","message_id":"s","payload":{"run_id":%q}}`, runOf(t, ack))
		if got := b.ack("s"); got.Status != wire.StatusOK {
			t.Errorf("got %+v", got)
		}
		if err := <-ended; !errors.Is(err, switchboard.ErrRunCancelled) {
			t.Errorf("got %v, want ErrRunCancelled", err)
		}
	})
}

func TestARunThatWasStartedAgainCanBeStoppedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes, drivers := hookedNodes(t)
		lose := func(_ context.Context, typ wire.MessageType, do func() (broker.Published, error)) (broker.Published, error) {
			_, _ = do()
			return broker.Published{}, broker.ErrUnavailable
		}
		drivers[0].set(hooks{publish: lose})
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Millisecond)
		defer cancel()
		opts := switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), ID: "R"}
		if _, err := nodes[0].Runs().Start(ctx, opts); err == nil {
			t.Fatal("got no error")
		}
		drivers[0].set(hooks{})
		if _, err := nodes[0].Runs().Start(context.Background(), opts); err != nil {
			t.Fatal(err)
		}
		b := nodes[1].as(t, "alice")
		b.send(`{"type":"thread_open","message_id":"o","payload":{"thread_id":""}}`)
		if got := payload[wire.Thread](t, b.await(wire.ThreadSnapshot)); len(got.Runs) != 1 {
			t.Errorf("got runs %+v, want the one", got.Runs)
		}
		b.send(`{"type":"stop_agent","message_id":"s","payload":{"run_id":"R"}}`)
		if got := b.ack("s"); got.Status != wire.StatusOK {
			t.Errorf("got %+v", got)
		}
		wantEqual(t, "log", nodes[0].logOf(t, "R"), []string{"agent_started", "agent_cancelled"})
	})
}

func TestAWriteDuringAStopFromElsewhereIsThatOfACancelledRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes, drivers := hookedNodes(t)
		ended := make(chan error, 2)
		nodes[0].HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, func(ctx context.Context, run *switchboard.Run, _ switchboard.Envelope) error {
			for {
				if _, err := io.WriteString(run.Stream("answer"), "word "); err != nil {
					ended <- err
					ended <- context.Cause(ctx)
					return err
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
		drivers[1].set(hooks{publish: func(_ context.Context, _ wire.MessageType, do func() (broker.Published, error)) (broker.Published, error) {
			time.Sleep(20 * time.Millisecond)
			return do()
		}})
		a, b := nodes[0].as(t, "alice"), nodes[1].as(t, "alice")
		a.send(`{"type":"user_message","message_id":"m","payload":{"content":"?"}}`)
		b.await(wire.StreamChunk)
		b.send(`{"type":"stop_agent","message_id":"s","payload":{"all":true}}`)
		for _, what := range []string{"write", "cause"} {
			if err := <-ended; !errors.Is(err, switchboard.ErrRunCancelled) {
				t.Errorf("%s: got %v, want ErrRunCancelled", what, err)
			}
		}
	})
}

func TestARunThatComesBackCanBeWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes, _ := hookedNodes(t)
		run := started(t, nodes[0], switchboard.RunOptions{ID: "R", Lease: time.Minute})
		if _, err := io.WriteString(run.Stream("answer"), "one "); err != nil {
			t.Fatal(err)
		}
		there, err := nodes[1].Runs().Attach(t.Context(), "R")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(there.Stream("answer"), "two "); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := io.WriteString(run.Stream("answer"), "three "); err != nil {
				t.Error(err)
			}
		}
		if err := run.Stream("answer").Close(); err != nil {
			t.Error(err)
		}
		stream, err := run.Stream("answer").Snapshot(t.Context())
		if err != nil || stream.Text != "one two three three " {
			t.Errorf("got %+v, %v", stream, err)
		}
	})
}

func TestAStopAtTheFormerOwnerReachesTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes, _ := hookedNodes(t)
		started(t, nodes[0], switchboard.RunOptions{ID: "R", Lease: time.Minute})
		there, err := nodes[1].Runs().Attach(t.Context(), "R")
		if err != nil {
			t.Fatal(err)
		}
		if err := there.Thinking(t.Context(), "on the other node"); err != nil {
			t.Fatal(err)
		}
		a := nodes[0].as(t, "alice")
		a.send(`{"type":"stop_agent","message_id":"s","payload":{"run_id":"R"}}`)
		if got := a.ack("s"); got.Status != wire.StatusOK || got.Runs[0].Position.Offset != 3 {
			t.Errorf("got %+v", got)
		}
		if err := there.Thinking(t.Context(), "more"); !errors.Is(err, switchboard.ErrRunCancelled) {
			t.Errorf("got %v, want ErrRunCancelled", err)
		}
	})
}

func TestAnAgentHearsOfAnEndThatWasNotDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drive, nodes, drivers := hookedNodes(t)
		ended := make(chan error, 1)
		nodes[0].HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, waiter(ended))
		topic := broker.KeyOf(wire.Topic{Kind: wire.KindUser, ID: "alice"})
		drivers[1].set(hooks{publish: func(_ context.Context, typ wire.MessageType, do func() (broker.Published, error)) (broker.Published, error) {
			if typ == wire.AgentCancelled {
				drive.Faults().DropLive(topic, 1)
			}
			return do()
		}})
		a, b := nodes[0].as(t, "alice"), nodes[1].as(t, "alice")
		ack, _ := a.ask("m", "t1", "Write")
		time.Sleep(time.Second)
		b.send(`{"type":"stop_agent","message_id":"s","payload":{"run_id":%q}}`, runOf(t, ack))
		select {
		case err := <-ended:
			if !errors.Is(err, switchboard.ErrRunCancelled) {
				t.Errorf("got %v, want ErrRunCancelled", err)
			}
		case <-time.After(15 * time.Second):
			t.Error("the agent has not heard of the stop")
		}
	})
}

func TestNothingStaysOfARunThatEndedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes, _ := hookedNodes(t)
		run, err := nodes[0].Runs().Start(context.Background(), switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), ID: "R"})
		if err != nil {
			t.Fatal(err)
		}
		there, err := nodes[1].Runs().Attach(t.Context(), "R")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := there.Cancel(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		<-run.Context().Done()
		for i, node := range nodes {
			attached, err := node.Runs().Attach(t.Context(), "R")
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range []*switchboard.Run{run, attached} {
				if info, err := r.Info(t.Context()); err != nil || info.State != wire.RunCancelled || info.End.Offset != 2 {
					t.Errorf("node %d: got %+v, %v, want a cancelled run that ended at 2", i, info, err)
				}
			}
		}
		time.Sleep(5 * time.Minute)
		for i, node := range nodes {
			if got := node.Stats().Topics; got != 0 {
				t.Errorf("node %d: got %d topics, want none", i, got)
			}
		}
	})
}

func TestAStopOfAllDoesNotMindARunThatHasNotStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes, drivers := hookedNodes(t)
		ended := make(chan error, 1)
		nodes[0].HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, waiter(ended))
		a, b := nodes[0].as(t, "alice"), nodes[1].as(t, "alice")
		a.ask("m", "t1", "Write")
		time.Sleep(time.Second)
		drivers[0].set(hooks{publish: func(ctx context.Context, _ wire.MessageType, _ func() (broker.Published, error)) (broker.Published, error) {
			<-ctx.Done()
			return broker.Published{}, ctx.Err()
		}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			_, _ = nodes[0].Runs().Start(ctx, switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), ID: "A"})
		}()
		synctest.Wait()
		b.send(`{"type":"stop_agent","message_id":"s","payload":{"all":true}}`)
		if got := b.ack("s"); got.Status != wire.StatusOK || len(got.Runs) != 1 {
			t.Errorf("got %+v", got)
		}
		b.send(`{"type":"stop_agent","message_id":"s-2","payload":{"run_id":"A"}}`)
		if got := b.ack("s-2"); got.Status != wire.StatusNotFound {
			t.Errorf("got %+v, want not_found", got)
		}
		<-ended
		drivers[0].set(hooks{})
	})
}

func TestAStopDoesNotWaitForACallThatHangs(t *testing.T) {
	for _, call := range []string{"event", "append"} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, d := hookedNode(t, switchboard.Options{})
				ended := make(chan error, 1)
				s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, func(ctx context.Context, run *switchboard.Run, _ switchboard.Envelope) (err error) {
					if call == "event" {
						err = run.Thinking(context.WithoutCancel(ctx), "so")
					} else {
						_, err = io.WriteString(run.Stream("answer"), "text")
					}
					ended <- err
					return err
				})
				d.set(hooks{
					publish: func(ctx context.Context, typ wire.MessageType, do func() (broker.Published, error)) (broker.Published, error) {
						if typ == wire.AgentThinking {
							<-ctx.Done()
							return broker.Published{}, ctx.Err()
						}
						return do()
					},
					append: func(ctx context.Context, _, _ int) error {
						<-ctx.Done()
						return ctx.Err()
					},
				})
				a := s.as(t, "alice")
				a.ask("m", "t1", "Write")
				time.Sleep(time.Second)
				asked := time.Now()
				a.send(`{"type":"stop_agent","message_id":"s","payload":{"all":true}}`)
				if got := a.ack("s"); got.Status != wire.StatusOK {
					t.Errorf("got %+v", got)
				}
				if err := <-ended; !errors.Is(err, switchboard.ErrRunCancelled) {
					t.Errorf("got %v, want ErrRunCancelled", err)
				}
				if d := time.Since(asked); d > 100*time.Millisecond {
					t.Errorf("the stop took %v", d)
				}
			})
		})
	}
}

func TestNothingOfARunFollowsItsEndOnANodeThatLearnsOfItLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes, drivers := hookedNodes(t)
		run := started(t, nodes[0], switchboard.RunOptions{ID: "R"})
		out := run.Stream("answer")
		if _, err := io.WriteString(out, "Once upon "); err != nil {
			t.Fatal(err)
		}
		b := nodes[1].as(t, "alice")
		drivers[1].set(hooks{read: func(context.Context) error {
			time.Sleep(time.Second)
			return nil
		}})
		if _, err := io.WriteString(out, "a time"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if _, err := run.Complete(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		var w watched
		w.take(t, b.until(wire.AgentCompleted)...)
		wantEqual(t, "text", w.texts["R/answer"], "Once upon a time")
		for range 10 {
			b.silent()
		}
	})
}

func TestAMessageStartsOneRunHoweverOftenAndWhereverItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes, drivers := hookedNodes(t)
		var begun atomic.Int32
		var devices []*device
		for i := range nodes {
			drivers[i].set(hooks{publish: func(_ context.Context, _ wire.MessageType, do func() (broker.Published, error)) (broker.Published, error) {
				time.Sleep(100 * time.Millisecond)
				return do()
			}, put: func(_ string, do func() (uint64, error)) (uint64, error) {
				time.Sleep(10 * time.Millisecond)
				return do()
			}})
			nodes[i].HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, func(context.Context, *switchboard.Run, switchboard.Envelope) error {
				begun.Add(1)
				return nil
			})
			devices = append(devices, nodes[i].as(t, "alice"), nodes[i].as(t, "alice"))
		}
		for _, d := range devices {
			d.send(`{"type":"user_message","message_id":"m","payload":{"content":"?"}}`)
		}
		ids, ok := map[string]bool{}, 0
		for _, d := range devices {
			ack := d.ack("m")
			ids[runOf(t, ack)] = true
			if ack.Status == wire.StatusOK {
				ok++
			}
		}
		time.Sleep(10 * time.Second)
		if len(ids) != 1 || begun.Load() != 1 || ok > 1 {
			t.Errorf("got runs %v, %d begun, %d acks that say so", ids, begun.Load(), ok)
		}
		for id := range ids {
			wantEqual(t, "log", nodes[1].logOf(t, id), []string{"agent_started", "agent_completed"})
		}
	})
}

func TestARunThatIsHardToStopDoesNotKeepOthersFromTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := hookedNode(t, switchboard.Options{})
		for _, id := range []string{"A", "B"} {
			if _, err := io.WriteString(started(t, s, switchboard.RunOptions{ID: id}).Stream("answer"), "text"); err != nil {
				t.Fatal(err)
			}
		}
		var calls atomic.Int32
		d.set(hooks{seal: func(ctx context.Context) error {
			if calls.Add(1) == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}})
		a := s.as(t, "alice")
		a.send(`{"type":"stop_agent","message_id":"s","payload":{"all":true}}`)
		time.Sleep(100 * time.Millisecond)
		if got := s.Stats().RunsEnded[wire.RunCancelled]; got != 1 {
			t.Errorf("got %d runs that were stopped, want the one that can be", got)
		}
		time.Sleep(time.Minute)
		if got := s.Stats().RunsEnded[wire.RunCancelled]; got != 2 {
			t.Errorf("got %d runs that were stopped in the end, want both", got)
		}
	})
}
