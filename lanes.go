package switchboard

import (
	"context"
	"slices"
	"sync"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// Bounds of the messages that wait for their handler.
const (
	maxWaiting      = 32        // of one connection
	maxWaitingBytes = 256 << 10 // of one connection
	handlerSlots    = 256       // handlers at work at the same time, on this node
	idleWorkers     = 8         // goroutines that stay when there is no work
)

// lanes queues calls of handlers: in order and one at a time per connection, on a bounded
// number of goroutines. Tenants take turns.
type lanes struct {
	work    func()          // what a worker does: it takes calls by next until there are none
	base    context.Context // parent of all calls; ends when handlers must
	workers sync.WaitGroup

	mu      sync.Mutex // guards the fields below, and those of lanes and calls that say so
	more    *sync.Cond // an idle worker was given a slot, or closed was set
	of      map[hub.Handle]*lane
	turns   []*tenantTurn          // tenants with lanes that are ready, in the order of their turns
	tenants map[string]*tenantTurn // the same, by name
	running int                    // slots that are taken
	idle    int                    // workers that wait for a slot
	given   int                    // slots given to idle workers that have not woken up yet
	closed  bool
}

// lane is the messages of one connection that wait, and the one that is handled. It exists
// only while there are some. All fields are guarded by lanes.mu.
type lane struct {
	c      hub.Handle
	tenant string
	calls  []*call
	bytes  int                     // of calls
	busy   bool                    // a message is being handled, or waits for the same of another lane
	end    context.CancelCauseFunc // ends the context of that one; nil: it has none yet
	gone   error                   // how the connection has ended; nil: it has not
}

// tenantTurn is the lanes of a tenant that have a message ready.
type tenantTurn struct {
	name  string
	ready []*lane
}

func (l *lanes) init(base context.Context, work func()) {
	l.base, l.work = base, work
	l.more = sync.NewCond(&l.mu)
	l.of, l.tenants = make(map[hub.Handle]*lane), make(map[string]*tenantTurn)
}

// room reports whether one message more may wait. Only the goroutine that reads the
// connection adds to its lane, so what it is told stays true until it does.
func (l *lanes) room(c hub.Handle, size int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.roomLocked(c, size)
}

func (l *lanes) roomLocked(c hub.Handle, size int) error {
	found := l.of[c]
	switch {
	case l.closed:
		return ErrClosed
	case found != nil && (len(found.calls) >= maxWaiting || found.bytes+size > maxWaitingBytes):
		return &Error{
			Code: wire.CodeBusy, Message: "too many messages wait", Details: map[string]any{"waiting": len(found.calls)},
		}
	}
	return nil
}

// enqueue puts a call behind those of its connection.
func (l *lanes) enqueue(c *call) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.roomLocked(c.c, c.size); err != nil {
		return err
	}
	found := l.of[c.c]
	if found == nil {
		found = &lane{c: c.c, tenant: c.user.Tenant}
		l.of[c.c] = found
	}
	found.calls = append(found.calls, c)
	found.bytes += c.size
	if !found.busy && len(found.calls) == 1 {
		l.ready(found)
		l.employ()
	}
	return nil
}

// ready gives a lane its turn among those of its tenant. The caller holds l.mu.
func (l *lanes) ready(found *lane) {
	turn := l.tenants[found.tenant]
	if turn == nil {
		turn = &tenantTurn{name: found.tenant}
		l.tenants[found.tenant] = turn
		l.turns = append(l.turns, turn)
	}
	turn.ready = append(turn.ready, found)
}

// employ puts a worker to work if there is something to do and a slot. The caller holds l.mu.
func (l *lanes) employ() {
	if len(l.turns) == 0 || l.running >= handlerSlots {
		return
	}
	l.running++
	if l.idle > l.given {
		l.given++
		l.more.Signal()
		return
	}
	l.workers.Go(l.work)
}

// next takes the message whose turn it is. A caller for whom there is none gives its slot
// back and waits for another, unless enough others do; then it gets nil and must end.
func (l *lanes) next() (*lane, *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if found, c := l.pick(); c != nil {
			return found, c
		}
		l.running--
		if l.idle >= idleWorkers {
			return nil, nil
		}
		l.idle++
		for l.given == 0 && !l.closed {
			l.more.Wait()
		}
		l.idle--
		if l.given == 0 {
			return nil, nil
		}
		l.given--
	}
}

// pick takes the message whose turn it is, if there is one. The caller holds l.mu.
func (l *lanes) pick() (*lane, *call) {
	for len(l.turns) > 0 {
		turn := l.turns[0]
		l.turns = l.turns[1:]
		found := turn.ready[0]
		turn.ready = turn.ready[1:]
		if len(turn.ready) > 0 {
			l.turns = append(l.turns, turn)
		} else {
			delete(l.tenants, turn.name)
		}
		if len(found.calls) == 0 { // the connection has ended since
			l.settle(found)
			continue
		}
		c := found.calls[0]
		found.calls, found.bytes, found.busy = found.calls[1:], found.bytes-c.size, true
		return found, c
	}
	return nil, nil
}

// settle removes a lane in which nothing is left. The caller holds l.mu.
func (l *lanes) settle(found *lane) {
	if len(found.calls) == 0 && !found.busy && l.of[found.c] == found {
		delete(l.of, found.c)
	}
}

// begin makes the context of the call that found is busy with. It ends with the connection.
func (l *lanes) begin(found *lane) (context.Context, context.CancelCauseFunc) {
	ctx, end := context.WithCancelCause(l.base)
	l.mu.Lock()
	found.end = end
	gone := found.gone
	l.mu.Unlock()
	if gone != nil {
		end(gone)
	}
	return ctx, end
}

// done lets a lane go on after one of its messages, and reports whether the caller still
// has a slot to work in.
func (l *lanes) done(found *lane, c *call) (slot bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found.busy, found.end, c.returned = false, nil, true
	if len(found.calls) == 0 {
		l.settle(found)
	} else {
		l.ready(found)
		if c.overtimed {
			l.employ()
		}
	}
	return !c.overtimed
}

// resume gives a lane whose message has waited for the same of another lane its turn
// again, with that message first.
func (l *lanes) resume(found *lane, c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found.busy = false
	if found.gone != nil {
		return
	}
	if l.closed {
		l.settle(found)
		return
	}
	found.calls = slices.Insert(found.calls, 0, c)
	found.bytes += c.size
	l.ready(found)
	l.employ()
}

// giveUp takes the slot from a call whose handler has not returned in time, so that
// handlers that hang hold up nobody but their own connections.
func (l *lanes) giveUp(c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.returned {
		return
	}
	c.overtimed = true
	l.running--
	l.employ()
}

// close drops what waits for a connection that has ended and ends the context of what is
// being handled. What is dropped was never begun, so it is new when it comes again.
func (l *lanes) close(c hub.Handle, why error) {
	l.mu.Lock()
	found := l.of[c]
	if found == nil {
		l.mu.Unlock()
		return
	}
	delete(l.of, c)
	found.calls, found.bytes, found.gone = nil, 0, why
	end := found.end
	l.mu.Unlock()
	if end != nil {
		end(why)
	}
}

// busy reports whether a connection has messages that wait or are handled.
func (l *lanes) busy(c hub.Handle) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of[c] != nil
}

// stop refuses new messages, forgets those that wait, and returns when the last handler has.
func (l *lanes) stop() {
	l.mu.Lock()
	l.closed = true
	for _, found := range l.of {
		found.calls, found.bytes = nil, 0
	}
	l.more.Broadcast()
	l.mu.Unlock()
	l.workers.Wait()
}
