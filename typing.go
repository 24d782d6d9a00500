package switchboard

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

const (
	// typingLife is how long somebody types who says nothing more.
	typingLife = 5 * time.Second
	// typingPause is the least time between two relays that somebody types in a place.
	typingPause = 2 * time.Second
	// maxTypingPlaces is in how many rooms and threads one connection types at a time.
	maxTypingPlaces = 16
	// maxTyping bounds those of all connections of this node, and maxTenantTyping those of one
	// tenant, so that one alone leaves room for others.
	maxTyping       = 1 << 16
	maxTenantTyping = maxTyping / 2
	// typingRelays is how many relays are published at once.
	typingRelays = 8
	// typingTimeout bounds one of them: what is later tells nobody anything.
	typingTimeout = typingLife
)

// typingPlace is where a user types.
type typingPlace struct {
	topic  wire.Topic
	thread string
	user   string
}

// typist is a user who types in a place, by connections of this node. What others are told
// follows what is so: a relay that is late is left out, and none overtakes another.
type typist struct {
	place    typingPlace
	by       []typingConn  // those that type there; few
	told     bool          // others have been told that the user types
	sessions []hub.Session // that have typed since others were told so last for the first time
	next     time.Time     // others are not told so again before
	queued   bool          // stands in the queue
	busy     bool          // a relay is being published
	behind   bool          // something changed meanwhile
}

type typingConn struct {
	c       hub.Handle
	session hub.Session
	until   time.Time // it types no more, unless it says so again
}

// typingIn is what one connection types in, and when it is looked at.
type typingIn struct {
	at  []*typist
	due time.Time // of the deadline that looks at it; others may come before
}

// typing are the users who type on connections of this node. Nothing stays of those who have
// stopped.
type typing struct {
	wake chan struct{} // capacity 1; there is something to relay

	mu      sync.Mutex // guards the fields below
	of      map[typingPlace]*typist
	conns   map[hub.Handle]*typingIn
	n       int            // in how many places connections type
	tenants map[string]int // the same by tenant; none is 0
	queue   []*typist      // about whom there may be something to relay
	resting []*typist      // who have stopped, until they may be told of again; oldest first

	relayed, lost atomic.Uint64
}

func (t *typing) init() {
	t.wake = make(chan struct{}, 1)
	t.of, t.conns, t.tenants = make(map[typingPlace]*typist), make(map[hub.Handle]*typingIn), make(map[string]int)
}

// begin notes that c types in a place, and reports when to look at c for the first time; zero: a
// deadline is there already.
func (t *typing) begin(c hub.Handle, session hub.Session, place typingPlace, now time.Time) (look time.Time, err error) {
	until := now.Add(typingLife)
	t.mu.Lock()
	defer t.mu.Unlock()
	who, in := t.of[place], t.conns[c]
	if who != nil {
		if i := who.index(c); i >= 0 {
			who.by[i].until = until
			if !now.Before(who.next) {
				t.enqueue(who)
			}
			return time.Time{}, nil
		}
	}
	tenant := place.topic.Tenant
	switch {
	case in != nil && len(in.at) >= maxTypingPlaces:
		return time.Time{}, &Error{
			Code: wire.CodeConflict, Message: "this connection types in too many places",
			Details: map[string]any{"field": "thread_id", "limit": maxTypingPlaces},
		}
	case t.n >= maxTyping || len(t.of) >= 2*maxTyping || t.tenants[tenant] >= maxTenantTyping:
		return time.Time{}, &Error{
			Code: wire.CodeBusy, Message: "too many users type", Details: map[string]any{"retry_after_ms": typingLife.Milliseconds()},
		}
	}
	if who == nil {
		who = &typist{place: place}
		t.of[place] = who
	}
	if in == nil {
		in = &typingIn{due: until}
		t.conns[c] = in
		look = until
	}
	who.by = append(who.by, typingConn{c, session, until})
	if !slices.Contains(who.sessions, session) {
		who.sessions = append(who.sessions, session)
	}
	in.at = append(in.at, who)
	t.n++
	t.tenants[tenant]++
	t.enqueue(who)
	return look, nil
}

func (w *typist) index(c hub.Handle) int {
	return slices.IndexFunc(w.by, func(b typingConn) bool { return b.c == c })
}

// end notes that c types no more in the places that are chosen.
func (t *typing) end(c hub.Handle, chosen func(*typist) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if in := t.conns[c]; in != nil {
		t.endIn(c, in, chosen)
	}
}

// endIn is end for a caller that holds mu.
func (t *typing) endIn(c hub.Handle, in *typingIn, chosen func(*typist) bool) {
	in.at = slices.DeleteFunc(in.at, func(who *typist) bool {
		if !chosen(who) {
			return false
		}
		i := who.index(c)
		who.by = slices.Delete(who.by, i, i+1)
		t.n--
		tenant := who.place.topic.Tenant
		if t.tenants[tenant]--; t.tenants[tenant] == 0 {
			delete(t.tenants, tenant)
		}
		t.enqueue(who)
		return true
	})
	if len(in.at) == 0 {
		delete(t.conns, c) // a deadline that is left finds nothing
	}
}

// look ends what c has not renewed, has others told what they could not be told before, and
// reports when to look again; zero: another deadline will, or there is nothing to look at.
func (t *typing) look(c hub.Handle, now time.Time) (again time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	in := t.conns[c]
	if in == nil {
		return time.Time{}
	}
	t.endIn(c, in, func(who *typist) bool { return !now.Before(who.by[who.index(c)].until) })
	for _, who := range in.at {
		if !who.told {
			t.enqueue(who)
		}
	}
	if now.Before(in.due) || len(in.at) == 0 {
		return time.Time{}
	}
	for _, who := range in.at {
		if until := who.by[who.index(c)].until; again.IsZero() || until.Before(again) {
			again = until
		}
	}
	in.due = again
	return again
}

// enqueue has a relay about who considered. The caller holds mu.
func (t *typing) enqueue(who *typist) {
	switch {
	case who.busy:
		who.behind = true
		return
	case who.queued:
		return
	}
	who.queued = true
	t.queue = append(t.queue, who)
	t.poke()
}

func (t *typing) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// typingRelay is what others are told of a typist, or when and at which connection to look
// again.
type typingRelay struct {
	who    *typist
	types  bool
	except []string
	wait   time.Time
	conn   hub.Handle
}

// take takes what is to be relayed next, and is false if there is nothing. The caller calls done.
func (t *typing) take(now time.Time) (r typingRelay, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.queue) > 0 {
		who := t.queue[0]
		t.queue = t.queue[1:]
		who.queued = false
		r = typingRelay{who: who, types: len(who.by) > 0}
		switch {
		case r.types && now.Before(who.next):
			if who.told {
				continue // it is early for a renewal
			}
			r.wait, r.conn = who.next, who.by[0].c
		case r.types:
			who.told, who.next = true, now.Add(typingPause)
			for _, by := range who.by {
				r.except = append(r.except, by.session.String())
			}
			r.except = r.except[:min(len(r.except), maxExcept)]
		case who.told:
			// Of several sessions each was told of another.
			if who.told = false; len(who.sessions) == 1 {
				r.except = []string{who.sessions[0].String()}
			}
			who.sessions = nil
		default:
			t.rest(who, now)
			continue
		}
		who.busy = true
		if len(t.queue) > 0 {
			t.poke() // another worker
		}
		return r, true
	}
	t.queue = nil
	return r, false
}

// done ends what take began.
func (t *typing) done(who *typist, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	who.busy = false
	if who.behind {
		who.behind = false
		t.enqueue(who)
		return
	}
	if len(who.by) == 0 {
		t.rest(who, now)
	}
}

// rest forgets who has stopped, once others may be told again at once: else somebody who begins
// and stops all the time would be told of each time. The caller holds mu.
func (t *typing) rest(who *typist, now time.Time) {
	if who.told { // not yet relayed
		t.enqueue(who)
		return
	}
	who.sessions = nil
	if now.Before(who.next) {
		t.resting = append(t.resting, who)
	} else {
		delete(t.of, who.place)
	}
}

// forget lets go of those who have stopped.
func (t *typing) forget(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.resting) > 0 && !now.Before(t.resting[0].next) {
		who := t.resting[0]
		t.resting[0] = nil
		t.resting = t.resting[1:]
		if len(who.by) == 0 && !who.told && !who.busy && !who.queued && t.of[who.place] == who {
			delete(t.of, who.place)
		}
	}
	if len(t.resting) == 0 {
		t.resting = nil
	}
}

// count is in how many places connections type.
func (t *typing) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

// relayTyping tells others who types until ctx ends.
func (m *Manager) relayTyping(ctx context.Context) {
	var workers sync.WaitGroup
	defer workers.Wait()
	for range typingRelays {
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-m.typing.wake:
				}
				m.relayWaiting(ctx)
			}
		})
	}
}

// flushTyping tells others, at the end, that the users of this node type no more.
func (m *Manager) flushTyping(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	m.relayWaiting(ctx)
}

// relayWaiting relays what waits.
func (m *Manager) relayWaiting(ctx context.Context) {
	for ctx.Err() == nil {
		r, ok := m.typing.take(time.Now())
		if !ok {
			return
		}
		if r.wait.IsZero() {
			m.relay(ctx, r)
		} else {
			m.deadlines.add(m.deadlines.in(time.Until(r.wait)), r.conn, endTyping)
		}
		m.typing.done(r.who, time.Now())
	}
}

// relay tells others that somebody types, or types no more. What fails is not tried again: it is
// told again while it is so, and ends by itself.
func (m *Manager) relay(ctx context.Context, r typingRelay) {
	ctx, cancel := context.WithTimeout(ctx, typingTimeout)
	defer cancel()
	place := r.who.place
	payload, err := wire.Marshal(wire.TypingPayload{UserID: place.user, IsTyping: r.types, ExpiresIn: typingLife.Seconds()})
	var body []byte
	if err == nil {
		body, err = wire.Append(nil, Envelope{Type: wire.UserTyping, UserID: place.user, ThreadID: place.thread, Payload: payload})
	}
	if err == nil {
		_, err = m.publishRecord(ctx, wire.Record{
			Kind: wire.RecordMessage, Topic: place.topic, Thread: place.thread, Except: r.except, Body: body,
		}, broker.Record{Class: wire.Volatile})
	}
	if err != nil {
		m.typing.lost.Add(1)
		m.log.LogAttrs(ctx, slog.LevelDebug, "typing not relayed", slog.String("user", place.user), slog.Any("err", err))
		return
	}
	m.typing.relayed.Add(1)
}

// lookAtTyping is what a deadline of c does.
func (m *Manager) lookAtTyping(c hub.Handle) {
	if again := m.typing.look(c, time.Now()); !again.IsZero() {
		m.deadlines.add(m.deadlines.in(time.Until(again)), c, endTyping)
	}
}

// typesNoMore is for a connection that ceases to follow a room.
func (m *Manager) typesNoMore(c hub.Handle, room wire.Topic) {
	m.typing.end(c, func(who *typist) bool { return who.place.topic == room })
}

// typingPlace is where the sender says that it types, or stops to.
func (in *inbound) typingPlace() (sender *Conn, place typingPlace, err error) {
	if sender, err = in.conn(); err != nil {
		return nil, place, err
	}
	var req wire.TypingRequest
	if err := in.env.Decode(&req); err != nil {
		return nil, place, err
	}
	own := sender.view.User
	place = typingPlace{topic: own, thread: in.env.ThreadID, user: own.ID}
	switch {
	case req.Room != "":
		if err := wire.CheckID(req.Room); err != nil {
			return nil, place, fieldError(wire.CodeInvalidMessage, "room", "room "+err.Error())
		}
		place.topic = wire.Topic{Tenant: own.Tenant, Kind: wire.KindRoom, ID: req.Room}
	case in.env.Topic != "":
		place.topic, err = in.namedTopic(own)
	}
	return sender, place, err
}

// typingStartedVerb tells others that the sender types, where it may speak.
func typingStartedVerb(ctx context.Context, in *inbound) error {
	sender, place, err := in.typingPlace()
	if err != nil {
		return err
	}
	if place.topic.Kind == wire.KindRoom {
		if err := in.mayPublish(ctx, sender, "room", place.topic.ID); err != nil {
			return err
		}
	}
	look, err := in.m.typing.begin(in.c, sender.view.Session, place, time.Now())
	if err != nil {
		return err
	}
	if !look.IsZero() {
		in.m.deadlines.add(in.m.deadlines.in(time.Until(look)), in.c, endTyping)
	}
	if _, there := in.m.hub.View(in.c); !there {
		in.m.typing.end(in.c, everywhere) // it has ended before this was noted
	}
	return nil
}

func everywhere(*typist) bool { return true }

// typingStoppedVerb is for everybody: who may not speak any more may stop.
func typingStoppedVerb(_ context.Context, in *inbound) error {
	_, place, err := in.typingPlace()
	if err == nil {
		in.m.typing.end(in.c, func(who *typist) bool { return who.place == place })
	}
	return err
}
