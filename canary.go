package switchboard

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// canaryMark begins what canaries are told. A random text follows.
const canaryMark = "canary-mark-"

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
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://canary.invalid/ws?device=canary&ticket="+ticket, http.NoBody)
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
	if !c.await(func(_ string, env wire.Envelope, _ []byte) bool {
		var hello wire.Welcome
		if env.Type != wire.SystemMessage || env.Decode(&hello) != nil {
			return false
		}
		c.id, c.token = hello.ConnectionID, hello.Session.Token
		return c.id != ""
	}) {
		return errors.New("there is no welcome")
	}
	f.m.canaries.connected(c.id)
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

// tryAll tries each way to what is victim's.
func (c *canary) tryAll(ctx context.Context, victim *canary) {
	user, room := victim.home.String(), victim.room().String()
	place := Position{}
	if head, err := c.m.headOf(ctx, victim.home); err == nil {
		place = Position{Epoch: head.Epoch}
	}
	stranger := victim.home != (wire.Topic{Tenant: victim.home.Tenant, Kind: wire.KindUser, ID: c.home.ID}) // else the words mean one's own
	if stranger {
		c.try("history", map[string]any{"topic": user})
		c.try("history", map[string]any{"topic": room})
		c.try("subscribe", map[string]any{"rooms": []string{victim.home.ID}, "since": map[string]any{room: place}})
		if c.m.opts.Authorize == nil { // one that lets everybody in would make it a member
			c.try("join_room", map[string]any{"room": victim.home.ID})
			c.try("room_message", map[string]any{"room": victim.home.ID})
		}
		c.try("thread_open", map[string]any{"thread_id": victim.home.ID, "room": victim.home.ID})
	}
	c.try("thread_open", map[string]any{"thread_id": victim.home.ID})
	c.try("session_restore", map[string]any{"positions": map[string]any{user: place, room: place}, "replace": victim.id})
	c.try("stop_agent", map[string]any{"thread_id": victim.home.ID})
	if ticket, err := (&flock{m: c.m}).ticket(ctx, victim.home); err == nil {
		if c.try("auth", map[string]any{"ticket": ticket}) == wire.AuthOK {
			c.m.leaked(c, "auth")
		}
	}
	c.call(ctx, http.MethodGet, "/threads/"+victim.home.ID, "")
	c.call(ctx, http.MethodGet, "/threads/"+victim.home.ID+"?room="+victim.home.ID, "")
	c.call(ctx, http.MethodPost, "/messages", victim.id)
	if _, there := c.m.hub.Find(victim.id); !there && victim.failed == nil {
		c.way, victim.way = "replace", "stay"
		victim.await(func(string, wire.Envelope, []byte) bool { return false }) // what it was told last
		if victim.ended == wire.CloseReplaced {
			c.m.leaked(c, c.way)
		}
		victim.failed = errEnded
	}
}

var errEnded = errors.New("the connection has ended")

// try is ask, and counts what was answered.
func (c *canary) try(verb string, payload map[string]any) (answer wire.MessageType) {
	if answer = c.ask(verb, payload); answer != "" {
		c.m.count.canaryTries.Add(1)
	}
	return answer
}

// ask sends a message and reads until its answer, whose type it returns: "" if there is none that
// says something.
func (c *canary) ask(verb string, payload map[string]any) (answer wire.MessageType) {
	if c.failed != nil {
		return ""
	}
	c.sent++
	c.way = verb
	id := fmt.Sprint(c.home.ID[len(c.home.ID)-8:], "-", c.sent)
	body, err := wire.Marshal(payload)
	if err != nil {
		return ""
	}
	message, err := wire.Append(nil, Envelope{Type: wire.MessageType(verb), ID: id, Payload: body})
	if err != nil {
		return ""
	}
	if _, c.failed = c.conn.Write(ws.AppendMasked(nil, ws.OpText, true, [4]byte{1, 2, 3, 4}, message)); c.failed != nil {
		return ""
	}
	var refused Code
	if !c.await(func(_ string, env wire.Envelope, frame []byte) bool {
		answer = env.Type
		if e, err := wire.ParseErrorMessage(frame); err == nil {
			refused = e.Code
		}
		return env.ID == id && env.Offset == 0
	}) {
		c.failed = errNoAnswer
		return ""
	}
	if c.failed = blocked(refused); c.failed != nil {
		return ""
	}
	return answer
}

var errNoAnswer = errors.New("there is no answer")

// blocked says that an answer is none to what was asked: it was not looked at.
func blocked(code Code) error {
	switch code {
	case wire.CodeRateLimited, wire.CodeBusy, wire.CodeUnavailable, wire.CodeTimeout, wire.CodeInternal:
		return &Error{Code: code, Message: "not tried"}
	}
	return nil
}

// call tries a call over HTTP, as the session of the canary.
func (c *canary) call(ctx context.Context, method, path, connection string) {
	if c.failed != nil {
		return
	}
	c.way = path
	r, err := http.NewRequestWithContext(ctx, method, "http://canary.invalid"+path, strings.NewReader(`{"type":"ping"}`))
	if err != nil {
		return
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	if connection != "" {
		r.Header.Set(connectionHeader, connection)
	}
	w := &canaryResponse{header: http.Header{}}
	c.m.ClientAPI().ServeHTTP(w, r)
	if w.status == http.StatusUnauthorized || w.status == http.StatusTooManyRequests || w.status >= http.StatusInternalServerError {
		c.failed = fmt.Errorf("the call is refused with %d", w.status)
		return
	}
	c.m.count.canaryTries.Add(1)
	if method == http.MethodPost && w.status < http.StatusBadRequest {
		c.m.leaked(c, path)
	}
	c.look(w.body.Bytes())
}

// await reads until found says so, of a mark that is the canary's own or of a message.
func (c *canary) await(found func(mark string, env wire.Envelope, frame []byte) bool) bool {
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

// canaryResponse is where a canary is answered: a body, or a connection that is taken over.
type canaryResponse struct {
	header http.Header
	status int
	body   bytes.Buffer
	conn   net.Conn // nil: a call
	taken  bool
}

func (w *canaryResponse) Header() http.Header { return w.header }

func (w *canaryResponse) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *canaryResponse) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// Hijack implements [http.Hijacker].
func (w *canaryResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.conn == nil {
		return nil, nil, http.ErrNotSupported
	}
	w.taken = true
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}
