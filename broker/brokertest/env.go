package brokertest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// env is what a case works with.
type env struct {
	*testing.T
	h   Harness
	ctx context.Context // ends when Patience does, or before with the test
	d   broker.Driver   // the first node
	own string          // makes topics and keys of this case its own
}

func newEnv(t *testing.T, h Harness) *env {
	if h.Patience == 0 {
		h.Patience = 10 * time.Second
	}
	e := &env{T: t, h: h, own: rand.Text()}
	// Cases wait for a few things one after the other.
	ctx, cancel := context.WithTimeout(t.Context(), 5*h.Patience)
	t.Cleanup(cancel)
	e.ctx = ctx
	e.d = e.node()
	return e
}

// node returns another node, closed at the end.
func (e *env) node() broker.Driver {
	e.Helper()
	d := e.h.Node(e)
	e.Cleanup(func() {
		if err := d.Close(); err != nil {
			e.Errorf("Close: %v", err)
		}
	})
	return d
}

// topic returns a topic of this case.
func (e *env) topic(id string) broker.Key {
	return broker.KeyOf(wire.Topic{Tenant: e.own, Kind: wire.KindRoom, ID: id})
}

// key returns a Store key of this case.
func (e *env) key(name string) string { return "brokertest/" + e.own + "/" + name }

// guardKey returns a Store key that is placed with topic.
func guardKey(topic broker.Key, name string) string { return topic.String() + "/" + name }

// keep is a retention that outlasts any case.
func keep() broker.Retention { return broker.Retention{Messages: 100_000, Age: time.Hour} }

// record returns a durable record.
func record(topic broker.Key, data string) broker.Record {
	return broker.Record{Topic: topic, Data: []byte(data), Keep: keep()}
}

// withID returns a durable record with a DedupeID.
func withID(topic broker.Key, data, id string) broker.Record {
	r := record(topic, data)
	r.DedupeID = id
	return r
}

// publish publishes on a node and expects no error.
func (e *env) publish(d broker.Driver, r broker.Record) broker.Published {
	e.Helper()
	p, err := d.Publish(e.ctx, r)
	if err != nil {
		e.Fatalf("Publish(%q): %v", r.Data, err)
	}
	return p
}

// say publishes durable records on the first node and returns the last position.
func (e *env) say(topic broker.Key, data ...string) (pos wire.Position) {
	e.Helper()
	for _, s := range data {
		pos = e.publish(e.d, record(topic, s)).Pos
	}
	return pos
}

// since returns everything after pos and the head, and expects no gap.
func (e *env) since(d broker.Driver, topic broker.Key, pos wire.Position) ([]broker.Entry, wire.Position) {
	e.Helper()
	var all []broker.Entry
	for {
		entries, head, err := d.Since(e.ctx, topic, pos, 100_000)
		if err != nil {
			e.Fatalf("Since(%v): %v", pos, err)
		}
		all = append(all, entries...)
		if len(entries) == 0 || entries[len(entries)-1].Pos == head {
			return all, head
		}
		pos = entries[len(entries)-1].Pos
	}
}

// wantLog checks what a topic's log has.
func (e *env) wantLog(d broker.Driver, topic broker.Key, want ...string) {
	e.Helper()
	entries, _ := e.since(d, topic, wire.Position{})
	if got := texts(entries); !slices.Equal(got, want) {
		e.Fatalf("the log has %q, want %q", got, want)
	}
}

// head returns a topic's exact head.
func (e *env) head(d broker.Driver, topic broker.Key) wire.Position {
	e.Helper()
	heads, err := d.Heads(e.ctx, true, topic)
	if err != nil || len(heads) != 1 {
		e.Fatalf("Heads: %v, %v; want one head", heads, err)
	}
	return heads[0]
}

// wantErr checks that an error is what callers branch on.
func (e *env) wantErr(what string, got, want error) {
	e.Helper()
	if !errors.Is(got, want) {
		e.Fatalf("%s: got error %v, want %v", what, got, want)
	}
}

// wantRefused checks for an error that is none of the sentinels.
func (e *env) wantRefused(what string, err error) {
	e.Helper()
	if err == nil {
		e.Fatalf("%s: got no error", what)
	}
	for _, s := range []error{
		broker.ErrClosed, broker.ErrUnavailable, broker.ErrGap, broker.ErrFenced,
		broker.ErrHole, broker.ErrConflict, broker.ErrNotFound, broker.ErrFull,
	} {
		if errors.Is(err, s) {
			e.Fatalf("%s: got %v, want an error that no caller branches on", what, err)
		}
	}
}

// until polls ok, which is about what no event tells.
func (e *env) until(what string, ok func() bool) {
	e.Helper()
	for deadline := time.Now().Add(e.h.Patience); !ok(); {
		if time.Now().After(deadline) {
			e.Fatalf("after %v still not so: %s", e.h.Patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// parallel calls do n times at once and waits.
func parallel(n int, do func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}

// numbered returns n texts.
func numbered(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%05d", i)
	}
	return out
}

// texts returns the data of entries.
func texts(entries []broker.Entry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, string(e.Data))
	}
	return out
}
