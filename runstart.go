package switchboard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

// starting is ctx for the start or the takeover of a run, which a stop of the node cuts short.
func (m *Manager) starting(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(m.starts, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// startRun writes agent_started, once for a tenant and id.
func (m *Manager) startRun(ctx context.Context, spec runSpec) (*Run, error) {
	if !m.runs.join() {
		return nil, ErrClosed
	}
	defer m.runs.leave()
	ctx, cancel := m.starting(ctx)
	defer cancel()
	end, err := m.runs.begin(ctx, runID{spec.Tenant, spec.ID})
	if err != nil {
		return nil, err
	}
	defer end()
	spec, revision, err := m.reserveRun(ctx, spec)
	if err != nil {
		return nil, err
	}
	if r := m.runs.find(spec.Tenant, spec.ID); r != nil {
		return &Run{m: m, spec: r.spec, held: r}, nil
	}
	r, maybe, err := m.beginRun(ctx, spec)
	switch {
	case errors.Is(err, broker.ErrFenced): // another node was faster, or it has ended
		return &Run{m: m, spec: spec}, nil
	case err != nil:
		if maybe && !m.runs.background(func() { m.abandon(spec) }) {
			m.abandonOnce(spec)
		}
		return nil, err
	}
	confirm := func(ctx context.Context) error { return r.confirm(ctx, revision) }
	if confirm(ctx) != nil {
		m.runs.background(func() { m.insistOn(m.last, confirm) })
	}
	return &Run{m: m, spec: r.spec, held: r, new: true}, nil
}

// beginRun writes the beginning of a run of which this node becomes the owner. The error is
// [broker.ErrFenced] if it has one already, or has had; with maybe nobody knows whether the
// beginning is in the log.
func (m *Manager) beginRun(ctx context.Context, spec runSpec) (r *ownedRun, maybe bool, err error) {
	for range 2 {
		var record runRecord
		revision, err := m.getItem(ctx, spec.recordKey(), &record)
		switch {
		case err != nil:
			return nil, false, err
		case revision != 0:
			return m.beginLate(ctx, spec, record, revision)
		}
		r, maybe, err = m.beginNow(ctx, spec)
		if !errors.Is(err, broker.ErrFenced) {
			return r, maybe, err
		}
	}
	return nil, true, fmt.Errorf("the run's record cannot be read yet: %w", ErrUnavailable)
}

// beginNow is beginRun of a run that has no record.
func (m *Manager) beginNow(ctx context.Context, spec runSpec) (r *ownedRun, maybe bool, err error) {
	guest := isCanary(ctx)
	account := m.tenants.account(spec.Tenant, time.Now())
	if !guest && !m.runs.enter(spec.Tenant, account.quota.Runs) {
		return nil, false, m.tenants.fullOfRuns(account, spec.Tenant)
	}
	a, err := m.acquireRoom(ctx, spec.topic())
	if err != nil {
		if !guest {
			m.runs.exit(spec.Tenant)
		}
		return nil, false, err
	}
	r = m.newOwned(spec, a.topic, runRecord{State: wire.RunRunning, Node: m.opts.Node, Term: 1})
	r.guest = guest
	if err := r.begin(ctx, a); err != nil {
		r.drop()
		return nil, r.loose, err
	}
	m.count.runsStarted.Add(1)
	if !m.runs.add(r) {
		r.dieOfShutdown()
		return nil, false, ErrClosed
	}
	return r, false, nil
}

// beginLate is beginRun of a run that has a record: perhaps it is in the log by an earlier try
// of this node, which had no answer.
func (m *Manager) beginLate(
	ctx context.Context, spec runSpec, record runRecord, revision uint64,
) (r *ownedRun, maybe bool, err error) {
	if record.Node != m.opts.Node || record.Term != 1 || record.State.Ended() {
		return nil, false, broker.ErrFenced
	}
	f, err := m.foldRun(ctx, &spec)
	if err != nil {
		return nil, true, err
	}
	spec.Started = f.started
	late := lateStart(spec.Agent)
	if r, maybe, err = m.takeOver(ctx, spec, record, revision, &late); err != nil {
		if maybe {
			m.runs.background(func() { m.claim(spec, &late) })
		}
		return nil, !maybe, err
	}
	r.swapEnds(&late, nil)
	m.count.runsStarted.Add(1)
	return r, false, nil
}

// dieOfShutdown ends a run that came when the node had stopped to look after runs.
func (r *ownedRun) dieOfShutdown() {
	r.persist(ending{typ: wire.AgentDeath, payload: runs.Death(r.spec.Agent, wire.DeathShutdown)})
	r.end(ErrClosed) // if it could not be told
}

// lateStart ends a run of which nobody knew whether it was started.
func lateStart(agent string) ending {
	return ending{typ: wire.AgentError, payload: runs.Failed(agent, "the agent could not be started in time", wire.ErrorContext{})}
}

// abandon ends a run of which nobody knows whether it was started, once that can be found out.
func (m *Manager) abandon(spec runSpec) {
	for sleep(m.last, retryLast) {
		end, err := m.runs.begin(m.last, runID{spec.Tenant, spec.ID})
		if err != nil {
			return
		}
		known := m.runs.find(spec.Tenant, spec.ID) != nil // it was asked for again
		if !known {
			known = m.abandonOnce(spec)
		}
		end()
		if known {
			return
		}
	}
}

// abandonOnce is one try of who begins the run. It is false if nothing is known yet.
func (m *Manager) abandonOnce(spec runSpec) bool {
	ctx, cancel := context.WithTimeout(m.last, tryTime)
	defer cancel()
	r, _, err := m.beginRun(ctx, spec)
	if err == nil {
		r.persist(lateStart(spec.Agent))
	}
	return err == nil || errors.Is(err, broker.ErrFenced) || refused(err)
}

// confirm keeps what was stored for the start of a run for good, with the place of the start.
// What has changed since is of a run that has ended.
func (r *ownedRun) confirm(ctx context.Context, revision uint64) error {
	_, err := r.m.putItem(ctx, r.spec.specKey(), &r.spec, revision, 0)
	if err != nil && !errors.Is(err, broker.ErrConflict) {
		return err
	}
	note, noted := r.note, r.noted
	if noted == 0 {
		if noted, err = r.m.getItem(ctx, r.spec.liveKey(), &note); err != nil || noted == 0 {
			return err
		}
	}
	if _, err = r.m.putItem(ctx, r.spec.liveKey(), &note, noted, 0); errors.Is(err, broker.ErrConflict) {
		return nil
	}
	return err
}

// reserveFor is how long what is stored for a start stays when that fails.
const reserveFor = time.Hour

// reserveRun stores what is asked for, or finds that the same is stored already.
func (m *Manager) reserveRun(ctx context.Context, spec runSpec) (runSpec, uint64, error) {
	for try := range memberTries {
		if try > 0 && !sleep(ctx, time.Duration(try)*10*time.Millisecond) {
			return spec, 0, ctx.Err()
		}
		var stored runSpec
		revision, err := m.getItem(ctx, spec.specKey(), &stored)
		if err != nil {
			return spec, 0, err
		}
		if revision != 0 {
			if !stored.same(spec) {
				return spec, 0, &Error{
					Code: wire.CodeConflict, Message: "the run was started with other fields", Details: map[string]any{"field": "run_id", "run_id": spec.ID},
				}
			}
			return stored, revision, nil
		}
		// What is refused is not kept either.
		if account := m.tenants.account(spec.Tenant, time.Now()); !isCanary(ctx) && account.quota.Runs > 0 && m.runs.liveOf(spec.Tenant) >= account.quota.Runs {
			return spec, 0, m.tenants.fullOfRuns(account, spec.Tenant)
		}
		revision, err = m.putItem(ctx, spec.specKey(), &spec, 0, reserveFor)
		if errors.Is(err, broker.ErrConflict) {
			continue
		}
		return spec, revision, err
	}
	return spec, 0, fmt.Errorf("run keeps changing: %w", ErrConflict)
}
