package switchboard

import (
	"context"
	"errors"
	"log/slog"
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

// over is what a run that ends by e says to who wants to write more.
func (e *ending) over(spec *runSpec) error {
	state, _ := runs.EndState(e.typ)
	return errOver(spec, &runRecord{State: state, By: e.by})
}

// finish ends the run, unless the contract refuses that. An end that has begun is carried
// through, also when nobody waits for it any more: texts are sealed by then, or the run was
// taken from another process.
func (r *ownedRun) finish(ctx context.Context, e ending) (Position, error) {
	pos, err := r.tryFinish(ctx, e)
	if err != nil && !r.gone() {
		r.mu.Lock()
		begun := r.ends
		r.mu.Unlock()
		if begun != nil {
			r.insist(*begun)
		}
	}
	return pos, err
}

// tryFinish completes what is open and writes the last event, which changes the run's record
// in the same step: that is the end, whatever becomes of the answer. The first end that begins
// counts; what comes after it helps it along.
func (r *ownedRun) tryFinish(ctx context.Context, e ending) (Position, error) {
	if err := r.enter(ctx); err != nil {
		return Position{}, err
	}
	defer r.turn.give()
	asked := e.typ
	env, err := r.beginEnd(&e)
	if err != nil {
		return Position{}, err
	}
	state, _ := runs.EndState(e.typ)
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
	published, _, err := r.publish(ctx, env, put)
	switch {
	case err == nil && !published.Duplicate:
		record.End = published.Pos
		r.finished(record, published.Revision)
	case err == nil || errors.Is(err, broker.ErrFenced):
		// There is an end already: of an earlier try, or of another node.
		if err = r.fenced(ctx); r.record.State != state {
			return Position{}, err
		}
	default:
		return Position{}, err
	}
	if asked != e.typ {
		return Position{}, r.isOver()
	}
	return r.record.End, nil
}

// lastWords is the event of an end, if that may be now. Who has the turn calls it.
func (r *ownedRun) lastWords(e ending) (Envelope, error) {
	env := r.envelope(e.typ, r.spec.eventID(string(e.typ)))
	var err error
	if env.Payload, err = encodePayload(e.payload); err != nil {
		return env, err
	}
	if e.typ == wire.AgentError {
		if env.Payload, err = runs.Redact(env.Payload); err != nil {
			return env, err
		}
	}
	if err := r.machine.Check(env); err != nil {
		return env, runError(&r.spec, err)
	}
	rec, err := r.recordOf(env)
	if err != nil {
		return env, err
	}
	// Texts may still grow, and so may the digits of their lengths.
	if len(rec.Body)+16*len(env.StreamLengths) > maxRecord-recordExtra {
		return env, errTooLarge(maxRecord)
	}
	return env, nil
}

// recordExtra is what a record has, at most, besides the body and its streams.
const recordExtra = 4 << 10

// beginEnd makes e the end that counts, or e the one that has begun before, and returns its
// event. Who has the turn calls it.
func (r *ownedRun) beginEnd(e *ending) (Envelope, error) {
	for {
		r.mu.Lock()
		begun := r.ends
		r.mu.Unlock()
		if begun != nil {
			*e = *begun
		}
		env, err := r.lastWords(*e)
		if err != nil {
			r.swapEnds(begun, nil)
			return env, err
		}
		if begun != nil || r.swapEnds(nil, new(*e)) {
			return env, nil
		}
	}
}

// swapEnds changes the end that counts, unless another one has begun.
func (r *ownedRun) swapEnds(from, to *ending) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ends != from {
		return false
	}
	r.ends = to
	return true
}

// announce makes an end that nothing can refuse the one that counts, and tells the producer at
// once: what it is about is cut short, so that the end does not wait for it. It reports whether e
// is the one that counts.
func (r *ownedRun) announce(e ending) (counts bool) {
	if payload, err := encodePayload(e.payload); err != nil || len(payload) > maxRecord/2 {
		return false // it is refused yet
	}
	r.mu.Lock()
	if r.over != nil {
		r.mu.Unlock()
		return false
	}
	if r.ends == nil {
		r.ends, counts = &e, true
	}
	why := r.ends.over(&r.spec)
	r.mu.Unlock()
	r.end(why)
	return counts
}

// stop announces an end and writes it, as finish does. It is no failure that the producer, who was told,
// was quicker to write that very end.
func (r *ownedRun) stop(ctx context.Context, e ending) (Position, error) {
	counts := r.announce(e)
	pos, err := r.finish(ctx, e)
	if counts && errors.Is(err, ErrRunCancelled) && r.gone() {
		return r.endedAt(), nil
	}
	return pos, err
}

// finished takes note of the end, which is in the log. Who has the turn calls it.
func (r *ownedRun) finished(record runRecord, revision uint64) {
	r.record, r.revision = record, revision
	for _, typ := range runEnds() {
		if state, _ := runs.EndState(typ); state == record.State {
			r.applied(Envelope{Type: typ, RunID: r.spec.ID, StreamLengths: record.Lengths}, record.End)
		}
	}
	r.closeWith(errOver(&r.spec, &record), record.End)
	r.m.count.runsEnded.add(record.State)
	if !r.m.runs.background(func() { r.m.insistOn(r.m.last, r.settle) }) {
		r.m.insistOn(r.m.last, r.settle)
	}
	r.m.keeper.add(r)
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
		ctx, cancel := context.WithTimeout(r.m.last, tryTime)
		_, err := r.tryFinish(ctx, e)
		cancel()
		if err == nil || r.gone() || r.m.last.Err() != nil {
			return
		}
		if refused(err) {
			// An end that the contract refuses, as a tool is still executing: the producer is gone.
			r.warn("run cannot end as asked", err)
			e = ending{typ: wire.AgentError, payload: runs.Failed(r.spec.Agent, failure(err).text, failure(err).about)}
		}
		if !sleep(r.m.last, pause) {
			return
		}
	}
}

// insist persists in the background, if nobody does yet.
func (r *ownedRun) insist(e ending) {
	r.mu.Lock()
	busy := r.ending
	r.ending = true
	r.mu.Unlock()
	if !busy {
		r.insistAs(e)
	}
}

// insistAs is insist for who has set r.ending.
func (r *ownedRun) insistAs(e ending) {
	done := func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ending = false
	}
	if !r.m.runs.background(func() { r.persist(e); done() }) {
		done()
	}
}

// stopped is what became of a run that was to be stopped.
type stopped struct {
	wire.StoppedRun
	status string
}

// stopRun ends a run for somebody who may do that, wherever it is.
func (m *Manager) stopRun(ctx context.Context, spec runSpec, reason, by string) (stopped, error) {
	result := stopped{StoppedRun: wire.StoppedRun{RunID: spec.ID}, status: wire.StatusOK}
	stop := ending{typ: wire.AgentCancelled, payload: runs.Cancelled(reason, by), by: by}
	var err error
	for range ownerTries {
		owned := m.runs.find(spec.Tenant, spec.ID)
		if owned == nil {
			owned, err = m.ownRun(ctx, spec, &stop)
		}
		if owned == nil {
			break
		}
		if result.Position, err = owned.stop(ctx, stop); err == nil {
			result.StreamLengths = owned.lengths()
			return result, nil
		}
		if !owned.taken() {
			break
		}
	}
	if !errors.Is(err, ErrRunEnded) && !errors.Is(err, ErrRunCancelled) {
		return result, err
	}
	result.status = wire.StatusAlreadyEnded
	var record runRecord
	if _, err := m.getItem(ctx, spec.recordKey(), &record); err != nil {
		return result, err
	}
	result.StreamLengths = record.Lengths
	result.Position, err = m.endOf(ctx, &spec, &record)
	return result, err
}

// endOf is the place of a run's last event.
func (m *Manager) endOf(ctx context.Context, spec *runSpec, record *runRecord) (Position, error) {
	if !record.End.IsZero() || !record.State.Ended() {
		return record.End, nil
	}
	f, err := m.foldRun(ctx, spec) // it is not stored yet
	if err != nil {
		return Position{}, err
	}
	if !f.machine.State().Ended() {
		return Position{}, nil
	}
	return f.latest, nil
}

// endSome ends what is due: runs of users who were revoked, leases that are over, runs that
// nobody watches or that take too long.
func (m *Manager) endSome(now time.Time) {
	for _, r := range m.runs.all() {
		revoked := m.revocations.index.Cancels(r.spec.Tenant, r.spec.User, time.UnixMilli(r.spec.Created), now)
		if e, due := r.due(now, revoked); due {
			if revoked {
				r.announce(e)
			}
			r.insistAs(e)
		}
	}
}

// due says whether the run has to end now, and makes the caller the one who sees to that.
func (r *ownedRun) due(now time.Time, revoked bool) (e ending, due bool) {
	followers := 1
	if r.spec.Unwatched > 0 && !r.m.gate.shut() { // who was moved away watches elsewhere
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
	case revoked:
		r.ending = true
		return ending{typ: wire.AgentCancelled, payload: runs.Cancelled(cancelledBy, "")}, true
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
func (r *ownedRun) settle(ctx context.Context) error {
	if r.guest {
		return r.erase(ctx)
	}
	keep := r.m.opts.Retention.Age
	record, spec := r.record, r.spec
	var err error
	if record.End, err = r.m.endOf(ctx, &spec, &record); err != nil {
		return err
	}
	// A record that has changed was settled by a call that had no answer.
	if _, err := r.m.putItem(ctx, spec.recordKey(), &record, r.revision, keep); err != nil && !errors.Is(err, broker.ErrConflict) {
		return err
	}
	if _, err := r.m.putItem(ctx, spec.specKey(), &spec, broker.Any, keep); err != nil {
		return err
	}
	return r.m.driver.Delete(ctx, spec.liveKey(), broker.Any)
}

// erase removes what is stored of the run beside the log.
func (r *ownedRun) erase(ctx context.Context) error {
	for _, key := range []string{r.spec.recordKey(), r.spec.specKey(), r.spec.liveKey()} {
		if err := r.m.driver.Delete(ctx, key, broker.Any); err != nil {
			return err
		}
	}
	return nil
}

// insistOn does something until it succeeds or ctx ends.
func (m *Manager) insistOn(ctx context.Context, do func(context.Context) error) {
	told := false
	for pause := retryFirst; ; pause = min(2*pause, retryLast) {
		try, cancel := context.WithTimeout(ctx, tryTime)
		err := do(try)
		cancel()
		if err == nil {
			return
		}
		again := sleep(ctx, pause)
		if !told && (!again || !errors.Is(err, ErrUnavailable)) {
			m.log.LogAttrs(context.WithoutCancel(ctx), slog.LevelWarn, "what is stored of a run was not updated", slog.Any("err", err))
			told = true
		}
		if !again {
			return
		}
	}
}
