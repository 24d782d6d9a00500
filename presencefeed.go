package switchboard

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/yield"
	"github.com/netra-systems/switchboard/wire"
)

// presenceWhat is what has happened that presence depends on.
type presenceWhat uint8

const (
	connOpened presenceWhat = iota
	connEnded
	roomFollowed  // or not any more
	roomLeft      // by a session, for good
	memberEnded   // of a room
	accessRevoked // of users
	deviceChanged // its state
	rightsChanged // what it may see
	rightKnown    // whether it may
	notTold       // to other nodes
	placeHeard    // from another node
	placeAsked    // by this node, or by another one
	nodesSilent   // they have not answered
	nodesKnown    // all that are there
	nodeBegan     // this one
	nodeCame
	nodeGone
	linkBack // what passed meanwhile is not known
)

// presenceEvent is one such thing.
type presenceEvent struct {
	what  presenceWhat
	conn  hub.Handle
	room  hub.Key       // roomFollowed, roomLeft, memberEnded
	right *rightAsk     // rightKnown
	ended *absent       // connEnded
	topic wire.Topic    // placeHeard, placeAsked, nodesSilent, notTold; else the user, of accessRevoked perhaps all
	body  []byte        // placeHeard: a presenceRecord
	more  *presenceMore // placeAsked, nodesSilent, nodeCame, nodeGone, roomLeft, memberEnded
}

// presenceMore is what few events have. There may be very many of the others.
type presenceMore struct {
	record  presenceRecord // placeAsked by another node
	reply   chan answered  // placeAsked by this one; capacity 1
	silent  []string       // nodesSilent
	node    string         // nodeCame, nodeGone
	session string         // roomLeft
	left    wire.Topic     // roomLeft
	end     Position       // memberEnded: where
}

// presenceFeed is where everything arrives that presence depends on. One goroutine takes it and
// knows all the rest: what it says of this node's connections it asks the hub, which has them.
type presenceFeed struct {
	wake chan struct{} // capacity 1

	mu     sync.Mutex // guards the fields below
	queue  []presenceEvent
	ending map[hub.Key]int // by user, how many connections have ended for which connEnded has not been looked at
}

func (f *presenceFeed) post(e presenceEvent) {
	f.mu.Lock()
	f.queue = append(f.queue, e)
	first := len(f.queue) == 1
	f.mu.Unlock()
	if first {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// begins takes note that connEnded will come.
func (f *presenceFeed) begins(user hub.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ending == nil {
		f.ending = make(map[hub.Key]int)
	}
	f.ending[user]++
}

// ended takes note that it has been looked at.
func (f *presenceFeed) ended(user hub.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ending[user]--; f.ending[user] == 0 {
		delete(f.ending, user)
	}
}

// ends reports whether it is still to be looked at.
func (f *presenceFeed) ends(user hub.Key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ending[user] > 0
}

// presenceSpare is how many events there is room for when nothing happens.
const presenceSpare = 1024

// take returns what has come. What comes next lies where the former has lain, which is not used any more.
func (f *presenceFeed) take(former []presenceEvent) []presenceEvent {
	if cap(former) > presenceSpare {
		former = nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	queue := f.queue
	f.queue = former[:0]
	return queue
}

// hear takes what another node says, from the driver.
func (f *presenceFeed) hear(m *Manager, e broker.Entry, rec wire.Record) {
	if !m.nodes.listens(e.Topic) && broker.KeyOf(rec.Topic) != e.Topic {
		m.count.isolation.Add(1)
		m.log.LogAttrs(m.life, slog.LevelError, "record under the key of another topic", slog.String("topic_key", e.Topic.String()))
		return
	}
	f.post(presenceEvent{what: placeHeard, topic: rec.Topic, body: rec.Body})
}

const (
	// presenceTick is how long changes wait for others, so that many become one message. The more there
	// is to tell the longer they wait, up to presenceTickMax, so that it takes no more than one part in
	// presenceShare of the time of a processor.
	presenceTick    = 100 * time.Millisecond
	presenceTickMax = 2 * time.Second
	presenceShare   = 10
	// presenceSlice is how long presence works before others have their turn.
	presenceSlice = 250 * time.Microsecond
	// presenceCounts is how often the number of a large room is told.
	presenceCounts = 2 * time.Second
	// presenceNames is how many users of a room are told by name. Of a larger one the number is told, until
	// there are no more than presenceNamesAgain: where users come and go at the bound, names would be told
	// to all who watch each time.
	presenceNames      = 256
	presenceNamesAgain = 200
	// presenceAway is how long nothing is told to a client that does not take it.
	presenceAway = time.Second
	// presenceUsers is how many users are told of at once, so that rooms do not wait for them.
	presenceUsers = 4096
	// presenceWait is how long who begins to watch waits for other nodes' answers. Then they get what is
	// known, which says that it is not all. A node that has died counts as there for little longer.
	presenceWait = 10 * time.Second
	// presenceAsks is after how long a node that has not answered is asked again.
	presenceAsks = time.Second
)

// presenceRepeats is after which times a node says again how far it is in a room: that a change was
// missed is noticed with the next one, and here if there is none.
func presenceRepeats() [2]time.Duration { return [...]time.Duration{time.Second, 10 * time.Second} }

// presenceKeeper is what the goroutine of presence knows. Nothing else uses it.
type presenceKeeper struct {
	m     *Manager
	ctx   context.Context
	rooms map[hub.Key]*presenceRoom
	users map[hub.Key]*presenceUser // with several devices, or devices on other nodes
	due   map[hub.Key]struct{}      // rooms with something to say
	byes  map[hub.Key]*goodbyes     // of users, as long as they are told
	own   map[hub.Key]wire.Topic    // users whose devices may have changed

	left     absence
	lost     []lostNode            // in order
	repeats  [2][]presenceRepeat   // in order, as presenceRepeats says
	again    map[hub.Key]time.Time // places to be looked at later
	tick     time.Time             // when what is due is told; zero: nothing is
	said     uint64                // the highest number of a room that was forgotten
	waiting  []presenceEvent       // placeAsked, of users of whom a connection is ending
	several  bool                  // there were other nodes when that was looked at last
	stranger map[string]time.Time  // nodes that were heard of and have no lease that is known here
	telling  telling
	rights   rightAsks
	pace     *yield.Pace
	asks     sync.WaitGroup
}

// lostNode is a node that has gone: its users stay until a time.
type lostNode struct {
	id string
	at time.Time
}

// presenceRepeat is a room in which something was said, or a user who said goodbye.
type presenceRepeat struct {
	room  wire.Topic
	spoke time.Time
	at    time.Time
}

// keepPresence does all that until ctx ends.
func (m *Manager) keepPresence(ctx context.Context) {
	k := &presenceKeeper{
		m: m, ctx: ctx, rooms: make(map[hub.Key]*presenceRoom), users: make(map[hub.Key]*presenceUser),
		due: make(map[hub.Key]struct{}), own: make(map[hub.Key]wire.Topic), byes: make(map[hub.Key]*goodbyes),
		again: make(map[hub.Key]time.Time), stranger: make(map[string]time.Time), pace: yield.NewPace(presenceSlice),
	}
	defer k.pace.Close()
	defer k.asks.Wait()
	k.beginTelling()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var rested time.Time // when may be told again
	var events []presenceEvent
	for {
		events = m.presence.take(events)
		for _, e := range events {
			k.happened(e)
			k.pace.Step()
		}
		clear(events)
		now := time.Now()
		wait := k.next(now)
		switch {
		case len(k.due)+len(k.own) == 0:
		case k.tick.IsZero():
			k.tick = now.Add(presenceTick)
			if k.tick.Before(rested) {
				k.tick = rested
			}
		case !now.Before(k.tick):
			k.tick = time.Time{}
			k.tell(now)
			rested = time.Now().Add(presencePause(k.pace.Spent()))
			continue
		}
		if !k.tick.IsZero() {
			wait = min(wait, k.tick.Sub(now))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-m.presence.wake:
		case <-timer.C:
		}
		k.pace.Begin()
	}
}

// presencePause is how long changes wait after what it took to tell the last ones.
func presencePause(took time.Duration) time.Duration {
	return min(max(presenceTick, presenceShare*took), presenceTickMax)
}

// next carries out what is due by time, and returns how long until more is.
func (k *presenceKeeper) next(now time.Time) time.Duration {
	wait := time.Hour
	until := func(at time.Time) bool {
		if left := at.Sub(now); left > 0 {
			wait = min(wait, left)
			return false
		}
		return true
	}
	for len(k.left.order) > 0 && until(k.left.order[0].until) {
		k.forget(k.left.first())
	}
	for len(k.lost) > 0 && until(k.lost[0].at) {
		k.drop(k.lost[0].id)
		k.lost = k.lost[1:]
	}
	for i := range k.repeats {
		for list := &k.repeats[i]; len(*list) > 0 && until((*list)[0].at); *list = (*list)[1:] {
			if p := (*list)[0]; p.room.Kind == wire.KindUser {
				k.repeatGoodbyes(p, i+1 == len(k.repeats))
			} else {
				k.repeat(p)
			}
		}
	}
	if len(k.telling.missed) > 0 && until(k.telling.retry) {
		k.tellMissed(now)
		wait = min(wait, tellingRetry)
	}
	for id, at := range k.stranger {
		if until(at) {
			delete(k.stranger, id)
			k.drop(id) // it has no lease, and so does not exist
		}
	}
	for key, at := range k.again {
		if until(at) {
			delete(k.again, key)
			if u := k.users[key]; u != nil {
				k.own[key] = u.topic
			} else {
				k.due[key] = struct{}{}
			}
		}
	}
	return wait
}

func (k *presenceKeeper) happened(e presenceEvent) {
	switch e.what {
	case connOpened, deviceChanged, rightsChanged:
		k.changed(e)
	case rightKnown:
		k.rightKnown(e.right)
	case notTold:
		k.notTold(e.topic)
	case connEnded:
		k.ended(e.conn, e.ended)
		k.m.presence.ended(hubKey(e.ended.user))
		k.askAgain()
	case roomFollowed:
		if r := k.room(e.room); r != nil {
			k.followed(r, e.conn, e.topic, e.room)
			delete(r.watchers, e.conn) // it begins anew, if it does
			r.fresh = append(r.fresh, e.conn)
		}
	case roomLeft:
		k.leftRoom(e)
	case memberEnded:
		k.endedMember(e.topic, e.room, e.more.end)
	case accessRevoked:
		k.revoked(e.topic)
	case placeHeard:
		k.heard(e)
	case placeAsked:
		k.asked(e)
	case nodesSilent:
		k.unanswered(e)
	case nodesKnown:
		k.lookAtLacking()
	case nodeBegan:
		k.relinked() // others have left it out
	case nodeCame:
		k.came(e.more.node)
	case nodeGone:
		k.lose(e.more.node)
		k.lookAtLacking()
	case linkBack:
		k.relinked()
	}
}

// changed takes note that a connection has begun, or is another one to others, or may see other things.
func (k *presenceKeeper) changed(e presenceEvent) {
	view, ok := k.m.hub.View(e.conn)
	if !ok {
		return
	}
	k.own[hubKey(view.User)] = view.User
	if e.what == connOpened {
		k.isBack(view.User, view.Session.String())
		return
	}
	for _, f := range k.m.hub.Following(e.conn) {
		if f.Address.Kind != wire.KindRoom {
			continue
		}
		r := k.room(f.Key)
		if r == nil {
			continue
		}
		k.followed(r, e.conn, view.User, f.Key)
		if e.what == rightsChanged {
			r.fresh = append(r.fresh, e.conn)
		}
	}
}

// tell says what has changed, to other nodes and to who watches here.
func (k *presenceKeeper) tell(now time.Time) {
	n := 0
	for key, topic := range k.own {
		if n++; n > presenceUsers {
			break // the others with the next tick
		}
		delete(k.own, key)
		k.tellUser(key, topic)
		k.pace.Step()
	}
	for key := range k.due {
		delete(k.due, key)
		if r := k.rooms[key]; r != nil {
			k.tellRoom(key, r, now)
			k.pace.Step()
		}
	}
}

// heard takes what another node says of a place, or asks of it.
func (k *presenceKeeper) heard(e presenceEvent) {
	var r presenceRecord
	if err := wire.Unmarshal(e.body, &r); err != nil || r.Node == "" {
		k.m.count.unreadable.Add(1)
		k.m.log.LogAttrs(k.ctx, slog.LevelError, "presence not readable", slog.Any("err", err))
		return
	}
	self := k.m.nodes.id()
	switch {
	case r.Node == self:
	case r.Answer != 0:
		if place, a, whole := k.m.questions.take(r); whole {
			k.answered(place, a)
		}
	case r.Question != 0:
		k.asked(presenceEvent{what: placeAsked, topic: e.topic, more: &presenceMore{record: r}})
	case e.topic.Kind == wire.KindRoom:
		k.known(r.Node)
		k.heardRoom(hubKey(e.topic), r)
	case e.topic.Kind == wire.KindUser:
		k.known(r.Node)
		k.heardUser(hubKey(e.topic), e.topic, r)
	}
}

// known makes sure that what a node says is forgotten unless it turns out to have a lease.
func (k *presenceKeeper) known(node string) {
	if _, doubted := k.stranger[node]; !doubted && !k.m.nodes.has(node) {
		k.stranger[node] = time.Now().Add(nodeLease)
	}
}

// ending reports whether a connection of a user has ended of which it is not known here yet whether it is
// waited for: it is neither there nor lost, for a moment.
func (k *presenceKeeper) ending(user wire.Topic) bool {
	key := hubKey(user)
	return k.m.hub.Ending(key) || k.m.presence.ends(key) // in this order: the hub tells of it before it forgets it
}

// askAgain answers what had to wait.
func (k *presenceKeeper) askAgain() {
	waiting := k.waiting
	k.waiting = nil
	for _, e := range waiting {
		k.asked(e)
	}
}

// asked answers what this node has in a place.
func (k *presenceKeeper) asked(e presenceEvent) {
	if e.topic.Kind == wire.KindUser && k.ending(e.topic) {
		k.waiting = append(k.waiting, e)
		return
	}
	if e.more.reply != nil {
		e.more.reply <- answered{entries: slices.Collect(k.here(e.topic))}
		return
	}
	k.answer(e.topic, e.more.record)
}

// seqOf is how many-th change of a place was the latest.
func (k *presenceKeeper) seqOf(place wire.Topic) uint64 {
	if r := k.rooms[hubKey(place)]; r != nil {
		return r.seq
	}
	return k.said
}

// came takes note of a node that is there now.
func (k *presenceKeeper) came(node string) {
	delete(k.stranger, node)
	if !k.several { // nothing was said so far
		k.several = true
		k.sayAll()
	}
	for _, r := range k.rooms {
		if r.view != nil {
			k.askRoom(r, node)
		}
	}
}

// relinked asks everybody again after what passed may have been missed, and says again which users this
// node has, so that others tell theirs.
func (k *presenceKeeper) relinked() {
	for _, r := range k.rooms {
		if r.view != nil {
			clear(r.asking) // their answers may have passed as well
			k.askRoom(r, k.m.nodes.others()...)
		}
	}
	for _, u := range k.users {
		u.want = true
	}
	k.sayAll()
}

// sayAll says again which users this node has.
func (k *presenceKeeper) sayAll() {
	for cursor := 0; ; {
		for _, t := range k.m.hub.Topics(nil, &cursor, compareBatch) {
			if topic, known := k.m.hub.Address(t.Key); known && topic.Kind == wire.KindUser {
				k.own[t.Key] = topic
			}
		}
		if cursor == 0 {
			return
		}
	}
}

// lose takes note of a node that has gone.
func (k *presenceKeeper) lose(node string) {
	k.several = !k.m.nodes.alone()
	k.lost = append(k.lost, lostNode{node, time.Now().Add(max(k.m.opts.Heartbeat.OfflineAfter, nodeReturn))})
	for key, r := range k.rooms {
		if r.view != nil {
			if r.view.Lose(node); r.view.Changed() {
				k.due[key] = struct{}{}
			}
		}
	}
}

// drop forgets a node that has gone.
func (k *presenceKeeper) drop(node string) {
	if k.m.nodes.has(node) {
		return // it has come back
	}
	for key, r := range k.rooms {
		if r.view != nil {
			r.view.Drop(node)
			k.due[key] = struct{}{}
		}
	}
	for key, u := range k.users {
		if _, had := u.others[node]; had {
			delete(u.others, node)
			k.own[key] = u.topic
		}
	}
}
