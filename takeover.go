package switchboard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// ownRun makes this node the owner of a run, unless it has ended or another process holds it.
// With end it is taken from that too, to be ended by that.
func (m *Manager) ownRun(ctx context.Context, spec runSpec, end *ending) (*ownedRun, error) {
	if !m.runs.join() {
		return nil, ErrClosed
	}
	defer m.runs.leave()
	ctx, cancel := m.starting(ctx)
	defer cancel()
	r, maybe, err := m.tryOwn(ctx, spec, end)
	if maybe {
		m.runs.background(func() { m.claim(spec, end) })
	}
	return r, err
}

// tryOwn is one try of ownRun; with maybe nobody knows whether this node is the owner now.
func (m *Manager) tryOwn(ctx context.Context, spec runSpec, end *ending) (r *ownedRun, maybe bool, err error) {
	leave, err := m.runs.begin(ctx, runID{spec.Tenant, spec.ID})
	if err != nil {
		return nil, false, err
	}
	defer leave()
	for try := range memberTries {
		if r := m.runs.find(spec.Tenant, spec.ID); r != nil && !r.gone() {
			return r, false, nil
		}
		if try > 0 && !sleep(ctx, time.Duration(try)*10*time.Millisecond) {
			return nil, false, ctx.Err()
		}
		var record runRecord
		revision, err := m.getItem(ctx, spec.recordKey(), &record)
		switch {
		case err != nil:
			return nil, false, err
		case revision == 0:
			return nil, false, errNoRun()
		case record.State.Ended():
			return nil, false, errOver(&spec, &record)
		case spec.Lease == 0 && end == nil:
			return nil, false, &Error{
				Code: wire.CodeConflict, Message: "the run is held by a process of its own", Details: map[string]any{"run_id": spec.ID},
			}
		}
		r, maybe, err := m.takeOver(ctx, spec, record, revision, end)
		if errors.Is(err, broker.ErrConflict) {
			continue
		}
		return r, maybe, err
	}
	return nil, false, fmt.Errorf("the run keeps changing its owner: %w", ErrConflict)
}

// takeOver makes this node the owner of a run that has another, whose appends are refused from
// then on: so this node has to see to its end, also if that is all that could be done. A run
// without a lease ends by end. maybe is as in tryOwn.
func (m *Manager) takeOver(
	ctx context.Context, spec runSpec, record runRecord, revision uint64, end *ending,
) (r *ownedRun, maybe bool, err error) {
	a, err := m.acquire(ctx, spec.topic())
	if err != nil {
		return nil, false, err
	}
	record.Node, record.Term = m.opts.Node, record.Term+1
	revision, err = m.putItem(ctx, spec.recordKey(), &record, revision, 0)
	if err != nil {
		m.hub.Release(a.topic)
		return nil, !errors.Is(err, broker.ErrConflict), err
	}
	m.runs.enter(spec.Tenant, 0) // a run that lives is not refused for want of a place
	r = m.newOwned(spec, a.topic, record)
	r.revision, r.unsure = revision, true
	if spec.Lease == 0 {
		r.ends = end
	}
	if !m.runs.add(r) {
		r.dieOfShutdown()
		return nil, false, ErrClosed
	}
	if err := r.enter(ctx); err != nil {
		if r.ends != nil {
			r.insist(*r.ends)
		}
		return nil, false, err
	}
	r.turn.give()
	return r, false, nil
}

// claim takes a run over for sure after a try that had no answer: its former owner may be out,
// and somebody has to be in.
func (m *Manager) claim(spec runSpec, end *ending) {
	for sleep(m.last, retryLast) {
		ctx, cancel := context.WithTimeout(m.last, tryTime)
		r, _, err := m.tryOwn(ctx, spec, end)
		cancel()
		if err == nil && spec.Lease == 0 {
			r.persist(*end)
		}
		if err == nil || errors.Is(err, ErrRunEnded) || errors.Is(err, ErrRunCancelled) {
			return
		}
	}
}
