package switchboard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

// enter takes the turn for who wants to append: the run has not ended, and what is known of
// it is what the log has.
func (r *ownedRun) enter(ctx context.Context) error {
	if err := r.turn.take(ctx); err != nil {
		return err
	}
	err := r.isOver()
	if err == nil {
		err = r.sure(ctx)
	}
	if err != nil {
		r.turn.give()
	}
	return err
}

// sure learns what the run has done from the log, if that may have more than is known here:
// after a takeover, and after an append that had no answer. Who has the turn calls it.
func (r *ownedRun) sure(ctx context.Context) error {
	if !r.unsure {
		return nil
	}
	if r.loose {
		if err := r.renew(ctx); err != nil {
			return err
		}
	}
	if err := r.recall(ctx); err != nil {
		return err
	}
	r.unsure = false
	return nil
}

// renew gives the record a new revision, so that an append that is still on its way is refused.
func (r *ownedRun) renew(ctx context.Context) error {
	for range memberTries {
		var record runRecord
		revision, err := r.m.getItem(ctx, r.spec.recordKey(), &record)
		if err != nil {
			return err
		}
		if !r.owns(&record) || record.State.Ended() {
			return r.passed(ctx, &record, revision)
		}
		revision, err = r.m.putItem(ctx, r.spec.recordKey(), &record, revision, 0)
		if err == nil {
			r.record, r.revision, r.loose = record, revision, false
			return nil
		}
		if !errors.Is(err, broker.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("the run's record keeps changing: %w", ErrUnavailable)
}

// owns reports whether a record names r as the owner, now or at the end.
func (r *ownedRun) owns(record *runRecord) bool {
	return record.Node == r.record.Node && record.Term == r.term
}

// recall reads the log, and seals the texts of a former owner.
func (r *ownedRun) recall(ctx context.Context) error {
	note := liveRun{ID: r.spec.ID}
	if _, err := r.m.getItem(ctx, r.spec.liveKey(), &note); err != nil {
		return err
	}
	found, err := r.m.foldRuns(ctx, r.spec.topic(), []liveRun{note}, Position{})
	if err != nil {
		return err
	}
	f := found[r.spec.ID]
	if f.machine.State() == "" {
		// The record says that it was started: the log does not reach back to that.
		f.machine.Apply(Envelope{Type: wire.AgentStarted, RunID: r.spec.ID, ThreadID: r.spec.Thread, AgentName: r.spec.Agent})
	}
	run := f.machine.Snapshot()
	for i := range run.Streams {
		if err := r.recallStream(ctx, f, &run.Streams[i]); err != nil {
			return err
		}
	}
	r.machine, r.latest, r.seen = f.machine, f.latest, f.ids
	if run.StartedAt != 0 {
		r.mu.Lock()
		r.began = time.UnixMilli(int64(run.StartedAt * 1000))
		r.mu.Unlock()
	}
	return nil
}

// recallStream takes over what the log says of a stream.
func (r *ownedRun) recallStream(ctx context.Context, f *folded, s *wire.Stream) (err error) {
	own := r.streamNamed(s.Name, math.MaxInt)
	defer own.leave()
	length := s.Length
	if s.State == wire.StreamStateOpen {
		if length, err = r.m.driver.Seal(ctx, r.key(), own.key, r.term); err != nil {
			return err
		}
	}
	_, inLog := f.texts[s.ID]
	r.mu.Lock()
	defer r.mu.Unlock()
	own.opened, own.length, own.state = true, max(length, own.length), s.State
	own.folded = s.State != wire.StreamStateOpen && (inLog || length == 0)
	return nil
}

// fenced finds out why an append was refused as that of a former owner. Who has the turn
// calls it.
func (r *ownedRun) fenced(ctx context.Context) error {
	if over := r.isOver(); over != nil {
		return over
	}
	var record runRecord
	revision, err := r.m.getItem(ctx, r.spec.recordKey(), &record)
	if err != nil {
		return err
	}
	return r.passed(ctx, &record, revision)
}

// passed says what has become of the run by its record, which is not the one that r knows. Who
// has the turn calls it.
func (r *ownedRun) passed(ctx context.Context, record *runRecord, revision uint64) error {
	over, out := errOver(&r.spec, record), true
	switch own := r.owns(record); {
	case record.Term < r.term || own && !record.State.Ended():
		// It was read too early: who is the owner has a term of its own, and they rise.
		r.unsure, r.loose = true, true
		return fmt.Errorf("the run's record has changed: %w", ErrUnavailable)
	case own: // it has ended by an append of which nobody knew
		if end, err := r.m.endOf(ctx, &r.spec, record); err == nil {
			record.End = end
		}
		r.finished(*record, revision)
		return over
	case record.State.Ended():
		out = false
	case r.spec.Lease == 0: // such a run is taken over to be stopped, and for nothing else
		over = (&ending{typ: wire.AgentCancelled}).over(&r.spec)
	default:
		over = &Error{Code: wire.CodeConflict, Message: "another node has taken the run over", Details: map[string]any{"run_id": r.spec.ID}}
	}
	r.mu.Lock()
	r.out = out
	r.mu.Unlock()
	r.closeWith(over, record.End)
	r.drop()
	return over
}

// heardOfRun looks whether an event that came by ends a run that this node owns: another node
// has stopped it, and its agent has to hear of that at once.
func (m *Manager) heardOfRun(rec wire.Record) {
	r := m.runs.find(rec.Topic.Tenant, rec.Run)
	if r == nil || r.gone() || rec.Topic != r.spec.topic() || !mayEnd(rec.Body) {
		return
	}
	env, err := wire.ParseAnswer(rec.Body)
	if err != nil {
		return
	}
	if _, ends := runs.EndState(env.Type); !ends {
		return
	}
	m.runs.background(func() {
		for pause := retryFirst; !r.look(m.last) && sleep(m.last, pause); pause = min(2*pause, retryLast) {
		}
	})
}

// mayEnd reports whether an event could be one that ends a run, without reading all of it: each
// event of a run comes by here.
func mayEnd(body []byte) bool {
	for _, typ := range runEnds() {
		if bytes.Contains(body, []byte(typ)) {
			return true
		}
	}
	return false
}

// runEnds are the types of the events that end a run.
func runEnds() [4]wire.MessageType {
	return [...]wire.MessageType{wire.AgentCompleted, wire.AgentError, wire.AgentCancelled, wire.AgentDeath}
}

// look finds out whether the run is still this node's, as far as that can be known now.
func (r *ownedRun) look(ctx context.Context) (known bool) {
	if r.turn.take(ctx) != nil {
		return false
	}
	defer r.turn.give()
	if r.gone() {
		return true
	}
	var record runRecord
	revision, err := r.m.getItem(ctx, r.spec.recordKey(), &record)
	if err != nil || record.Term < r.term || r.owns(&record) && !record.State.Ended() {
		return false
	}
	_ = r.passed(ctx, &record, revision) // the run knows it now
	return true
}
