package switchboard

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

const (
	// maxReadMarks is how many places a user has marked at most; the one marked longest ago
	// leaves.
	maxReadMarks = 1000
	// maxMarksTold is how many marks a client that comes back is told, those moved last.
	maxMarksTold = 100
	// marksPerMessage is how many of a user's marks are paid for as a message more.
	marksPerMessage = 250
	markTries       = 8
)

// ReadMarker says how far a user has read a thread of the user's own, or a room.
type ReadMarker struct {
	Thread   string // "" with Room, or the default thread
	Room     string // "": a thread of the user's own
	Position Position
	At       time.Time // when it was moved
}

// readMark is a mark as it is stored, among those of its user.
type readMark struct {
	wire.ReadMarkerPayload
	At int64 `json:"at"` // milliseconds
}

// readMarks are those of one user, by the time of their last move, the newest last. They are one
// item in the store, so that who comes back is told of them after one question, and who erases
// the user's data finds them together.
type readMarks struct {
	List []readMark `json:"marks"`
}

// readMarksKey is where they are stored: with the user's own topic.
func readMarksKey(user wire.Topic) string { return broker.KeyOf(user).String() + "/read" }

// find returns where the mark of a thread or a room is in the list, or -1.
func (r *readMarks) find(thread, room string) int {
	return slices.IndexFunc(r.List, func(k readMark) bool { return k.ThreadID == thread && k.Room == room })
}

// move puts a mark to a position, and reports whether that was a move. Within an epoch marks go
// forward only.
func (r *readMarks) move(to wire.ReadMarkerPayload, now time.Time) bool {
	if i := r.find(to.ThreadID, to.Room); i >= 0 {
		if was := r.List[i].Position; was.Epoch == to.Position.Epoch && was.Offset >= to.Position.Offset {
			return false
		}
		r.List = slices.Delete(r.List, i, i+1)
	}
	r.List = append(r.List, readMark{to, now.UnixMilli()})
	if over := len(r.List) - maxReadMarks; over > 0 {
		r.List = slices.Delete(r.List, 0, over)
	}
	return true
}

// readMarksOf reads the marks of a user.
func (m *Manager) readMarksOf(ctx context.Context, user wire.Topic) (marks readMarks, revision uint64, err error) {
	if revision, err = m.getItem(ctx, readMarksKey(user), &marks); err != nil {
		return readMarks{}, 0, fmt.Errorf("read marks of %s: %w", user, err)
	}
	return marks, revision, nil
}

// ReadMarkers yields how far user has read which threads and rooms, the one that was moved last
// first: at most 1,000. After an error nothing more comes.
func (m *Manager) ReadMarkers(ctx context.Context, user string) iter.Seq2[ReadMarker, error] {
	return func(yield func(ReadMarker, error) bool) {
		tenant, err := m.tenantOf(ctx)
		var topic wire.Topic
		if err == nil {
			topic, err = User(user).topic(tenant)
		}
		var marks readMarks
		if err == nil {
			marks, _, err = m.readMarksOf(ctx, topic)
		}
		if err != nil {
			yield(ReadMarker{}, fmt.Errorf("read marks: %w", err))
			return
		}
		for _, k := range slices.Backward(marks.List) {
			if !yield(ReadMarker{Thread: k.ThreadID, Room: k.Room, Position: k.Position, At: time.UnixMilli(k.At)}, nil) {
				return
			}
		}
	}
}

// markReadVerb moves a mark of the sender, and tells the sender's other devices. The ack says
// where the mark is, also if it was ahead already.
func markReadVerb(ctx context.Context, in *inbound) error {
	sender, err := in.conn()
	if err != nil {
		return err
	}
	var req wire.MarkReadRequest
	if err := in.env.Decode(&req); err != nil {
		return err
	}
	user := sender.view.User
	topic, err := in.markedTopic(ctx, sender, req)
	if err != nil {
		return err
	}
	if err := in.checkMark(ctx, topic, req.Position); err != nil {
		return err
	}
	at, moved, err := in.moveMark(ctx, user, wire.ReadMarkerPayload(req))
	if err != nil {
		return err
	}
	in.m.ack(in.c, in.env.ID, wire.Ack{Status: wire.StatusOK, Position: at}, "")
	if moved {
		in.m.relayMark(ctx, sender, wire.ReadMarkerPayload(req))
	}
	return nil
}

// markedTopic is the topic that a mark is about: the sender's own, or a room that the sender may
// read.
func (in *inbound) markedTopic(ctx context.Context, sender *Conn, req wire.MarkReadRequest) (wire.Topic, error) {
	own := sender.view.User
	switch {
	case req.ThreadID != "" && req.Room != "":
		return own, fieldError(wire.CodeInvalidMessage, "room", "payload must name a thread of the user's own or a room, not both")
	case req.ThreadID != "":
		if err := wire.CheckID(req.ThreadID); err != nil {
			return own, fieldError(wire.CodeInvalidMessage, "thread_id", "thread_id "+err.Error())
		}
		return own, nil
	case req.Room == "":
		return own, nil // the default thread
	}
	room := wire.Topic{Tenant: own.Tenant, Kind: wire.KindRoom, ID: req.Room}
	if err := wire.CheckID(req.Room); err != nil {
		return room, fieldError(wire.CodeInvalidMessage, "room", "room "+err.Error())
	}
	_, err := in.m.mayRead(ctx, sender.identity, sender.allowed, req.Room)
	if errors.Is(err, ErrForbidden) {
		err = roomError("room", req.Room, "you may not read this room")
	}
	return room, err
}

// checkMark refuses a position that the topic has not reached.
func (in *inbound) checkMark(ctx context.Context, topic wire.Topic, pos Position) error {
	if pos.IsZero() {
		return fieldError(wire.CodeInvalidMessage, "position", "must be a position, as <epoch>:<offset>")
	}
	head, err := in.m.headOf(ctx, topic)
	switch {
	case err != nil:
		return err
	case pos.Epoch != head.Epoch:
		return &Error{
			Code: wire.CodeConflict, Message: "the position is not of the log as it is now",
			Details: map[string]any{"field": "position", "head": head.String()},
		}
	case pos.Offset > head.Offset:
		return &Error{
			Code: wire.CodeInvalidMessage, Message: "the log has not come so far",
			Details: map[string]any{"field": "position", "head": head.String()},
		}
	}
	return nil
}

// moveMark stores a mark, and returns where it is then.
func (in *inbound) moveMark(ctx context.Context, user wire.Topic, to wire.ReadMarkerPayload) (at Position, moved bool, err error) {
	for try := range markTries {
		if try > 0 && !sleep(ctx, time.Duration(try)*10*time.Millisecond) {
			return Position{}, false, ctx.Err()
		}
		marks, revision, err := in.m.readMarksOf(ctx, user)
		if err != nil {
			return Position{}, false, err
		}
		if !marks.move(to, time.Now()) {
			return marks.List[marks.find(to.ThreadID, to.Room)].Position, false, nil
		}
		_, err = in.m.putItem(ctx, readMarksKey(user), marks, revision, 0)
		if errors.Is(err, broker.ErrConflict) {
			continue
		}
		if err != nil {
			return Position{}, false, fmt.Errorf("read marks of %s: %w", user, err)
		}
		in.owe(len(marks.List) / marksPerMessage)
		return to.Position, true, nil
	}
	return Position{}, false, fmt.Errorf("read marks keep changing: %w", ErrConflict)
}

// relayMark tells the other devices of the sender, on all nodes. The mark is stored: who is not
// told hears of it when coming back.
func (m *Manager) relayMark(ctx context.Context, sender *Conn, to wire.ReadMarkerPayload) {
	user := sender.view.User
	payload, err := wire.Marshal(to)
	var body []byte
	if err == nil {
		body, err = wire.Append(nil, Envelope{Type: wire.ReadMarker, UserID: user.ID, ThreadID: to.ThreadID, Payload: payload})
	}
	if err == nil {
		// Without a thread in its header: it is for devices that watch other threads, too.
		_, err = m.publishRecord(ctx, wire.Record{
			Kind: wire.RecordMessage, Topic: user, Except: []string{sender.Session()}, Body: body,
		}, broker.Record{Class: wire.Volatile})
	}
	if err != nil {
		m.log.LogAttrs(ctx, slog.LevelWarn, "read marker not told to other devices", slog.String("user", user.ID), slog.Any("err", err))
	}
}

// markFrames are the frames that tell of those marks of a user that are chosen, at most so many,
// those moved last.
func (m *Manager) markFrames(ctx context.Context, user wire.Topic, most int, chosen func(wire.ReadMarkerPayload) bool) ([][]byte, error) {
	marks, _, err := m.readMarksOf(ctx, user)
	if err != nil {
		return nil, err
	}
	var frames [][]byte
	for _, k := range slices.Backward(marks.List) {
		if len(frames) == most {
			break
		}
		if !chosen(k.ReadMarkerPayload) {
			continue
		}
		payload, err := wire.Marshal(k.ReadMarkerPayload)
		if err != nil {
			return nil, err
		}
		frame, err := encodeFrame(Envelope{
			Type: wire.ReadMarker, Timestamp: wire.Seconds(time.Now()), Topic: user.String(), UserID: user.ID, ThreadID: k.ThreadID, Payload: payload,
		})
		if err != nil {
			return nil, err
		}
		frames = append(frames, frame)
	}
	return frames, nil
}

// tell sends frames to a connection. One that has ended needs none.
func (m *Manager) tell(c hub.Handle, frames [][]byte) {
	for _, frame := range frames {
		_ = m.hub.Send(c, frame, false)
	}
}

// ofThread chooses the mark of a thread of the user's own, or of the room that the thread is in.
func ofThread(thread, room string) func(wire.ReadMarkerPayload) bool {
	if room != "" {
		return ofRooms(room)
	}
	return func(k wire.ReadMarkerPayload) bool { return k.Room == "" && k.ThreadID == thread }
}

// ofRooms chooses the marks of rooms.
func ofRooms(rooms ...string) func(wire.ReadMarkerPayload) bool {
	return func(k wire.ReadMarkerPayload) bool { return k.Room != "" && slices.Contains(rooms, k.Room) }
}
