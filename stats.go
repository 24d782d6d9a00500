package switchboard

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// Stats is a snapshot of one node since it started. Every counter counts.
type Stats struct {
	Uptime                     time.Duration
	Connections, Users         int                      // now
	Rooms                      int                      // with followers, now
	Topics                     int                      // known here, now
	Accepted, Refused          uint64                   // attempts to connect
	First                      uint64                   // handshakes admitted before others, because of a live run
	Received                   uint64                   // messages from clients
	Sent                       uint64                   // messages to clients
	Published                  uint64                   // messages appended or sent to a connection, by whomever; no duplicates
	Unhandled, HandlerErrors   uint64                   // messages without a handler; errors of handlers
	Gaps                       uint64                   // gap messages sent
	Skipped                    uint64                   // volatile messages that clients did not get because they were behind, as gaps told
	RunsLive                   int                      // owned by this node, now
	RunsStarted                uint64                   // by this node
	RunsEnded                  map[wire.RunState]uint64 // by this node, by state
	RunRetries                 uint64                   // times a run waited for the broker
	TextReads                  uint64                   // readings of streams for slow and returning clients
	Isolation                  uint64                   // records under another address than their own; must be 0
	Unreadable                 uint64                   // records that this version could not read
	Heartbeat                  HeartbeatStats
	Errors                     map[Code]uint64   // error messages sent, by code
	Refusals                   map[string]uint64 // attempts to connect refused, by reason; see below
	CallRefusals               map[string]uint64 // calls of clients refused at the door, by the same reasons
	ReceiptsWaiting            int               // to be written, now
	ReceiptErrors              uint64            // times one could not be written, and was tried again
	ReceiptsDropped            uint64            // that found no room to wait
	Limited                    uint64            // frames beyond Limits.ControlPerMinute
	Flooded                    uint64            // connections closed because they went on nevertheless
	Overfull                   uint64            // connections closed because too much waited that they had not asked for
	MembershipsRefused         uint64            // for want of room: a user's own, or a room's
	UserLimited                uint64            // messages beyond Limits.MessagesPerUser
	Acks                       uint64            // acknowledgements from clients, which are among Received
	AcksDoubted                uint64            // positions in acknowledgements that could not be true
	WindowBytes                int64             // recent messages and texts in memory, and what waits on connections, now
	Evicted                    uint64            // messages and texts that left memory early because of Limits.MemoryBytes or TenantMemoryBytes
	Canaries                   CanaryStats
	Typing                     TypingStats
	Revocations                int    // in force, known here, now
	RevokedClosed              uint64 // connections closed because of them
	RevokedRefused             uint64 // credentials refused because of them: to connect, to call, to refresh
	Presence                   PresenceStats
	CatchUps, Syncs, Unwritten uint64 // readings of logs for slow clients, and for missed records; writes that sockets took only in part
}

// TypingStats is about users who type.
type TypingStats struct {
	Now           int    // in how many rooms and threads connections type
	Relayed, Lost uint64 // times others were told, and could not be
}

// HeartbeatStats counts pings since the start, and says how the connections are now.
type HeartbeatStats struct {
	Pings, Pongs, Missed    uint64        // pongs are answers to pings of this node
	Late                    uint64        // pongs that came after more than 30 s: no round trips
	Dropped                 uint64        // connections closed because of it, each once
	Resurrected             uint64        // times a connection was heard again after a missed ping
	Sweeps                  uint64        // looks at all connections
	Pending                 int           // pings under way, now
	Missing                 int           // connections with a missed ping and nothing since, now
	Healthy                 int           // connections whose ConnInfo.Health is above 50, now
	Stale                   int           // connections idle for more than five minutes, as of the last sweep
	MeanHealth              float64       // of the connections, now; 0: there is none
	MeanRTT, MinRTT, MaxRTT time.Duration // of round trips above 0 and up to 30 s; the mean follows the latest
}

// PresenceStats counts what was told of who is where, since the start.
type PresenceStats struct {
	Nodes      int    // that are there, this one included, now
	Told       uint64 // presence_state and presence_diff to clients
	Asked      uint64 // times another node was asked who is in a room
	Unanswered uint64 // of all questions to nodes: without an answer in time
	Probes     uint64 // that were carried out; see Options.PresenceProbe
	// ProbesLate took longer than Heartbeat.OfflineAfter and a second. ProbesFailed measured nothing.
	ProbesLate, ProbesFailed uint64
	ProbeLast, ProbeWorst    time.Duration // from the cut until it was told; 0: there was none
}

// counters are those that the manager itself keeps.
type counters struct {
	accepted, refused, published atomic.Uint64
	first                        atomic.Uint64
	unhandled, handlerErrors     atomic.Uint64
	isolation, unreadable, gaps  atomic.Uint64
	runsStarted, runRetries      atomic.Uint64
	receiptErrors                atomic.Uint64
	receiptsDropped              atomic.Uint64
	acks, acksDoubted            atomic.Uint64
	presence, asked, unanswered  atomic.Uint64
	userLimited, membersRefused  atomic.Uint64
	canaryRounds, canaryTries    atomic.Uint64
	canaryLeaks, canaryMissed    atomic.Uint64
	runsEnded                    tally[wire.RunState]
	appPings                     atomic.Int64 // connections that asked for ping messages
	errors                       tally[Code]
	refusals, callRefusals       tally[string]
}

// tally counts what happens rarely, by name.
type tally[K comparable] struct {
	mu sync.Mutex // guards n
	n  map[K]uint64
}

func (t *tally[K]) add(key K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = make(map[K]uint64)
	}
	t.n[key]++
}

// sum counts all of them.
func (t *tally[K]) sum() (n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, of := range t.n {
		n += of
	}
	return n
}

// all returns a copy.
func (t *tally[K]) all() map[K]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.n)
}

// Stats is a snapshot of this node that the caller may keep.
//
// The reasons of Refusals are origin, origin_blocked, head, address_rate, user_rate, guesses,
// total_limit, subprotocol, query, last_event_id, handshakes, credential, revoked, user_limit,
// tenant_rate, tenant_limit, broker, handshake, hijack, engine, on_connect, draining and internal.
// CallRefusals has reads and read_rate besides, of calls that found too many large answers of their
// user under way, and whose user has read too much.
func (m *Manager) Stats() Stats {
	h := m.hub.Stats()
	return Stats{
		Uptime: time.Since(m.started), Connections: h.Connections, Users: h.Users, Rooms: h.Rooms, Topics: h.Topics,
		Accepted: m.count.accepted.Load(), Refused: m.count.refused.Load(), First: m.count.first.Load(),
		Received: h.Received, Sent: h.Sent, Published: m.count.published.Load(),
		Unhandled: m.count.unhandled.Load(), HandlerErrors: m.count.handlerErrors.Load(),
		RunsLive: m.runs.live(), RunsStarted: m.count.runsStarted.Load(), RunsEnded: m.count.runsEnded.all(),
		RunRetries: m.count.runRetries.Load(), TextReads: h.TextReads,
		Gaps: h.Gaps + m.count.gaps.Load(), Skipped: h.Skipped, Isolation: h.Isolation + m.count.isolation.Load(), Unreadable: m.count.unreadable.Load(),
		Heartbeat:       m.heartbeatStats(h),
		ReceiptsWaiting: m.receipts.count(), ReceiptErrors: m.count.receiptErrors.Load(),
		ReceiptsDropped: m.count.receiptsDropped.Load(), Acks: m.count.acks.Load(), AcksDoubted: m.count.acksDoubted.Load(),
		Canaries: CanaryStats{
			Rounds: m.count.canaryRounds.Load(), Tries: m.count.canaryTries.Load(),
			Leaks: m.count.canaryLeaks.Load(), Missed: m.count.canaryMissed.Load(),
		},
		Presence: m.presenceStats(),
		Typing:   TypingStats{Now: m.typing.count(), Relayed: m.typing.relayed.Load(), Lost: m.typing.lost.Load()},
		Errors:   m.count.errors.all(), Refusals: m.count.refusals.all(), CallRefusals: m.count.callRefusals.all(),
		Revocations: m.revocations.index.Len(), RevokedClosed: m.revocations.closed.Load(), RevokedRefused: m.revocations.refused.Load(),
		WindowBytes: h.WindowBytes, Evicted: h.Evicted, CatchUps: h.CatchUps, Syncs: h.Syncs, Unwritten: h.Blocked,
		Limited: h.Limited, Flooded: h.Flooded, Overfull: h.Overfull, UserLimited: m.count.userLimited.Load(),
		MembershipsRefused: m.count.membersRefused.Load(),
	}
}

func (m *Manager) presenceStats() PresenceStats {
	p := &m.probes
	p.mu.Lock()
	defer p.mu.Unlock()
	return PresenceStats{
		Nodes: len(m.nodes.others()) + 1, Told: m.count.presence.Load(), Asked: m.count.asked.Load(), Unanswered: m.count.unanswered.Load(),
		Probes: p.done, ProbesLate: p.late, ProbesFailed: p.wrong, ProbeLast: p.last, ProbeWorst: p.worst,
	}
}

func (m *Manager) heartbeatStats(h hub.Stats) HeartbeatStats {
	s := HeartbeatStats{
		Pings: h.Pings, Pongs: h.Pongs, Missed: h.Missed, Late: h.Late, Dropped: h.Dropped, Resurrected: h.Resurrected,
		Sweeps: m.beat.sweeps.Load(), Pending: h.Pending, Missing: h.Missing, Healthy: h.Healthy, Stale: int(m.beat.stale.Load()),
		MeanRTT: h.MeanRTT, MinRTT: h.MinRTT, MaxRTT: h.MaxRTT,
	}
	if h.Connections > 0 {
		s.MeanHealth = float64(h.Health) / float64(h.Connections)
	}
	return s
}
