package switchboard

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

// Runs starts and finds runs. The value is a view that costs nothing.
type Runs struct{ m *Manager }

// Runs returns the runs.
func (m *Manager) Runs() Runs { return Runs{m} }

// Start writes agent_started, or finds the run that was started with the same ID and fields;
// other fields are [ErrConflict], and one more than the tenant's [Quota] has a place for is refused
// with code RATE_LIMITED. Without a Lease the run is this process's: when ctx ends
// before the run, the run is cancelled.
func (l Runs) Start(ctx context.Context, opts RunOptions) (*Run, error) {
	tenant, err := l.m.tenantOf(ctx)
	if err != nil {
		return nil, fmt.Errorf("start run: %w", err)
	}
	topic, err := opts.To.topic(tenant)
	if err == nil && topic.Kind == wire.KindAll {
		err = fieldError(wire.CodeInvalidMessage, "to", "to must be a user or a room")
	}
	if err != nil {
		return nil, fmt.Errorf("start run: %w", err)
	}
	spec, err := opts.spec(topic)
	if err != nil {
		return nil, fmt.Errorf("start run: %w", err)
	}
	run, err := l.m.startRun(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("start run %s: %w", spec.ID, err)
	}
	if run.new && spec.Lease == 0 {
		held := run.held
		stop := context.AfterFunc(ctx, func() {
			l.m.runs.background(func() {
				held.persist(ending{typ: wire.AgentCancelled, payload: runs.Cancelled("the producer has ended", "")})
			})
		})
		context.AfterFunc(held.ctx, func() { stop() })
	}
	return run, nil
}

// Attach finds a run. One that was started with a Lease may be continued by any process; each
// call renews the lease. The error is [ErrNotFound] if there is no such run.
func (l Runs) Attach(ctx context.Context, id string) (*Run, error) {
	tenant, err := l.m.tenantOf(ctx)
	if err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	spec, err := l.m.findRun(ctx, tenant, id)
	if err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	run := &Run{m: l.m, spec: spec}
	if r := l.m.runs.find(tenant, id); r != nil && !r.taken() {
		run.held = r
	}
	return run, nil
}

// spec checks o and returns what is stored of it.
func (o *RunOptions) spec(topic wire.Topic) (runSpec, error) {
	spec := runSpec{
		Tenant: topic.Tenant, ID: o.ID, Thread: o.Thread, Agent: o.Agent, User: o.User, InReplyTo: o.InReplyTo,
		Lease: o.Lease, Unwatched: o.Unwatched, Max: o.Max, Created: time.Now().UnixMilli(),
	}
	if topic.Kind == wire.KindRoom {
		spec.Room = topic.ID
	} else {
		spec.Owner = topic.ID
		if spec.User == "" {
			spec.User = topic.ID
		}
	}
	if spec.ID == "" {
		spec.ID = "r_" + wire.NewID()
	}
	for _, id := range []struct {
		field, value string
		check        func(string) error
	}{
		{"run_id", spec.ID, runs.CheckRunID}, {"agent_name", spec.Agent, wire.CheckID}, {"thread_id", spec.Thread, wire.CheckID},
		{"user", spec.User, wire.CheckID}, {"in_reply_to", spec.InReplyTo, wire.CheckID},
	} {
		if id.value == "" && id.field != "agent_name" {
			continue
		}
		if err := id.check(id.value); err != nil {
			return spec, fieldError(wire.CodeInvalidMessage, id.field, id.field+" "+err.Error())
		}
	}
	if spec.Lease < 0 || spec.Unwatched < 0 || spec.Max < 0 {
		return spec, fieldError(wire.CodeInvalidMessage, "policy", "times must not be negative")
	}
	return spec, nil
}

// runID names a run among those of a node.
type runID struct{ tenant, id string }

// ownedRuns are the runs that this node owns, and for a while those that it has ended.
type ownedRuns struct {
	wg sync.WaitGroup // agents, and endings in the background

	mu     sync.Mutex // guards the fields below
	of     map[runID]*ownedRun
	users  map[userID]map[*ownedRun]struct{} // the same, by who asked and by whose topic it is
	flight map[runID]*flight                 // starts and takeovers under way
	lives  map[string]int                    // those that have not ended, by tenant, and starts under way; none is 0
	closed bool
}

func (o *ownedRuns) find(tenant, id string) *ownedRun {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.of[runID{tenant, id}]
}

// add makes r known, in place of one with the same id. It is false once the node stops.
func (o *ownedRuns) add(r *ownedRun) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of == nil {
		o.of = make(map[runID]*ownedRun)
		o.users = make(map[userID]map[*ownedRun]struct{})
	}
	id := runID{r.spec.Tenant, r.spec.ID}
	o.dropLocked(o.of[id])
	o.of[id] = r
	for _, user := range r.users() {
		if o.users[user] == nil {
			o.users[user] = make(map[*ownedRun]struct{})
		}
		o.users[user][r] = struct{}{}
	}
	return !o.closed
}

// enter counts a run of a tenant that is about to live, unless most do; 0 is no bound. exit ends
// that.
func (o *ownedRuns) enter(tenant string, most int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if most > 0 && o.lives[tenant] >= most {
		return false
	}
	if o.lives == nil {
		o.lives = make(map[string]int)
	}
	o.lives[tenant]++
	return true
}

func (o *ownedRuns) exit(tenant string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lives[tenant]--; o.lives[tenant] == 0 {
		delete(o.lives, tenant)
	}
}

// liveOf is how many of a tenant's live.
func (o *ownedRuns) liveOf(tenant string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.lives[tenant]
}

// userID names a user of a tenant.
type userID struct{ tenant, user string }

// users are those whose run it is.
func (r *ownedRun) users() []userID {
	list := []userID{{r.spec.Tenant, r.spec.User}}
	if topic := r.spec.topic(); topic.Kind == wire.KindUser && topic.ID != r.spec.User {
		list = append(list, userID{r.spec.Tenant, topic.ID})
	}
	return list
}

// dropLocked forgets whose r is; nil is nobody's.
func (o *ownedRuns) dropLocked(r *ownedRun) {
	if r == nil {
		return
	}
	for _, user := range r.users() {
		if delete(o.users[user], r); len(o.users[user]) == 0 {
			delete(o.users, user)
		}
	}
}

func (o *ownedRuns) remove(r *ownedRun) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if id := (runID{r.spec.Tenant, r.spec.ID}); o.of[id] == r {
		o.dropLocked(r)
		delete(o.of, id)
	}
}

// all returns the runs.
func (o *ownedRuns) all() []*ownedRun {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]*ownedRun, 0, len(o.of))
	for _, r := range o.of {
		list = append(list, r)
	}
	return list
}

// live counts those that have not ended.
func (o *ownedRuns) live() int {
	n := 0
	for _, r := range o.all() {
		if !r.gone() {
			n++
		}
	}
	return n
}

// join makes the node's stop wait until leave is called. It is false once the node stops.
func (o *ownedRuns) join() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.wg.Add(1)
	}
	return !o.closed
}

func (o *ownedRuns) leave() { o.wg.Done() }

// background does something of which the owner waits for the end, unless the node stops.
func (o *ownedRuns) background(do func()) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.wg.Go(do)
	}
	return !o.closed
}

// wait returns when no run of this node lives any more, or when ctx ends.
func (o *ownedRuns) wait(ctx context.Context) {
	for ctx.Err() == nil {
		if o.live() == 0 || !sleep(ctx, drainPause) {
			return
		}
	}
}

// close lets nothing be done in the background any more, and returns the runs that live.
func (o *ownedRuns) close() (live []*ownedRun) {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	for _, r := range o.all() {
		if !r.gone() {
			live = append(live, r)
		}
	}
	return live
}

// begin waits until nobody else starts or takes over the run, and makes the caller who does.
func (o *ownedRuns) begin(ctx context.Context, id runID) (end func(), err error) {
	for {
		o.mu.Lock()
		f := o.flight[id]
		if f == nil {
			if o.flight == nil {
				o.flight = make(map[runID]*flight)
			}
			f = &flight{done: make(chan struct{})}
			o.flight[id] = f
			o.mu.Unlock()
			return func() {
				o.mu.Lock()
				delete(o.flight, id)
				o.mu.Unlock()
				close(f.done)
			}, nil
		}
		o.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// errOver refuses a call to a run that has ended.
func errOver(spec *runSpec, record *runRecord) error {
	e := &Error{Code: wire.CodeRunEnded, Message: "the run has ended", Details: map[string]any{
		"run_id": spec.ID, "run_state": string(record.State),
	}}
	if record.State == wire.RunCancelled {
		e.Code, e.Message = wire.CodeRunCancelled, "the run was cancelled"
		if record.By != "" {
			e.Message += " by " + record.By
		}
	}
	return e
}

// hubStream is a run's stream in the hub's words.
func hubStream(run, thread, name string) hub.Stream {
	id := runs.StreamID(run, name)
	return hub.Stream{Key: hub.Key(broker.NameKey(id)), ID: id, Run: run, Thread: thread}
}
