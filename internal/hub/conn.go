package hub

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// conn is the record of a connection. It holds no pointer.
type conn struct {
	mu   sync.Mutex    // the right to write to the socket; guards all fields but those said otherwise
	wake atomic.Uint32 // something may be pending; set before the lock is tried, cleared before one looks

	gen    uint32
	sock   ws.Socket
	flags  uint16
	missed uint8  // pings in a row without an answer, at most so many as can be counted here
	health uint8  // 0 to HealthFull
	random uint32 // makes ids unguessable

	session    Session
	user, all  uint32 // topics; constant while the generation lives
	next, prev uint32 // neighbours among the user's connections; guarded by the user topic's lock
	extra      uint32 // what has not been written, 0: nothing
	more       uint32 // cursors of rooms beyond the first, 0: none
	info       uint32 // arena block
	reading    uint32 // text streams and boards, 0: nothing of them so far, and all threads are watched
	acks       uint32 // what it has acknowledged, 0: nothing
	ponged     uint32 // tick of the last answer to a ping, 0: none

	budgetPart, controlPart uint16 // of budget and control, in parts of a tick

	userAt, allAt cursor
	room          follow // the first room; most connections have no more

	opened  uint32        // tick
	seen    atomic.Uint32 // tick of the last frame that came in
	pinged  uint32        // tick of the last ping, 0: none
	pingAt  uint32        // the same in microseconds, for the round trip; what the ping carries
	rtt     uint32        // microseconds, 0: none yet
	blocked uint32        // tick since when the socket takes nothing; stays until a write says more, 0: it took all
	budget  uint32        // tick at which the message allowance is full again
	control uint32        // the same of the control allowance

	received atomic.Uint32
	errors   atomic.Uint32
	sent     uint32
}

// cursor is a position in a topic: everything up to it has been written.
type cursor struct {
	offset uint64
	epoch  uint32
	flags  uint32
}

// Flags of a cursor.
const (
	cursorCatching = 1 << iota // a reader of the log is on its way for this cursor
	cursorHeld                 // nothing is written of the room until Begin
	cursorLent                 // see Terms
	cursorFresh

	cursorTerms = cursorHeld | cursorLent | cursorFresh
)

// follow is a cursor in a room's topic. tag is what the room's list of
// followers holds too; an item of that list whose tag no connection has is dead.
type follow struct {
	topic uint32 // 0: none
	tag   uint32
	at    cursor
}

// moreRooms holds cursors beyond the first room.
type moreRooms struct{ list []follow }

// Flags of a connection. All are false in an unused record but connDead, and connGuest, which is
// asked for when a dead one is taken out of the lists.
const (
	connHeld       = 1 << iota // no topic is delivered
	connReading                // Start was called
	connBlocked                // the engine will call Writable, or Closed if the socket broke
	connPaused                 // not read, because too many answers wait
	connDraining               // ends once nothing is pending
	connClosing                // only what stands in extra is written
	connCloseSent              // the close frame went out, or was taken by the engine
	connPeerClosed             // the peer has said that it is done, or is gone
	connDead                   // released
	connPinged                 // a ping is under way, at pinged
	connHeard                  // something came since pinged
	connAwaited                // somebody may wait for the answer to that ping
	connGuest                  // takes no place, of its user or the tenant
)

// lock returns the locked record that c names, or nil. End with unlock.
func (h *Hub) lock(c Handle) *conn {
	if c.gen() == 0 || !h.conns.has(c.slot()) {
		return nil
	}
	rec := h.conns.at(c.slot())
	rec.mu.Lock()
	if rec.gen != c.gen() && !mutantGeneration || rec.flags&connDead != 0 {
		h.unlock(rec, c.slot())
		return nil
	}
	return rec
}

// unlock gives up the right to write. Who marked the record meanwhile and
// found it locked relies on this look at the mark.
func (h *Hub) unlock(rec *conn, slot uint32) {
	rec.mu.Unlock()
	if rec.wake.Load() != 0 {
		h.wake(slot)
	}
}

// Open registers a connection. It is held: nothing is read from it and no
// topic is delivered until [Hub.Start]; what is sent waits for it. After
// ErrLimit, ErrUserLimit, ErrTenantLimit, ErrInfo and ErrClosed o.Conn is still the caller's.
func (h *Hub) Open(o Opening) (Handle, error) {
	var refused error
	switch {
	case h.ctx.Err() != nil:
		refused = ErrClosed
	case len(o.Info) > arenaMax:
		refused = ErrInfo
	}
	if refused != nil {
		h.Release(o.User)
		h.Release(o.All)
		return 0, refused
	}
	if n := h.live.Add(1); h.cfg.MaxConns > 0 && n > int64(h.cfg.MaxConns) {
		h.live.Add(-1)
		h.Release(o.User)
		h.Release(o.All)
		return 0, ErrLimit
	}
	var random [4]byte
	_, _ = rand.Read(random[:]) // it never fails
	slot := h.conns.get()
	rec := h.conns.at(slot)
	rec.mu.Lock()
	rec.random = binary.BigEndian.Uint32(random[:])
	h.fill(rec, &o)
	err := h.join(slot, rec, o.TenantConns)
	if err == nil {
		if rec.sock, err = h.engine.Attach(o.Conn, o.Buffered); err != nil {
			h.part(slot, rec)
		}
	}
	if err != nil {
		rec.gen++
		h.settleBeat(rec)
		rec.flags = connDead | rec.flags&connGuest
		h.dropReading(rec)
		info := rec.info
		h.dropReading(rec)
		h.unlock(rec, slot)
		h.arena.drop(info)
		h.conns.put(slot)
		h.live.Add(-1)
		h.Release(o.User)
		h.Release(o.All)
		return 0, err
	}
	c := handle(slot, rec.gen)
	h.count.opened.Add(1)
	h.unlock(rec, slot)
	return c, nil
}

// fill makes rec the record of a new connection. The caller holds rec.mu.
func (h *Hub) fill(rec *conn, o *Opening) {
	now := h.tick()
	rec.gen++
	rec.flags = connHeld
	if o.Guest {
		rec.flags |= connGuest
	}
	rec.session, rec.info = o.Session, h.arena.put(o.Info)
	rec.user, rec.all, rec.extra, rec.more, rec.reading, rec.acks = o.User.slot(), o.All.slot(), 0, 0, 0, 0
	rec.userAt, rec.allAt = h.cursorAt(o.UserFrom), h.cursorAt(o.AllFrom)
	rec.room = follow{}
	rec.opened, rec.budget, rec.control = now, now, now
	rec.pinged, rec.ponged, rec.rtt, rec.blocked, rec.sent = 0, 0, 0, 0, 0
	h.setHealth(rec, HealthFull)
	rec.seen.Store(now)
	rec.received.Store(0)
	rec.errors.Store(0)
}

func (h *Hub) cursorAt(p wire.Position) cursor {
	return cursor{offset: p.Offset, epoch: h.epochs.claimed(p.Epoch)}
}

// join puts a connection among its user's, unless they are too many, and among the followers of
// all, of whom there are at most tenantConns; 0: no bound. A guest is never too many. The caller holds
// rec.mu.
func (h *Hub) join(slot uint32, rec *conn, tenantConns int) error {
	user := h.topics.at(rec.user)
	user.mu.Lock()
	if h.cfg.MaxPerUser > 0 && int(user.count) >= h.cfg.MaxPerUser && rec.flags&connGuest == 0 {
		user.mu.Unlock()
		return ErrUserLimit
	}
	rec.next, rec.prev = user.first, 0
	if user.first != 0 {
		h.conns.at(user.first).prev = slot
	}
	user.first = slot
	user.count++
	h.joinBoard(rec, rec.user, user)
	if user.count == 1 {
		h.count.users.Add(1)
	}
	user.mu.Unlock()
	all := h.topics.at(rec.all)
	all.mu.Lock()
	if tenantConns > 0 && h.guests.counted(rec.all, all) >= tenantConns {
		all.mu.Unlock()
		h.partUser(slot, rec)
		return ErrTenantLimit
	}
	all.count++
	if rec.flags&connGuest != 0 {
		h.guests.add(rec.all, 1)
	}
	h.fanOf(rec.all, all)
	h.joinBoard(rec, rec.all, all)
	all.mu.Unlock()
	return nil
}

// part undoes join.
func (h *Hub) part(slot uint32, rec *conn) {
	h.partUser(slot, rec)
	all := h.topics.at(rec.all)
	all.mu.Lock()
	all.count--
	if rec.flags&connGuest != 0 {
		h.guests.add(rec.all, -1)
	}
	all.mu.Unlock()
}

// partUser takes a connection from its user's. The caller holds rec.mu.
func (h *Hub) partUser(slot uint32, rec *conn) {
	user := h.topics.at(rec.user)
	user.mu.Lock()
	if rec.prev != 0 {
		h.conns.at(rec.prev).next = rec.next
	} else {
		user.first = rec.next
	}
	if rec.next != 0 {
		h.conns.at(rec.next).prev = rec.prev
	}
	user.count--
	if user.count == 0 {
		h.count.users.Add(-1)
		h.dropWindow(user)
	}
	user.mu.Unlock()
}

// Start begins reading. Unless held, topics are delivered from the cursors on.
func (h *Hub) Start(c Handle, held bool) error {
	rec := h.lock(c)
	if rec == nil {
		return ErrGone
	}
	if rec.flags&connReading == 0 {
		rec.flags |= connReading
		h.engine.Start(rec.sock, uint64(c))
	}
	if !held {
		rec.flags &^= connHeld
	}
	rec.wake.Store(1)
	h.unlock(rec, c.slot())
	return nil
}

// Hold lets no topic be delivered to c until [Hub.Unhold], and reports whether that is new.
// What was begun before Hold returns has been noted in the cursors.
func (h *Hub) Hold(c Handle) bool {
	rec := h.lock(c)
	if rec == nil {
		return false
	}
	defer h.unlock(rec, c.slot())
	held := rec.flags&connHeld != 0
	rec.flags |= connHeld
	return !held
}

// Unhold ends the hold and reports whether there was one.
func (h *Hub) Unhold(c Handle) bool {
	rec := h.lock(c)
	if rec == nil {
		return false
	}
	held := rec.flags&connHeld != 0
	rec.flags &^= connHeld
	rec.wake.Store(1)
	h.unlock(rec, c.slot())
	return held
}

const connPrefix = "conn_"

// ID is the name of c for the outside: slot, generation and a random part, so
// that it can be found without an index and not be guessed. It is "" for a
// connection that is gone.
func (h *Hub) ID(c Handle) string {
	rec := h.lock(c)
	if rec == nil {
		return ""
	}
	defer h.unlock(rec, c.slot())
	return rec.id(c.slot())
}

func (rec *conn) id(slot uint32) string {
	var b [12]byte
	binary.BigEndian.PutUint32(b[0:], rec.random)
	binary.BigEndian.PutUint32(b[4:], slot)
	binary.BigEndian.PutUint32(b[8:], rec.gen)
	return connPrefix + hex.EncodeToString(b[:])
}

// parseConn reads what id wrote.
func parseConn(id string) (random uint32, c Handle, ok bool) {
	digits, ok := strings.CutPrefix(id, connPrefix)
	var b [12]byte
	if !ok || len(digits) != 2*len(b) {
		return 0, 0, false
	}
	if _, err := hex.Decode(b[:], []byte(digits)); err != nil {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(b[:]), handle(binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])), true
}

// Behind puts connections into an order that stays, and returns those behind the one with an id,
// which may have ended; "" is before all. It is false if id is none of a connection.
func Behind(list []Handle, id string) ([]Handle, bool) {
	slices.SortFunc(list, func(a, b Handle) int { return cmp.Compare(a.slot(), b.slot()) })
	if id == "" {
		return list, true
	}
	_, c, ok := parseConn(id)
	from, there := slices.BinarySearchFunc(list, c.slot(), func(a Handle, slot uint32) int { return cmp.Compare(a.slot(), slot) })
	if there {
		from++
	}
	return list[from:], ok
}

// Find returns the connection with an id.
func (h *Hub) Find(id string) (Handle, bool) {
	random, c, ok := parseConn(id)
	if !ok {
		return 0, false
	}
	rec := h.lock(c)
	if rec == nil {
		return 0, false
	}
	defer h.unlock(rec, c.slot())
	return c, rec.random == random
}

// Info returns a copy of the owner's blob.
func (h *Hub) Info(c Handle) ([]byte, bool) {
	rec := h.lock(c)
	if rec == nil {
		return nil, false
	}
	defer h.unlock(rec, c.slot())
	return append([]byte(nil), h.arena.get(rec.info)...), true
}

// SetInfo replaces the owner's blob.
func (h *Hub) SetInfo(c Handle, info []byte) error {
	if len(info) > arenaMax {
		return ErrInfo
	}
	rec := h.lock(c)
	if rec == nil {
		return ErrGone
	}
	defer h.unlock(rec, c.slot())
	h.arena.drop(rec.info)
	rec.info = h.arena.put(info)
	return nil
}
