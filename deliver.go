package switchboard

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

const (
	compareEvery = 10 * time.Second // heads of all live topics with those of the driver
	compareBatch = 256
	linkBackoff  = 100 * time.Millisecond // first pause after a lost link; it doubles
	linkSlowest  = 5 * time.Second
)

// receiver is the side of the manager that the driver sees.
type receiver Manager

// Record takes what was published here or on another node.
func (r *receiver) Record(e broker.Entry) {
	m := (*Manager)(r)
	known := m.hub.Known(hub.Key(e.Topic))
	if !known && !m.nodes.listens(e.Topic) {
		return
	}
	rec, ok := m.parseRecord(e)
	if !ok {
		return
	}
	switch {
	case rec.Kind == wire.RecordPresence:
		m.presence.hear(m, e, rec)
	case !known:
	case e.Class == wire.Durable:
		if rec.Kind == wire.RecordMember {
			m.removeMember(e, rec)
		}
		m.hub.Ingest(hubEntry(e, rec))
		if rec.Kind == wire.RecordRun {
			m.heardOfRun(rec)
		}
	case rec.Kind == wire.RecordMember:
		m.hints.hear(m, e, rec)
	case rec.Kind == wire.RecordMessage, rec.Kind == wire.RecordLatest:
		m.hub.Post(posting(e, rec))
	}
}

// Text takes what was added to a stream, here or on another node.
func (r *receiver) Text(topic, stream broker.Key, start int, text string) {
	m := (*Manager)(r)
	if !m.hub.Text(hub.Key(topic), hub.Key(stream), uint64(max(start, 0)), text) {
		m.strays.hear(topic)
	}
}

// parseRecord reads a record. One of a later version is told to the operator: this node
// cannot deliver it.
func (m *Manager) parseRecord(e broker.Entry) (wire.Record, bool) {
	rec, err := wire.ParseRecord(e.Data)
	if err != nil {
		m.count.unreadable.Add(1)
		m.log.LogAttrs(m.life, slog.LevelError, "record not readable",
			slog.String("topic_key", e.Topic.String()), slog.Uint64("offset", e.Pos.Offset), slog.Any("err", err))
		return rec, false
	}
	return rec, true
}

// hubEntry is a record as the hub delivers it. Membership records take an offset and are
// not sent.
func hubEntry(e broker.Entry, rec wire.Record) hub.Entry {
	entry := hub.Entry{Topic: hub.Key(e.Topic), Address: rec.Topic, Pos: e.Pos, Prev: e.Prev}
	if rec.Kind != wire.RecordMember {
		entry.Frame = placedFrame(rec.Topic, e, rec.Body)
	}
	for _, s := range rec.Streams {
		entry.Marks = append(entry.Marks, hub.Mark{
			Stream: hubStream(rec.Run, rec.Thread, s.Name), Length: uint64(s.Length), Ended: s.Ended,
		})
	}
	entry.Except = exceptSessions(rec.Except)
	return entry
}

// source is what the hub reads logs from.
type source Manager

// Since implements [hub.Source].
func (s *source) Since(ctx context.Context, topic hub.Key, pos Position, limit int) (hub.Batch, error) {
	m := (*Manager)(s)
	entries, head, err := m.driver.Since(ctx, broker.Key(topic), pos, limit)
	batch := hub.Batch{Head: head}
	if gap, ok := gapOf(err); ok {
		batch.Gap, batch.Lost = true, gap
	} else if err != nil {
		return hub.Batch{}, err
	}
	if batch.Gap {
		if err := m.endLent(ctx, topic, head); err != nil {
			return hub.Batch{}, err
		}
	}
	for _, e := range entries {
		rec, ok := m.parseRecord(e)
		if !ok {
			continue
		}
		switch rec.Kind { // one that was not delivered live
		case wire.RecordMember:
			if err := m.removeMissed(ctx, e, rec); err != nil {
				return hub.Batch{}, err
			}
		case wire.RecordRun:
			m.heardOfRun(rec)
		}
		batch.Entries = append(batch.Entries, hubEntry(e, rec))
	}
	return batch, nil
}

// Text implements [hub.Source].
func (s *source) Text(ctx context.Context, topic, stream hub.Key, from uint64) (string, error) {
	text, _, err := (*Manager)(s).driver.Read(ctx, broker.Key(topic), broker.Key(stream), int(from), math.MaxInt)
	if errors.Is(err, broker.ErrNotFound) {
		return "", nil
	}
	return text, err
}

// Recall implements [hub.Source].
func (s *source) Recall(ctx context.Context, topic hub.Key) error {
	err := (*Manager)(s).recall(ctx, topic)
	if errors.Is(err, broker.ErrNotFound) {
		return nil
	}
	return err
}

// gapOf reports whether err says that records are gone, and how many (0: not known).
func gapOf(err error) (lost uint64, ok bool) {
	if gap, found := errors.AsType[*broker.GapError](err); found {
		return gap.Lost, true
	}
	return 0, errors.Is(err, broker.ErrGap)
}

// runDriver keeps the driver delivering until ctx ends.
func (m *Manager) runDriver(ctx context.Context) {
	for pause := linkBackoff; ; pause = min(2*pause, linkSlowest) {
		started := time.Now()
		err := m.runLink(ctx)
		if ctx.Err() != nil {
			return
		}
		m.unlinked.Store(true)
		m.hub.LinkLost()
		if errors.Is(err, broker.ErrClosed) {
			m.log.LogAttrs(ctx, slog.LevelError, "broker closed under the manager", slog.Any("err", err))
			return
		}
		m.log.LogAttrs(ctx, slog.LevelWarn, "broker link lost", slog.Any("err", err))
		if time.Since(started) > linkSlowest {
			pause = linkBackoff
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// runLink is one life of the link: beside the deliveries it compares heads, first as soon
// as nothing published is missed any more.
func (m *Manager) runLink(ctx context.Context) error {
	link, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.compareHeads(link)
	}()
	err := m.driver.Run(ctx, (*receiver)(m))
	cancel()
	<-done
	return err
}

// compareHeads finds what was stored and not delivered here, which a driver may let happen.
func (m *Manager) compareHeads(ctx context.Context) {
	for pause := linkBackoff; ; pause = min(2*pause, linkSlowest) {
		err := m.driver.Follow(ctx) // no topics: it waits until Run is at work
		if err == nil {
			m.unlinked.Store(false)
			m.presence.post(presenceEvent{what: linkBack})
			err = m.announceHeads(ctx, true)
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			break
		}
		m.log.LogAttrs(ctx, slog.LevelDebug, "heads not compared", slog.Any("err", err))
		if !sleep(ctx, pause) {
			return
		}
	}
	for sleep(ctx, compareEvery) {
		if err := m.announceHeads(ctx, false); err != nil && ctx.Err() == nil {
			m.log.LogAttrs(ctx, slog.LevelDebug, "heads not compared", slog.Any("err", err))
		}
	}
}

// announceHeads tells the hub the driver's heads of all live topics, and then what it has of class
// latest: of all topics, or of those only that had such messages. That is a question per topic,
// for which logs do not wait.
func (m *Manager) announceHeads(ctx context.Context, all bool) error {
	if err := m.compareLogs(ctx); err != nil {
		return err
	}
	return m.recallAll(ctx, all)
}

func (m *Manager) compareLogs(ctx context.Context) error {
	var topics []hub.TopicHead
	var keys []broker.Key
	for cursor := 0; ; {
		topics = m.hub.Topics(topics[:0], &cursor, compareBatch)
		keys = keys[:0]
		for _, t := range topics {
			keys = append(keys, broker.Key(t.Key))
		}
		if len(keys) > 0 {
			link := m.hub.Link()
			heads, err := m.driver.Heads(ctx, true, keys...)
			if err != nil {
				return err
			}
			for i, head := range heads {
				m.hub.Announce(topics[i].Key, head, link)
				if topics[i].Texts {
					m.strays.hear(keys[i]) // text may have been missed too
				}
			}
		}
		if cursor == 0 {
			return nil
		}
	}
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
