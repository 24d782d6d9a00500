package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// What a [Follower] is told to do, a word a line.
const (
	sayBye   = "bye"  // it closes as a client does that leaves
	closeTab = "tab"  // it ends as a browser ends what a closed tab had
	tellGot  = "tell" // it tells what it has got
)

// Follower is a client process of [Presence]: a user who follows the room.
type Follower struct {
	Host string // of the server, or of what is before it
	User string
}

// followed is what a [Follower] tells.
type followed struct {
	Last, Lost, Twice, Damaged int
	End                        string // why it gave up; "": it did not
}

// Run tells a line on out once it follows the room, does what in says, and ends with in.
func (f Follower) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tab := &tab{}
	clients := fleet{opened: tab.has}
	clients.at.Store(&f.Host)
	m := &member{user: f.User}
	if err := clients.dial(ctx, m); err != nil {
		return err
	}
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	reading.Go(func() { m.read(ctx, answerText) })
	answers := json.NewEncoder(out)
	if err := answers.Encode(m.told()); err != nil {
		return err
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		switch lines.Text() {
		case sayBye:
			return m.c.Close()
		case closeTab:
			return tab.close() // the rest of it goes with the process
		case tellGot:
			if err := answers.Encode(m.told()); err != nil {
				return err
			}
		default:
			return errors.New("a follower was told what it does not know")
		}
	}
	return nil
}

// told is what m has got in the room so far.
func (m *member) told() followed {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := followed{Last: m.inRoom, Lost: m.lost, Twice: m.twice, Damaged: m.damaged}
	if m.end != nil {
		f.End = m.end.Error()
	}
	return f
}

// tab is the connection that a follower has, of which one can be closed as browsers do.
type tab struct {
	mu     sync.Mutex // guards the fields below
	conn   net.Conn
	closed bool
}

// has takes the connection, unless there must be no more.
func (t *tab) has(nc net.Conn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = nc.Close()
		return net.ErrClosed
	}
	t.conn = nc
	return nil
}

// close says what a browser says for a page that is closed, or loaded again.
func (t *tab) close() error {
	t.mu.Lock()
	t.closed = true
	nc := t.conn
	t.mu.Unlock()
	_, err := nc.Write(masked(ws.OpClose, true, []byte{byte(wire.CloseGoingAway >> 8), byte(wire.CloseGoingAway & 0xff)}))
	return err
}
