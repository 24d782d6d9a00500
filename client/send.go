package client

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"github.com/netra-systems/switchboard/wire"
)

// Message is what a user sends.
type Message struct {
	// Type is user_message, chat, or one of the application's.
	Type wire.MessageType
	// Payload becomes a JSON object; json.RawMessage passes through; nil is none.
	Payload any
	// ID makes sending safe to repeat: the server handles one id once. "": a new one.
	ID string
	// Thread is the conversation; "": the default one.
	Thread string
	// Room is the shared conversation that Thread is in; "": the user's own.
	Room string
}

// Send sends msg and waits for the server's answer, across reconnects: on each new
// connection it is sent again, with the same id, which the server handles once. A refusal
// is an [*Error]. If ctx ends first, nothing is known about what became of msg; sending it
// again with the same ID is safe. Types that the server never answers (typing_started,
// typing_stopped, ack) return at once, if there is a connection.
func (c *Client) Send(ctx context.Context, msg Message) (wire.Ack, error) {
	env := wire.Envelope{Type: msg.Type, ID: msg.ID, ThreadID: msg.Thread}
	if msg.Room != "" {
		if err := wire.CheckID(msg.Room); err != nil {
			return wire.Ack{}, fmt.Errorf("room %w", err)
		}
		env.Topic = wire.Topic{Kind: wire.KindRoom, ID: msg.Room}.String()
	}
	c.feed.start()
	answer, err := c.roundTrip(ctx, env, msg.Payload, true)
	if err != nil {
		return wire.Ack{}, err
	}
	ack := wire.Ack{MessageID: answer.ID, Status: wire.StatusOK}
	if answer.Type == wire.AckType {
		if err := answer.Decode(&ack); err != nil {
			return wire.Ack{}, fmt.Errorf("ack: %w", err)
		}
	}
	return ack, nil
}

// Do sends a verb of the core (join_room, thread_open, stop_agent, approve, …) with its
// payload, and decodes the payload of the answer into answer, which may be nil. A refusal
// is an [*Error]. It fails with [ErrNotConnected], rather than wait for a reconnect, when
// there is no connection or when it is lost before the answer. Verbs that are never
// answered (logout, typing_started, typing_stopped, ack) return at once.
func (c *Client) Do(ctx context.Context, verb wire.MessageType, payload, answer any) error {
	if verb == wire.SessionRestore {
		return fmt.Errorf("%s is the client's own business", verb)
	}
	c.feed.start()
	return c.do(ctx, verb, payload, answer)
}

func (c *Client) do(ctx context.Context, verb wire.MessageType, payload, answer any) error {
	got, err := c.roundTrip(ctx, wire.Envelope{Type: verb}, payload, false)
	if err != nil || answer == nil {
		return err
	}
	if err := got.Decode(answer); err != nil {
		return fmt.Errorf("%s: %w", got.Type, err)
	}
	return nil
}

// unanswered reports whether the server never answers a message of type t.
func unanswered(t wire.MessageType) bool {
	switch t {
	case wire.TypingStarted, wire.TypingStopped, wire.AckType, wire.Logout:
		return true
	}
	return false
}

// encode completes env with its payload and an id.
func encode(env wire.Envelope, payload any) (wire.Envelope, []byte, error) {
	env.ID = cmp.Or(env.ID, wire.NewID())
	switch p := payload.(type) {
	case nil:
	case json.RawMessage:
		if len(p) > 0 {
			env.Payload = p
		}
	default:
		raw, err := wire.Marshal(p)
		if err != nil {
			return env, nil, fmt.Errorf("%s: payload: %w", env.Type, err)
		}
		env.Payload = raw
	}
	frame, err := wire.Append(nil, env)
	if err != nil {
		return env, nil, fmt.Errorf("%s: %w", env.Type, err)
	}
	return env, frame, nil
}

// order makes a call for a verb, without sending it.
func (c *Client) order(verb wire.MessageType, payload any) (*call, error) {
	env, frame, err := encode(wire.Envelope{Type: verb}, payload)
	if err != nil {
		return nil, err
	}
	return c.calls.begin(env, frame, false)
}

// roundTrip sends a message and waits for its answer.
func (c *Client) roundTrip(ctx context.Context, env wire.Envelope, payload any, repeat bool) (wire.Envelope, error) {
	env, frame, err := encode(env, payload)
	if err != nil {
		return wire.Envelope{}, err
	}
	l := c.current()
	if unanswered(env.Type) {
		if l == nil {
			return wire.Envelope{}, ErrNotConnected
		}
		l.push(frame)
		return wire.Envelope{ID: env.ID}, nil
	}
	call, err := c.calls.begin(env, frame, repeat)
	if err != nil {
		return wire.Envelope{}, err
	}
	defer c.calls.leave(call)
	c.feed.await(1)
	defer c.feed.await(-1)
	// The connection is looked up after the call is known: whichever comes later, the call
	// or a new connection, sees the other.
	if l = c.current(); l != nil {
		c.give(l, call)
	}
	var lost <-chan struct{}
	if !repeat {
		if l == nil {
			return wire.Envelope{}, ErrNotConnected
		}
		lost = l.ctx.Done()
	}
	select {
	case <-call.done:
	case <-ctx.Done():
		return wire.Envelope{}, ctx.Err()
	case <-lost:
		select {
		case <-call.done: // the answer was the last thing that came
		default:
			return wire.Envelope{}, ErrNotConnected
		}
	}
	return call.answer, call.err
}

// give sends a call on l, unless it has been already. What the server would refuse by
// closing the connection is refused here.
func (c *Client) give(l *link, call *call) {
	if !l.fits(call.frame) {
		c.calls.fail(call, &Error{
			Code: wire.CodeTooLarge, Message: "message is too large",
			Details: map[string]any{"limit": float64(l.welcome.Config.MaxMessageSize)},
		})
		return
	}
	if c.calls.claim(call, l) {
		l.push(call.frame)
	}
}
