package hub

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// busyEngine calls back in the middle of a Write, when the connection's lock
// is held.
type busyEngine struct {
	*fakeEngine
	during func()
}

func (e *busyEngine) Write(s ws.Socket, bufs [][]byte) (int, bool, error) {
	n, blocked, err := e.fakeEngine.Write(s, bufs)
	if fn := e.during; fn != nil {
		e.during = nil
		fn()
	}
	return n, blocked, err
}

// The window in which a wake-up could be lost, held open: another message
// comes when the connection has been looked at and its lock is still taken.
func TestAMessageThatComesWhileAnotherIsWrittenIsNotLost(t *testing.T) {
	for _, second := range []string{"user/a", "room/r", "all"} {
		t.Run(second, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				busy := new(busyEngine)
				r := newRig(t, func(c *Config, e *fakeEngine) {
					open := c.Engine
					c.Engine = func(s ws.Sink) ws.Engine {
						open(s)
						busy.fakeEngine = e
						return busy
					}
				})
				a := r.open(user("a"))
				a.join(room("r"))
				again, err := wire.ParseTopic("", second)
				if err != nil {
					t.Fatal(err)
				}
				busy.during = func() {
					done := make(chan struct{})
					go func() {
						defer close(done)
						r.ingestNext(again)
					}()
					<-done
				}
				r.publish(user("a"))
				synctest.Wait()
				if n := len(a.got.frames()); n != 2 {
					t.Errorf("got %d messages, want both", n)
				}
			})
		})
	}
}

// TestWakeUpRules explores every interleaving of two publishers, a socket that
// blocks and becomes writable, and whoever holds the lock of a connection, in
// a model of wakeWith and Writable. At rest nothing may be left unwritten.
func TestWakeUpRules(t *testing.T) {
	for _, rule := range []struct {
		name        string
		relook      bool // after giving the lock up, look at the mark again
		clearFirst  bool // clear the mark before looking, not after
		markFirst   bool // set the mark before trying the lock
		wantTrouble bool
	}{
		{"as built", true, true, true, false},
		{"without the second look", false, true, true, true},
		{"mark cleared after looking", true, false, true, true},
		{"mark set only after a failed try", true, true, false, true},
	} {
		t.Run(rule.name, func(t *testing.T) {
			m := model{relook: rule.relook, clearFirst: rule.clearFirst, markFirst: rule.markFirst, seen: map[modelState]bool{}}
			m.explore(modelState{})
			if (m.stuck != "") != rule.wantTrouble {
				t.Errorf("got trouble %q after %d states, want trouble: %v", m.stuck, len(m.seen), rule.wantTrouble)
			}
			if m.stuck == "" && len(m.seen) < 100 {
				t.Errorf("only %d states explored", len(m.seen))
			}
		})
	}
}

// modelState is a connection, two publishers and an edge of the socket. Each
// actor is at a step of the same program.
type modelState struct {
	head, cursor int8
	mark, locked bool
	blocked      bool // the hub's flag
	armed        bool // the socket was full: an edge will come
	budget       int8 // how often it may become full
	step         [3]int8
	sees         [3]int8
}

type model struct {
	relook, clearFirst, markFirst bool

	seen  map[modelState]bool
	stuck string
}

const (
	stepAppend = iota // publishers begin here
	stepMark
	stepTry
	stepClear
	stepLook
	stepWrite
	stepUnlock
	stepRelook
	stepDone
)

func (m *model) explore(s modelState) {
	if m.seen[s] || m.stuck != "" {
		return
	}
	m.seen[s] = true
	moved := false
	for actor := range int8(3) {
		for _, next := range m.next(s, actor) {
			moved = true
			m.explore(next)
		}
	}
	if !moved && s.cursor != s.head {
		m.stuck = fmt.Sprintf("%+v", s)
	}
}

// next returns what can happen when an actor moves. Actor 2 is the edge: it
// sleeps until the socket, having been full, has room again.
func (m *model) next(s modelState, a int8) []modelState {
	n := s
	to := func(step int8) []modelState {
		n.step[a] = step
		return []modelState{n}
	}
	switch s.step[a] {
	case stepAppend:
		if a == 2 {
			if !s.armed {
				return nil
			}
			if s.locked { // the edge handler waits for the lock
				return nil
			}
			n.armed = false
			n.locked, n.blocked = true, false
			return to(stepClear)
		}
		n.head++
		if m.markFirst {
			return to(stepMark)
		}
		return to(stepTry)
	case stepMark:
		n.mark = true
		if m.markFirst {
			return to(stepTry)
		}
		return m.rest(n, a)
	case stepTry:
		if s.locked {
			if m.markFirst {
				return m.rest(n, a)
			}
			return to(stepMark)
		}
		n.locked = true
		return to(stepClear)
	case stepClear:
		if m.clearFirst {
			n.mark = false
		}
		return to(stepLook)
	case stepLook:
		n.sees[a] = s.head
		return to(stepWrite)
	case stepWrite:
		if !m.clearFirst {
			n.mark = false
		}
		if s.blocked {
			return to(stepUnlock)
		}
		wrote := n
		wrote.cursor = s.sees[a]
		wrote.step[a] = stepUnlock
		list := []modelState{wrote}
		if s.budget < 2 { // the socket takes nothing this time
			n.budget++
			n.blocked, n.armed = true, true
			list = append(list, to(stepUnlock)...)
		}
		return list
	case stepUnlock:
		n.locked = false
		if m.relook {
			return to(stepRelook)
		}
		return m.rest(n, a)
	case stepRelook:
		if s.mark {
			return to(stepTry)
		}
		return m.rest(n, a)
	}
	return nil
}

// rest ends a publisher; the edge waits for the next one.
func (m *model) rest(n modelState, a int8) []modelState {
	n.step[a] = stepDone
	if a == 2 {
		n.step[a] = stepAppend
	}
	return []modelState{n}
}
