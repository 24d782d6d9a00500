package switchboard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

// faults is two nodes on one broker that fails now and then, and runs on both.
type faults struct {
	t     *testing.T
	seed  uint64
	nodes []*server
	drive *membroker.Broker
	brief bool // agents do not wait to be stopped for ever

	mu    sync.Mutex
	texts map[string]string // by stream id: what a producer knows to be in
	begun map[string]bool   // runs
}

func newFaults(t *testing.T, seed uint64) *faults {
	rng := rand.New(rand.NewPCG(seed, 1))
	f := &faults{t: t, seed: seed, texts: map[string]string{}, begun: map[string]bool{}}
	f.drive = membroker.New(membroker.Options{Chaos: membroker.Chaos{
		Seed: seed, DropLive: rng.Float64() / 4, Repeat: rng.Float64() / 4, LoseAck: rng.Float64() / 4,
	}})
	other := f.drive.Node()
	t.Cleanup(func() { _, _ = other.Close(), f.drive.Close() })
	for _, b := range []*membroker.Broker{f.drive, other} {
		s := newServer(t, switchboard.Options{Broker: b})
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "inside"}, f.agent)
		f.nodes = append(f.nodes, s)
	}
	return f
}

func (f *faults) rand(name string) *rand.Rand {
	n := f.seed
	for _, c := range name {
		n = n*31 + uint64(c)
	}
	return rand.New(rand.NewPCG(n, 2))
}

// wrote notes text that is in the stream of a run.
func (f *faults) wrote(run, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.texts[run+"/answer"] += text
}

func (f *faults) started(run string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begun[run] = true
}

// agent does some random things and ends in one of the ways in which agents end.
func (f *faults) agent(ctx context.Context, run *switchboard.Run, _ switchboard.Envelope) error {
	f.started(run.ID())
	rng := f.rand(run.ID())
	out := run.Stream("answer")
	for i := range rng.IntN(12) {
		var err error
		switch rng.IntN(4) {
		case 0:
			err = run.Thinking(ctx, fmt.Sprint("step ", i))
		case 1:
			err = run.Tool(ctx, "search", map[string]int{"i": i}).End(ctx, "done", nil)
		default:
			text := fmt.Sprintf("%d ü🙂 ", i)
			if _, err = io.WriteString(out, text); err == nil {
				f.wrote(run.ID(), text)
			}
		}
		if err != nil && rng.IntN(2) == 0 {
			return err
		}
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
	}
	switch rng.IntN(5) {
	case 0:
		panic("the agent panics")
	case 1:
		return errors.New("the agent fails")
	case 2:
		if f.brief {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Minute)
			defer cancel()
		}
		<-ctx.Done()
		return ctx.Err()
	case 3:
		time.Sleep(3 * time.Second) // it does not look at its context
	}
	return nil
}

// producer is one outside, whose calls go to any node and are repeated when they fail. It may
// die at any time.
func (f *faults) producer(id string) {
	rng := f.rand(id)
	node := func() *server { return f.nodes[rng.IntN(len(f.nodes))] }
	try := func(do func(ctx context.Context, run *switchboard.Run) error) error {
		for range 50 {
			run, err := node().Runs().Attach(f.t.Context(), id)
			if err == nil {
				err = do(f.t.Context(), run)
			}
			if err == nil || !errors.Is(err, switchboard.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, switchboard.ErrConflict) {
				return err
			}
			time.Sleep(100 * time.Millisecond)
		}
		return errors.New("gave up")
	}
	opts := switchboard.RunOptions{Agent: "outside", To: switchboard.User("alice"), ID: id, Lease: 5 * time.Second}
	for range 50 {
		if _, err := node().Runs().Start(f.t.Context(), opts); err == nil {
			f.started(id)
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	length := 0
	for i := range rng.IntN(15) {
		event, text := fmt.Sprintf("%s-%d", id, i), fmt.Sprintf("%d ß🙂 ", i)
		for range 1 + rng.IntN(2) { // every call may come twice
			var err error
			if rng.IntN(3) == 0 {
				err = try(func(ctx context.Context, run *switchboard.Run) error {
					_, err := run.Emit(ctx, switchboard.Message{Type: wire.AgentThinking, ID: event, Payload: map[string]string{"reasoning": event}})
					return err
				})
			} else {
				err = try(func(ctx context.Context, run *switchboard.Run) error {
					n, err := run.Stream("answer").AppendAt(ctx, length, text)
					if err == nil && n < length+len([]rune(text)) {
						err = fmt.Errorf("appended %q at %d, and the length is %d", text, length, n)
					}
					return err
				})
				if err == nil && !strings.HasSuffix(f.text(id), text) {
					f.wrote(id, text)
				}
			}
			if err != nil {
				return // stopped, or dead
			}
		}
		length = len([]rune(f.text(id)))
		time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
	}
	if rng.IntN(3) > 0 {
		_ = try(func(ctx context.Context, run *switchboard.Run) error {
			_, err := run.Complete(ctx, nil)
			return err
		})
	}
}

func (f *faults) text(run string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.texts[run+"/answer"]
}

// check reads the log as a client that was away.
func (f *faults) check() {
	ctx := f.t.Context()
	var log []wire.Envelope
	for at := (switchboard.Position{}); ; {
		q := switchboard.Query{Since: at, Limit: 1000}
		if at.IsZero() {
			q = switchboard.Query{Limit: 1000}
		}
		page, err := f.nodes[0].History(ctx, switchboard.User("alice"), q)
		if err != nil {
			f.t.Fatal(err)
		}
		log = append(log, page.Messages...)
		if !page.HasMore || len(page.Messages) == 0 || q.Since.IsZero() {
			break
		}
		at = switchboard.Position{Epoch: page.Head.Epoch, Offset: page.Messages[len(page.Messages)-1].Offset}
	}
	machines := map[string]*runs.Machine{}
	ids := map[string]bool{}
	texts := map[string]string{}
	for _, env := range log {
		if !env.Type.RunEvent() {
			continue
		}
		m := machines[env.RunID]
		if m == nil {
			m = new(runs.Machine)
			machines[env.RunID] = m
		}
		if ids[env.ID] {
			f.t.Errorf("%s %s is in the log twice", env.Type, env.ID)
		}
		ids[env.ID] = true
		if err := m.Check(env); err != nil {
			f.t.Errorf("%s of %s breaks the contract: %v", env.Type, env.RunID, err)
		}
		if _, ends := runs.EndState(env.Type); ends {
			for _, s := range m.Snapshot().Streams {
				if s.State == wire.StreamStateOpen {
					f.t.Errorf("%s of %s came before stream_complete of %s", env.Type, env.RunID, s.ID)
				}
			}
		}
		m.Apply(env)
		if env.Type == wire.StreamComplete {
			p := payload[wire.StreamCompletePayload](f.t, env)
			texts[p.StreamID] = p.Text
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.begun) < 10 && !f.brief || len(f.begun) < 4 {
		f.t.Errorf("got %d runs, want more of them to say something", len(f.begun))
	}
	for id := range f.begun {
		if m := machines[id]; m == nil || !m.State().Ended() {
			f.t.Errorf("run %s was started and has not ended", id)
		}
	}
	ends := map[wire.RunState]int{}
	for id, m := range machines {
		ends[m.State()]++
		if !m.State().Ended() {
			f.t.Errorf("run %s is in the log and has not ended", id)
		}
	}
	f.t.Logf("%d events of runs, ended: %v, texts: %d", len(ids), ends, len(f.texts))
	for id, want := range f.texts {
		// What was in is in; the producer may not have heard of the last append.
		if got := texts[id]; !strings.HasPrefix(got, want) || len(got) > len(want)+20 {
			f.t.Errorf("text of %s: got %q, want %q", id, got, want)
		}
	}
}

// run is a while of faults, of which step tells the number, from 0 to 40, when there are none
// any more.
func (f *faults) run(step func(int)) {
	rng := rand.New(rand.NewPCG(f.seed, 3))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { f.producer(fmt.Sprint("out-", i)) })
	}
	devices := []*device{f.nodes[0].as(f.t, "alice"), f.nodes[1].as(f.t, "alice")}
	for _, d := range devices {
		wg.Go(func() { // reads until the test ends it
			for {
				if _, err := d.raw(time.Hour); err != nil {
					return
				}
			}
		})
	}
	for i := range 40 {
		step(i)
		time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
		d := devices[rng.IntN(len(devices))]
		switch rng.IntN(10) {
		case 0:
			elect := f.drive.Faults().KillLeader()
			time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
			elect()
		case 1:
			f.drive.Faults().CutLink()
		case 2:
			d.send(`{"type":"stop_agent","message_id":"s-%d","payload":{"all":true}}`, i)
		case 3:
			d.send(`{"type":"stop_agent","message_id":"s-%d","payload":{"run_id":"out-%d"}}`, i, rng.IntN(4))
		default:
			d.send(`{"type":"user_message","message_id":"m-%d-%d","payload":{"content":"?"}}`, f.seed, i/2)
		}
	}
	step(40)
	time.Sleep(2 * time.Minute)
	if !f.brief {
		devices[0].send(`{"type":"stop_agent","message_id":"last","payload":{"all":true}}`) // agents that wait for it
	}
	time.Sleep(time.Minute)
	f.check()
	for _, d := range devices {
		_ = d.conn.Close()
	}
	wg.Wait()
}

func TestEveryStartedRunEndsWhateverFails(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newFaults(t, seed).run(func(int) {}) })
		})
	}
}
