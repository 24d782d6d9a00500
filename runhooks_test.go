package switchboard_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// hooked is a driver of which single calls go wrong, or last. Hooks that are nil do nothing.
type hooked struct {
	broker.Driver
	hooks atomic.Pointer[hooks]
}

// hooks stand around the calls that they are named after.
type hooks struct {
	publish func(ctx context.Context, typ wire.MessageType, do func() (broker.Published, error)) (broker.Published, error)
	append  func(ctx context.Context, start int, length int) error
	seal    func(ctx context.Context) error
	read    func(ctx context.Context) error
	get     func(key string) error
	put     func(key string, do func() (uint64, error)) (uint64, error)
	remove  func(ctx context.Context) error
}

func (d *hooked) set(h hooks) { d.hooks.Store(&h) }

func (d *hooked) now() hooks {
	if h := d.hooks.Load(); h != nil {
		return *h
	}
	return hooks{}
}

func (d *hooked) Publish(ctx context.Context, r broker.Record) (broker.Published, error) {
	do := func() (broker.Published, error) { return d.Driver.Publish(ctx, r) }
	hook := d.now().publish
	if hook == nil {
		return do()
	}
	rec, err := wire.ParseRecord(r.Data)
	if err != nil || rec.Kind != wire.RecordRun {
		return do()
	}
	env, err := wire.ParseAnswer(rec.Body)
	if err != nil {
		return broker.Published{}, err
	}
	return hook(ctx, env.Type, do)
}

func (d *hooked) Append(ctx context.Context, topic, stream broker.Key, start int, text string, token uint64) (int, error) {
	if hook := d.now().append; hook != nil {
		_, length, err := d.Driver.Read(ctx, topic, stream, 0, 0)
		if err == nil {
			err = hook(ctx, start, length)
		} else {
			err = hook(ctx, start, 0)
		}
		if err != nil {
			return length, err
		}
	}
	return d.Driver.Append(ctx, topic, stream, start, text, token)
}

func (d *hooked) Seal(ctx context.Context, topic, stream broker.Key, token uint64) (int, error) {
	if hook := d.now().seal; hook != nil {
		if err := hook(ctx); err != nil {
			return 0, err
		}
	}
	return d.Driver.Seal(ctx, topic, stream, token)
}

func (d *hooked) Read(ctx context.Context, topic, stream broker.Key, from, limit int) (string, int, error) {
	if hook := d.now().read; hook != nil {
		if err := hook(ctx); err != nil {
			return "", 0, err
		}
	}
	return d.Driver.Read(ctx, topic, stream, from, limit)
}

func (d *hooked) Get(ctx context.Context, key string) (broker.Item, error) {
	if hook := d.now().get; hook != nil {
		if err := hook(key); err != nil {
			return broker.Item{}, err
		}
	}
	return d.Driver.Get(ctx, key)
}

func (d *hooked) Put(ctx context.Context, key string, value []byte, ifRev uint64, ttl time.Duration) (uint64, error) {
	do := func() (uint64, error) { return d.Driver.Put(ctx, key, value, ifRev, ttl) }
	if hook := d.now().put; hook != nil {
		return hook(key, do)
	}
	return do()
}

func (d *hooked) Remove(ctx context.Context, topic, stream broker.Key) error {
	if hook := d.now().remove; hook != nil {
		if err := hook(ctx); err != nil {
			return err
		}
	}
	return d.Driver.Remove(ctx, topic, stream)
}

// hookedNode is a manager on a driver with hooks.
func hookedNode(t *testing.T, opts switchboard.Options) (*server, *hooked) {
	drive := membroker.New(membroker.Options{})
	t.Cleanup(func() { _ = drive.Close() })
	d := &hooked{Driver: drive}
	opts.Broker = d
	return newServer(t, opts), d
}

// hookedNodes are two managers on one broker, each with hooks of its own.
func hookedNodes(t *testing.T) (drive *membroker.Broker, nodes [2]*server, drivers [2]*hooked) {
	drive = membroker.New(membroker.Options{})
	other := drive.Node()
	t.Cleanup(func() { _, _ = other.Close(), drive.Close() })
	for i, b := range []*membroker.Broker{drive, other} {
		drivers[i] = &hooked{Driver: b}
		nodes[i] = newServer(t, switchboard.Options{Broker: drivers[i], Node: []string{"one", "two"}[i]})
	}
	return drive, nodes, drivers
}

// logOf is what the log of alice tells of a run: types, and what stream_complete says.
func (s *server) logOf(t testing.TB, run string) (types []string) {
	t.Helper()
	page, err := s.History(t.Context(), switchboard.User("alice"), switchboard.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, env := range page.Messages {
		if env.RunID != run || !env.Type.RunEvent() {
			continue
		}
		what := string(env.Type)
		if env.Type == wire.StreamComplete {
			p := payload[wire.StreamCompletePayload](t, env)
			what = fmt.Sprintf("%s %s %s %d", what, p.StreamID, p.State, p.Length)
		}
		types = append(types, what)
	}
	return types
}

// unavailable is a publish hook that fails for events of some types until told otherwise.
func unavailable(down *atomic.Bool, types ...wire.MessageType) func(context.Context, wire.MessageType, func() (broker.Published, error)) (broker.Published, error) {
	return func(_ context.Context, typ wire.MessageType, do func() (broker.Published, error)) (broker.Published, error) {
		for _, t := range types {
			if t == typ && down.Load() {
				return broker.Published{}, fmt.Errorf("publish: %w", broker.ErrUnavailable)
			}
		}
		return do()
	}
}

// started starts a run of alice.
func started(t *testing.T, s *server, opts switchboard.RunOptions) *switchboard.Run {
	t.Helper()
	opts.Agent, opts.To = "writer", switchboard.User("alice")
	run, err := s.Runs().Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// waiter is an agent that writes a word and waits to be stopped.
func waiter(ended chan<- error) switchboard.RunHandler {
	return func(ctx context.Context, run *switchboard.Run, _ switchboard.Envelope) error {
		if _, err := io.WriteString(run.Stream("answer"), "begin"); err != nil {
			return err
		}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return ctx.Err()
	}
}

// items fails if anything of a run is in the store.
func (d *hooked) items(t *testing.T) {
	t.Helper()
	for change, err := range d.Watch(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if change.Synced {
			return
		}
		if strings.HasPrefix(change.Key, "run/") || strings.Contains(change.Key, "/r/") || strings.Contains(change.Key, "/live/") {
			t.Errorf("got item %s %s", change.Key, change.Value)
		}
	}
}
