package switchboard

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

const (
	drainTime = 10 * time.Second // of a Shutdown whose context has no deadline
	// Connections are closed at this rate or faster, so that few of them do not take all
	// the time that there is.
	drainPause = 5 * time.Millisecond
	// stopGrace is what is left for what does not end by itself when the context has, and
	// endGrace how much of it for writing the ends of runs: then their agents are told.
	stopGrace = time.Second
	endGrace  = stopGrace / 2
	// Clients come back so long after they were told, each after a time of its own.
	returnFirst = 200 * time.Millisecond
	returnLast  = 3 * time.Second
)

// drain makes a shutdown happen once.
type drain struct {
	once sync.Once
	done chan struct{} // closed when nothing is left
}

// Shutdown drains this node: new clients are refused, those that are there are told and
// closed, paced over what is left of ctx (10 s if it has no deadline); what they were sent is
// written, handlers return, agents finish or their runs end with agent_death, the driver is
// closed if New opened it, and every goroutine ends.
// It returns ctx's error if handlers are still at work then and do not end although their
// context has; a later call waits for them again. It is idempotent: only the context of the
// first call sets the pace.
//
// Call it before http.Server.Shutdown, which does not know of sockets.
func (m *Manager) Shutdown(ctx context.Context) error {
	m.drain.once.Do(func() {
		m.gate.close()
		go m.shutDown(ctx) // every call of Shutdown waits for it
	})
	select {
	case <-m.drain.done:
		return nil
	case <-ctx.Done():
	}
	timer := time.NewTimer(stopGrace)
	defer timer.Stop()
	select {
	case <-m.drain.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("shutdown: handlers are still at work: %w", ctx.Err())
	}
}

// shutDown ends everything: in peace while ctx lasts, then by force.
func (m *Manager) shutDown(ctx context.Context) {
	defer close(m.drain.done)
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		m.gate.inside.Wait()
		peace := ctx
		if _, bound := ctx.Deadline(); !bound {
			var cancel context.CancelFunc
			peace, cancel = context.WithTimeout(ctx, drainTime)
			defer cancel()
		}
		m.moveAway(peace)
		m.lanes.stop()
		m.finishRuns(peace)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	m.endRuns()
	m.end()
	<-idle
	m.hub.Shutdown()
	m.workers.Wait()
	m.flushReceipts(context.WithoutCancel(ctx))
	if err := m.closeDriver(); err != nil {
		m.log.LogAttrs(context.WithoutCancel(ctx), slog.LevelWarn, "broker not closed", slog.Any("err", err))
	}
}

// finishRuns lets the agents of this process finish, for most of the time that there is. ctx
// has a deadline.
func (m *Manager) finishRuns(ctx context.Context) {
	end, _ := ctx.Deadline()
	ctx, cancel := context.WithTimeout(ctx, time.Until(end)*3/4)
	defer cancel()
	m.runs.wait(ctx)
}

// endRuns ends the runs of this node that have not ended by themselves, and waits for their
// agents.
func (m *Manager) endRuns() {
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
}

// moveAway tells every connection to come back elsewhere and closes it. ctx has a deadline.
func (m *Manager) moveAway(ctx context.Context) {
	var all []hub.Handle
	m.hub.Each(func(c hub.Handle) bool {
		all = append(all, c)
		return true
	})
	end, _ := ctx.Deadline()
	// A quarter of the time is left for those whose sockets are slow.
	pause := min(drainPause, time.Until(end)*3/4/time.Duration(len(all)+1))
	due := time.Now()
	for _, c := range all {
		after := returnFirst + rand.N(returnLast-returnFirst)
		m.answer(c, wire.ServerShutdown, "", wire.ServerShutdownPayload{
			ReconnectAfterMS: int(after.Milliseconds()), Message: "restarting",
		})
		_ = m.hub.Close(c, wire.CloseRestart, "restarting: reconnect", true)
		// Short pauses are made up in groups: a timer for each would take longer.
		if due = due.Add(pause); time.Until(due) > time.Millisecond {
			sleep(ctx, time.Until(due))
		}
	}
	for m.hub.Stats().Connections > 0 && sleep(ctx, drainPause) {
	}
}
