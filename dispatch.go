package switchboard

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// call is one message on its way to its handler. It names its connection by handle: it
// may wait, and a connection may end meanwhile.
type call struct {
	c         hub.Handle
	user      wire.Topic // who sent it
	env       Envelope
	size      int
	handler   Handler
	position  Position // where it was appended, if it was
	status    string   // of the ack
	result    json.RawMessage
	agent     bool          // the handler starts a run, which itself happens once
	seen      [16]byte      // for the recent messages
	published atomic.Uint64 // messages that the handler published without an id

	answered atomic.Bool
	late     sync.WaitGroup // the goroutine of overtime
	// The handler has returned, or its slot was given up before it did. Guarded by lanes.mu.
	returned, overtimed bool
}

// callKey is the key under which the context of a handler has its call.
type callKey struct{}

// callContext is the context of one handler call, with what belongs to the call.
type callContext struct {
	context.Context
	call *call
}

// Value implements [context.Context].
func (c *callContext) Value(key any) any {
	switch key.(type) {
	case callKey:
		return c.call
	case tenantKey:
		return c.call.user.Tenant
	}
	return c.Context.Value(key)
}

// errOvertime ends a handler that takes longer than Limits.Handler.
var errOvertime error = &Error{Code: wire.CodeTimeout, Message: "the handler took too long"}

// errUnderWay refuses a message while a handler that was too late for it is still at work.
var errUnderWay error = &Error{
	Code: wire.CodeBusy, Message: "the message is being handled", Details: map[string]any{"retry_after_ms": 1000},
}

// work handles messages until none is ready.
func (m *Manager) work() {
	for {
		found, c := m.lanes.next()
		if c == nil {
			return
		}
		seen := seenNever
		if !c.agent {
			seen = m.recent.begin(found, c)
		}
		switch seen {
		case seenNever:
			m.run(found, c)
		case seenRunning:
			continue // finish or overtime resumes the lane
		case seenOverdue:
			m.refuse(c.c, c.env.ID, errUnderWay)
		case seenDone:
			m.ack(c.c, c.env.ID, wire.Ack{Status: wire.StatusDuplicate, Position: c.position}, "")
		}
		if !m.lanes.done(found, c) {
			return
		}
	}
}

// run calls the handler of one message and answers, at the latest when its time is over.
func (m *Manager) run(found *lane, c *call) {
	conn, ok := m.conn(c.c)
	if !ok {
		m.finish(c, false) // it comes again on another connection
		return
	}
	ctx, end := m.lanes.begin(found)
	defer end(nil)
	c.late.Add(1)
	timer := time.AfterFunc(m.opts.Limits.Handler, func() { m.overtime(c, end) })
	err := m.protect(&callContext{Context: ctx, call: c}, conn, c)
	if !timer.Stop() {
		c.late.Wait()
	}
	m.finish(c, err == nil) // after a failure the client may try again with the same id
	if err != nil {
		m.count.handlerErrors.Add(1)
	}
	if c.answered.Swap(true) {
		return
	}
	if err != nil {
		m.auditHandler(conn, c.env.Type, err)
		m.refuse(c.c, c.env.ID, err)
		return
	}
	m.ack(c.c, c.env.ID, wire.Ack{Status: c.status, Position: c.position, Result: c.result}, "")
}

// finish records how a message that was begun has ended, and lets the lanes go on in which
// the same message waits: it is a duplicate now, or one of them handles it.
func (m *Manager) finish(c *call, ok bool) {
	if c.agent {
		return
	}
	for _, w := range m.recent.finish(c.seen, ok, time.Now()) {
		m.lanes.resume(w.lane, w.call)
	}
}

// protect calls the handler. A panic in it is an error.
func (m *Manager) protect(ctx context.Context, conn *Conn, c *call) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = newPanicError(r)
		}
	}()
	return c.handler(ctx, conn, c.env)
}

// overtime answers for a handler whose time is over. The handler may go on: the messages
// behind it wait for it, but the same message on other connections does not.
func (m *Manager) overtime(c *call, end context.CancelCauseFunc) {
	defer c.late.Done()
	if c.answered.Swap(true) {
		return
	}
	end(errOvertime)
	m.refuse(c.c, c.env.ID, errOvertime)
	m.lanes.giveUp(c)
	if c.agent {
		return
	}
	for _, w := range m.recent.overdue(c.seen) {
		m.lanes.resume(w.lane, w.call)
	}
}
