package switchboard

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// Receipt says how far a session, or a user on all sessions, has confirmed a topic. It is a
// watermark: everything up to there that the session was to get has arrived. About what is
// older than its session it says nothing.
type Receipt struct {
	User      string
	Session   string   // "": the furthest of the user's sessions
	Delivered Position // the client has it
	Seen      Position // its user has seen it, as the client says; zero: nothing so far
	At        time.Time
}

const (
	// receiptDelay is how long a receipt waits for later ones, which replace it: no session
	// and topic is written more often, except when its connection ends.
	receiptDelay = time.Second
	// receiptRetry is after how long a store that was away is tried again.
	receiptRetry = 2 * time.Second
	// receiptWriters is how many receipts are written at once.
	receiptWriters = 16
	receiptTimeout = 5 * time.Second
	receiptTries   = 8
	// maxReceipts bounds those that wait to be written. What does not fit is not lost to the
	// client's next acknowledgement, which has it all.
	maxReceipts = 1 << 17
	// maxTenantReceipts is the same of one tenant, so that one alone leaves room for others.
	maxTenantReceipts = maxReceipts / 2
	// receiptKept is how long a receipt is kept where history has no age.
	receiptKept = 7 * 24 * time.Hour
	// flushTime bounds the writing of what waits when the manager shuts down.
	flushTime = stopGrace / 2
)

// receiptName is whose receipt it is, and of which topic.
type receiptName struct {
	topic   hub.Key
	session hub.Session
}

// prefix is where the receipts of a user are stored: beside their topic.
func (n receiptName) prefix(user string) string {
	return receiptPrefix(broker.Key(n.topic)) + userHash(user) + "/"
}

// userHash is the place of a user among the receipts of a topic.
func userHash(user string) string { return broker.NameKey(user).String() }

// key is where the receipt of one of the user's sessions is stored.
func (n receiptName) key(user string) string {
	return n.prefix(user) + hex.EncodeToString(n.session[:])
}

func receiptPrefix(topic broker.Key) string { return topic.String() + "/u/" }

// mark is a receipt as it is stored.
type mark struct {
	User      string `json:"user"`
	Session   string `json:"session"`
	Epoch     string `json:"epoch"`
	Delivered uint64 `json:"delivered"`
	Seen      uint64 `json:"seen,omitzero"`
	At        int64  `json:"at"` // milliseconds
	tenant    string // whose room it takes while it waits
}

// with is the mark that says what both say. Within an epoch it never goes back; of two epochs
// the one of which was heard last is the topic's.
func (k mark) with(other mark) mark {
	switch {
	case k.Epoch == other.Epoch:
		k.Delivered, k.Seen, k.At = max(k.Delivered, other.Delivered), max(k.Seen, other.Seen), max(k.At, other.At)
		return k
	case k.At >= other.At:
		return k
	}
	return other
}

func (k mark) receipt() Receipt {
	r := Receipt{User: k.User, Session: k.Session, At: time.UnixMilli(k.At)}
	if k.Delivered > 0 {
		r.Delivered = Position{Epoch: k.Epoch, Offset: k.Delivered}
	}
	if k.Seen > 0 {
		r.Seen = Position{Epoch: k.Epoch, Offset: k.Seen}
	}
	return r
}

// receipts are those that wait to be written. Connections that acknowledge nothing are not
// in here, and nothing stays once it is written.
type receipts struct {
	wake chan struct{} // capacity 1

	mu      sync.Mutex // guards the fields below
	waiting map[receiptName]waitingMark
	tenants map[string]int // how many of them are a tenant's; none is 0
	order   []dueReceipt   // by due, which is equally far ahead for all; has each that waits
	soon    []receiptName  // to be written now
	number  uint64         // of the latest that began to wait
	away    bool           // the store could not be reached
}

type waitingMark struct {
	mark
	number uint64 // its own among those in order
	soon   bool   // it is in soon too
}

type dueReceipt struct {
	name   receiptName
	number uint64
	due    time.Time
}

// note makes k wait to be written, and reports whether there was room.
func (r *receipts) note(name receiptName, k mark) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.waiting[name]; ok {
		known.mark = known.with(k)
		r.waiting[name] = known
		return true
	}
	if len(r.waiting) >= maxReceipts || r.tenants[k.tenant] >= maxTenantReceipts {
		return false
	}
	if r.waiting == nil {
		r.waiting, r.tenants = make(map[receiptName]waitingMark), make(map[string]int)
	}
	r.tenants[k.tenant]++
	r.number++
	r.waiting[name] = waitingMark{mark: k, number: r.number}
	r.order = append(r.order, dueReceipt{name, r.number, time.Now().Add(receiptDelay)})
	if len(r.order) == 1 {
		r.poke()
	}
	return true
}

func (r *receipts) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// hurry has the receipts of a connection that has ended written now.
func (r *receipts) hurry(session hub.Session, topics []hub.Cursor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range topics {
		name := receiptName{t.Key, session}
		if k, ok := r.waiting[name]; ok && !k.soon && !t.Delivered.IsZero() {
			k.soon = true
			r.waiting[name] = k
			r.soon = append(r.soon, name)
			r.poke()
		}
	}
}

// take removes what is due at now, at most limit, and says how long until the next.
func (r *receipts) take(now time.Time, limit int) (due map[receiptName]mark, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	due = make(map[receiptName]mark)
	for len(r.soon) > 0 && len(due) < limit {
		name := r.soon[0]
		r.soon = r.soon[1:]
		if k, ok := r.waiting[name]; ok {
			due[name] = k.mark
			r.drop(name, k)
		}
	}
	for len(r.order) > 0 && len(due) < limit && !now.Before(r.order[0].due) {
		next := r.order[0]
		r.order = r.order[1:]
		if k, ok := r.waiting[next.name]; ok && k.number == next.number {
			due[next.name] = k.mark
			r.drop(next.name, k)
		}
	}
	if len(r.waiting) == 0 {
		r.waiting, r.tenants, r.order, r.soon = nil, nil, nil, nil // a map does not shrink
		return due, time.Hour
	}
	return due, max(0, r.order[0].due.Sub(now))
}

// drop ends the waiting of k. The caller holds mu.
func (r *receipts) drop(name receiptName, k waitingMark) {
	delete(r.waiting, name)
	if r.tenants[k.tenant]--; r.tenants[k.tenant] == 0 {
		delete(r.tenants, k.tenant)
	}
}

// tried notes whether the store could be reached, and reports whether that is new.
func (r *receipts) tried(ok bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := r.away == ok
	r.away = !ok
	return changed
}

func (r *receipts) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting)
}

// keepReceipts writes receipts until ctx ends.
func (m *Manager) keepReceipts(ctx context.Context) {
	for ctx.Err() == nil {
		due, wait := m.receipts.take(time.Now(), receiptWriters)
		if len(due) > 0 {
			if !m.writeReceipts(ctx, due) {
				sleep(ctx, receiptRetry)
			}
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-m.receipts.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// flushReceipts writes all that waits, at the end, unless the store is away.
func (m *Manager) flushReceipts(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	for {
		due, _ := m.receipts.take(time.Now().Add(receiptDelay), receiptWriters)
		if len(due) == 0 {
			return
		}
		if !m.writeReceipts(ctx, due) {
			m.log.LogAttrs(ctx, slog.LevelWarn, "receipts not written before the end", slog.Int("receipts", m.receipts.count()))
			return
		}
	}
}

// writeReceipts writes marks, and makes those wait again that could not be written. It
// reports whether all were.
func (m *Manager) writeReceipts(ctx context.Context, due map[receiptName]mark) bool {
	ctx, cancel := context.WithTimeout(ctx, receiptTimeout)
	defer cancel()
	var wg sync.WaitGroup
	errs := make(chan error, len(due))
	for name, k := range due {
		wg.Go(func() {
			err := m.writeReceipt(ctx, name, k)
			if err != nil && !m.receipts.note(name, k) {
				m.count.receiptsDropped.Add(1)
			}
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	var failed error
	for err := range errs {
		if err != nil {
			m.count.receiptErrors.Add(1)
			failed = err
		}
	}
	if m.receipts.tried(failed == nil) {
		if failed != nil {
			m.log.LogAttrs(ctx, slog.LevelWarn, "receipts not written, they are tried again", slog.Any("err", failed))
		} else {
			m.log.LogAttrs(ctx, slog.LevelInfo, "receipts are written again")
		}
	}
	return failed == nil
}

// writeReceipt joins k with what is stored, perhaps by another node.
func (m *Manager) writeReceipt(ctx context.Context, name receiptName, k mark) error {
	ttl := cmp.Or(m.opts.Retention.Age, receiptKept)
	for range receiptTries {
		var stored mark
		item, err := m.driver.Get(ctx, name.key(k.User))
		switch {
		case errors.Is(err, broker.ErrNotFound):
		case err != nil:
			return err
		case wire.Unmarshal(item.Value, &stored) != nil:
			m.count.unreadable.Add(1)
			stored = mark{}
		}
		merged := k
		if stored.Epoch != "" {
			merged = stored.with(k)
		}
		if merged == stored {
			return nil
		}
		if item.Revision == 0 {
			if there, err := m.roomForReceipt(ctx, name, k); err != nil || !there {
				return err
			}
		}
		if _, err = m.putItem(ctx, name.key(k.User), merged, item.Revision, ttl); !errors.Is(err, broker.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("receipt keeps changing: %w", ErrConflict)
}

// Receipts yields how far each session has confirmed the log of to, which must not be a
// Connection. Those of a user stand together, by session, and users in an order that stays the same.
// Before the sessions of a user comes a receipt without a session:
// the furthest of them, which is what the user has on some device. Sessions that have never
// acknowledged anything are not there; those of users who have left a room since are. A receipt
// is written a second after it came in, and kept as long as the history; of a user with many
// sessions those are kept that were heard of last, and those that say how far the user is.
// After an error nothing more comes.
func (m *Manager) Receipts(ctx context.Context, to Target) iter.Seq2[Receipt, error] {
	return m.ReceiptsAfter(ctx, to, "", "")
}

// ReceiptsAfter yields what comes in [Manager.Receipts] behind the receipt of a user and session:
// a list that is long can be read in pages, and what lies before a page is not read for it.
func (m *Manager) ReceiptsAfter(ctx context.Context, to Target, user, session string) iter.Seq2[Receipt, error] {
	return func(yield func(Receipt, error) bool) {
		err := m.receiptsAfter(ctx, to, user, session, func(r Receipt) bool { return yield(r, nil) })
		if err != nil {
			yield(Receipt{}, fmt.Errorf("receipts: %w", err))
		}
	}
}

// furthest is what the sessions of the first of marks' users have together, in the epoch of
// which was heard last.
func furthest(marks []mark) mark {
	n := slices.IndexFunc(marks, func(k mark) bool { return k.User != marks[0].User })
	if n >= 0 {
		marks = marks[:n]
	}
	far := slices.MaxFunc(marks, func(a, b mark) int { return cmp.Compare(a.At, b.At) })
	for _, k := range marks {
		if k.Epoch == far.Epoch {
			far = far.with(k)
		}
	}
	far.Session = ""
	return far
}

// ackVerb takes what a client has received and shown. It waits for nothing. What cannot be
// true is left out without a word, because a rewind or a new epoch may overtake what was true
// when it was sent.
func ackVerb(_ context.Context, in *inbound) error {
	in.m.count.acks.Add(1)
	var req wire.AckRequest
	if err := in.env.Decode(&req); err != nil {
		return err
	}
	view, ok := in.m.hub.View(in.c)
	if !ok {
		return hubError(hub.ErrGone)
	}
	if len(req.Positions)+len(req.Seen) == 0 {
		return fieldError(wire.CodeInvalidMessage, "positions", "positions must name a topic")
	}
	topics := make(map[string]wire.Topic, len(req.Positions))
	for _, part := range []struct {
		field string
		of    map[string]Position
	}{{"positions", req.Positions}, {"seen", req.Seen}} {
		for name, pos := range part.of {
			topic, err := wire.ParseTopic(view.User.Tenant, name)
			if err != nil {
				return fieldError(wire.CodeInvalidMessage, part.field+"."+name, "topic "+err.Error())
			}
			if pos.IsZero() {
				return fieldError(wire.CodeInvalidMessage, part.field+"."+name, "must be a position, as <epoch>:<offset>")
			}
			topics[name] = topic
		}
	}
	var foreign error
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		if err := in.acknowledge(topics[name], req.Positions[name], req.Seen[name]); err != nil {
			foreign = cmp.Or(foreign, err)
		}
	}
	return foreign
}

// acknowledge takes it for one topic.
func (in *inbound) acknowledge(topic wire.Topic, delivered, seen Position) error {
	m := in.m
	name := topic.String()
	got, err := m.hub.Ack(in.c, hubKey(topic), delivered, seen)
	switch {
	case errors.Is(err, hub.ErrNotFollowed):
		field := "positions." + name
		if delivered.IsZero() {
			field = "seen." + name
		}
		return fieldError(wire.CodeForbidden, field, "you do not follow this topic")
	case err != nil:
		return hubError(err)
	}
	m.count.acksDoubted.Add(uint64(got.Doubted))
	if !got.Fresh {
		return nil
	}
	k := mark{
		User: got.User.ID, Session: got.Session.String(), Epoch: got.Delivered.Epoch,
		Delivered: got.Delivered.Offset, Seen: got.Seen.Offset, At: time.Now().UnixMilli(),
		tenant: topic.Tenant,
	}
	if !m.receipts.note(receiptName{hubKey(topic), got.Session}, k) {
		m.count.receiptsDropped.Add(1)
	}
	return nil
}
