package switchboard

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// Query selects messages after Since or before Before, but not both; with neither the newest.
type Query struct {
	Since, Before Position
	Thread        string // only of this conversation; "": of all
	// Limit is at most how many (50; at most 1,000). A page ends before it where more would make
	// its messages larger than 4 MiB together; one message larger than that is a page by itself.
	Limit int
}

// Page is a part of a log, oldest first.
type Page struct {
	Messages []Envelope
	Head     Position  // of the log
	HasMore  bool      // there are more in the direction that was asked for, for want of room in the page too
	Gap      *wire.Gap // what is gone after Since; nil: nothing
}

const (
	defaultPage  = 50
	maxPage      = 1000
	historyBatch = 256     // records read at once
	maxPageBytes = 1 << 20 // of a page that is sent to a client, beyond its first message
	ownPageBytes = 4 << 20 // the same of one for the application
)

// History reads the log of to, which must not be a Connection. What is gone is said in
// Page.Gap, not as an error. To go on after a page ask since its last message's position, or
// before its first one's; the epoch is that of Page.Head. Whether there is more is what
// Page.HasMore says, not how many messages came.
func (m *Manager) History(ctx context.Context, to Target, q Query) (Page, error) {
	tenant, err := m.tenantOf(ctx)
	if err != nil {
		return Page{}, fmt.Errorf("history: %w", err)
	}
	topic, err := to.topic(tenant)
	if err != nil {
		return Page{}, fmt.Errorf("history: %w", err)
	}
	page, _, err := m.page(ctx, topic, q, ownPageBytes)
	if err != nil {
		return Page{}, fmt.Errorf("history of %s: %w", topic, err)
	}
	return page, nil
}

// page reads what q selects, and says how many records it looked at. It ends where the next
// message would make it longer than maxBytes.
func (m *Manager) page(ctx context.Context, topic wire.Topic, q Query, maxBytes int) (page Page, seen int, err error) {
	if q, err = q.checked(); err != nil {
		return Page{}, 0, err
	}
	r := pageReader{m: m, topic: topic, key: broker.KeyOf(topic), q: q, maxBytes: maxBytes}
	page, err = r.read(ctx)
	return page, r.seen, err
}

// read collects the page.
func (r *pageReader) read(ctx context.Context) (Page, error) {
	if r.q.Since.IsZero() {
		return r.backward(ctx)
	}
	return r.forward(ctx)
}

// checked returns q with its default.
func (q Query) checked() (Query, error) {
	switch {
	case q.Limit < 0 || q.Limit > maxPage:
		return q, fieldError(wire.CodeInvalidMessage, "limit", fmt.Sprintf("limit must be 1 to %d", maxPage))
	case !q.Since.IsZero() && !q.Before.IsZero():
		return q, fieldError(wire.CodeInvalidMessage, "before", "before does not go with since")
	case q.Limit == 0:
		q.Limit = defaultPage
	}
	return q, nil
}

// pageReader collects one page.
type pageReader struct {
	m        *Manager
	topic    wire.Topic
	key      broker.Key
	q        Query
	exact    bool // q.Thread "" is the default thread, and not all of them
	maxBytes int  // of its messages together, beyond the first
	bytes    int
	seen     int // records that were looked at
	page     Page
}

// forward collects what comes after q.Since.
func (r *pageReader) forward(ctx context.Context) (Page, error) {
	for at := r.q.Since; ; {
		entries, head, err := r.m.driver.Since(ctx, r.key, at, historyBatch)
		lost, gap := gapOf(err)
		if err != nil && !gap {
			return Page{}, err
		}
		r.page.Head = head
		if at.Epoch == head.Epoch && at.Offset > head.Offset {
			return r.page, nil // a place that was never reached: nothing comes after it
		}
		if gap && r.page.Gap == nil {
			r.page.Gap = gapBefore(r.topic, at, head, entries, lost)
		}
		for _, e := range entries {
			if !r.take(e) {
				r.page.HasMore = true
				return r.page, nil
			}
			at = e.Pos
		}
		if len(entries) == 0 || at.Offset >= head.Offset {
			return r.page, nil
		}
	}
}

// backward collects what comes before q.Before, newest first, and turns it round.
func (r *pageReader) backward(ctx context.Context) (Page, error) {
	heads, err := r.m.driver.Heads(ctx, true, r.key)
	if err != nil {
		return Page{}, err
	}
	r.page.Head = heads[0]
	if at := r.q.Before; !at.IsZero() && at.Epoch != r.page.Head.Epoch {
		// Nothing of that log is left, so nothing comes before.
		return r.page, nil
	}
	for at := r.q.Before; !r.page.HasMore; {
		entries, err := r.m.driver.Before(ctx, r.key, at, historyBatch)
		if err != nil && !errors.Is(err, broker.ErrGap) {
			return Page{}, err
		}
		for _, e := range entries {
			if !r.take(e) {
				r.page.HasMore = true
				break
			}
			at = e.Pos
		}
		if len(entries) < historyBatch {
			break
		}
	}
	slices.Reverse(r.page.Messages)
	return r.page, nil
}

// take adds a record to the page if q selects it, and reports whether there was room.
func (r *pageReader) take(e broker.Entry) bool {
	r.seen++
	rec, ok := r.m.parseRecord(e)
	if !ok || rec.Kind == wire.RecordMember {
		return true
	}
	if rec.Topic != r.topic {
		r.m.count.isolation.Add(1)
		return true
	}
	if (r.exact || r.q.Thread != "") && rec.Thread != r.q.Thread {
		return true
	}
	full := len(r.page.Messages) == r.q.Limit || len(r.page.Messages) > 0 && r.bytes+len(rec.Body) > r.maxBytes
	if full {
		return false
	}
	env, err := wire.ParseAnswer(rec.Body)
	if err != nil {
		r.m.count.unreadable.Add(1)
		return true
	}
	env.Topic, env.Offset, env.Timestamp = rec.Topic.String(), e.Pos.Offset, wire.Seconds(e.At)
	r.bytes += len(rec.Body)
	r.page.Messages = append(r.page.Messages, env)
	return true
}

// gapBefore says what is gone after from, given the oldest records that are kept.
func gapBefore(topic wire.Topic, from, head Position, entries []broker.Entry, lost uint64) *wire.Gap {
	if from.Epoch != head.Epoch {
		return &wire.Gap{
			Topic: topic.String(), From: from, To: Position{Epoch: head.Epoch}, Reason: wire.ReasonEpochChanged,
			Epoch: from.Epoch, NewEpoch: head.Epoch,
		}
	}
	to := head
	if len(entries) > 0 {
		to.Offset = entries[0].Pos.Offset - 1
	}
	return &wire.Gap{Topic: topic.String(), From: from, To: to, Reason: wire.ReasonExpired, Count: lost}
}

func historyVerb(ctx context.Context, in *inbound) error {
	sender, err := in.conn()
	if err != nil {
		return err
	}
	var req wire.HistoryRequest
	if err := in.env.Decode(&req); err != nil {
		return err
	}
	topic, err := wire.ParseTopic(sender.view.User.Tenant, req.Topic)
	if err != nil {
		return fieldError(wire.CodeInvalidMessage, "topic", "topic "+err.Error())
	}
	if err := in.mayReadHistory(ctx, sender, topic); err != nil {
		return err
	}
	q := Query{Since: req.Since, Before: req.Before, Thread: req.ThreadID, Limit: req.Limit}
	page, seen, err := in.m.page(ctx, topic, q, maxPageBytes)
	in.owe(seen / recordsPerMessage)
	in.more += seen / recordsPerWork
	if err != nil {
		return err
	}
	in.m.answer(in.c, wire.HistoryResult, in.env.ID, wire.HistoryResultPayload{
		Messages: page.Messages, Head: page.Head, HasMore: page.HasMore, Gap: page.Gap,
	})
	return nil
}

// mayReadHistory refuses a topic whose past the sender may not read.
func (in *inbound) mayReadHistory(ctx context.Context, sender *Conn, topic wire.Topic) error {
	switch {
	case topic.Kind == wire.KindAll || topic == sender.view.User:
		return nil
	case topic.Kind != wire.KindRoom:
		return fieldError(wire.CodeForbidden, "topic", "you may not read this topic")
	}
	err := in.m.authorize(ctx, sender.identity, sender.allowed, ActHistory, topic.ID)
	if errors.Is(err, ErrForbidden) {
		return roomError("topic", topic.ID, "you may not read what was said in this room")
	}
	return err
}

// hubKey is the hub's name of a topic.
func hubKey(topic wire.Topic) hub.Key { return hub.Key(broker.KeyOf(topic)) }
