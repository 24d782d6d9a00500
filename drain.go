package switchboard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

const (
	drainTime = 10 * time.Second // of a drain whose context has no deadline
	// Connections are closed at this rate or faster, so that few of them do not take all
	// the time that there is.
	drainPause = 5 * time.Millisecond
	// stopGrace is what is left for what does not end by itself when the context has, and
	// endGrace how much of it for writing the ends of runs: then their agents are told. In
	// askGrace the log says what can be resumed.
	stopGrace = time.Second
	endGrace  = stopGrace / 2
	askGrace  = stopGrace / 4
	askers    = 32 // places of which the log is asked at the same time
	// Clients come back from returnFirst after they were told on. The last ones have
	// returnSpread more, so that they come back more slowly than they were closed.
	returnFirst  = 200 * time.Millisecond
	returnSpread = 2800 * time.Millisecond
)

// drain makes a drain, and the stop after it, happen once.
type drain struct {
	once, stop sync.Once
	force      chan struct{} // closed when there is no time any more
	forced     chan struct{} // closed when no run lives any more
	done       chan struct{} // closed when nobody is connected and no handler is at work
	stopped    chan struct{} // closed when nothing is left

	mu     sync.Mutex // guards the fields below
	state  NodeState
	told   map[hub.Handle]bool
	left   []hub.Cursor // topics of which not all was written to a connection that has ended
	asked  bool         // the log, for what is left
	closes rate
	after  rate // returns that were asked for
	report DrainReport
}

func (d *drain) init() {
	d.force, d.forced = make(chan struct{}), make(chan struct{})
	d.done, d.stopped = make(chan struct{}), make(chan struct{})
	d.state = NodeReady
	d.told = make(map[hub.Handle]bool)
}

// Drain moves everybody away from this node, paced over what is left of ctx (10 s if it has no
// deadline): new clients are refused, those that are there are told when to come back
// elsewhere and are closed once what they were sent is written, handlers return, and agents
// finish or their runs end with agent_death. Back ends may still publish. There is no way back:
// [Manager.Shutdown] is what comes next.
//
// The report is what has happened so far. The error is ctx's if handlers are still at work
// then. It happens once: only the context of the first call sets the pace, and later ones wait.
func (m *Manager) Drain(ctx context.Context) (DrainReport, error) {
	m.beginDrain(ctx)
	err := await(ctx, m.drain.done)
	if err != nil {
		err = fmt.Errorf("drain: handlers are still at work: %w", err)
	}
	return m.DrainReport(), err
}

// Shutdown drains this node as [Manager.Drain] does, closes the driver if New opened it, and
// ends every goroutine.
// It returns ctx's error if handlers are still at work then and do not end although their
// context has; a later call waits for them again. It is idempotent: only the context of the
// first call sets the pace.
//
// Call it before http.Server.Shutdown, which does not know of sockets.
func (m *Manager) Shutdown(ctx context.Context) error {
	m.beginDrain(ctx)
	m.drain.stop.Do(func() {
		go m.shutDown(ctx) // every call of Shutdown waits for it
	})
	if err := await(ctx, m.drain.stopped); err != nil {
		return fmt.Errorf("shutdown: handlers are still at work: %w", err)
	}
	return nil
}

// await waits for done until ctx ends, and a moment longer.
func await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	timer := time.NewTimer(stopGrace)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return ctx.Err()
	}
}

// beginDrain refuses new clients at once. The rest takes a while.
func (m *Manager) beginDrain(ctx context.Context) {
	m.drain.once.Do(func() {
		m.drain.begin(m.opts.Node)
		m.gate.close()
		go m.leave(ctx) // shutDown waits for it
	})
}

// leave ends what this node does for others: in peace while ctx lasts, then by force.
func (m *Manager) leave(ctx context.Context) {
	defer close(m.drain.done)
	before := m.count.runsEnded.sum()
	if _, bound := ctx.Deadline(); !bound {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, drainTime)
		defer cancel()
	}
	peace, cut := context.WithCancel(ctx)
	moved, quiet := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(quiet)
		var runs sync.WaitGroup
		runs.Go(func() { m.finishRuns(peace) }) // for their clients are elsewhere, not away
		m.moveAway(peace)
		close(moved)
		m.lanes.stop()
		runs.Wait()
	}()
	select {
	case <-quiet:
	case <-peace.Done():
	case <-m.drain.force:
	}
	cut()
	killed, untold := m.endRuns()
	close(m.drain.forced)
	<-moved
	m.cutOff()
	lost, unknown := m.lostFor(context.WithoutCancel(ctx))
	m.drain.answered(func(r *DrainReport) {
		r.RunsEnded, r.RunsUntold = killed, untold
		r.RunsFinished = max(0, int(m.count.runsEnded.sum()-before)-killed)
		r.Lost, r.Unknown = lost, unknown
	})
	<-quiet // a handler that does not return changes nothing of that
	report := m.drain.finish()
	m.log.LogAttrs(context.WithoutCancel(ctx), slog.LevelInfo, "drained", report.attrs()...)
}

// shutDown ends everything once the node is drained, or ctx has ended.
func (m *Manager) shutDown(ctx context.Context) {
	defer close(m.drain.stopped)
	select {
	case <-m.drain.forced:
	case <-ctx.Done():
		close(m.drain.force)
		<-m.drain.forced
	}
	m.end()
	<-m.drain.done
	m.gate.inside.Wait()
	m.hub.Shutdown()
	m.workers.Wait()
	m.flushTyping(context.WithoutCancel(ctx))
	m.flushReceipts(context.WithoutCancel(ctx))
	if err := m.closeDriver(); err != nil {
		m.log.LogAttrs(context.WithoutCancel(ctx), slog.LevelWarn, "broker not closed", slog.Any("err", err))
	}
}

// finishRuns lets agents finish, those of this process and those that call, for most of the time
// that there is. The next call of the latter may come by another node, which takes their run over.
// ctx has a deadline.
func (m *Manager) finishRuns(ctx context.Context) {
	end, _ := ctx.Deadline()
	ctx, cancel := context.WithTimeout(ctx, time.Until(end)*9/10)
	defer cancel()
	m.runs.wait(ctx)
}

// endRuns ends the runs of this node that have not ended by themselves, waits for their
// agents, and says how many there were, and of how many the end could not be written.
func (m *Manager) endRuns() (killed, untold int) {
	timer := time.AfterFunc(endGrace, m.cease)
	defer timer.Stop()
	left := m.runs.close()
	m.halt()
	var ends sync.WaitGroup
	for _, r := range left {
		ends.Go(r.dieOfShutdown)
	}
	ends.Wait()
	m.runs.wg.Wait()
	m.cease()
	for _, r := range left {
		if !r.gone() {
			untold++
		}
	}
	return len(left) - untold, untold
}

// moveAway tells every connection to come back elsewhere and closes it. ctx has a deadline.
// Nobody waits for logins that are under way: they are refused, or closed as soon as they are
// connections.
func (m *Manager) moveAway(ctx context.Context) {
	var all, busy []hub.Handle
	m.hub.Each(func(c hub.Handle) bool {
		all = append(all, c)
		return true
	})
	end, _ := ctx.Deadline()
	// A quarter of the time is left for those whose sockets are slow.
	pause := max(0, min(drainPause, time.Until(end)*3/4/time.Duration(len(all)+1)))
	began := time.Now()
	apart := pause + returnSpread/time.Duration(len(all)+1) // of those that come back
	for i, c := range all {
		back := began.Add(returnFirst + time.Duration(i)*apart)
		switch {
		case !m.tellAway(c, back): // who tells it closes it, or it could be closed before it is told
		case m.lanes.busy(c):
			busy = append(busy, c) // who has a handler at work stays for its answer
		default:
			m.closeAway(c)
		}
		// Short pauses are made up in groups: a timer for each would take longer.
		if due := began.Add(time.Duration(i+1) * pause); time.Until(due) > time.Millisecond {
			sleep(ctx, time.Until(due))
		}
	}
	for ctx.Err() == nil && m.hub.Stats().Connections > 0 {
		waiting := busy[:0]
		for _, c := range busy {
			if m.lanes.busy(c) {
				waiting = append(waiting, c)
			} else {
				m.closeAway(c)
			}
		}
		busy = waiting
		sleep(ctx, drainPause)
	}
	for _, c := range busy {
		m.closeAway(c)
	}
}

// tellAway tells a connection, once, when to come back elsewhere, and reports whether this was
// the time.
func (m *Manager) tellAway(c hub.Handle, back time.Time) bool {
	after := max(time.Until(back), time.Millisecond)
	if !m.drain.tell(c, time.Now().Add(after)) {
		return false
	}
	if m.hub.ID(c) == "" {
		m.drain.ended(c, hub.End{Remote: true}) // before it could be told
		return true
	}
	m.notify(c, wire.ServerShutdown, wire.ServerShutdownPayload{
		ReconnectAfterMS: int(after.Milliseconds()), Message: "restarting",
	})
	return true
}

func (m *Manager) closeAway(c hub.Handle) {
	_ = m.hub.Close(c, wire.CloseRestart, "restarting: reconnect", true) // one that has ended is away
}

// cutOff gives up the connections that are left: their sockets take nothing.
func (m *Manager) cutOff() {
	m.hub.Each(func(c hub.Handle) bool {
		m.tellAway(c, time.Now().Add(returnFirst))
		m.closeAway(c)
		m.hub.Abandon(c)
		return true
	})
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	for m.drain.open() > 0 && sleep(ctx, drainPause) { // until the last ends are known
	}
}

// lostFor asks the log whether clients that were closed before all was written can get the
// rest. Unknown are messages of topics that could not be asked.
func (m *Manager) lostFor(ctx context.Context) (lost, unknown uint64) {
	ctx, cancel := context.WithTimeout(ctx, askGrace)
	defer cancel()
	type place struct {
		key hub.Key
		pos Position
	}
	behind := map[place][]uint64{} // of each connection that was there
	for _, c := range m.drain.leftBehind() {
		at := place{c.Key, c.Pos}
		behind[at] = append(behind[at], c.Behind)
	}
	var asking sync.WaitGroup
	var mu sync.Mutex // guards the results
	slots := make(chan struct{}, askers)
	for at, conns := range behind {
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			_, _, err := m.driver.Since(ctx, broker.Key(at.key), at.pos, 1)
			mu.Lock()
			defer mu.Unlock()
			for _, n := range conns {
				lost += gone(err, n)
				if err != nil && !errors.Is(err, broker.ErrGap) {
					unknown += n
				}
			}
		})
	}
	asking.Wait()
	return lost, unknown
}

// gone is how many of n messages a log does not have any more, as the error of a reading says.
func gone(err error, n uint64) uint64 {
	gap, ok := errors.AsType[*broker.GapError](err)
	switch {
	case ok && gap.Lost > 0:
		return min(n, gap.Lost)
	case errors.Is(err, broker.ErrGap):
		return n
	}
	return 0
}
