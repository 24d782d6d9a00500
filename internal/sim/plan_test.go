package sim_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// The world is small, so that what happens in it meets.
var (
	tenants = []string{"a", "b"}
	users   = []string{"u0", "u1"}
	rooms   = []string{"open1", "open2", "closed"}
	threads = []string{"", "t1", "t2"}
)

// topics are all that messages go to.
func topics() (list []wire.Topic) {
	for _, tenant := range tenants {
		for _, user := range users {
			list = append(list, wire.Topic{Tenant: tenant, Kind: wire.KindUser, ID: user})
		}
		for _, room := range rooms {
			list = append(list, wire.Topic{Tenant: tenant, Kind: wire.KindRoom, ID: room})
		}
		list = append(list, wire.Topic{Tenant: tenant, Kind: wire.KindAll})
	}
	return list
}

func pick[T any](w *world, list []T) T { return list[w.pick(len(list))] }

// step is a kind of thing that happens, and how often.
type step struct {
	weight int
	do     func(w *world)
}

func steps() []step {
	return []step{
		{16, (*world).publishSome},
		{14, (*world).burst},
		{6, (*world).publishWithFaults},
		{5, (*world).beginRun},
		{16, (*world).appendText},
		{3, (*world).endRun},
		{6, (*world).publishVolatile},
		{6, (*world).publishLatest},
		{18, (*world).readSome},
		{8, (*world).readAll},
		{7, (*world).cut},
		{2, (*world).leave},
		{10, (*world).comeBack},
		{4, (*world).come},
		{3, (*world).rewind},
		{5, (*world).subscribe},
		{2, (*world).unsubscribe},
		{4, (*world).member},
		{2, (*world).watch},
		{4, (*world).openThread},
		{4, (*world).speak},
		{2, (*world).joinRoom},
		{2, (*world).stop},
		{8, (*world).wait},
		{3, (*world).cutLink},
		{2, (*world).beginEpoch},
		{1, (*world).replaceNode},
		{3, (*world).misdeliver},
		{4, (*world).callSlowly},
		{2, (*world).finishSlowly},
	}
}

// next does one step.
func (w *world) next() {
	all := steps()
	total := 0
	for _, s := range all {
		total += s.weight
	}
	n := w.pick(total)
	for _, s := range all {
		if n -= s.weight; n < 0 {
			s.do(w)
			break
		}
	}
	synctest.Wait()
	w.keep()
}

// publication is a message that is about to be published.
type publication struct {
	node  *node
	topic wire.Topic
	to    switchboard.Target
	msg   switchboard.Message
}

// compose makes a message that says for whom it is.
func (w *world) compose(topic wire.Topic, class wire.Class) publication {
	w.number++
	p := publication{node: pick(w, w.nodes), topic: topic, to: target(topic)}
	length := w.pick(padding)
	if class == wire.Durable && w.pick(25) == 0 {
		length = w.pick(2 * windowBytes) // more than any window may keep
	}
	payload := map[string]any{"to": keyOf(topic), "n": w.number, "x": strings.Repeat("x", length)}
	p.msg = switchboard.Message{Type: "note", ID: fmt.Sprint("m", w.number), Class: class}
	switch class {
	case wire.Volatile:
		p.msg.Type = "passes"
	case wire.Latest:
		p.msg.Type, p.msg.Key, p.msg.TTL = "newest", pick(w, []string{"k1", "k2"}), time.Hour
		payload["key"] = p.msg.Key
	case wire.Durable:
		if d := pick(w, w.devices); d.session.ID != "" && w.pick(6) == 0 {
			p.to = p.to.Except(d.session.ID)
		}
	}
	p.msg.Payload = payload
	return p
}

// send publishes, as often as it takes.
func (p publication) send(w *world) {
	for range 5 {
		_, err := p.node.manager.Publish(in(p.topic), p.to, p.msg)
		if err == nil {
			return
		}
		if !errors.Is(err, broker.ErrUnavailable) {
			panic(fmt.Sprintf("seed %d: publish to %s: %v", w.seed, p.topic, err))
		}
	}
	panic(fmt.Sprintf("seed %d: %s cannot be published", w.seed, p.msg.ID))
}

func (w *world) publishSome() {
	for range 1 + w.pick(3) {
		p := w.compose(pick(w, topics()), wire.Durable)
		w.tell("%s publishes %s to %s", p.node.name, p.msg.ID, keyOf(p.topic))
		p.send(w)
	}
}

// burst publishes from several goroutines at once: to what one device follows, or anywhere.
func (w *world) burst() {
	list := topics()
	if d := w.connected(); d != nil && w.pick(3) > 0 {
		list = slices.DeleteFunc(list, func(topic wire.Topic) bool {
			_, follows := d.at[topic.String()]
			return topic.Tenant != d.tenant || !follows
		})
	}
	var all []publication
	for range 2 + w.pick(5) {
		all = append(all, w.compose(pick(w, list), wire.Durable))
	}
	w.sendAtOnce(all)
}

func (w *world) sendAtOnce(all []publication) {
	var publishers sync.WaitGroup
	for _, p := range all {
		w.tell("at once: %s publishes %s to %s", p.node.name, p.msg.ID, keyOf(p.topic))
		publishers.Go(func() { p.send(w) })
	}
	publishers.Wait()
}

// publishWithFaults publishes while the broker does what its contract allows.
func (w *world) publishWithFaults() {
	p := w.compose(pick(w, topics()), wire.Durable)
	faults, key := w.broker.Faults(), broker.KeyOf(p.topic)
	kind := w.pick(3)
	switch kind {
	case 0:
		faults.DropLive(key, 1)
	case 1:
		faults.Repeat(key, 1)
	case 2:
		faults.LoseAck(key, 1)
	}
	w.tell("%s publishes %s to %s, which the broker %s", p.node.name, p.msg.ID, keyOf(p.topic), []string{"does not deliver", "delivers twice", "does not acknowledge"}[kind])
	p.send(w)
	faults.Forget(key) // nobody was there whom it could have befallen
}

func (w *world) publishVolatile() {
	topic := pick(w, topics())
	for range 1 + w.pick(4) {
		p := w.compose(topic, wire.Volatile)
		w.tell("%s lets %s pass to %s", p.node.name, p.msg.ID, keyOf(topic))
		p.send(w)
	}
}

func (w *world) publishLatest() {
	topic := pick(w, topics())
	for range 1 + w.pick(3) {
		p := w.compose(topic, wire.Latest)
		w.tell("%s puts %s as %s of %s", p.node.name, p.msg.ID, p.msg.Key, keyOf(topic))
		p.send(w)
		time.Sleep(time.Millisecond) // of two in one millisecond nobody knows the newer
	}
}

func (w *world) beginRun() {
	topic := pick(w, topics())
	if topic.Kind == wire.KindAll || topic.ID == "closed" || len(w.runs) > 6 {
		return
	}
	w.begin(pick(w, w.nodes), topic, pick(w, threads))
}

func (w *world) appendText() {
	r := w.live()
	if r == nil {
		return
	}
	for range 1 + w.pick(4) {
		w.number++
		r.write(pick(w, []string{"x", "y"}), fmt.Sprintf("<%d %s>", w.number, strings.Repeat("ü", w.pick(40))), w.pick(3)*w.pick(20))
		if w.pick(3) == 0 {
			time.Sleep(time.Duration(w.pick(80)) * time.Millisecond)
		}
	}
}

func (w *world) endRun() {
	if r := w.live(); r != nil {
		r.end(w.pick(3))
	}
}

func (w *world) readSome() {
	for range 1 + w.pick(4) {
		if d := w.connected(); d != nil {
			d.read(1 + w.pick(1500))
		}
	}
}

func (w *world) readAll() {
	for range 1 + w.pick(10) {
		for _, d := range w.devices {
			d.read(64 << 10)
		}
		synctest.Wait()
	}
}

// connected returns a device that has a connection, or nil.
func (w *world) connected() *device {
	var list []*device
	for _, d := range w.devices {
		if d.client != nil && d.welcomed {
			list = append(list, d)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return pick(w, list)
}

// cut breaks a connection at any byte.
func (w *world) cut() {
	d := w.connected()
	if d == nil {
		return
	}
	n := w.pick(2) * w.pick(3000)
	w.tell("the connection of %s breaks after %d bytes", d.name, n)
	if w.pick(4) == 0 {
		d.client.CutAfter(n / 10)
		return
	}
	d.server.CutAfter(n)
}

func (w *world) leave() {
	if d := w.connected(); d != nil {
		d.lose("it leaves")
	}
}

// come is a new session, of a device that is away or of a new one.
func (w *world) come() {
	if len(w.devices) < 7 {
		w.newDevice(pick(w, tenants), pick(w, users))
	}
	for _, d := range w.devices {
		if d.client == nil && (d.session.Token == "" || w.pick(4) == 0) {
			d.forget()
			w.join(d)
			return
		}
	}
}

func (w *world) comeBack() {
	for _, d := range w.devices {
		if d.client == nil && d.session.Token != "" {
			w.join(d)
			return
		}
	}
}

// until reads until something has come, or the connection is lost.
func (d *device) until(done func() bool) {
	for range 300 {
		synctest.Wait()
		some := d.read(64 << 10)
		if d.client == nil || done() {
			return
		}
		if !some {
			time.Sleep(50 * time.Millisecond) // its node may have lost its link
		}
	}
	d.w.wrong("%s waits in vain", d.name)
}

// rewind asks for messages again that it has.
func (w *world) rewind() {
	d := w.connected()
	if d == nil || d.held || !d.restores || len(d.restoring) > 0 {
		return
	}
	d.restores = false
	at := map[string]wire.Position{}
	for topic, pos := range d.at {
		back := wire.Position{Epoch: pos.Epoch, Offset: pos.Offset - min(pos.Offset, uint64(w.pick(6)))}
		if since := d.since[topic]; since.Epoch == back.Epoch && back.Offset < since.Offset {
			back = since
		}
		at[topic] = back
	}
	w.tell("%s rewinds to %v", d.name, at)
	d.restore(at)
	d.until(func() bool { return len(d.restoring) == 0 })
}

func (w *world) subscribe() {
	d := w.connected()
	if d == nil || d.held {
		return
	}
	room := pick(w, rooms)
	w.tell("%s subscribes to %s", d.name, room)
	d.call(wire.Subscribe, wire.SubscribeRequest{Rooms: []string{room}})
}

func (w *world) unsubscribe() {
	d := w.connected()
	if d == nil || d.held {
		return
	}
	room := pick(w, rooms)
	w.tell("%s unsubscribes from %s", d.name, room)
	d.call(wire.Unsubscribe, wire.SubscribeRequest{Rooms: []string{room}})
}

// member makes somebody a member of a closed room, or ends that.
func (w *world) member() {
	room := wire.Topic{Tenant: pick(w, tenants), Kind: wire.KindRoom, ID: "closed"}
	user, key := pick(w, users), room.Tenant+"/"+room.ID
	if w.members[key] == nil {
		w.members[key] = map[string][]membership{}
	}
	times := w.members[key][user]
	rooms := pick(w, w.nodes).manager.Rooms()
	if n := len(times); n > 0 && times[n-1].left == 0 {
		w.tell("%s is removed from %s", user, key)
		if err := rooms.Remove(in(room), room.ID, user); err != nil {
			w.wrong("%s is not removed from %s: %v", user, key, err)
		}
		w.keep()
		times[n-1].left = w.ledgerOf(room).read.Offset
		return
	}
	w.tell("%s is added to %s", user, key)
	if err := rooms.Add(in(room), room.ID, user); err != nil {
		w.wrong("%s is not added to %s: %v", user, key, err)
	}
	w.keep()
	w.members[key][user] = append(times, membership{joined: w.ledgerOf(room).read.Offset})
}

// watch chooses a thread.
func (w *world) watch() {
	d := w.connected()
	if d == nil || d.held || len(d.threads) > 1 {
		return
	}
	thread := pick(w, threads[1:])
	w.tell("%s watches %s", d.name, thread)
	d.call(wire.Subscribe, wire.SubscribeRequest{Threads: []string{thread}})
	if d.client != nil {
		d.chooses(thread, false)
	}
}

func (w *world) wait() { time.Sleep(time.Duration(w.pick(4000)) * time.Millisecond) }

func (w *world) cutLink() {
	n := pick(w, w.nodes)
	w.tell("%s loses its link", n.name)
	n.tap.cutLink()
}

// beginEpoch loses the tail of a log, or all of it.
func (w *world) beginEpoch() {
	topic := pick(w, topics())
	if w.busy(topic) || topic.ID == "closed" {
		return
	}
	if w.pick(3) > 0 {
		n := w.pick(4)
		w.tell("%s loses its last %d", keyOf(topic), n)
		w.broker.Faults().LoseTail(broker.KeyOf(topic), n)
		return
	}
	w.tell("%s is dropped", keyOf(topic))
	if err := w.broker.Drop(context.Background(), broker.KeyOf(topic)); err != nil {
		w.t.Fatal(err)
	}
}

// replaceNode lets a node come up and drains another.
func (w *world) replaceNode() {
	if len(w.nodes) > 2 {
		return
	}
	w.addNode()
	synctest.Wait()
	old := w.nodes[0]
	w.nodes = w.nodes[1:]
	w.tell("%s is drained", old.name)
	old.close()
	w.readAll()
}

// misdeliver lets a record reach the receivers of another topic.
func (w *world) misdeliver() {
	from, to := pick(w, topics()), pick(w, topics())
	entries, err := w.broker.Before(context.Background(), broker.KeyOf(from), wire.Position{}, 1)
	if err != nil || len(entries) == 0 || from == to {
		return
	}
	heads, err := w.broker.Heads(context.Background(), true, broker.KeyOf(to))
	if rec, bad := wire.ParseRecord(entries[0].Data); err != nil || bad != nil || rec.Kind != wire.RecordMessage {
		return
	}
	w.tell("a record of %s comes as one of %s", keyOf(from), keyOf(to))
	pick(w, w.nodes).tap.misdeliver(entries[0], to, heads[0])
}

// callSlowly sends a message whose handler does not return.
func (w *world) callSlowly() {
	if d := w.connected(); d != nil {
		w.tell("%s calls", d.name)
		d.say("slow", map[string]string{})
	}
}

func (w *world) finishSlowly() { w.releaseHandlers() }
