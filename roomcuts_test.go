package switchboard_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
	"pgregory.net/rapid"
)

// TestMembersGetExactlyWhatIsTheirs lets users join, leave, be added, removed, refreshed and come
// back at any position, on two nodes with a broker that loses and repeats, and holds what each
// device got against the log: every message was the user's by a membership or a right, and
// nothing is missing that no gap tells of.
func TestMembersGetExactlyWhatIsTheirs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		devices := rapid.SliceOfN(rapid.SampledFrom([]string{onlyLent, onlyLent, mayJoin, mayJoinOld, mayOld}), 2, 5).Draw(rt, "devices")
		story := rapid.SliceOfN(rapid.SliceOfN(rapid.Custom(drawDeed), 1, 4), 5, 40).Draw(rt, "story")
		synctest.Test(t, func(t *testing.T) {
			w := newRoomWorld(t, rt, devices)
			for _, deeds := range story {
				if w.step(deeds); rt.Failed() {
					return
				}
			}
			w.broker.Faults().Forget(roomKey("r"))
			time.Sleep(12 * time.Second) // heads are compared every 10 s
			w.observe()
			w.settled()
		})
	})
}

// deed is something that is done.
type deed struct {
	what         string
	device, node int
	place        uint64 // where a device says that it is, modulo the length of the log; 0: where it is
	rights       string
	n            int // records that a fault concerns
}

func drawDeed(rt *rapid.T) deed {
	return deed{
		what: rapid.SampledFrom([]string{
			"publish", "publish", "publish", "volatile", "add", "remove", "add", "remove", "wait",
			"join", "leave", "subscribe", "since", "unsubscribe", "return", "auth", "history",
			"drop", "drop", "repeat", "lose ack", "drop hint",
		}).Draw(rt, "what"),
		device: rapid.IntRange(0, 4).Draw(rt, "device"), node: rapid.IntRange(0, 1).Draw(rt, "node"),
		place:  rapid.Uint64Range(0, 50).Draw(rt, "place"),
		rights: rapid.SampledFrom([]string{onlyLent, mayJoin, mayJoinOld, mayOld}).Draw(rt, "rights"),
		n:      rapid.IntRange(1, 3).Draw(rt, "n"),
	}
}

// Credentials of the devices.
const (
	onlyLent   = ""
	mayJoin    = " room:r:join room:r:publish"
	mayJoinOld = " room:r:join room:r:history"
	mayOld     = " room:r:history"
)

// roomWorld is two nodes, a room, and the monitor of what everybody may get of it.
type roomWorld struct {
	t       *testing.T
	rt      *rapid.T
	broker  *membroker.Broker
	nodes   []*server
	devices []*roomDevice
	n       int // messages published
	log     []logged
	before  uint64 // head of the log before the step
}

// logged is one record of the room's log as the monitor knows it.
type logged struct {
	offset  uint64
	epoch   string
	message bool
	user    string // of a membership record
	joined  bool
}

// roomDevice is a client and what the monitor knows of it.
type roomDevice struct {
	*device
	user, rights string
	former       []string      // rights that it has had in this step
	follows      bool          // as far as it was told
	asked        wire.Position // where it said that it is
	at           wire.Position // everything after it has come or will
	windows      []window      // in which it may receive by a right of its own
	leaving      bool          // it has asked to leave, and may stop before it is told
	seen         []string      // all that it got

	mu  sync.Mutex // guards got, and device against its reader
	got []wire.Envelope
}

// window is what lies between two places of the log, when a right was there.
type window struct{ after, upTo uint64 }

const stillOpen = ^uint64(0)

func newRoomWorld(t *testing.T, rt *rapid.T, devices []string) *roomWorld {
	b := openDriver(t)
	second := b.Node()
	t.Cleanup(func() { _ = second.Close() })
	w := &roomWorld{t: t, rt: rt, broker: b}
	for _, d := range []broker.Driver{b, second} {
		w.nodes = append(w.nodes, newServer(t, switchboard.Options{
			Broker: d, SessionKeys: [][]byte{make([]byte, 32)}, Limits: unlimited,
		}))
	}
	for i, rights := range devices {
		d := &roomDevice{user: fmt.Sprint("user", i%3), rights: rights}
		w.devices = append(w.devices, d)
		d.connected(w.nodes[i%2].as(t, d.user+d.rights))
	}
	synctest.Wait()
	return w
}

// connected makes a new connection the device's, and reads it until it ends.
func (d *roomDevice) connected(c *device) {
	d.mu.Lock()
	d.device = c
	d.mu.Unlock()
	go func() {
		for {
			b, err := c.raw(time.Hour)
			if err != nil {
				return
			}
			env, err := wire.ParseAnswer(b)
			if err != nil {
				c.t.Errorf("message %s: %v", b, err)
				return
			}
			d.mu.Lock()
			if d.device == c {
				d.got = append(d.got, env)
			}
			d.mu.Unlock()
		}
	}()
}

// step does one thing, or several at once, and looks at what came of it.
func (w *roomWorld) step(deeds []deed) {
	w.before = w.head()
	for _, d := range w.devices {
		d.former = []string{d.rights}
		d.seen = append(d.seen, fmt.Sprintf("%+v;", deeds))
	}
	var at sync.WaitGroup
	busy := map[*roomDevice]bool{}
	wait := false
	for _, deed := range deeds {
		d := w.devices[deed.device%len(w.devices)]
		do := w.do(deed, d)
		if do == nil && !busy[d] { // a device does one thing at a time
			busy[d] = true
			do = w.act(deed, d)
		}
		if do != nil {
			at.Go(do)
		}
		wait = wait || deed.what == "wait"
	}
	at.Wait()
	synctest.Wait()
	if wait {
		time.Sleep(11 * time.Second)
		synctest.Wait()
	}
	w.observe()
}

// do is what the application or the broker does; nil: it is something of a device.
func (w *roomWorld) do(deed deed, d *roomDevice) func() {
	ctx, node, user, faults := w.t.Context(), w.nodes[deed.node], d.user, w.broker.Faults()
	switch deed.what {
	case "publish", "volatile":
		w.n++
		msg := switchboard.Message{Type: "note", ID: fmt.Sprint("n", w.n)}
		if deed.what == "volatile" {
			msg.Type, msg.Class = "passing", wire.Volatile
		}
		return func() { _, _ = node.Publish(ctx, switchboard.Room("r"), msg) }
	case "add":
		return func() { _ = node.Rooms().Add(ctx, "r", user) }
	case "remove":
		return func() { _ = node.Rooms().Remove(ctx, "r", user) }
	case "drop":
		return func() { faults.DropLive(roomKey("r"), deed.n) }
	case "drop hint":
		return func() { faults.DropLive(userKey(user), deed.n) }
	case "repeat":
		return func() { faults.Repeat(roomKey("r"), deed.n) }
	case "lose ack":
		return func() { faults.LoseAck(roomKey("r"), deed.n) }
	}
	return nil
}

// act is something that a device does.
func (w *roomWorld) act(deed deed, d *roomDevice) func() {
	send := func(format string, args ...any) func() { return func() { d.send(format, args...) } }
	switch pos := w.place(deed, d); deed.what {
	case "join":
		d.opens(w.before)
		return send(`{"type":"join_room","message_id":"j","payload":{"room":"r"}}`)
	case "leave":
		d.leaving = true
		return send(`{"type":"leave_room","message_id":"l","payload":{"room":"r"}}`)
	case "subscribe":
		d.opens(w.before)
		return send(`{"type":"subscribe","message_id":"s","payload":{"rooms":["r"]}}`)
	case "since":
		d.opens(w.before)
		return send(`{"type":"subscribe","message_id":"since","payload":{"rooms":["r"],"since":{"room/r":%q}}}`, pos)
	case "unsubscribe":
		return send(`{"type":"unsubscribe","message_id":"u","payload":{"rooms":["r"]}}`)
	case "history":
		return send(`{"type":"history","message_id":"h","payload":{"topic":"room/r","limit":1000}}`)
	case "auth":
		d.rights = deed.rights
		d.former = append(d.former, d.rights)
		return send(`{"type":"auth","message_id":"a","payload":{"token":%q}}`, d.user+d.rights)
	case "return":
		d.asked = pos
		d.opens(w.before)
		return func() {
			_ = d.conn.Close()
			d.mu.Lock()
			d.device = nil
			d.got = append(d.got, wire.Envelope{Type: "cut"})
			d.mu.Unlock()
			d.connected(w.nodes[deed.node].connect(w.t, request{token: d.user + d.rights, path: "/ws?resume=1"}))
			d.send(`{"type":"session_restore","message_id":"r","payload":{"positions":{"room/r":%q}}}`, pos)
		}
	}
	return nil
}

// place is where a device says that it is: it may say anything.
func (w *roomWorld) place(deed deed, d *roomDevice) wire.Position {
	if len(w.log) == 0 || deed.place == 0 {
		return d.at
	}
	last := w.log[len(w.log)-1]
	return wire.Position{Epoch: last.epoch, Offset: deed.place % (last.offset + 3)}
}

// opens begins to allow what comes by a right of the device's own.
func (d *roomDevice) opens(head uint64) {
	switch {
	case strings.Contains(d.rights, "history"):
		d.windows = append(d.windows, window{0, stillOpen})
	case strings.Contains(d.rights, "join"):
		d.windows = append(d.windows, window{head, stillOpen})
	}
}

// head reads what is new in the log.
func (w *roomWorld) head() uint64 {
	for {
		var from wire.Position
		if n := len(w.log); n > 0 {
			from = wire.Position{Epoch: w.log[n-1].epoch, Offset: w.log[n-1].offset}
		}
		entries, head, err := w.broker.Since(w.t.Context(), roomKey("r"), from, 1000)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range entries {
			rec, err := wire.ParseRecord(e.Data)
			if err != nil {
				w.t.Fatal(err)
			}
			l := logged{offset: e.Pos.Offset, epoch: e.Pos.Epoch, message: rec.Kind == wire.RecordMessage}
			if rec.Kind == wire.RecordMember {
				var m wire.Member
				if err := json.Unmarshal(rec.Body, &m); err != nil {
					w.t.Fatal(err)
				}
				l.user, l.joined = m.User, m.Joined
			}
			w.log = append(w.log, l)
		}
		if len(entries) == 0 {
			return head.Offset
		}
	}
}

// String is the log: the offsets of messages, and joins and ends between them.
func (w *roomWorld) String() string {
	var b strings.Builder
	for _, l := range w.log {
		switch {
		case l.message:
			fmt.Fprintf(&b, " %d", l.offset)
		case l.joined:
			fmt.Fprintf(&b, " +%s", l.user)
		default:
			fmt.Fprintf(&b, " -%s", l.user)
		}
	}
	return b.String()
}

// member reports whether the message at an offset lies in a membership of user.
func (w *roomWorld) member(user string, offset uint64) bool {
	is := false
	for _, l := range w.log {
		if l.offset >= offset {
			break
		}
		if l.user == user {
			is = l.joined
		}
	}
	return is
}

// observe judges everything that came in a step.
func (w *roomWorld) observe() {
	head := w.head()
	for _, d := range w.devices {
		d.mu.Lock()
		got := d.got
		d.got = nil
		d.mu.Unlock()
		old := len(d.windows)
		for i := range d.windows {
			if d.windows[i].after >= w.before || d.windows[i].upTo == stillOpen {
				old = i
				break
			}
		}
		ended := false
		for _, env := range got {
			followed := d.follows
			w.judge(d, env, head)
			ended = ended || followed && !d.follows
		}
		for i := range d.windows {
			if win := &d.windows[i]; win.upTo == stillOpen && (!d.follows || ended && i == old && len(d.windows) > old+1) {
				win.upTo = head
			}
		}
	}
}

// judge takes one message of a device.
func (w *roomWorld) judge(d *roomDevice, env wire.Envelope, head uint64) {
	d.seen = append(d.seen, fmt.Sprintf("%s %d %s;", env.Type, env.Offset, env.Payload))
	begin := func(pos wire.Position) { d.follows, d.at = true, pos }
	switch env.Type {
	case "note":
		if d.follows {
			w.missing(d, d.at.Offset, env.Offset-1)
		} else {
			w.rt.Errorf("%s got offset %d without having been told that it follows, got %v", d.user, env.Offset, d.seen)
		}
		if !w.allowed(d, env.Offset) {
			w.rt.Errorf("%s with %q got offset %d, which is not theirs: windows %v, log%s", d.user, d.former, env.Offset, d.windows, w)
		}
		if env.Offset <= d.at.Offset {
			w.rt.Errorf("%s got offset %d after %d, got %v", d.user, env.Offset, d.at.Offset, d.seen)
		}
		d.at.Offset = env.Offset
	case wire.GapType:
		switch gap := payload[wire.Gap](w.t, env); {
		case !d.follows || gap.Topic != "room/r":
		case gap.To.Offset < gap.From.Offset: // it has said that it is where nothing was so far
			d.at.Offset = gap.To.Offset
		default:
			w.missing(d, d.at.Offset, gap.From.Offset)
			d.at.Offset = max(d.at.Offset, gap.To.Offset)
		}
	case wire.RoomJoined:
		if pos := payload[wire.RoomJoinedPayload](w.t, env).Position; !d.follows || d.leaving {
			begin(pos)
			d.leaving = false
		}
	case wire.Subscribed:
		if pos, ok := payload[wire.SubscribedPayload](w.t, env).Topics["room/r"]; ok {
			if moved := env.ID == "since" && strings.Contains(d.rights, "history"); d.follows && !moved {
				pos.Offset = max(pos.Offset, d.at.Offset) // it may have come since the place was looked up
			}
			begin(pos)
		}
	case wire.SessionRestored:
		switch topic := payload[wire.Restored](w.t, env).Topics["room/r"]; {
		case topic.Reason == wire.ReasonForbidden:
			d.follows = false
		case topic.Recovered:
			begin(topic.From)
		default: // a gap comes
			begin(at(topic.Head, min(d.asked.Offset, topic.Head.Offset)))
		}
	case wire.RoomLeft:
		if left := payload[wire.RoomLeftPayload](w.t, env); d.follows && left.Reason == "removed" {
			w.missing(d, d.at.Offset, w.endAfter(d)-1)
		}
		d.follows, d.leaving = false, false
	case wire.Unsubscribed:
		if _, was := payload[wire.SubscribedPayload](w.t, env).Topics["room/r"]; was {
			d.follows = false
		}
	case "cut":
		d.follows, d.leaving = false, false
	case wire.HistoryResult:
		if !slices.ContainsFunc(d.former, func(r string) bool { return strings.Contains(r, "history") }) {
			w.rt.Errorf("%s with %q has read the history", d.user, d.former)
		}
	}
}

// allowed reports whether the message at an offset was the device's to get.
func (w *roomWorld) allowed(d *roomDevice, offset uint64) bool {
	return w.member(d.user, offset) || slices.ContainsFunc(d.windows, func(win window) bool {
		return win.after < offset && offset <= win.upTo
	})
}

// missing fails if there is a message in (after, upTo].
func (w *roomWorld) missing(d *roomDevice, after, upTo uint64) {
	for _, l := range w.log {
		if l.message && l.offset > after && l.offset <= upTo {
			w.rt.Errorf("%s with %q was not told that %d is missing, in (%d,%d] of%s, got %v", d.user, d.former, l.offset, after, upTo, w, d.seen)
			return
		}
	}
}

// endAfter is the first end of the user's membership from where the device is on: a gap may have told
// of all up to it.
func (w *roomWorld) endAfter(d *roomDevice) uint64 {
	for _, l := range w.log {
		if l.user == d.user && !l.joined && l.offset >= d.at.Offset {
			return l.offset
		}
	}
	return d.at.Offset + 1
}

// settled holds when nothing is on its way any more: who follows has everything.
func (w *roomWorld) settled() {
	for _, d := range w.devices {
		if d.follows {
			w.missing(d, d.at.Offset, w.head())
		}
	}
}
