package isolation_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// client is a connection: a WebSocket, or an event stream whose messages are posted.
type client struct {
	w         *world
	number    int
	node      *node
	person    person
	token     string // "": it came with something else, and cannot post
	events    bool
	conn      io.ReadWriteCloser
	reading   sync.WaitGroup
	id        string // of the connection
	session   string // token
	sessionID string

	// Of the story's goroutine.
	left bool // it hung up, or was closed by one who may

	// Guarded by the monitor's lock.
	held []granted

	mu      sync.Mutex // guards the fields below
	got     map[int]bool
	answers map[string]wire.MessageType // by the id of the message
	follows map[string]bool             // topics, as the server said
	ended   string                      // why; "": it goes on
}

func (c *client) name() string {
	return fmt.Sprintf("client %d, %q of %q", c.number, c.person.user, c.person.tenant)
}

func (c *client) may(m *monitor, k mark) bool {
	switch {
	case k.kind == "connection":
		return k.id == c.id
	case k.kind == "void" || k.tenant != c.person.tenant:
		return false
	case k.kind == "all" || k.by == c.person:
		return true
	case k.kind == "user":
		return k.id == c.person.user
	case k.kind == "presence":
		return k.id == c.person.user || m.mayMeet(c.person, c.held, k.by)
	}
	return m.mayRoom(c.person, c.held, k)
}

func (c *client) keeps(who person) bool { return who == c.person }

func (c *client) rights() rights {
	c.w.m.mu.Lock()
	defer c.w.m.mu.Unlock()
	return c.held[len(c.held)-1].rights
}

// grant changes what a client may do.
func (c *client) grant(r rights) {
	c.w.m.mu.Lock()
	defer c.w.m.mu.Unlock()
	c.held = append(c.held, granted{c.w.m.step, r})
}

func (c *client) has(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got[n]
}

func (c *client) over() bool { return c.why() != "" }

func (c *client) why() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

func (c *client) followed(topic string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.follows[topic]
}

func (c *client) answered(id string) wire.MessageType {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answers[id]
}

// entrance is how somebody tries to connect.
type entrance struct {
	person    person // whom the credential is of
	rights    rights
	token     string
	session   string // instead of a token
	ticket    string // instead of both
	events    bool
	lastEvent string
	resume    bool
}

// connect tries to get in. It returns nil if that was refused.
func (w *world) connect(n *node, e entrance) *client {
	a, b := ws.Pipe(1 << 20)
	n.conns <- b
	c := &client{
		w: w, number: len(w.clients), node: n, person: e.person, token: e.token, events: e.events, conn: a,
		got: map[int]bool{}, answers: map[string]wire.MessageType{}, follows: map[string]bool{},
	}
	w.m.mu.Lock()
	c.held = []granted{{w.m.step, e.rights}}
	w.m.mu.Unlock()
	path := "/ws?"
	if e.events {
		path = "/events?"
	}
	if e.ticket != "" {
		path += "ticket=" + e.ticket + "&"
	}
	if e.resume && !e.events {
		path += "resume=1&"
	}
	r, err := http.NewRequest(http.MethodGet, "http://switchboard.test"+path, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	if e.session != "" {
		c.token = e.session
	}
	if e.ticket == "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if e.lastEvent != "" {
		r.Header.Set("Last-Event-ID", e.lastEvent)
	}
	if !e.events {
		r.Header.Set("Upgrade", "websocket")
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Sec-WebSocket-Version", "13")
		r.Header.Set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
	}
	if err := a.SetDeadline(time.Now().Add(24 * time.Hour)); err != nil {
		w.t.Fatal(err)
	}
	if err := r.Write(a); err != nil {
		w.t.Fatal(err)
	}
	in := bufio.NewReader(a)
	resp, err := http.ReadResponse(in, r)
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols && (!e.events || resp.StatusCode != http.StatusOK) {
		body, _ := io.ReadAll(resp.Body)
		w.m.inspect(nobody("who was refused"), path, body)
		_ = a.Close()
		return nil
	}
	welcomed := make(chan struct{})
	c.reading.Go(func() {
		if e.events {
			c.readEvents(resp.Body, welcomed)
		} else {
			c.readFrames(in, welcomed)
		}
	})
	<-welcomed
	w.clients = append(w.clients, c)
	w.settle()
	return c
}

// readFrames takes what comes until the end. The first message is the welcome.
func (c *client) readFrames(in io.Reader, welcomed chan struct{}) {
	var once sync.Once
	defer once.Do(func() { close(welcomed) })
	var data []byte
	buf := make([]byte, 32<<10)
	for {
		n, err := in.Read(buf)
		data = append(data, buf[:n]...)
		for {
			op, payload, rest, ok := ws.Cut(data)
			if !ok {
				break
			}
			c.take(op, bytes.Clone(payload))
			once.Do(func() { close(welcomed) })
			data = rest
		}
		if err != nil {
			c.finish("cut off")
			return
		}
	}
}

func (c *client) readEvents(body io.Reader, welcomed chan struct{}) {
	var once sync.Once
	defer once.Do(func() { close(welcomed) })
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			c.take(ws.OpText, []byte(data))
			once.Do(func() { close(welcomed) })
		} else {
			c.w.m.inspect(c, "a line of an event", lines.Bytes())
		}
	}
	c.finish("cut off")
}

func (c *client) finish(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended == "" {
		c.ended = why
	}
}

// take looks at one frame.
func (c *client) take(op ws.Opcode, payload []byte) {
	switch op {
	case ws.OpPing:
		_, _ = c.conn.Write(ws.AppendMasked(nil, ws.OpPong, true, [4]byte{1, 2, 3, 4}, payload))
		return
	case ws.OpClose:
		c.w.m.inspect(c, "a close", payload)
		if len(payload) >= 2 {
			c.finish(fmt.Sprint(binary.BigEndian.Uint16(payload), " ", string(payload[2:])))
		}
		return
	case ws.OpText:
	default:
		c.w.m.wrong("%s got a frame %v", c.name(), op)
		return
	}
	env, err := wire.ParseAnswer(payload)
	if err != nil {
		c.w.m.wrong("%s got %s: %v", c.name(), cut(payload), err)
		return
	}
	if env.Type == wire.SystemMessage && c.id == "" {
		var hello wire.Welcome
		if err := env.Decode(&hello); err == nil && hello.Event == wire.WelcomeEvent {
			c.id, c.session, c.sessionID = hello.ConnectionID, hello.Session.Token, hello.Session.ID
			if hello.UserID != c.person.user {
				c.w.m.wrong("%s is welcomed as %q", c.name(), hello.UserID)
			}
		}
	}
	marks := c.w.m.inspect(c, string(env.Type), payload)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range marks {
		c.got[n] = true
	}
	if env.ID != "" && env.Offset == 0 {
		c.answers[env.ID] = env.Type
	}
	if env.Type == wire.SystemMessage && bytes.Contains(payload, []byte("connection_closed")) {
		c.ended = "closed"
	}
	c.note(env)
}

// note remembers what the client was told that it follows. The caller holds mu.
func (c *client) note(env wire.Envelope) {
	switch env.Type {
	case wire.Subscribed:
		var p wire.SubscribedPayload
		if env.Decode(&p) == nil {
			for topic := range p.Topics {
				c.follows[topic] = true
			}
		}
	case wire.Unsubscribed:
		var p wire.SubscribedPayload
		if env.Decode(&p) == nil {
			for topic := range p.Topics {
				delete(c.follows, topic)
			}
		}
	case wire.SessionRestored:
		var p wire.Restored
		if env.Decode(&p) == nil {
			for topic, t := range p.Topics {
				if t.Reason == wire.ReasonForbidden {
					delete(c.follows, topic)
				}
			}
		}
	case wire.RoomJoined, wire.RoomLeft:
		var p struct {
			Room string `json:"room"`
		}
		if env.Decode(&p) == nil {
			if env.Type == wire.RoomJoined {
				c.follows["room/"+p.Room] = true
			} else {
				delete(c.follows, "room/"+p.Room)
			}
		}
	}
}

// send sends a message on the connection, and lets it have its effect. It returns the type of
// the answer.
func (c *client) send(typ, fields string, payload any) wire.MessageType {
	c.w.number++
	id := fmt.Sprint("m-", c.w.number)
	body, err := json.Marshal(payload)
	if err != nil {
		c.w.t.Fatal(err)
	}
	text := fmt.Sprintf(`{"type":%q,"message_id":%q%s,"payload":%s}`, typ, id, fields, body)
	if !c.events {
		c.raw(text)
		return c.answered(id)
	}
	_, answer := c.post(c, text)
	env, err := wire.ParseAnswer([]byte(strings.TrimSpace(answer)))
	if err != nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note(env)
	return env.Type
}

// raw writes a text frame as it is.
func (c *client) raw(text string) {
	if c.events {
		c.post(c, text)
		return
	}
	_, _ = c.conn.Write(ws.AppendMasked(nil, ws.OpText, true, [4]byte{1, 2, 3, 4}, []byte(text))) // one that has ended
	c.w.settle()
}

// post posts a message on some event stream with the credential of c.
func (c *client) post(to *client, text string) (int, string) {
	status, body := c.w.call(c, to.node, http.MethodPost, "/messages", c.token, text, "Switchboard-Connection", to.id)
	c.w.settle()
	return status, body
}

func (c *client) hangUp() {
	c.left = true
	_ = c.conn.Close()
}

// live are the clients that are there.
func (w *world) live() []*client {
	return slices.DeleteFunc(slices.Clone(w.clients), func(c *client) bool { return c.left || c.over() })
}

// lastEvent is the id of an event that somebody has made up.
func lastEvent(had wire.Restore) string {
	body, err := wire.Marshal(had)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(body)
}
