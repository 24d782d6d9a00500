package switchboard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

const (
	latestTTL  = time.Minute // of a message of class latest that says nothing else
	latestLong = 7 * 24 * time.Hour
	// maxPosting bounds messages that have no place in a log: nodes keep those of class latest in
	// memory, up to [broker.LatestKeys] of a topic.
	maxPosting = 64 << 10
	// recallers is how many topics are asked about at once.
	recallers = 16
)

// post publishes what has no place in a log.
func (m *Manager) post(ctx context.Context, topic wire.Topic, msg Message, env Envelope, except []string) (Delivery, error) {
	body, err := wire.Append(nil, env)
	if err != nil {
		return Delivery{}, &Error{Code: wire.CodeInvalidMessage, Message: err.Error()}
	}
	if len(body) > maxPosting {
		return Delivery{}, errTooLarge(maxPosting)
	}
	r := wire.Record{Kind: wire.RecordMessage, Topic: topic, Thread: env.ThreadID, Except: except, Body: body}
	to := broker.Record{Class: msg.Class}
	if msg.Class == wire.Latest {
		r.Kind, r.TTL = wire.RecordLatest, msg.TTL
		to.Key, to.TTL, to.DedupeID = msg.Key, msg.TTL, dedupeID("", env.ID)
	}
	published, err := m.publishRecord(ctx, r, to)
	if err != nil {
		return Delivery{}, fmt.Errorf("publish to %s: %w", topic, err)
	}
	d := Delivery{ID: env.ID, Duplicate: published.Duplicate}
	if !d.Duplicate {
		m.count.published.Add(1)
		_, d.Receivers, _ = m.hub.Lookup(hubKey(topic))
	}
	return d, nil
}

// checkClass completes what a message says of its class, and refuses what does not go together.
func (msg *Message) checkClass() error {
	switch msg.Class {
	case wire.Durable, wire.Volatile:
		if msg.Key != "" {
			return fieldError(wire.CodeInvalidMessage, "key", "a key goes with the class latest only")
		}
		if msg.TTL != 0 {
			return fieldError(wire.CodeInvalidMessage, "ttl", "a TTL goes with the class latest only")
		}
		return nil
	case wire.Latest:
	default:
		return fieldError(wire.CodeInvalidMessage, "class", "the class is unknown")
	}
	if msg.Key == "" {
		return fieldError(wire.CodeInvalidMessage, "key", "a message of class latest needs a key: it replaces the one that has the same")
	}
	if err := wire.CheckID(msg.Key); err != nil {
		return fieldError(wire.CodeInvalidMessage, "key", "the key "+err.Error())
	}
	if msg.TTL == 0 {
		msg.TTL = latestTTL
	}
	if msg.TTL < time.Second || msg.TTL > latestLong {
		return fieldError(wire.CodeInvalidMessage, "ttl", "the TTL must be between 1 second and 7 days")
	}
	return nil
}

// posting is a record without a place as the hub delivers it.
func posting(e broker.Entry, rec wire.Record) hub.Posting {
	return hub.Posting{
		Topic: hub.Key(e.Topic), Address: rec.Topic, Class: e.Class, Key: e.Key, At: e.At, Expires: e.At.Add(rec.TTL),
		Thread: rec.Thread, Frame: placedFrame(rec.Topic, e, rec.Body), Except: exceptSessions(rec.Except),
	}
}

func exceptSessions(texts []string) (list []hub.Session) {
	for _, text := range texts {
		if session, ok := hub.ParseSession(text); ok {
			list = append(list, session)
		}
	}
	return list
}

// recall reads the newest message of each key of a topic, of which some may not have been
// delivered here.
func (m *Manager) recall(ctx context.Context, key hub.Key) error {
	var r hub.Recalled
	for {
		r.Asked = m.hub.Asking(key)
		entries, err := m.driver.Latest(ctx, broker.Key(key))
		if err != nil {
			return err
		}
		r.List = make([]hub.Posting, 0, len(entries))
		for _, e := range entries {
			if rec, ok := m.parseRecord(e); ok && rec.Kind == wire.RecordLatest {
				r.List = append(r.List, posting(e, rec))
			}
		}
		if !m.hub.Recall(key, r) {
			return nil
		}
		// Two messages of one key were published within the same millisecond; the next reading
		// is after both.
		for _, p := range r.List {
			if p.At.After(r.Sure) {
				r.Sure = p.At
			}
		}
		if !sleep(ctx, 2*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// recallAll does so for topics that may have missed some: all of them after the link was lost,
// else those that have such messages, because a driver may store one without delivering it.
func (m *Manager) recallAll(ctx context.Context, all bool) error {
	var topics []hub.TopicHead
	for cursor := 0; ; {
		topics = m.hub.Topics(topics[:0], &cursor, compareBatch)
		if err := m.recallSome(ctx, topics, all); err != nil {
			return err
		}
		if cursor == 0 {
			return nil
		}
	}
}

// recallSome asks about several at once.
func (m *Manager) recallSome(ctx context.Context, topics []hub.TopicHead, all bool) error {
	keys := make(chan hub.Key, len(topics))
	for _, t := range topics {
		if all || t.Latest {
			keys <- t.Key
		}
	}
	close(keys)
	errs := make([]error, min(recallers, len(keys)))
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for key := range keys {
				if err := m.recall(ctx, key); err != nil && !errors.Is(err, broker.ErrNotFound) {
					errs[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
