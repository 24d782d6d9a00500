// Package hub is the one registry: every connection of the process, its user,
// the topics it follows, and a cursor between each pair.
//
// # The picture
//
// A topic is a window of recent entries over a log that others keep. A
// connection has no queue of messages; it has a cursor per topic, which is the
// position up to which it has been sent. To deliver is to write what lies
// between a cursor and the head. A live client, a slow one and one that comes
// back differ in nothing but where their cursors stand: what the window still
// has is written from there, and what it no longer has is read from the log
// ([Source]) by a few background readers.
//
// # Rules that keep it right
//
//   - The lock of a connection record is the right to write to its socket.
//     Generation, owner and write happen under it, and so does the closing of
//     the socket: nothing can be written to a socket that a handle no longer
//     names.
//   - Whoever has something for a connection appends it, then marks the
//     connection, then tries its lock. Whoever holds the lock clears the mark
//     before it looks, and looks again if it finds the mark set after it let
//     go. So no wake-up is lost and nobody waits.
//   - Locks are taken in this order: connection, topic, list of followers. No
//     callback and no reading of a log happens under any of them.
//   - Records hold no pointers, so that the garbage collector sees neither
//     connections nor topics, only the bytes that are on their way.
package hub

import (
	"context"
	"hash/maphash"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
)

// Config configures a [Hub]. Engine, Events and Source are required; the zero
// value of every other field is the default that it states.
type Config struct {
	Engine func(ws.Sink) ws.Engine // called once, by New
	Events Events
	Source Source
	Log    *slog.Logger // nil: discard

	MaxConns   int // connections, 0: no limit
	MaxPerUser int // connections of one user, 0: no limit
	MaxRooms   int // rooms that one connection follows, 0: no limit
	MaxControl int // control allowance of a connection per minute, 0: no limit; see Spend

	WindowMessages int           // per topic, 0: 1024
	WindowBytes    int           // per topic, 0: 1 MiB
	MemoryBytes    int64         // all that is kept of topics, and what waits on connections, 0: 256 MiB, negative: no bound
	TenantBytes    int64         // the same of one tenant, 0: half of MemoryBytes, negative: no bound
	ControlBytes   int           // answers that wait on one connection, 0: 16 KiB
	ToldBytes      int           // what it has not asked for and waits on one connection, 0: 256 KiB; see Tell
	CloseGrace     time.Duration // from a close to its end, 0: 5 s
	Workers        int           // that walk rooms, 0: GOMAXPROCS-1, at least 1
}

func (c *Config) defaults() {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.WindowMessages, 1024)
	set(&c.WindowBytes, 1<<20)
	set(&c.ControlBytes, 16<<10)
	set(&c.ToldBytes, 256<<10)
	// One processor stays free for the network poller: with as many walkers as
	// processors a message to one user waits behind the walk of a large room.
	set(&c.Workers, max(1, runtime.GOMAXPROCS(0)-1))
	c.MemoryBytes = bound(c.MemoryBytes, 256<<20)
	c.TenantBytes = bound(c.TenantBytes, c.MemoryBytes/2)
	if c.CloseGrace == 0 {
		c.CloseGrace = 5 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Hub is the registry. All methods may be called concurrently. Make one with
// [New]; end it with [Hub.Shutdown].
type Hub struct {
	cfg    Config
	engine ws.Engine
	log    *slog.Logger
	start  time.Time // base of all ticks; never changes

	conns    slab[conn]
	topics   slab[topic]
	windows  slab[window]
	fans     slab[fan]
	extras   slab[extra]
	streams  slab[stream]
	sets     slab[streamSet]
	guests   guests
	readings slab[reading]
	boards   slab[board]
	more     slab[moreRooms]
	acks     slab[acks]
	arena    arena
	tenants  names
	known    tenantCounts // rooms of each tenant that have a record
	epochs   names
	index    index
	idle     idleList

	live    atomic.Int64  // connections
	tags    atomic.Uint32 // follow tags given out
	link    atomic.Uint32 // raised when the driver's link is lost
	scratch sync.Pool     // *scratch, for flushes outside workers
	seed    maphash.Seed  // of thread tags; never changes
	count   counters
	memory  memory
	longs   longReads
	waits   pingWaits

	versions atomic.Uint64 // of streams, given out

	shards []shard // one walker each
	catch  catcher
	texts  texts
	reaper reaper

	ctx  context.Context // ends with the hub, for readings of logs
	stop context.CancelFunc
	wg   sync.WaitGroup // walkers, catchers, reaper, flushes of text
	once sync.Once      // guards Shutdown
}

// New makes a hub and starts its workers.
func New(cfg Config) *Hub {
	cfg.defaults()
	h := &Hub{cfg: cfg, log: cfg.Log, start: time.Now()}
	h.ctx, h.stop = context.WithCancel(context.Background())
	h.scratch.New = func() any { return new(scratch) }
	h.index.init()
	h.catch.init()
	h.seed, h.texts.wake = maphash.MakeSeed(), make(chan struct{}, 1)
	h.reaper.init()
	h.shards = make([]shard, cfg.Workers)
	for i := range h.shards {
		h.shards[i].init()
	}
	h.engine = cfg.Engine((*sink)(h))
	for i := range h.shards {
		h.wg.Go(func() { h.walkLoop(i) })
	}
	for range catchWorkers {
		h.wg.Go(h.catchLoop)
	}
	h.wg.Go(h.reapLoop)
	h.wg.Go(h.textLoop)
	return h
}

// Shutdown closes what is still connected with 1001, stops the engine and the
// workers, and waits for every goroutine. Close connections first for a
// graceful end. It may be called again.
func (h *Hub) Shutdown() {
	h.once.Do(func() {
		everybody := func(c Handle) bool {
			h.Abandon(c)
			return true
		}
		h.Each(everybody)
		h.stop()
		h.catch.close()
		if err := h.engine.Close(); err != nil {
			h.log.LogAttrs(context.Background(), slog.LevelWarn, "engine not closed cleanly", slog.Any("err", err))
		}
		h.wg.Wait()
		h.Each(everybody) // who came in between
		h.reaper.drain(h)
	})
}

// Ticks are hundredths of a second since the hub began, in 32 bits: they wrap
// after 497 days, and differences up to half of that are right across it.
func (h *Hub) tick() uint32 { return uint32(time.Since(h.start) / tickLength) }

const tickLength = 10 * time.Millisecond

// since is how long ago tick t was.
func (h *Hub) since(t uint32) time.Duration {
	return time.Duration(int32(h.tick()-t)) * tickLength
}

// at is the time of tick t, the same whenever it is asked, unless the system's clock was set.
func (h *Hub) at(t uint32) time.Time {
	now := time.Now()
	run := now.Sub(h.start)
	age := time.Duration(int32(uint32(run/tickLength)-t))*tickLength + run%tickLength
	return now.Add(-age)
}
