package switchboard

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

const (
	eventStream = "text/event-stream"

	// lastEventHeader says which event was the last, and so what the client has. A page that
	// opens an EventSource anew, with another ticket, cannot set it and uses the parameter.
	lastEventHeader = "Last-Event-ID"
	lastEventParam  = "last_event_id"

	// maxEventID bounds the ids of events, in bytes before base64url: unfinished texts that
	// would make one longer are not named, and come again from their beginning.
	maxEventID = 16 << 10
)

// whyLastEvent is the reason of a refusal.
const whyLastEvent = "last_event_id"

// asksForEvents reports whether a request wants an event stream and not a WebSocket.
func asksForEvents(r *http.Request) bool {
	if r.Method != http.MethodGet || r.Header.Get("Upgrade") != "" {
		return false
	}
	for _, line := range r.Header["Accept"] {
		for kind := range strings.SplitSeq(line, ",") {
			kind, _, _ = strings.Cut(kind, ";")
			if strings.EqualFold(strings.TrimSpace(kind), eventStream) {
				return true
			}
		}
	}
	return false
}

// serveEvents is one event stream, from its handshake to its end.
func (m *Manager) serveEvents(w http.ResponseWriter, r *http.Request) {
	h := &handshake{m: m, w: w, r: r, events: true}
	if err := h.acceptStream(); err != nil {
		h.refuse(err)
		return
	}
	if ref := h.stream.serve(r.Context()); ref != nil {
		writeRefusal(w, ref.status(), ref.told())
	}
}

// acceptStream makes an event stream of the request. It returns an error only while the
// request can still be answered.
func (h *handshake) acceptStream() error {
	m := h.m
	if !m.gate.enter() {
		return errDraining()
	}
	defer m.gate.leave()
	defer h.leave()
	ctx, cancel := m.callContext(h.r)
	defer cancel()
	// The deadline of the server is for answers that end. The heartbeat takes its place.
	socket := http.NewResponseController(h.w)
	if err := socket.SetWriteDeadline(time.Time{}); err != nil {
		return &refusal{cause: fmt.Errorf("stream the answer: %w", err), why: "hijack"}
	}
	login, o, err := h.admit(ctx)
	if err != nil {
		return err
	}
	h.stream = newStream(h.w, socket, h.r)
	o.Conn = h.stream
	h.open(ctx, login, o)
	return nil
}

// lastEvent reads what the client says of the last event that it got; nil: nothing.
func lastEvent(r *http.Request) (*wire.Restore, error) {
	id, field := r.Header.Get(lastEventHeader), lastEventHeader
	if id == "" {
		id, field = r.URL.Query().Get(lastEventParam), lastEventParam
	}
	if id == "" {
		return nil, nil
	}
	had, err := parseEventID(id)
	if err != nil {
		told := visible(err)
		return nil, &refusal{cause: fieldError(told.Code, field, field+" is no id of an event: "+told.Message), why: whyLastEvent}
	}
	return &had, nil
}

// parseEventID reads what eventID wrote, or a client that knows how.
func parseEventID(id string) (wire.Restore, error) {
	body, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil {
		return wire.Restore{}, &Error{Code: wire.CodeInvalidJSON, Message: "it must be base64url without padding"}
	}
	var had wire.Restore
	if err := wire.UnmarshalExact(body, &had); err != nil {
		return wire.Restore{}, err
	}
	if len(had.Positions) > maxPositions {
		return wire.Restore{}, fieldError(wire.CodeInvalidMessage, "positions", "too many positions")
	}
	for topic := range had.Positions {
		if _, err := wire.ParseTopic("", topic); err != nil {
			return wire.Restore{}, fieldError(wire.CodeInvalidMessage, "positions", "a topic "+err.Error())
		}
	}
	for _, length := range had.Streams {
		if length < 0 {
			return wire.Restore{}, fieldError(wire.CodeInvalidMessage, "streams", "a length must not be negative")
		}
	}
	return had, nil
}

// eventID is the id of an event: the session_restore of a client that has got it.
func eventID(had wire.Restore) (string, error) {
	body, err := wire.Marshal(had)
	if err == nil && len(body) > maxEventID {
		had.Streams = nil
		body, err = wire.Marshal(had)
	}
	return base64.RawURLEncoding.EncodeToString(body), err
}

// stream is the connection of a client that reads server-sent events. To the engine it is a
// [net.Conn] like others: the frames that are written to it become events of the answer to
// the client's request, and what the client posts is read from it. So an event stream has the
// limits, the order and the heartbeat of every connection, and a client that takes nothing
// blocks Write as a full socket does.
type stream struct {
	mail   *mailbox
	remote net.Addr
	socket *http.ResponseController
	ended  chan struct{} // closed once w is not in use any more
	once   sync.Once     // guards Close

	writing sync.Mutex // the right to use w; guards the fields below
	w       http.ResponseWriter
	begun   bool // the head of the answer went out
	closed  bool
	refused *refusal   // what the client hears instead of events
	rest    []byte     // of a frame that was written in part
	track   wire.Track // what the client has
	id      string     // the same as the id of an event
	resumes string     // id of the session_restore that Last-Event-ID stands for; "": answered, or none
	leaving bool       // it was refused: the client must come back
}

var _ net.Conn = (*stream)(nil)

func newStream(w http.ResponseWriter, socket *http.ResponseController, r *http.Request) *stream {
	s := &stream{mail: newMailbox(), socket: socket, w: w, ended: make(chan struct{}), remote: &net.TCPAddr{}}
	if addr, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		s.remote = net.TCPAddrFromAddrPort(addr)
	}
	return s
}

// restore makes the stream one of a client that has got something already, and returns the
// message in which that client says so.
func (s *stream) restore(had wire.Restore) []byte {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.track, s.resumes = wire.NewTrack(had), wire.NewID()
	s.id, _ = eventID(had) // it cannot fail, nor does what follows: it was read from the same
	payload, _ := wire.Marshal(had)
	message, _ := wire.Append(nil, Envelope{Type: wire.SessionRestore, ID: s.resumes, Payload: payload})
	return message
}

// refuse makes the stream end without an event: the client hears ref instead.
func (s *stream) refuse(ref *refusal) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.refused = ref
}

// serve waits for the end: that of the client, which the engine gets to read, or that of the
// connection. It returns what the answer is if it was no stream.
func (s *stream) serve(ctx context.Context) *refusal {
	select {
	case <-ctx.Done():
		s.mail.leave()
		_ = s.socket.SetWriteDeadline(past()) // nobody takes what is being written
		<-s.ended
	case <-s.ended:
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.refused == nil && !s.begun { // an empty answer would be taken for the end of all streams
		return &refusal{cause: retryLater(wire.CodeUnavailable, "the connection has ended at once"), why: "engine"}
	}
	return s.refused
}

// past is a deadline that is over.
func past() time.Time { return time.Unix(1, 0) }

// written is what comes of one Write.
type written struct {
	out     []byte  // to the client
	replies []reply // to posts
	pinged  bool
	close   []byte // the payload of a close frame; nil: none
}

// reply is the answer to a post.
type reply struct {
	id   string // of its message
	body []byte
}

// Write implements [net.Conn]. It takes frames, and returns when their events have been given
// to the client's connection.
func (s *stream) Write(b []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	data := b
	if len(s.rest) > 0 {
		data = append(s.rest, b...)
	}
	var t written
	stays := !s.leaving
	for {
		op, payload, rest, ok := ws.Cut(data)
		if !ok {
			break
		}
		data = rest
		s.take(&t, op, payload)
	}
	s.rest = bytes.Clone(data)
	err := s.send(t.out)
	var late []byte
	for _, r := range t.replies {
		if !s.mail.hand(r.id, r.body) { // its sender has left meanwhile
			late = s.appendEvent(late, r.body, 0)
		}
	}
	if err == nil {
		err = s.send(late)
	}
	if err != nil {
		return 0, err
	}
	if t.pinged {
		// Who pings back is alive. A pong would say how long its way was, which nobody knows.
		s.mail.push(ws.OpPing, nil)
	}
	switch {
	case t.close != nil:
		s.mail.push(ws.OpClose, t.close)
	case stays && s.leaving:
		s.mail.push(ws.OpClose, closePayload(wire.CloseTryAgain, "the session could not be restored: reconnect"))
	}
	return len(b), nil
}

// take makes of one frame what the client gets.
func (s *stream) take(t *written, op ws.Opcode, payload []byte) {
	switch {
	case op == ws.OpClose:
		t.close = bytes.Clone(payload)
		if s.refused == nil {
			t.out = s.appendClosing(t.out, payload)
		}
	case s.refused != nil || s.leaving:
	case op == ws.OpPing:
		t.out, t.pinged = append(t.out, ": ping\n\n"...), true
	case op == ws.OpText:
		s.message(t, payload)
	}
}

// message makes an event of a message, or the answer to a post.
func (s *stream) message(t *written, body []byte) {
	env, err := wire.ParseAnswer(body)
	if err != nil {
		t.out = s.appendEvent(t.out, body, 0) // all the same: it is not ours to leave out
		return
	}
	changed := s.track.Take(env)
	if changed {
		if id, err := eventID(s.track.Restore()); err == nil {
			s.id = id
		}
	}
	if s.resumes != "" && env.ID == s.resumes {
		s.resumes = ""
		// Without what it missed the client must not get what is new, whose id would hide
		// the loss.
		s.leaving = env.Type == wire.ErrorMessageType
	}
	// An answer is no record: a volatile one has a topic.
	answers := env.ID != "" && env.Offset == 0 && (env.Topic == "" || env.Type == wire.ThreadSnapshot)
	if answers && s.mail.expects(env.ID) {
		t.replies = append(t.replies, reply{env.ID, bytes.Clone(body)})
		if changed { // an event without data only sets the id of the last event
			t.out = append(append(append(t.out, "id: "...), s.id...), "\n\n"...)
		}
		return
	}
	retry := 0
	if env.Type == wire.ServerShutdown {
		var p wire.ServerShutdownPayload
		if env.Decode(&p) == nil {
			retry = p.ReconnectAfterMS
		}
	}
	t.out = s.appendEvent(t.out, body, retry)
}

// appendEvent appends one event. A line break in JSON stands between tokens, where a space
// is as good.
func (s *stream) appendEvent(dst, body []byte, retry int) []byte {
	dst = append(append(dst, "id: "...), s.id...)
	if retry > 0 {
		dst = strconv.AppendInt(append(dst, "\nretry: "...), int64(retry), 10)
	}
	start := len(dst) + len("\ndata: ")
	dst = append(append(dst, "\ndata: "...), body...)
	for i := start; i < len(dst); i++ {
		if dst[i] == '\n' || dst[i] == '\r' {
			dst[i] = ' '
		}
	}
	return append(dst, "\n\n"...)
}

// appendClosing appends the event that stands for a close frame.
func (s *stream) appendClosing(dst, payload []byte) []byte {
	p := wire.Closing{Event: wire.ClosingEvent, Code: wire.CloseNormal}
	if len(payload) >= 2 {
		p.Code, p.Reason = wire.CloseCode(binary.BigEndian.Uint16(payload)), string(payload[2:])
	}
	body, err := wire.Marshal(p)
	if err == nil {
		body, err = wire.Append(nil, Envelope{Type: wire.SystemMessage, Timestamp: wire.Seconds(time.Now()), Payload: body})
	}
	if err != nil {
		return dst
	}
	return s.appendEvent(dst, body, 0)
}

func closePayload(code wire.CloseCode, reason string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
}

// send gives bytes to the client's connection, with the head of the answer before the first.
func (s *stream) send(out []byte) error {
	if len(out) == 0 {
		return nil
	}
	if !s.begun {
		s.begun = true
		h := s.w.Header()
		h.Set("Content-Type", eventStream)
		h.Set("Cache-Control", "no-store, no-transform")
		h.Set("X-Accel-Buffering", "no") // a proxy that collects the answer would keep it for ever
		s.w.WriteHeader(http.StatusOK)
	}
	if _, err := s.w.Write(out); err != nil {
		return err
	}
	return s.socket.Flush()
}

// Read implements [net.Conn]: it gets what the client has posted.
func (s *stream) Read(b []byte) (int, error) {
	n, more := s.mail.read(b)
	if !more {
		return 0, io.EOF
	}
	return n, nil
}

// Close implements [net.Conn]. When it returns the answer is not written to any more.
func (s *stream) Close() error {
	s.once.Do(func() {
		s.mail.close()
		if !s.writing.TryLock() {
			_ = s.socket.SetWriteDeadline(past()) // the client may take nothing
			s.writing.Lock()
		}
		s.closed = true
		s.writing.Unlock()
		close(s.ended)
	})
	return nil
}

// LocalAddr implements [net.Conn].
func (s *stream) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr implements [net.Conn].
func (s *stream) RemoteAddr() net.Addr { return s.remote }

// SetDeadline implements [net.Conn]. There is none: what is read was complete when it came,
// and a write is ended by Close.
func (s *stream) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements [net.Conn] as SetDeadline does.
func (s *stream) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements [net.Conn] as SetDeadline does.
func (s *stream) SetWriteDeadline(time.Time) error { return nil }
