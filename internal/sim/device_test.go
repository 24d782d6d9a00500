package sim_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing/synctest"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// device is a client that follows the rule of docs/protocol.md, by itself and so that what it
// was sent can be compared with what it should have been.
type device struct {
	w            *world
	name         string
	tenant, user string

	// Of the session.
	session  wire.SessionInfo
	sessions []string                 // ids that it had: after a resume=1 it is another
	at       map[string]wire.Position // what it has, by topic
	since    map[string]wire.Position // from where on it must have everything
	has      map[string]map[wire.Position]bool
	lost     map[string][]wire.Gap
	texts    map[string]string
	ended    map[string]bool // texts whose end it has
	threads  []string        // nil: all
	restores bool            // it may still send a late session_restore

	// Of the connection. nil: there is none.
	client, server  *ws.PipeConn
	node            *node
	id              string
	in, out         []byte
	welcomed        bool
	handshaken      bool
	held            bool
	way             way
	opening         wire.MessageType         // thread_open or switch_thread, the last that it sent
	restoring       map[string]bool          // topics of which nothing counts before session_restored
	asking          map[string]wire.Position // what the last session_restore said
	last            map[string]uint64        // offset of the last message, as it was sent
	base            map[string]int           // volatile messages of the node before it followed the topic
	passed          map[string]int           // volatile messages it was sent, or told of
	newest          map[string]int           // of class latest, by topic and key
	asked           map[string]bool          // ids that it used
	calls, answered int                      // messages that it sent, and the number of the one that was answered last
	naming          int                      // number of the one by which it has named all its threads again
}

func (w *world) newDevice(tenant, user string) *device {
	d := &device{w: w, name: fmt.Sprintf("%s/%s#%d", tenant, user, len(w.devices)), tenant: tenant, user: user}
	d.forget()
	w.devices = append(w.devices, d)
	return d
}

// forget makes it a new session.
func (d *device) forget() {
	d.session, d.sessions = wire.SessionInfo{}, nil
	d.at, d.since = map[string]wire.Position{}, map[string]wire.Position{}
	d.has, d.lost = map[string]map[wire.Position]bool{}, map[string][]wire.Gap{}
	d.texts, d.ended, d.threads = map[string]string{}, map[string]bool{}, nil
}

func (d *device) topic(address string) wire.Topic {
	topic, err := wire.ParseTopic(d.tenant, address)
	if err != nil {
		d.w.wrong("%s: got a message of %q: %v", d.name, address, err)
	}
	return topic
}

// connect connects to a node, as its session if it has one.
func (d *device) connect(n *node, buffer int) {
	client, server, ok := n.ln.dial(buffer)
	if !ok {
		return
	}
	d.client, d.server, d.node = client, server, n
	d.in, d.out = nil, nil
	d.handshaken, d.welcomed, d.held, d.restores = false, false, false, true
	d.restoring, d.last = map[string]bool{}, map[string]uint64{}
	d.base, d.passed, d.newest, d.asked = map[string]int{}, map[string]int{}, map[string]int{}, map[string]bool{}
	d.way = d.chooseWay()
	path := "/ws"
	if d.way == byCredential {
		path += "?resume=1"
	}
	head := "GET " + path + " HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
	if d.session.Token == "" || d.way == byCredential {
		head += "Authorization: Bearer " + d.tenant + "/" + d.user + "\r\n"
	} else {
		head += "Sec-WebSocket-Protocol: switchboard.v1, session." + base64.RawURLEncoding.EncodeToString([]byte(d.session.Token)) + "\r\n"
	}
	d.w.tell("%s connects to %s, session %.8s, %s, buffer %d", d.name, n.name, d.session.ID, d.way, buffer)
	d.out = append(d.out, head+"\r\n"...)
	d.push()
}

// push writes what it wants to say as far as there is room.
func (d *device) push() {
	if d.client == nil || len(d.out) == 0 {
		return
	}
	n, err := d.client.TryWrite([][]byte{d.out})
	d.out = d.out[n:]
	if err != nil {
		d.lose("cannot write")
	}
}

// say sends a message and remembers its id.
func (d *device) say(typ wire.MessageType, payload any) {
	d.calls++
	id := d.name + "-" + d.id + "-" + strconv.Itoa(d.calls)
	body, err := json.Marshal(payload)
	if err != nil {
		d.w.t.Fatal(err)
	}
	env, err := wire.Append(nil, wire.Envelope{Type: typ, ID: id, Payload: body})
	if err != nil {
		d.w.t.Fatal(err)
	}
	d.asked[id] = true
	d.out = ws.AppendMasked(d.out, ws.OpText, true, [4]byte{1, 2, 3, 4}, env)
	d.push()
}

// lose is the end of its connection.
func (d *device) lose(why string) {
	if d.client == nil {
		return
	}
	d.w.tell("%s has lost its connection: %s", d.name, why)
	d.hangUp()
}

func (d *device) hangUp() {
	if d.client == nil {
		return
	}
	_ = d.client.Close()
	d.client, d.server, d.node, d.welcomed = nil, nil, nil, false
	synctest.Wait()
}

// read takes at most so many bytes from the socket and does what they say. It reports whether
// there were any.
func (d *device) read(most int) (some bool) {
	d.push()
	buf := make([]byte, 4<<10)
	for d.client != nil && most > 0 {
		n, err := d.client.TryRead(buf[:min(len(buf), most)])
		most -= n
		d.in = append(d.in, buf[:n]...)
		d.take()
		if err != nil {
			d.lose(err.Error())
			return true
		}
		if n == 0 {
			return some
		}
		some = true
	}
	return some
}

// take handles what has come in whole.
func (d *device) take() {
	if !d.handshaken {
		end := bytes.Index(d.in, []byte("\r\n\r\n"))
		if end < 0 {
			return
		}
		if !bytes.HasPrefix(d.in, []byte("HTTP/1.1 101")) {
			d.w.tell("%s is refused: %.40q", d.name, d.in)
			d.lose("refused")
			return
		}
		d.in, d.handshaken = d.in[end+4:], true
	}
	for d.client != nil {
		op, payload, rest, ok := ws.Cut(d.in)
		if !ok {
			return
		}
		d.in = rest
		switch op {
		case ws.OpText:
			d.message(payload)
		case ws.OpPing:
			d.out = ws.AppendMasked(d.out, ws.OpPong, true, [4]byte{}, payload)
			d.push()
		case ws.OpPong:
		case ws.OpClose:
			d.lose(fmt.Sprintf("close %q", payload))
		default:
			d.w.wrong("%s: bytes that are no frame: %x", d.name, op)
			d.lose("broken")
		}
	}
}

// message does what one message says.
func (d *device) message(raw []byte) {
	env, err := wire.ParseAnswer(raw)
	if err != nil {
		d.w.wrong("%s: %q is no message: %v", d.name, raw, err)
		return
	}
	d.w.tell("%s < %s", d.name, raw)
	switch {
	case env.Offset != 0:
		d.durable(env)
		return
	case env.Type == wire.StreamChunk:
		d.chunk(env)
		return
	case env.Type == "passes" || env.Type == "newest":
		d.posting(env)
		return
	}
	switch env.Type {
	case wire.SystemMessage:
		d.welcome(decode[wire.Welcome](d, env))
	case wire.SessionRestored:
		d.restored(decode[wire.Restored](d, env))
	case wire.Subscribed:
		for topic, pos := range decode[wire.SubscribedPayload](d, env).Topics {
			d.learn(topic, pos)
		}
	case wire.Unsubscribed:
		for topic := range decode[wire.SubscribedPayload](d, env).Topics {
			d.unlearn(topic)
		}
	case wire.RoomJoined:
		p := decode[wire.RoomJoinedPayload](d, env)
		if _, known := d.base["room/"+p.Room]; !known && !d.asked[env.ID] {
			d.base["room/"+p.Room] = unknown // another device joined, and volatile messages may have come since
		}
		d.learn("room/"+p.Room, p.Position)
	case wire.RoomLeft:
		d.unlearn("room/" + decode[wire.RoomLeftPayload](d, env).Room)
	case wire.ThreadSnapshot:
		d.snapshot(env, decode[wire.Thread](d, env))
	case wire.GapType:
		d.gap(decode[wire.Gap](d, env))
	case wire.AckType, wire.ErrorMessageType, wire.ServerShutdown, wire.PresenceState, wire.PresenceDiff:
	default:
		d.w.wrong("%s: nobody sends %s", d.name, raw)
	}
	if d.asked[env.ID] {
		_, _ = fmt.Sscanf(env.ID[len(d.name)+len(d.id)+2:], "%d", &d.answered)
	}
	if env.ID != "" && !d.asked[env.ID] && env.Type != wire.RoomJoined && env.Type != wire.RoomLeft && env.Type != wire.ServerShutdown {
		d.w.wrong("%s: got the answer to somebody else's message: %s", d.name, raw)
	}
}

func decode[T any](d *device, env wire.Envelope) (v T) {
	if err := env.Decode(&v); err != nil {
		d.w.wrong("%s: %s: %v", d.name, env.Type, err)
	}
	return v
}

func (d *device) welcome(p wire.Welcome) {
	d.welcomed, d.id, d.held = true, p.ConnectionID, p.Held
	again := d.session.Token != ""
	d.session = p.Session
	if !slices.Contains(d.sessions, p.Session.ID) {
		d.sessions = append(d.sessions, p.Session.ID)
	}
	if again && !p.Held {
		d.w.wrong("%s: a resumed connection is not held", d.name)
	}
	for topic := range p.Topics {
		d.follows(topic)
	}
	named := d.named()
	for topic, pos := range p.Topics {
		if _, is := named[topic]; !is {
			d.beginAt(topic, pos)
		}
	}
	switch {
	case !again:
	case d.way == late: // until then nothing counts
		for topic := range named {
			d.restoring[topic] = true
		}
	default:
		d.restore(named)
	}
}

// unknown stands for a number of volatile messages that the device cannot know.
const unknown = -1

// follows begins to count the volatile messages of a topic.
func (d *device) follows(topic string) {
	if _, known := d.base[topic]; !known {
		d.base[topic] = d.node.tap.passed(d.topic(topic))
	}
}

// restore says where it is, or where it wants to be.
func (d *device) restore(at map[string]wire.Position) {
	lengths := map[string]int{}
	for id, text := range d.texts {
		if !d.ended[id] {
			lengths[id] = utf8.RuneCountInString(text)
		}
	}
	d.restoring, d.asking = map[string]bool{}, at
	for topic := range at {
		d.restoring[topic] = true
	}
	d.say(wire.SessionRestore, wire.Restore{Positions: at, Streams: lengths})
	for _, thread := range d.threads {
		if thread != "" {
			d.say(wire.Subscribe, wire.SubscribeRequest{Threads: []string{thread}})
			continue
		}
		d.opening = "" // it has chosen the default thread before
		d.say(wire.ThreadOpen, wire.ThreadOpenRequest{})
	}
	d.naming = d.calls
}

func (d *device) restored(p wire.Restored) {
	d.restoring, d.held = map[string]bool{}, false
	for topic, state := range p.Topics {
		switch {
		case state.Reason == wire.ReasonForbidden:
			d.unlearn(topic)
			continue
		case state.Recovered && state.From != d.at[topic] && !p.Rewind:
			d.w.wrong("%s: %s goes on from %s, and it has %s", d.name, topic, state.From, d.at[topic])
		}
		d.follows(topic)
		if _, known := d.at[topic]; !known { // it was told to have left the room, and came back
			d.beginAt(topic, d.asking[topic])
		}
		delete(d.last, topic) // what was sent before is sent again
	}
}

// learn takes the place of a topic that it begins to follow.
func (d *device) learn(topic string, pos wire.Position) {
	d.follows(topic)
	if _, known := d.at[topic]; !known {
		d.beginAt(topic, pos)
	}
}

// beginAt forgets what it had of a topic.
func (d *device) beginAt(topic string, pos wire.Position) {
	d.at[topic], d.since[topic] = pos, pos
	d.has[topic], d.lost[topic] = map[wire.Position]bool{}, nil
}

func (d *device) unlearn(topic string) {
	for _, m := range []map[string]wire.Position{d.at, d.since} {
		delete(m, topic)
	}
	delete(d.has, topic)
	delete(d.lost, topic)
	delete(d.base, topic)
	delete(d.passed, topic)
	delete(d.last, topic)
	prefix := d.tenant + "|" + topic + "|"
	for id := range d.texts {
		if r := d.w.runOf(id); r != nil && r.key == prefix {
			delete(d.texts, id)
		}
	}
	maps.DeleteFunc(d.newest, func(key string, _ int) bool { return len(key) > len(prefix) && key[:len(prefix)] == prefix })
}

func (d *device) watches(thread string) bool {
	return d.threads == nil || slices.Contains(d.threads, thread)
}
