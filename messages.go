package switchboard

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/respond"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// connectionHeader names the event stream that a posted message belongs to, by the
// connection_id of its welcome.
const connectionHeader = "Switchboard-Connection"

// mailboxes are those of the event streams, which have no other way in.
type mailboxes struct {
	mu sync.Mutex // guards of
	of map[hub.Handle]*mailbox
}

// add makes box the one of c, unless c has ended.
func (b *mailboxes) add(m *Manager, c hub.Handle, box *mailbox) {
	b.mu.Lock()
	if b.of == nil {
		b.of = make(map[hub.Handle]*mailbox)
	}
	b.of[c] = box
	b.mu.Unlock()
	if m.hub.ID(c) == "" { // before box was there to be removed
		b.remove(c)
	}
}

func (b *mailboxes) remove(c hub.Handle) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.of, c)
}

func (b *mailboxes) get(c hub.Handle) (*mailbox, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	box, ok := b.of[c]
	return box, ok
}

// mailbox is what the client of an event stream has sent: frames that the engine will read,
// and the posts that wait for an answer.
type mailbox struct {
	ended chan struct{} // closed when nothing is read any more

	mu      sync.Mutex // guards the fields below
	changed sync.Cond  // broadcast when there is something for Read
	frames  [][]byte
	bytes   int  // of frames
	left    bool // the client has: nothing comes any more
	closed  bool
	posts   map[string][]*post // by message id, in the order in which they came; nil: none yet
	waiting int                // posts
}

// post is a message whose sender waits for the answer.
type post struct {
	id     string
	answer chan []byte // capacity 1
}

func newMailbox() *mailbox {
	b := &mailbox{ended: make(chan struct{})}
	b.changed.L = &b.mu
	return b
}

// read is the Read of the engine.
func (b *mailbox) read(p []byte) (n int, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.frames) == 0 && !b.left && !b.closed {
		b.changed.Wait()
	}
	if b.closed || len(b.frames) == 0 {
		return 0, false
	}
	n = copy(p, b.frames[0])
	b.bytes -= n
	if b.frames[0] = b.frames[0][n:]; len(b.frames[0]) == 0 {
		b.frames = slices.Delete(b.frames, 0, 1)
	}
	return n, true
}

// push adds a frame of the stream itself.
func (b *mailbox) push(op ws.Opcode, payload []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pushLocked(op, payload)
}

func (b *mailbox) pushLocked(op ws.Opcode, payload []byte) {
	frame := clientFrame(op, payload)
	b.frames = append(b.frames, frame)
	b.bytes += len(frame)
	b.changed.Broadcast()
}

// clientFrame is a frame as the engine reads it. Its mask is that of zeros: masks are there
// for what passes a network.
func clientFrame(op ws.Opcode, payload []byte) []byte {
	return ws.AppendMasked(make([]byte, 0, len(payload)+headerRoom+4), op, true, [4]byte{}, payload)
}

// post adds a message of the client, within the bounds for messages that wait. If the
// message has an answer the returned post gets it.
func (b *mailbox) post(env Envelope, message []byte) (*post, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed || b.left:
		return nil, errStreamEnded()
	case b.waiting >= maxWaiting || len(b.frames) >= maxWaiting || b.bytes > 0 && b.bytes+len(message) > maxWaitingBytes:
		return nil, &Error{
			Code: wire.CodeBusy, Message: "too many messages wait", Details: map[string]any{"waiting": max(b.waiting, len(b.frames))},
		}
	}
	b.pushLocked(ws.OpText, message)
	if !env.Type.Answered() {
		return nil, nil
	}
	p := &post{id: env.ID, answer: make(chan []byte, 1)}
	if b.posts == nil {
		b.posts = make(map[string][]*post)
	}
	b.posts[p.id] = append(b.posts[p.id], p)
	b.waiting++
	return p, nil
}

// expects reports whether somebody waits for the answer to a message.
func (b *mailbox) expects(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.posts[id]) > 0
}

// hand gives an answer to who has waited for it longest, and reports whether there is one.
func (b *mailbox) hand(id string, answer []byte) bool {
	b.mu.Lock()
	var p *post
	if posts := b.posts[id]; len(posts) > 0 {
		p = posts[0]
		b.dropLocked(p)
	}
	b.mu.Unlock()
	if p == nil {
		return false
	}
	p.answer <- answer
	return true
}

// drop makes p wait no more. It reports false if p has been given its answer: it is there,
// or about to be.
func (b *mailbox) drop(p *post) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dropLocked(p)
}

func (b *mailbox) dropLocked(p *post) bool {
	posts := b.posts[p.id]
	i := slices.Index(posts, p)
	if i < 0 {
		return false
	}
	b.waiting--
	if len(posts) == 1 {
		delete(b.posts, p.id)
	} else {
		b.posts[p.id] = slices.Delete(posts, i, i+1)
	}
	return true
}

// leave lets the engine read what is there and then the end.
func (b *mailbox) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = true
	b.changed.Broadcast()
}

// close ends every read, and every post that waits.
func (b *mailbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.closed, b.frames, b.bytes = true, nil, 0
	b.changed.Broadcast()
	close(b.ended)
}

func errStreamEnded() error {
	return retryLater(wire.CodeUnavailable, "the event stream has ended: send the message again, with the same message_id")
}

// postMessage takes one message as if it had come on the connection of an event stream, and
// answers with what would have come there as its answer.
func (m *Manager) postMessage(w http.ResponseWriter, r *http.Request) {
	c, box, by, err := m.streamOf(r)
	if err != nil {
		m.refuseCall(w, r, err)
		return
	}
	body, err := m.readBody(w, r)
	if err != nil {
		m.refuseCall(w, r, err)
		return
	}
	env, message, err := m.posted(body)
	if err != nil {
		m.answerError(w, c, env.ID, err)
		return
	}
	p, err := box.post(env, message)
	if err != nil {
		m.answerError(w, c, env.ID, err)
		return
	}
	if p == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	answer, err := m.awaitAnswer(r.Context(), box, p)
	if err == nil && !respond.Small(len(answer)) { // it was paid for, and may be read slowly
		leave, full := m.enterRead(r.Context(), by)
		if full != nil {
			m.refuseCall(w, r, calledBy(by, full))
			return
		}
		defer leave()
	}
	switch {
	case err != nil:
		m.refuseCall(w, r, err)
	case r.Context().Err() != nil || !m.writeAnswer(w, answer):
		// Nobody has got it. On the stream it is an event like others.
		_ = m.hub.Send(c, ws.AppendFrame(nil, ws.OpText, answer), false)
	}
}

// streamOf finds the event stream that a message is posted for, and who posts it. One of another
// user is not there.
func (m *Manager) streamOf(r *http.Request) (hub.Handle, *mailbox, Identity, error) {
	if m.life.Err() != nil {
		return 0, nil, Identity{}, errDraining()
	}
	ctx, cancel := m.callContext(r)
	defer cancel()
	id, err := m.caller(ctx, r)
	if err != nil {
		return 0, nil, id, err
	}
	name := r.Header.Get(connectionHeader)
	if name == "" {
		return 0, nil, id, fieldError(wire.CodeInvalidMessage, connectionHeader, "the header "+connectionHeader+" is missing")
	}
	if c, ok := m.hub.Find(name); ok {
		view, there := m.hub.View(c)
		box, streams := m.mail.get(c)
		if there && streams && view.User.Tenant == id.Tenant && view.User.ID == id.User {
			return c, box, id, nil
		}
	}
	err = &Error{Code: wire.CodeNotFound, Message: "there is no such event stream", Details: map[string]any{"field": connectionHeader}}
	return 0, nil, id, calledBy(id, err)
}

// posted reads a message, and gives it an id if it has none: its answer is found by it.
func (m *Manager) posted(body []byte) (Envelope, []byte, error) {
	env, err := wire.Parse(body)
	if err != nil {
		if parse, ok := errors.AsType[*wire.ParseError](err); ok {
			env.ID = parse.MessageID
		}
		return env, nil, err
	}
	if env.ID != "" {
		return env, body, nil
	}
	env.ID = wire.NewID()
	message, err := wire.Append(nil, env)
	if err == nil && len(message) > m.opts.Limits.MessageBytes {
		err = &Error{
			Code: wire.CodeTooLarge, Message: "the message is too large with its message_id",
			Details: map[string]any{"limit": m.opts.Limits.MessageBytes},
		}
	}
	return env, message, err
}

// awaitAnswer waits as long as a verb and a handler may take. An answer that comes later is an
// event of the stream; so is one for a client that has left.
func (m *Manager) awaitAnswer(ctx context.Context, box *mailbox, p *post) ([]byte, error) {
	timer := time.NewTimer(verbTimeout + m.opts.Limits.Handler)
	defer timer.Stop()
	var err error
	select {
	case answer := <-p.answer:
		return answer, nil
	case <-timer.C:
		err = &Error{Code: wire.CodeTimeout, Message: "no answer yet: it will come on the event stream"}
	case <-ctx.Done():
		err = ctx.Err()
	case <-box.ended:
		err = errStreamEnded()
	}
	if box.drop(p) {
		return nil, err
	}
	return <-p.answer, nil
}

// answerError answers a message that did not get onto the connection, as the connection would.
func (m *Manager) answerError(w http.ResponseWriter, c hub.Handle, id string, err error) {
	answer, encodeErr := wire.AppendError(nil, m.told(c, id, err))
	if encodeErr != nil {
		answer, _ = wire.AppendError(nil, wire.ErrorMessage{Code: wire.CodeInternal, Message: sentence(wire.CodeInternal)})
	}
	m.writeAnswer(w, answer)
}

// writeAnswer answers a post with an envelope, and reports whether that went out.
func (m *Manager) writeAnswer(w http.ResponseWriter, answer []byte) bool {
	status := http.StatusOK
	if e, err := wire.ParseErrorMessage(answer); err == nil {
		status = e.Code.HTTPStatus()
		if after := retrySeconds(e.Details); after > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(after))
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	return respond.Send(w, status, answer, []byte("\n")) == nil
}
