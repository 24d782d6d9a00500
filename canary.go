package switchboard

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// canaryMark begins what canaries are told. A random text follows.
const canaryMark = "canary-mark-"

// canaryURL is where canaries connect, but for their tickets.
const canaryURL = "http://canary.invalid/ws?device=canary&ticket="

var canaryMarks = regexp.MustCompile(canaryMark + `[A-Z0-9]{26}`)

// canary is one connection. One goroutine uses it.
type canary struct {
	m     *Manager
	home  wire.Topic // of its user
	conn  *ws.PipeConn
	in    *bufio.Reader
	data  []byte          // read and not taken apart
	id    string          // of the connection
	token string          // of its session
	own   map[string]bool // what was said to it
	last  string          // of them
	next  *canary
	way   string // that is being tried
	sent  int
	ended wire.CloseCode // what the connection was closed with; 0: it lives, or was cut
	run   *Run           // with a text of its own; nil: there is none
	heard []*canaryStream
	// failed is why nothing can be tried any more; nil: all that was tried was answered.
	failed error
}

// room is one that only the canary may enter.
func (c *canary) room() wire.Topic {
	return wire.Topic{Tenant: c.home.Tenant, Kind: wire.KindRoom, ID: c.home.ID}
}

// add connects a canary over a connection in memory, with a ticket.
func (f *flock) add(ctx context.Context, home wire.Topic) error {
	ticket, err := f.ticket(ctx, home)
	if err != nil {
		return err
	}
	near, far := ws.Pipe(256 << 10)
	c := &canary{m: f.m, home: home, conn: near, in: bufio.NewReader(near), own: make(map[string]bool)}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, canaryURL+ticket, http.NoBody)
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
	} {
		r.Header.Set(name, value)
	}
	r.RemoteAddr = far.RemoteAddr().String()
	w := &canaryResponse{conn: far, header: http.Header{}}
	f.m.ServeHTTP(w, r)
	if !w.taken {
		return errors.Join(fmt.Errorf("the handshake is refused with %d", w.status), near.Close(), far.Close())
	}
	c.next, f.first = f.first, c
	resp, err := http.ReadResponse(c.in, r)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	c.way = "connect"
	if !c.await(func(_ string, env Envelope, _ []byte) bool {
		var hello wire.Welcome
		if env.Type != wire.SystemMessage || env.Decode(&hello) != nil {
			return false
		}
		c.id, c.token = hello.ConnectionID, hello.Session.Token
		return c.id != ""
	}) {
		return errors.New("there is no welcome")
	}
	return nil
}

// ticket is one for the user of home, who may do everything in one room.
func (f *flock) ticket(ctx context.Context, home wire.Topic) (string, error) {
	now := time.Now()
	text, _, err := f.m.ticket(ctx, login{shown: now, identity: Identity{
		Tenant: home.Tenant, User: home.ID, Permissions: []string{"room:" + cmp.Or(f.room, home.ID) + ":*"}, Issued: now, Expires: now.Add(max(f.lasts, time.Minute)),
	}}, ticketShortest)
	return text, err
}

// ask sends a message and reads until its answer: the zero envelope if there is none that says
// something.
func (c *canary) ask(verb wire.MessageType, payload map[string]any) Envelope {
	return c.send(Envelope{Type: verb}, payload)
}

// send is ask of a message that names a topic.
func (c *canary) send(env Envelope, payload map[string]any) (answer Envelope) {
	if c.failed != nil {
		return Envelope{}
	}
	c.sent++
	c.way = string(env.Type)
	env.ID = fmt.Sprint(c.home.ID[len(c.home.ID)-8:], "-", c.sent)
	var err error
	if env.Payload, err = wire.Marshal(payload); err != nil {
		return Envelope{}
	}
	message, err := wire.Append(nil, env)
	if err != nil {
		return Envelope{}
	}
	if _, c.failed = c.conn.Write(ws.AppendMasked(nil, ws.OpText, true, [4]byte{1, 2, 3, 4}, message)); c.failed != nil {
		return Envelope{}
	}
	var refused Code
	if !c.await(func(_ string, got Envelope, frame []byte) bool {
		answer = got
		if e, err := wire.ParseErrorMessage(frame); err == nil {
			refused = e.Code
		}
		return got.ID == env.ID && got.Offset == 0
	}) {
		c.failed = errNoAnswer
		return Envelope{}
	}
	if c.failed = blocked(refused); c.failed != nil {
		return Envelope{}
	}
	return answer
}

var (
	errNoAnswer = errors.New("there is no answer")
	errEnded    = errors.New("the connection has ended")
)

// blocked says that an answer is none to what was asked: it was not looked at.
func blocked(code Code) error {
	switch code {
	case wire.CodeRateLimited, wire.CodeBusy, wire.CodeUnavailable, wire.CodeTimeout, wire.CodeInternal:
		return &Error{Code: code, Message: "not tried"}
	}
	return nil
}

// await reads until found says so, of a mark that is the canary's own or of a message.
func (c *canary) await(found func(mark string, env Envelope, frame []byte) bool) bool {
	if c.conn.SetReadDeadline(time.Now().Add(canaryAnswer)) != nil {
		return false
	}
	buf := make([]byte, 4<<10)
	for {
		for {
			op, payload, rest, ok := ws.Cut(c.data)
			if !ok {
				break
			}
			payload = bytes.Clone(payload)
			c.data = rest
			mark := c.look(payload)
			if op == ws.OpClose && len(payload) >= 2 {
				c.ended = wire.CloseCode(binary.BigEndian.Uint16(payload))
			}
			if op != ws.OpText {
				continue
			}
			if env, err := wire.ParseAnswer(payload); err == nil && found(mark, env, payload) {
				return true
			}
		}
		n, err := c.in.Read(buf)
		c.data = append(c.data, buf[:n]...)
		if err != nil && n == 0 {
			return false
		}
	}
}

// look looks for what is another's in what the canary got, and returns what is its own.
func (c *canary) look(b []byte) (own string) {
	for _, found := range canaryMarks.FindAll(b, -1) {
		if mark := string(found); c.own[mark] {
			own = mark
		} else {
			c.m.leaked(c, c.way)
		}
	}
	return own
}
