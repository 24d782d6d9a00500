package client

import (
	"slices"
	"sync"

	"github.com/netra-systems/switchboard/wire"
)

// call is a message that waits for its answer.
type call struct {
	msg    wire.Envelope
	frame  []byte
	repeat bool          // send it again on every new connection
	done   chan struct{} // closed once answer and err are set
	answer wire.Envelope
	err    error

	waiters int   // guarded by calls.mu
	sentOn  *link // guarded by calls.mu: the connection it was last given to
}

// calls are the messages that wait for an answer, in the order they were sent.
type calls struct {
	mu    sync.Mutex // guards the fields below and what call says
	open  []*call
	ended error // why no call can be made any more
}

// begin registers a call. If one with the same id is open already, that one is returned, so
// that both wait for one answer.
func (cs *calls) begin(msg wire.Envelope, frame []byte, repeat bool) (*call, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.ended != nil {
		return nil, cs.ended
	}
	if i := cs.index(msg.ID); i >= 0 {
		cs.open[i].waiters++
		return cs.open[i], nil
	}
	c := &call{msg: msg, frame: frame, repeat: repeat, done: make(chan struct{}), waiters: 1}
	cs.open = append(cs.open, c)
	return c, nil
}

func (cs *calls) index(id string) int {
	return slices.IndexFunc(cs.open, func(c *call) bool { return c.msg.ID == id })
}

// leave ends one wait. A call that nobody waits for is not sent again.
func (cs *calls) leave(c *call) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c.waiters--; c.waiters == 0 {
		cs.remove(c)
	}
}

func (cs *calls) remove(c *call) {
	cs.open = slices.DeleteFunc(cs.open, func(o *call) bool { return o == c })
}

// claim reports whether c has not been given to l yet, and notes that it is now.
func (cs *calls) claim(c *call, l *link) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c.sentOn == l {
		return false
	}
	c.sentOn = l
	return true
}

// repeats returns the calls that a new connection has to send again.
func (cs *calls) repeats() []*call {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(cs.open), func(c *call) bool { return !c.repeat })
}

// answer ends the call that env, which is not durable, answers and returns it, or nil if
// there is none. The message itself, which may come back with the same id, is no answer.
func (cs *calls) answer(env wire.Envelope, err error) *call {
	if env.ID == "" {
		return nil
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	i := cs.index(env.ID)
	if i < 0 || cs.open[i].msg.Type == env.Type {
		return nil
	}
	c := cs.open[i]
	c.answer, c.err = env, err
	cs.remove(c)
	close(c.done)
	return c
}

// asked returns the message with that id that waits for its answer; none is the zero value.
func (cs *calls) asked(id string) wire.Envelope {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if i := cs.index(id); i >= 0 {
		return cs.open[i].msg
	}
	return wire.Envelope{}
}

// fail ends c with err, if it is open.
func (cs *calls) fail(c *call, err error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.failLocked(c, err)
}

func (cs *calls) failLocked(c *call, err error) {
	if !slices.Contains(cs.open, c) {
		return
	}
	c.err = err
	cs.remove(c)
	close(c.done)
}

// failAll ends all open calls with err.
func (cs *calls) failAll(err error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, c := range slices.Clone(cs.open) {
		cs.failLocked(c, err)
	}
}

// end fails all calls, these and later ones. Only the first call of end counts.
func (cs *calls) end(err error) {
	cs.mu.Lock()
	if cs.ended == nil {
		cs.ended = err
	}
	cs.mu.Unlock()
	cs.failAll(err)
}
