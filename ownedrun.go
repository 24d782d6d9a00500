package switchboard

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

const (
	// runPatience is how long a producer's call tries while the broker is unavailable, and
	// tryTime how long one try in the background takes: a call that hangs is made again.
	runPatience = 10 * time.Second
	tryTime     = 2 * runPatience
	// retryFirst and retryLast are the first and the longest pause between tries.
	retryFirst = 20 * time.Millisecond
	retryLast  = time.Second
	// seenEvents is how many message ids of a producer a run remembers: the newest.
	seenEvents = 1024
)

// ownedRun is a run whose owner is this node: it alone appends to it, guarded by the revision
// of the run's record. It stays for a while after it has ended, for who asks.
type ownedRun struct {
	m     *Manager
	spec  runSpec   // this and what follows is immutable once the run is known, as is Started
	term  uint64    // what texts are sealed by
	topic hub.Topic // one reference, given back by drop
	guest bool      // of a canary: it does not count among its tenant's, and nothing of it stays
	ctx   context.Context
	end   context.CancelCauseFunc

	turn     turn         // the right to append; whoever has it may use the fields below
	machine  runs.Machine // up to the latest event
	latest   Position     // of that
	record   runRecord
	revision uint64  // of the record
	seen     seenIDs // message ids that the producer gave
	unsure   bool    // the log may have more than machine knows
	loose    bool    // and may get more: the fate of an append is not known
	note     liveRun // as stored for the start, and
	noted    uint64  // its revision; 0: it was there

	mu        sync.Mutex // guards the fields below; never held while waiting
	began     time.Time
	streams   []*ownedStream
	leased    time.Time // when the lease ends, of a run that has one, unless busy
	busy      int       // calls under way
	ends      *ending   // the end that has begun; it is the one that counts
	over      error     // how it has ended, or whose it is now; nil: neither
	ended     Position
	out       bool // another node is the owner now
	dropped   bool
	exited    bool      // it does not count among its tenant's that live
	ending    bool      // somebody persists in ending it
	unwatched time.Time // since when nobody follows the topic; zero: somebody does
}

// seenIDs are the newest message ids of a run, with their places.
type seenIDs struct {
	at    map[string]Position
	order []string // as they came; a ring once it is full
	next  int      // in the ring: the oldest
}

func (s *seenIDs) add(id string, pos Position) {
	if s.at == nil {
		s.at = make(map[string]Position)
	}
	if _, known := s.at[id]; known {
		return
	}
	s.at[id] = pos
	if len(s.order) < seenEvents {
		s.order = append(s.order, id)
		return
	}
	delete(s.at, s.order[s.next])
	s.order[s.next] = id
	s.next = (s.next + 1) % seenEvents
}

// turn is a right that one at a time has.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	default:
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) give() { <-t }

// newOwned makes a run with a reference to its topic, which is counted among those that live. It
// is not known to anybody yet.
func (m *Manager) newOwned(spec runSpec, topic hub.Topic, record runRecord) *ownedRun {
	r := &ownedRun{
		m: m, spec: spec, topic: topic, began: time.Now(), term: record.Term, turn: newTurn(), record: record,
	}
	r.ctx, r.end = context.WithCancelCause(WithTenant(context.Background(), spec.Tenant))
	r.leased = r.began.Add(spec.Lease)
	return r
}

// begin writes agent_started and, in the same step, the record.
func (r *ownedRun) begin(ctx context.Context, a acquired) error {
	if err := r.takeNote(ctx, a.head); err != nil {
		return err
	}
	r.record.Event = r.spec.eventID(string(wire.AgentStarted))
	env := r.envelope(wire.AgentStarted, r.record.Event)
	var err error
	if env.Payload, err = wire.Marshal(runs.Started(r.spec.Agent, r.spec.InReplyTo)); err != nil {
		return err
	}
	if err := r.machine.Check(env); err != nil {
		return runError(&r.spec, err)
	}
	record, err := wire.Marshal(&r.record)
	if err != nil {
		return err
	}
	published, _, err := r.publish(ctx, env, record)
	if err != nil {
		return err
	}
	if published.Duplicate {
		// An earlier attempt, of this node or another: whose is it?
		var now runRecord
		if _, err := r.m.getItem(ctx, r.spec.recordKey(), &now); err != nil {
			r.loose = true
			return err
		}
		if !r.owns(&now) || now.State.Ended() {
			return broker.ErrFenced
		}
	}
	r.revision, r.spec.Started = published.Revision, published.Pos
	r.applied(env, published.Pos)
	return nil
}

// takeNote notes that events of the run come after a place, unless an earlier attempt has done
// so. Until the start is sure the note is not kept for good.
func (r *ownedRun) takeNote(ctx context.Context, head Position) error {
	var there liveRun
	revision, err := r.m.getItem(ctx, r.spec.liveKey(), &there)
	if err != nil {
		return err
	}
	if revision != 0 && there.From.Epoch == head.Epoch && there.From.Offset <= head.Offset {
		return nil
	}
	r.note = liveRun{ID: r.spec.ID, From: head}
	r.noted, err = r.m.putItem(ctx, r.spec.liveKey(), &r.note, revision, reserveFor)
	if errors.Is(err, broker.ErrConflict) {
		return nil
	}
	return err
}

func (r *ownedRun) key() broker.Key { return broker.KeyOf(r.spec.topic()) }

// envelope is an event of the run, without its payload.
func (r *ownedRun) envelope(typ wire.MessageType, id string) Envelope {
	return Envelope{
		Type: typ, ID: id, UserID: r.spec.User, ThreadID: r.spec.Thread, RunID: r.spec.ID, AgentName: r.spec.Agent,
		StreamLengths: r.lengths(),
	}
}

// lengths are those of all streams that were opened, nil before the first.
func (r *ownedRun) lengths() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lengths map[string]int
	for _, s := range r.streams {
		if s.opened {
			if lengths == nil {
				lengths = make(map[string]int)
			}
			lengths[runs.StreamID(r.spec.ID, s.name)] = s.length
		}
	}
	return lengths
}

// event is what a producer wants to be written.
type event struct {
	typ     wire.MessageType
	id      string          // "": a new one
	agent   string          // "": that of the run
	payload any             // or
	build   func() any      // the same, called with the turn, or
	raw     json.RawMessage // as the producer sent it
}

// emit writes an event, unless it breaks the contract of runs. An id that was written before
// is not written again.
func (r *ownedRun) emit(ctx context.Context, e event) (Position, error) {
	ctx, cancel := r.within(ctx)
	defer cancel()
	if err := r.enter(ctx); err != nil {
		return Position{}, r.orOver(err)
	}
	defer r.turn.give()
	if err := r.isEnding(); err != nil {
		return Position{}, err
	}
	if pos, known := r.seen.at[e.id]; known && e.id != "" {
		return pos, nil
	}
	pos, err := r.write(ctx, e)
	return pos, r.orOver(err)
}

// within is ctx, which ends with the run as well: a call that hangs does not keep the run from
// its end.
func (r *ownedRun) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(r.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// write is emit for who has entered.
func (r *ownedRun) write(ctx context.Context, e event) (Position, error) {
	if e.build != nil {
		e.payload = e.build()
	}
	if e.payload != nil {
		raw, err := encodePayload(e.payload)
		if err != nil {
			return Position{}, err
		}
		e.raw = raw
	}
	id := e.id
	if id == "" {
		id = wire.NewID()
	}
	env := r.envelope(e.typ, id)
	env.Payload = e.raw
	if e.agent != "" {
		env.AgentName = e.agent
	}
	if err := r.machine.Check(env); err != nil {
		return Position{}, runError(&r.spec, err)
	}
	if redacts(env.Type) {
		var err error
		if env.Payload, err = runs.Redact(env.Payload); err != nil {
			return Position{}, runError(&r.spec, err)
		}
	}
	published, before, err := r.publish(ctx, env, nil)
	if errors.Is(err, broker.ErrFenced) {
		err = r.fenced(ctx)
	}
	if err != nil {
		return Position{}, err
	}
	if !before { // else it is so old that its id was forgotten
		r.applied(env, published.Pos)
	}
	if e.id != "" {
		r.seen.add(e.id, published.Pos)
	}
	return published.Pos, nil
}

// redacts reports whether payloads of a type are redacted for viewers: those about tools.
// Final results, texts and what agents say are passed on as they are.
func redacts(typ wire.MessageType) bool {
	return typ == wire.ToolExecuting || typ == wire.ToolCompleted
}

func (r *ownedRun) applied(env Envelope, pos Position) {
	env.Timestamp = wire.Seconds(time.Now())
	r.machine.Apply(env)
	r.latest = pos
}

// publish appends an event, guarded by the record, which takes put as its value if that is
// not empty. While the broker is unavailable it tries again, always with the same record.
// before: it was in the log when the call began. Without an answer nothing is sure any more.
func (r *ownedRun) publish(ctx context.Context, env Envelope, put []byte) (published broker.Published, before bool, err error) {
	rec, err := r.recordOf(env)
	if err != nil {
		return published, false, err
	}
	to := broker.Record{
		DedupeID: r.spec.dedupeID(env.ID), Keep: r.m.opts.Retention,
		Guard: broker.Guard{Key: r.spec.recordKey(), Revision: r.revision, Put: put},
	}
	tries := 0
	err = r.m.retry(ctx, func() (err error) {
		tries++
		published, err = r.m.publishRecord(ctx, rec, to)
		return err
	})
	switch {
	case err == nil && !published.Duplicate:
		r.m.count.published.Add(1)
	case err != nil && !errors.Is(err, broker.ErrFenced) && !refused(err):
		r.unsure, r.loose = true, true
	}
	return published, published.Duplicate && tries == 1, err
}

// recordOf is what is appended of an event.
func (r *ownedRun) recordOf(env Envelope) (wire.Record, error) {
	body, err := wire.Append(nil, env)
	if err != nil {
		return wire.Record{}, &Error{Code: wire.CodeInvalidMessage, Message: err.Error()}
	}
	return wire.Record{
		Kind: wire.RecordRun, Topic: r.spec.topic(), Thread: r.spec.Thread, Run: r.spec.ID, Body: body, Streams: r.marks(env),
	}, nil
}

// marks are the streams that grow, and the one that the event completes: later events have
// nothing to say of its text.
func (r *ownedRun) marks(env Envelope) []wire.RecordStream {
	r.mu.Lock()
	defer r.mu.Unlock()
	var marks []wire.RecordStream
	for _, s := range r.streams {
		n, told := env.StreamLengths[runs.StreamID(r.spec.ID, s.name)]
		ended := s.state != wire.StreamStateOpen
		if told && (!ended || env.ID == s.completion()) {
			marks = append(marks, wire.RecordStream{Name: s.name, Length: n, Ended: ended})
		}
	}
	return marks
}

// retry calls do until its error is not [ErrUnavailable], for a while.
func (m *Manager) retry(ctx context.Context, do func() error) error {
	limit := time.Now().Add(runPatience)
	for pause := retryFirst; ; pause = min(2*pause, retryLast) {
		err := do()
		if !errors.Is(err, ErrUnavailable) || time.Now().Add(pause).After(limit) || !sleep(ctx, pause) {
			return err
		}
		m.count.runRetries.Add(1)
	}
}

// isOver says how the run has ended, or that it is another node's; nil: neither.
func (r *ownedRun) isOver() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over
}

func (r *ownedRun) gone() bool { return r.isOver() != nil }

// endedAt is where the run has ended.
func (r *ownedRun) endedAt() Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

// taken reports whether another node has become the owner.
func (r *ownedRun) taken() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out
}

// isEnding is isOver for who would write more: nil if no end has begun either.
func (r *ownedRun) isEnding() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over != nil || r.ends == nil {
		return r.over
	}
	return r.ends.over(&r.spec)
}

// orOver is err, unless the run has ended or is about to, which says more.
func (r *ownedRun) orOver(err error) error {
	if err == nil {
		return nil
	}
	if over := r.isEnding(); over != nil {
		return over
	}
	return err
}

// closeWith makes the run refuse everything with over, and ends its context.
func (r *ownedRun) closeWith(over error, end Position) {
	r.mu.Lock()
	if r.over == nil {
		r.over, r.ended = over, end
	}
	r.mu.Unlock()
	r.exit()
	r.end(over)
}

// exit makes the run count no more among those of its tenant that live.
func (r *ownedRun) exit() {
	r.mu.Lock()
	again := r.exited
	r.exited = true
	r.mu.Unlock()
	if !again && !r.guest {
		r.m.runs.exit(r.spec.Tenant)
	}
}

// drop forgets the run, which is not this node's any more or has never been.
func (r *ownedRun) drop() {
	r.mu.Lock()
	again := r.dropped
	r.dropped = true
	r.mu.Unlock()
	if again {
		return
	}
	r.exit()
	r.end(ErrRunEnded)
	r.m.runs.remove(r)
	r.m.hub.Release(r.topic)
}

// alive notes a call of the producer, which lasts until done is called.
func (r *ownedRun) alive() (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.busy--
		r.leased = time.Now().Add(r.spec.Lease)
	}
}

// age is how long ago the run began.
func (r *ownedRun) age() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.began)
}

func (r *ownedRun) warn(what string, err error) {
	r.m.log.LogAttrs(context.Background(), slog.LevelWarn, "run not kept as it should be", slog.String("what", what),
		slog.String("run_id", r.spec.ID), slog.String("tenant", r.spec.Tenant), slog.Any("err", err))
}

// refused reports whether err says no for good, and not that something is in the way or that
// nothing is known.
func refused(err error) bool {
	_, told := errors.AsType[*Error](err)
	return told || errors.Is(err, ErrInvalid)
}

// runError puts what breaks the contract of runs into the words of clients.
func runError(spec *runSpec, err error) error {
	if errors.Is(err, runs.ErrEnded) {
		return ErrRunEnded
	}
	if broken, ok := errors.AsType[*runs.Violation](err); ok {
		return &Error{Code: wire.CodeRunContract, Message: broken.Rule, Details: map[string]any{"field": broken.Field, "run_id": spec.ID}}
	}
	return err
}
