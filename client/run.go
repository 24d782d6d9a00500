package client

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// How long to wait before an attempt to reconnect: a random time up to a limit that
// doubles with each attempt, so that the clients of a failed server do not come at once.
const (
	backoffBase = 100 * time.Millisecond
	backoffCap  = 10 * time.Second
	// steady is how long a connection must have lived for the next loss to count as the first.
	steady = 10 * time.Second
)

// run reads the connection and replaces it when it is lost, until Close or until the
// server refuses the client for good.
func (c *Client) run(l *link) {
	attempts := 0
	for {
		err := c.serve(l)
		c.attach(nil)
		c.acks.lost()
		l.close(err)
		if l.restore != nil {
			c.calls.leave(l.restore)
		}
		if time.Since(l.opened) >= steady {
			attempts = 0
		}
		if l, err = c.reconnect(l, err, &attempts); err != nil {
			c.finish(err)
			return
		}
		c.attach(l)
		if c.life.Err() != nil {
			l.bye() // Close has looked for a connection before there was one
		}
		for _, call := range c.calls.repeats() {
			c.give(l, call)
		}
		c.feed.put(l.ctx, l.hello, len(l.hello.Payload))
	}
}

// serve reads l until it ends, and says why it did.
func (c *Client) serve(l *link) error {
	for {
		if err := c.receive(l); err != nil {
			return err
		}
	}
}

// finish ends all calls and sequences.
func (c *Client) finish(err error) {
	c.calls.end(err)
	if errors.Is(err, ErrClosed) {
		err = nil
	}
	c.feed.end(err)
}

// plan is what to do after a loss or a refusal.
type plan struct {
	final      bool          // give up
	credential bool          // the session's token is no use any more
	after      time.Duration // as the server asked for
}

// judge decides what to do after err.
func judge(err error) plan {
	if _, ok := errors.AsType[*wire.ParseError](err); ok {
		return plan{final: true} // the same would come again
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return plan{}
	}
	switch e.Close {
	case wire.CloseNormal, wire.CloseRevoked, wire.CloseReplaced:
		return plan{final: true}
	case wire.CloseExpired:
		return plan{credential: true}
	case wire.ClosePolicy:
		if e.Code != wire.CodeAuthError {
			return plan{final: true}
		}
	}
	switch e.Code {
	case wire.CodeAuthError:
		return plan{credential: true, after: e.retryAfter}
	case wire.CodeForbidden:
		return plan{final: true}
	}
	return plan{after: e.retryAfter}
}

// reconnect makes the next connection, after old was lost with cause. It makes one attempt
// at a time, first with the session's token. It fails with what ended the client.
func (c *Client) reconnect(old *link, cause error, attempts *int) (*link, error) {
	resume := true
	for {
		if c.life.Err() != nil {
			return nil, ErrClosed
		}
		p := judge(cause)
		if p.final || p.credential && !resume {
			return nil, cause // a credential that was just asked for was refused
		}
		if e, ok := errors.AsType[*Error](cause); ok && e.Close == wire.CloseTooBig {
			c.calls.failAll(cause) // whichever it was, it would be too big again
		}
		resume = resume && !p.credential
		wait := rand.N(min(backoffBase<<min(*attempts, 10), backoffCap)) + max(p.after, time.Until(old.reconnectAt)) //nolint:gosec // who guesses it learns when this client comes back
		*attempts++
		select {
		case <-time.After(wait):
		case <-c.life.Done():
			return nil, ErrClosed
		}
		l, err := c.connect(c.life, resume)
		if err == nil {
			if err = c.begin(l); err == nil {
				return l, nil
			}
			l.close(err)
		}
		cause = err
	}
}

// receive reads one message and does what it asks for.
func (c *Client) receive(l *link) error {
	frame, err := l.read()
	if err != nil {
		return err
	}
	env, err := wire.ParseAnswer(frame)
	if err != nil {
		return fmt.Errorf("the server sent what is no message: %w", err)
	}
	if env.Offset != 0 {
		if !c.track.accept(&env) {
			return nil
		}
		if env.Type == wire.StreamComplete {
			if err := c.texts.complete(env); err != nil {
				return badMessage(env.Type, err)
			}
		}
		c.acks.arrived(env)
		c.feed.put(l.ctx, env, len(frame))
		return nil
	}
	if env.Type == wire.StreamChunk {
		fresh, err := c.texts.chunk(&env)
		if err != nil {
			return badMessage(env.Type, err)
		}
		if fresh {
			c.feed.put(l.ctx, env, len(frame))
		}
		return nil
	}
	var refused error
	if env.Type == wire.ErrorMessageType {
		if c.acks.ours(env.ID) {
			return nil
		}
		if refused, err = unfoldError(&env, frame); err != nil {
			return err
		}
	}
	if err := c.notice(l, env); err != nil {
		return badMessage(env.Type, err)
	}
	if answered := c.calls.answer(env, refused); answered != nil {
		if answered != l.restore {
			if refused == nil {
				c.track.follow(answered.msg.Type, answered.msg)
			}
			return nil
		}
		l.restore = nil
		if refused == nil && c.current() == l {
			c.acks.open(l)
		}
		if refused != nil || c.current() == nil {
			return refused // as a loss of the connection, or to Dial
		}
	}
	switch env.Type {
	case wire.AckType, wire.Ping, wire.Pong, wire.HeartbeatAck:
		return nil // an answer that came twice, or to nobody
	}
	c.feed.put(l.ctx, env, len(frame))
	return nil
}

func badMessage(typ wire.MessageType, err error) error {
	return fmt.Errorf("the server sent a bad %s: %w", typ, err)
}

// unfoldError makes an Error of an error_message and puts its fields into the payload,
// where readers of messages find them.
func unfoldError(env *wire.Envelope, frame []byte) (*Error, error) {
	m, err := wire.ParseErrorMessage(frame)
	if err != nil {
		return nil, fmt.Errorf("the server sent a bad error_message: %w", err)
	}
	env.Payload, err = wire.Marshal(errorFields{Code: m.Code, Message: m.Message, Details: m.Details, Suggestions: m.Suggestions})
	if err != nil {
		return nil, fmt.Errorf("error_message: %w", err)
	}
	return refusal(m), nil
}

// notice takes from a message what concerns the client itself.
func (c *Client) notice(l *link, env wire.Envelope) error {
	switch env.Type {
	case wire.Ping:
		return c.pong(l, env)
	case wire.GapType:
		var g wire.Gap
		if err := env.Decode(&g); err != nil {
			return err
		}
		c.track.gap(g)
	case wire.SessionRestored:
		var r wire.Restored
		if err := env.Decode(&r); err != nil {
			return err
		}
		c.track.restored(r)
	case wire.Subscribed, wire.Unsubscribed, wire.RoomJoined, wire.RoomLeft, wire.ThreadSnapshot:
		return c.noticeTopics(env)
	case wire.AuthOK:
		var ok wire.AuthOKPayload
		if err := env.Decode(&ok); err != nil {
			return err
		}
		c.track.session, l.refreshing = ok.Session, false
	case wire.AuthExpiring:
		if !l.refreshing && (c.opts.Token != nil || c.opts.Ticket != nil) {
			l.refreshing = true
			c.wg.Go(c.refresh)
		}
	case wire.ServerShutdown:
		var s wire.ServerShutdownPayload
		if err := env.Decode(&s); err != nil {
			return err
		}
		after := min(time.Duration(max(s.ReconnectAfterMS, 0))*time.Millisecond, maxRetryAfter)
		l.reconnectAt = time.Now().Add(after)
	}
	return nil
}

// noticeTopics learns where topics begin and end for this client.
func (c *Client) noticeTopics(env wire.Envelope) error {
	var v struct {
		Topics   map[string]wire.Position `json:"topics"`
		Room     string                   `json:"room"`
		Position wire.Position            `json:"position"`
		Runs     []wire.Run               `json:"runs"`
	}
	if err := env.Decode(&v); err != nil {
		return err
	}
	room := wire.Topic{Kind: wire.KindRoom, ID: v.Room}.String()
	switch env.Type {
	case wire.Subscribed:
		for topic, pos := range v.Topics {
			c.track.learn(topic, pos)
		}
	case wire.Unsubscribed:
		for topic := range v.Topics {
			delete(c.track.positions, topic)
			c.acks.forget(topic)
		}
	case wire.RoomJoined:
		c.track.learn(room, v.Position)
	case wire.RoomLeft:
		delete(c.track.positions, room)
		c.acks.forget(room)
	case wire.ThreadSnapshot:
		// What comes before the snapshot's position has been sent before it, also of other
		// threads; where the client stands already, it need not move.
		if env.Topic != "" && !olderPage(c.calls.asked(env.ID)) {
			c.track.learn(env.Topic, v.Position)
		}
		c.texts.snapshot(v.Runs)
	}
	return nil
}

func (c *Client) pong(l *link, ping wire.Envelope) error {
	frame, err := wire.Append(nil, wire.Envelope{Type: wire.Pong, ID: ping.ID})
	if err != nil {
		return err
	}
	l.push(frame)
	return nil
}

// refresh proves the user again on the open connection. If it does not succeed the server
// closes with 4001, and reconnect asks for a credential once more.
func (c *Client) refresh() {
	var req wire.AuthRequest
	var err error
	if c.opts.Token != nil {
		req.Token, err = c.opts.Token(c.life)
	} else {
		req.Ticket, err = c.opts.Ticket(c.life)
	}
	if err == nil {
		_ = c.do(c.life, wire.Auth, req, nil)
	}
}
