package switchboard

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/netra-systems/switchboard/wire"
)

// Handler answers one message. Messages of a connection are handled in order, one at a time,
// each within Limits.Handler, and beside those of other connections. Nil acknowledges; an
// error is sent as its [CodeOf], its text only if it is an [*Error]; a panic is INTERNAL.
//
// ctx carries the sender's tenant and the message id, and ends with the connection or when
// the time is over. A handler that goes on after that holds up its own connection only. c
// must not be kept. msg has the sender in UserID and, if it was appended to a topic, its
// place; in another message Topic is what the client said, unchecked.
type Handler func(ctx context.Context, c *Conn, msg Envelope) error

// Middleware wraps a Handler.
type Middleware func(Handler) Handler

// Typed is a Handler that decodes the payload into T. What does not fit is refused with
// INVALID_MESSAGE and the path of the field.
func Typed[T any](fn func(ctx context.Context, c *Conn, v T) error) Handler {
	return func(ctx context.Context, c *Conn, msg Envelope) error {
		var v T
		if err := msg.Decode(&v); err != nil {
			return err
		}
		return fn(ctx, c, v)
	}
}

// Call is Typed with an answer: what fn returns becomes the result of the ack. It must be JSON
// of at most 30 levels, or the message is INTERNAL. A message that is sent again after it was
// handled is acknowledged as a duplicate and without the result; who wants that asks anew.
func Call[T, R any](fn func(ctx context.Context, c *Conn, v T) (R, error)) Handler {
	return Typed(func(ctx context.Context, c *Conn, v T) error {
		answer, err := fn(ctx, c, v)
		if err != nil {
			return err
		}
		result, err := wire.Marshal(answer)
		if err != nil {
			return fmt.Errorf("encode the answer: %w", err)
		}
		setResult(ctx, result, true)
		return nil
	})
}

// router finds handlers.
type router struct{ table atomic.Pointer[routes] }

// routes is immutable.
type routes struct {
	handlers   map[wire.MessageType]route
	middleware []Middleware
	wrapped    map[wire.MessageType]route // the handlers in their middleware
}

// route is what a type of message goes to.
type route struct {
	handler Handler // nil: there is none
	agent   bool    // it starts runs
}

// Use adds middleware around all handlers, those of before too; the first one added is the
// outermost. Messages that are being handled are not affected. It panics on nil.
func (m *Manager) Use(mw ...Middleware) {
	for _, w := range mw {
		if w == nil {
			panic("switchboard: Use of a nil Middleware")
		}
	}
	m.router.change(func(r *routes) { r.middleware = append(r.middleware, mw...) })
}

// Handle registers the handler of one type. Like http.ServeMux it panics on a duplicate, on
// nil, on a type that is none, and on one that the core answers itself: verbs and events of
// runs. Messages of types without a handler are answered as unhandled.
func (m *Manager) Handle(typ wire.MessageType, h Handler) { m.handle(typ, h, false) }

// handle registers a handler, of which agent says that it starts runs.
func (m *Manager) handle(typ wire.MessageType, h Handler, agent bool) {
	switch err := wire.CheckID(string(typ)); {
	case err != nil:
		panic(fmt.Sprintf("switchboard: Handle of type %q: %v", typ, err))
	case h == nil:
		panic(fmt.Sprintf("switchboard: Handle of %s with a nil Handler", typ))
	case typ.Verb() || typ.RunEvent():
		panic(fmt.Sprintf("switchboard: Handle of %s, which is answered by the core", typ))
	}
	m.router.change(func(r *routes) {
		if _, taken := r.handlers[typ]; taken {
			panic(fmt.Sprintf("switchboard: %s has a handler already", typ))
		}
		r.handlers[typ] = route{handler: h, agent: agent}
	})
}

// change applies fn to a copy of the routes and wraps all handlers anew. Middleware is
// called without a lock, so it may be called more than once when changes meet.
func (r *router) change(fn func(*routes)) {
	for {
		old := r.table.Load()
		next := routes{handlers: make(map[wire.MessageType]route), wrapped: make(map[wire.MessageType]route)}
		if old != nil {
			maps.Copy(next.handlers, old.handlers)
			next.middleware = slices.Clip(old.middleware)
		}
		fn(&next)
		for typ, h := range next.handlers {
			for _, wrap := range slices.Backward(next.middleware) {
				h.handler = wrap(h.handler)
			}
			next.wrapped[typ] = h
		}
		if r.table.CompareAndSwap(old, &next) {
			return
		}
	}
}

// find returns the handler of a type, in its middleware.
func (r *router) find(typ wire.MessageType) route {
	if t := r.table.Load(); t != nil {
		return t.wrapped[typ]
	}
	return route{}
}
