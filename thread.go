package switchboard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// Thread is a conversation as a joining client gets it. Live messages follow from Position.
type Thread = wire.Thread

// Thread returns a conversation of to, a user's or a room's: its newest messages and its live
// runs with their texts, which have 256 KiB together: of what is beyond that [Stream.Snapshot]
// has the whole. "" is the default thread. With q.Before it is an older part of the
// messages, without runs; q.Since and q.Thread do not count. HasMore says that there are older ones:
// also fewer than q.Limit may be a whole page, see [Query].
func (m *Manager) Thread(ctx context.Context, to Target, thread string, q Query) (Thread, error) {
	tenant, err := m.tenantOf(ctx)
	if err != nil {
		return Thread{}, fmt.Errorf("thread: %w", err)
	}
	topic, err := to.topic(tenant)
	if err != nil {
		return Thread{}, fmt.Errorf("thread: %w", err)
	}
	head, err := m.headOf(ctx, topic)
	if err == nil {
		var t Thread
		if t, _, err = m.threadAt(ctx, topic, thread, q, head, ownPageBytes); err == nil {
			return t, nil
		}
	}
	return Thread{}, fmt.Errorf("thread of %s: %w", topic, err)
}

// threadAt is a thread as of a place in its topic's log.
func (m *Manager) threadAt(ctx context.Context, topic wire.Topic, thread string, q Query, at Position, maxBytes int) (t Thread, seen int, err error) {
	older := !q.Before.IsZero()
	q.Since, q.Thread = Position{}, thread
	q, err = q.checked()
	if err != nil {
		return Thread{}, 0, err
	}
	if !older {
		q.Before = Position{Epoch: at.Epoch, Offset: at.Offset + 1}
	}
	r := pageReader{m: m, topic: topic, key: broker.KeyOf(topic), q: q, exact: true, maxBytes: maxBytes}
	page, err := r.read(ctx)
	if err != nil {
		return Thread{}, 0, err
	}
	t = Thread{Messages: page.Messages, HasMore: page.HasMore, Position: at, Runs: []wire.Run{}}
	if older {
		return t, r.seen, nil
	}
	live, err := m.liveNow(ctx, topic, at)
	if err != nil {
		return Thread{}, 0, err
	}
	left := maxThreadText
	for _, f := range slices.Backward(live) {
		if f.run.ThreadID != thread {
			continue
		}
		if err := m.readTexts(ctx, topic, f, &left); err != nil {
			return Thread{}, 0, err
		}
		f.run.ThreadID = "" // viewers know it by the envelope
		t.Runs = append(t.Runs, f.run)
	}
	slices.Reverse(t.Runs)
	return t, r.seen, nil
}

// maxThreadText is how much text, in bytes, the runs of a thread have together: as much of the
// newest ones as there is room for.
const maxThreadText = 256 << 10

// readTexts puts the texts into the run of f, with what is left of the room for them: those of
// open streams up to now, but not further than the next event behind the place that f is of. Only
// of a text that has no room does it say the length.
func (m *Manager) readTexts(ctx context.Context, topic wire.Topic, f *folded, left *int) error {
	for i := range slices.Backward(f.run.Streams) {
		s := &f.run.Streams[i]
		text, length, err := m.driver.Read(ctx, broker.KeyOf(topic), broker.NameKey(s.ID), 0, *left)
		switch {
		case errors.Is(err, broker.ErrNotFound): // it was folded into the log, or never appended to
			text, length = f.texts[s.ID], s.Length
			text = text[:firstPiece(text, *left)]
		case err != nil:
			return err
		}
		if end, later := f.next[s.ID]; later && end < length {
			text, length = firstRunes(text, end), end
		}
		if *left -= len(text); length == utf8.RuneCountInString(text) {
			length = 0
		}
		s.Name, s.Text, s.Length = "", text, length
	}
	return nil
}

func firstRunes(text string, n int) string {
	for at := range text {
		if n == 0 {
			return text[:at]
		}
		n--
	}
	return text
}

func threadOpenVerb(ctx context.Context, in *inbound) error { return in.openThread(ctx, false) }

func switchThreadVerb(ctx context.Context, in *inbound) error { return in.openThread(ctx, true) }

// openThread answers with a thread and watches it: everything up to the snapshot's position
// has been written to the connection before, or is in it, and all that follows comes after it.
func (in *inbound) openThread(ctx context.Context, instead bool) error {
	m := in.m
	sender, err := in.conn()
	if err != nil {
		return err
	}
	var req wire.ThreadOpenRequest
	if err := in.env.Decode(&req); err != nil {
		return err
	}
	if req.ThreadID != "" {
		if err := wire.CheckID(req.ThreadID); err != nil {
			return fieldError(wire.CodeInvalidMessage, "thread_id", "thread_id "+err.Error())
		}
	}
	topic, lent, err := in.threadTopic(ctx, sender, req.Room)
	if err != nil {
		return err
	}
	// Held, the connection stands still while the snapshot is made.
	if m.hub.Hold(in.c) {
		defer m.hub.Unhold(in.c)
	}
	a, err := m.acquireRoom(ctx, topic)
	if err != nil {
		return err
	}
	at, follows := m.hub.Cursor(in.c, a.key)
	if !follows {
		at = a.head
	} else if head, _, live := m.hub.Lookup(a.key); live && head.Epoch != at.Epoch {
		at = in.beginEpoch(a, at, head.Epoch)
	}
	t, seen, err := m.threadAt(ctx, topic, req.ThreadID, Query{Limit: req.Limit, Before: req.Before}, at, maxPageBytes)
	in.owe(seen / recordsPerMessage)
	in.more += seen / recordsPerWork
	var marker [][]byte
	if err == nil && req.Before.IsZero() {
		if marker, err = m.markFrames(ctx, sender.view.User, 1, ofThread(req.ThreadID, req.Room)); err == nil {
			err = in.watchThread(req.ThreadID, instead)
		}
	}
	if err != nil {
		m.hub.Release(a.topic)
		return err
	}
	in.sendThread(topic, req.ThreadID, t)
	m.tell(in.c, marker)
	if !req.Before.IsZero() {
		m.hub.Release(a.topic)
		return nil
	}
	f, err := m.followFor(ctx, sender, a, at, false, claim{lent: lent, past: true})
	if err != nil {
		return err
	}
	m.beginOrLeave(ctx, f)
	in.oweTexts(a, req.ThreadID, t.Runs, at)
	return nil
}

// oweTexts makes the connection, which is held, get what the texts of a snapshot have no room for,
// and what comes after them.
func (in *inbound) oweTexts(a acquired, thread string, runs []wire.Run, at Position) {
	work, bytes := 0, 0
	for _, run := range runs {
		for _, s := range run.Streams {
			_, name, _ := strings.Cut(s.ID, "/")
			stream, length := hubStream(run.ID, thread, name), utf8.RuneCountInString(s.Text)
			whole, open := max(length, s.Length), s.State == wire.StreamStateOpen
			if open {
				in.m.hub.AddStream(a.key, stream, uint64(whole), at)
			}
			if open || length < whole {
				_ = in.m.hub.OweText(in.c, a.key, stream, uint64(length), uint64(whole), !open) // a connection that has ended needs none
			}
			work += len(s.Text)
			bytes += len(s.Text) + whole - length // of what is not read yet, code points
		}
	}
	in.more += work / bytesPerWork
	in.owe(bytes / bytesPerMessage)
}

// beginEpoch tells of a log that has begun anew before anything of it is told, here a snapshot,
// and makes the connection, which is held, go on from its beginning.
func (in *inbound) beginEpoch(a acquired, at Position, epoch string) Position {
	to := Position{Epoch: epoch}
	in.m.gap(in.c, wire.Gap{
		Topic: a.address.String(), From: at, To: to, Reason: wire.ReasonEpochChanged, Epoch: at.Epoch, NewEpoch: epoch,
	})
	_ = in.m.hub.Seek(in.c, a.key, to) // a connection that has ended needs none
	return to
}

// threadTopic is where a thread is: with the sender, or in a room whose past the sender may
// read.
func (in *inbound) threadTopic(ctx context.Context, sender *Conn, room string) (topic wire.Topic, lent bool, err error) {
	if room == "" {
		return sender.view.User, false, nil
	}
	topic = wire.Topic{Tenant: sender.view.User.Tenant, Kind: wire.KindRoom, ID: room}
	if err := wire.CheckID(room); err != nil {
		return topic, false, fieldError(wire.CodeInvalidMessage, "room", "room "+err.Error())
	}
	lent, err = in.m.mayRead(ctx, sender.identity, sender.allowed, room)
	if err == nil {
		err = in.m.authorize(ctx, sender.identity, sender.allowed, ActHistory, room)
	}
	if errors.Is(err, ErrForbidden) {
		err = roomError("room", room, "you may not read this room")
	}
	if err == nil {
		err = in.m.roomsLeft(in.c, hubKey(topic))
	}
	return topic, lent, err
}

func (in *inbound) watchThread(thread string, instead bool) error {
	if instead {
		return hubError(in.m.hub.SwitchThread(in.c, thread))
	}
	return hubError(in.m.hub.Watch(in.c, thread))
}

// sendThread answers with a thread. Its envelope says which one it is.
func (in *inbound) sendThread(topic wire.Topic, thread string, t Thread) {
	body, err := wire.Marshal(t)
	if err == nil {
		var frame []byte
		frame, err = encodeFrame(Envelope{
			Type: wire.ThreadSnapshot, ID: in.env.ID, Timestamp: wire.Seconds(time.Now()),
			Topic: topic.String(), ThreadID: thread, Payload: body,
		})
		if err == nil {
			_ = in.m.hub.Send(in.c, frame, false) // a connection that has ended needs none
			return
		}
	}
	in.m.refuse(in.c, in.env.ID, err)
}

// stopAgentVerb ends the runs that the sender names and may end.
func stopAgentVerb(ctx context.Context, in *inbound) error {
	sender, err := in.conn()
	if err != nil {
		return err
	}
	var req wire.StopAgentRequest
	if err := in.env.Decode(&req); err != nil {
		return err
	}
	named := 0
	for _, given := range []bool{req.RunID != "", req.ThreadID != "", req.All} {
		if given {
			named++
		}
	}
	if named != 1 {
		return fieldError(wire.CodeInvalidMessage, "run_id", "payload must name one of run_id, thread_id, all")
	}
	specs, err := in.runsToStop(ctx, sender, req)
	if err != nil {
		return err
	}
	reason := req.Reason
	if reason == "" {
		reason = "stopped by the user"
	}
	results, err := in.m.stopRuns(ctx, specs, reason, sender.view.User.ID)
	if err != nil {
		return err
	}
	ack := wire.Ack{Status: wire.StatusNotFound, Runs: []wire.StoppedRun{}}
	for _, result := range results {
		if result.status == wire.StatusNotFound || result.status == wire.StatusAlreadyEnded && req.RunID == "" {
			continue // only live ones are meant
		}
		if result.status == wire.StatusOK || ack.Status == wire.StatusNotFound {
			ack.Status = result.status
		}
		ack.Runs = append(ack.Runs, result.StoppedRun)
	}
	in.m.ack(in.c, in.env.ID, ack, "")
	return nil
}

// stopsAtOnce is how many runs one stop_agent ends at the same time: none waits for one that
// is hard to reach.
const stopsAtOnce = 16

// stopRuns ends runs, and returns what became of each, or the first error if there were some.
func (m *Manager) stopRuns(ctx context.Context, specs []runSpec, reason, by string) ([]stopped, error) {
	results, errs := make([]stopped, len(specs)), make([]error, len(specs))
	var wg sync.WaitGroup
	next := atomic.Int64{}
	for range min(len(specs), stopsAtOnce) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(specs); i = int(next.Add(1)) - 1 {
				results[i], errs[i] = m.stopRun(ctx, specs[i], reason, by)
			}
		})
	}
	wg.Wait()
	for i, err := range errs {
		switch {
		case errors.Is(err, ErrNotFound): // it is about to be started
			results[i].status = wire.StatusNotFound
		case err != nil:
			return nil, err
		}
	}
	return results, nil
}

// runsToStop finds the runs that a stop_agent is about. One that the sender may not stop is
// not there.
func (in *inbound) runsToStop(ctx context.Context, sender *Conn, req wire.StopAgentRequest) ([]runSpec, error) {
	if req.RunID != "" {
		spec, err := in.m.findRun(ctx, sender.view.User.Tenant, req.RunID)
		if errors.Is(err, ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return in.mayStop(ctx, sender, []runSpec{spec})
	}
	var found []runSpec
	for _, f := range in.m.hub.Following(in.c) {
		if f.Address.Kind == wire.KindAll {
			continue
		}
		notes, err := in.m.liveRuns(ctx, f.Address)
		if err != nil {
			return nil, err
		}
		for _, note := range notes {
			spec, err := in.m.findRun(ctx, f.Address.Tenant, note.ID)
			switch {
			case errors.Is(err, ErrNotFound):
			case err != nil:
				return nil, err
			case req.All || spec.Thread == req.ThreadID:
				found = append(found, spec)
			}
		}
	}
	return in.mayStop(ctx, sender, found)
}

// mayStop keeps those runs that are on the sender's own topic, that the sender asked for and still
// takes part in the room of, or that the sender may control as others' in a room.
func (in *inbound) mayStop(ctx context.Context, sender *Conn, specs []runSpec) ([]runSpec, error) {
	user := sender.view.User.ID
	var failed error
	specs = slices.DeleteFunc(specs, func(s runSpec) bool {
		if s.Room == "" {
			return s.User != user && s.Owner != user
		}
		err := in.m.authorize(ctx, sender.identity, sender.allowed, ActControl, s.Room)
		if errors.Is(err, ErrForbidden) && s.User == user {
			err = in.takesPart(ctx, sender, s.Room)
		}
		if err != nil && !errors.Is(err, ErrForbidden) {
			failed = err
		}
		return err != nil
	})
	return specs, failed
}

// takesPart refuses who may neither follow a room nor speak in it.
func (in *inbound) takesPart(ctx context.Context, sender *Conn, room string) error {
	_, err := in.m.mayRead(ctx, sender.identity, sender.allowed, room)
	if errors.Is(err, ErrForbidden) {
		err = in.m.authorize(ctx, sender.identity, sender.allowed, ActPublish, room)
	}
	return err
}
