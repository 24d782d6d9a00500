package hub

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// gated is a log that is not read before the gate opens. Then what is done for tenants but the
// quiet one waits, when it is more than most, until the log of that is read, or for a minute.
type gated struct {
	*rig
	gate   chan struct{}
	served chan struct{} // closed when the quiet one's is read
	most   int64
	writes bool // they count, and not readings
	done   atomic.Int64
	late   atomic.Bool // it was not read in time
}

var quiet = wire.Topic{Tenant: "quiet", Kind: wire.KindUser, ID: "a"}

func (g *gated) Since(ctx context.Context, key Key, pos wire.Position, limit int) (Batch, error) {
	<-g.gate
	switch {
	case key == keyOf(quiet):
		close(g.served)
	case !g.writes:
		g.pass()
	}
	return g.rig.Since(ctx, key, pos, limit)
}

func (g *gated) pass() {
	if g.done.Add(1) <= g.most {
		return
	}
	select {
	case <-g.served:
	case <-time.After(time.Minute):
		g.late.Store(true)
	}
}

// gatedEngine counts what is written to connections.
type gatedEngine struct {
	*fakeEngine
	of *gated
}

func (e gatedEngine) Write(s ws.Socket, bufs [][]byte) (n int, blocked bool, err error) {
	if e.of.writes {
		e.of.pass()
	}
	return e.fakeEngine.Write(s, bufs)
}

func newGated(t testing.TB, most int64, writes bool) *gated {
	g := &gated{gate: make(chan struct{}), served: make(chan struct{}), most: most, writes: writes}
	g.rig = newRig(t, func(c *Config, e *fakeEngine) {
		c.WindowMessages, c.Source = 1, g
		c.Engine = func(s ws.Sink) ws.Engine {
			e.sink = s
			return gatedEngine{e, g}
		}
	})
	return g
}

// lag opens a connection of a user and sets its cursor in a topic back to the beginning.
func (g *gated) lag(u, topic wire.Topic) *client {
	g.t.Helper()
	c := g.open(u)
	if topic != u {
		c.join(topic)
	}
	if err := g.hub.Seek(c.h, keyOf(topic), wire.Position{Epoch: "e1"}); err != nil {
		g.t.Fatal(err)
	}
	return c
}

func (g *gated) fill(a wire.Topic, n int) {
	g.follow(a)
	for range n {
		g.publish(a)
	}
}

func TestALaggingTenantDoesNotMakeTheReturningClientOfAnotherWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The readings that were under way when it came, and no more than began at the same moment.
		g := newGated(t, 2*catchWorkers, false)
		for i := range 3000 {
			noisy := wire.Topic{Tenant: "noisy", Kind: wire.KindUser, ID: fmt.Sprint(i)}
			g.fill(noisy, 3)
			g.lag(noisy, noisy)
		}
		g.fill(quiet, 3)
		back := g.lag(quiet, quiet)
		close(g.gate)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if g.late.Load() {
			t.Error("its log was not read before that of many others")
		}
		wantFrames(t, back.of(quiet), numbers("e1", 1, 3))
		if n := g.hub.Stats().CatchUps; n != 3001 {
			t.Errorf("got %d readings, want 3001", n)
		}
	})
}

// Many who wait for one reading do not keep a reader to the last of them.
func TestARoomThatLagsDoesNotMakeTheReturningClientOfAnotherTenantWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGated(t, 2*catchWorkers*handSlice, true)
		var rooms []wire.Topic
		for i := range catchWorkers {
			room := wire.Topic{Tenant: "noisy", Kind: wire.KindRoom, ID: fmt.Sprint(i)}
			g.fill(room, 3)
			rooms = append(rooms, room)
		}
		var all []*client
		for i := range 1000 * len(rooms) {
			all = append(all, g.lag(wire.Topic{Tenant: "noisy", Kind: wire.KindUser, ID: fmt.Sprint(i)}, rooms[i%len(rooms)]))
		}
		g.fill(quiet, 3)
		back := g.lag(quiet, quiet)
		close(g.gate)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if g.late.Load() {
			t.Error("its log was not read before many others were written to")
		}
		wantFrames(t, back.of(quiet), numbers("e1", 1, 3))
		for i, c := range all {
			wantFrames(t, c.of(rooms[i%len(rooms)]), numbers("e1", 1, 3))
		}
	})
}

// idle reports whether there is nothing to read.
func (c *catcher) idle() bool {
	c.jobs.mu.Lock()
	defer c.jobs.mu.Unlock()
	for _, l := range c.jobs.lanes {
		if !l.empty() {
			return false
		}
	}
	return true
}
