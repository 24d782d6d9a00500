package switchboard

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

// ending is the event with which a run ends.
type ending struct {
	typ     wire.MessageType
	payload any
	by      string // the user who stopped it
}

// finish completes what is open and writes the last event, which changes the run's record in
// the same step: that is the end, whatever becomes of the answer. The first end counts.
func (r *ownedRun) finish(ctx context.Context, e ending) (Position, error) {
	if err := r.turn.take(ctx); err != nil {
		return Position{}, r.orOver(err)
	}
	defer r.turn.give()
	if err := r.isOver(); err != nil {
		return Position{}, err
	}
	state, _ := runs.EndState(e.typ)
	payload, err := encodePayload(e.payload)
	if err != nil {
		return Position{}, err
	}
	env := r.envelope(e.typ, r.spec.eventID(string(e.typ)))
	if env.Payload = payload; e.typ == wire.AgentError {
		if env.Payload, err = runs.Redact(payload); err != nil {
			return Position{}, err
		}
	}
	if err := r.machine.Check(env); err != nil {
		return Position{}, runError(&r.spec, err)
	}
	if err := r.completeAll(ctx, runs.StreamEnd(state)); err != nil {
		return Position{}, err
	}
	env.StreamLengths = r.lengths()
	record := r.record
	record.State, record.By, record.Event = state, e.by, env.ID
	record.Ended, record.Lengths = wire.Seconds(time.Now()), env.StreamLengths
	put, err := wire.Marshal(&record)
	if err != nil {
		return Position{}, err
	}
	published, err := r.publish(ctx, env, put)
	if err != nil {
		return Position{}, r.lost(ctx, err)
	}
	r.applied(env, published.Pos)
	r.record, r.revision = record, published.Revision
	r.record.End = published.Pos
	r.closeWith(errOver(&r.spec, &record), published.Pos)
	r.m.count.runsEnded.add(state)
	if !r.m.runs.background(func() { r.settle(r.m.last) }) {
		r.settle(ctx)
	}
	r.m.keeper.add(r)
	return published.Pos, nil
}

// completeAll completes every stream that is open. Who has the turn calls it.
func (r *ownedRun) completeAll(ctx context.Context, state string) error {
	r.mu.Lock()
	streams := slices.Clone(r.streams)
	r.mu.Unlock()
	for _, s := range streams {
		if err := s.complete(ctx, state); err != nil {
			return err
		}
	}
	return nil
}

// persist ends the run, however long the broker is unavailable, unless somebody else does.
// It returns when the run is over, or when the manager has ended.
func (r *ownedRun) persist(e ending) {
	for pause := retryFirst; ; pause = min(2*pause, retryLast) {
		_, err := r.finish(r.m.last, e)
		if err == nil || r.gone() || r.m.last.Err() != nil {
			return
		}
		if !errors.Is(err, ErrUnavailable) {
			// An end that the contract refuses, as a tool is still executing: the producer is gone.
			r.warn("run cannot end as asked", err)
			e = ending{typ: wire.AgentError, payload: runs.Failed(r.spec.Agent, failure(err).text, failure(err).about)}
		}
		if !sleep(r.m.last, pause) {
			return
		}
	}
}

// heardOfRun looks whether an event that came by ends a run that this node owns: another node
// has stopped it, and its agent has to hear of that at once.
func (m *Manager) heardOfRun(rec wire.Record) {
	r := m.runs.find(rec.Topic.Tenant, rec.Run)
	if r == nil || r.gone() || rec.Topic != r.spec.topic() {
		return
	}
	env, err := wire.ParseAnswer(rec.Body)
	if err != nil {
		return
	}
	if _, ends := runs.EndState(env.Type); ends {
		m.runs.background(func() { r.look(m.last) })
	}
}

// look finds out whether the run is still this node's.
func (r *ownedRun) look(ctx context.Context) {
	if r.turn.take(ctx) != nil {
		return
	}
	defer r.turn.give()
	if !r.gone() {
		_ = r.lost(ctx, broker.ErrFenced) // the next append finds out too
	}
}

// stopped is what became of a run that was to be stopped.
type stopped struct {
	wire.StoppedRun
	status string
}

// stopRun ends a run for somebody who may do that, wherever it is.
func (m *Manager) stopRun(ctx context.Context, spec runSpec, reason, by string) (stopped, error) {
	result := stopped{StoppedRun: wire.StoppedRun{RunID: spec.ID}, status: wire.StatusAlreadyEnded}
	owned := m.runs.find(spec.Tenant, spec.ID)
	var err error
	if owned == nil {
		owned, err = m.ownRun(ctx, spec, true)
	}
	if err == nil {
		_, err = owned.finish(ctx, ending{typ: wire.AgentCancelled, payload: runs.Cancelled(reason, by), by: by})
	}
	switch {
	case err == nil:
		result.status = wire.StatusOK
	case !errors.Is(err, ErrRunEnded) && !errors.Is(err, ErrRunCancelled):
		return result, err
	}
	if owned != nil {
		owned.mu.Lock()
		result.Position = owned.ended
		owned.mu.Unlock()
		result.StreamLengths = owned.lengths()
		return result, nil
	}
	var record runRecord
	if _, err := m.getItem(ctx, spec.recordKey(), &record); err != nil {
		return result, err
	}
	result.Position, result.StreamLengths = record.End, record.Lengths
	return result, nil
}

// endSome ends what is due: leases that are over, runs that nobody watches or that take too
// long.
func (m *Manager) endSome(now time.Time) {
	for _, r := range m.runs.all() {
		if e, due := r.due(now); due {
			m.runs.background(func() {
				r.persist(e)
				r.mu.Lock()
				r.ending = false
				r.mu.Unlock()
			})
		}
	}
}

// due says whether the run has to end now, and makes the caller the one who sees to that.
func (r *ownedRun) due(now time.Time) (e ending, due bool) {
	followers := 1
	if r.spec.Unwatched > 0 {
		_, followers, _ = r.m.hub.Lookup(hubKey(r.spec.topic()))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over != nil || r.ending {
		return ending{}, false
	}
	switch {
	case followers > 0:
		r.unwatched = time.Time{}
	case r.unwatched.IsZero():
		r.unwatched = now
	}
	death := func(cause string) (ending, bool) {
		r.ending = true
		return ending{typ: wire.AgentDeath, payload: runs.Death(r.spec.Agent, cause)}, true
	}
	switch {
	case r.spec.Lease > 0 && r.busy == 0 && now.After(r.leased):
		return death(wire.DeathNoHeartbeat)
	case r.spec.Max > 0 && now.Sub(r.began) > r.spec.Max:
		return death(wire.DeathTimeout)
	case !r.unwatched.IsZero() && now.Sub(r.unwatched) > r.spec.Unwatched:
		r.ending = true
		return ending{typ: wire.AgentCancelled, payload: runs.Cancelled("nobody is watching", "")}, true
	}
	return ending{}, false
}

// settle notes in the record where the run has ended, and lets all that is stored of it expire
// with the history.
func (r *ownedRun) settle(ctx context.Context) {
	keep := r.m.opts.Retention.Age
	record, spec := r.record, r.spec
	if _, err := r.m.putItem(ctx, spec.recordKey(), &record, r.revision, keep); err != nil {
		r.warn("end of a run not stored", err)
	}
	if _, err := r.m.putItem(ctx, spec.specKey(), &spec, broker.Any, keep); err != nil {
		r.warn("end of a run not stored", err)
	}
	// A note that stays is noticed as one of a run that has ended.
	if err := r.m.driver.Delete(ctx, spec.liveKey(), broker.Any); err != nil {
		r.warn("note of a run not removed", err)
	}
}
