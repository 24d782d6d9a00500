package switchboard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/session"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// Manager is the single owner of every connection of this process, and an http.Handler.
// All methods may be called concurrently. Make one with [New].
type Manager struct {
	// Immutable after New.
	opts      Options
	log       *slog.Logger
	started   time.Time
	hub       *hub.Hub
	driver    broker.Driver
	ownDriver bool // opened by New, so closed by Shutdown
	sealer    *session.Sealer
	verbs     map[wire.MessageType]verb
	origins   origins
	life      context.Context // of verbs, handlers and workers
	end       context.CancelFunc
	starts    context.Context // of starts of runs; shorter than life
	halt      context.CancelFunc
	last      context.Context // of the ends of runs; longer than life
	cease     context.CancelFunc

	// Each guards itself.
	gate        gate
	router      router
	lanes       lanes
	recent      recent
	lives       lives
	holds       holds
	mail        mailboxes
	deadlines   deadlines
	beat        beat
	interest    interest
	hints       memberHints
	permissions permissionTable
	count       counters
	unlinked    atomic.Bool // the link to the driver is lost
	drain       drain
	admission   admission
	door        door
	runs        ownedRuns
	keeper      keeper
	strays      strays
	receipts    receipts
	ended       ended
	tenants     tenants
	revocations revocations
	nodes       nodes
	questions   questions
	presence    presenceFeed
	typing      typing
	probes      probes

	stateMu   sync.Mutex     // one change of a connection's state at a time
	following [64]sync.Mutex // one change of a connection's rooms at a time, by handle
	workers   sync.WaitGroup
}

// New checks opts (the error names the field), opens the driver and starts the workers. The
// caller must call [Manager.Shutdown].
func New(opts Options) (*Manager, error) {
	opts, err := opts.checked()
	if err != nil {
		return nil, fmt.Errorf("switchboard: %w", err)
	}
	m := &Manager{opts: opts, log: opts.Log, started: time.Now(), driver: opts.Broker, verbs: verbTable(), origins: compileOrigins(opts)}
	if m.driver == nil {
		m.driver, m.ownDriver = membroker.New(membroker.Options{}), true
	}
	if m.sealer, err = m.openSealer(); err != nil {
		return nil, errors.Join(fmt.Errorf("switchboard: %w", err), m.closeDriver())
	}
	m.life, m.end = context.WithCancel(context.Background())
	m.starts, m.halt = context.WithCancel(m.life)
	m.last, m.cease = context.WithCancel(context.Background())
	m.lanes.init(m.life, m.work)
	m.lives.base = m.life
	m.deadlines.start = m.started
	m.drain.init()
	m.revocations.init(m.started)
	m.admission.init(opts.Limits)
	m.door.init(opts.Limits)
	m.deadlines.wake, m.hints.wake, m.strays.wake = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	m.tenants.quota, m.tenants.conns, m.tenants.log = opts.Quota, m.tenantConns, opts.Log
	m.receipts.wake, m.presence.wake = make(chan struct{}, 1), make(chan struct{}, 1)
	m.nodes.init()
	m.typing.init()
	m.hub = hub.New(hub.Config{
		Engine: func(sink ws.Sink) ws.Engine {
			return ws.NewGoroutineEngine(sink, ws.Config{
				Message: opts.Limits.MessageBytes, FrameTimeout: opts.Limits.Frame, UserTimeout: opts.Heartbeat.unacked(),
			})
		},
		Events: (*events)(m), Source: (*source)(m), Log: opts.Log,
		MaxConns: opts.Limits.Conns, MaxPerUser: opts.Limits.ConnsPerUser, MaxRooms: opts.Limits.RoomsPerConn,
		MaxControl:  opts.Limits.ControlPerMinute,
		MemoryBytes: opts.Limits.MemoryBytes, TenantBytes: opts.Limits.TenantMemoryBytes,
	})
	for _, work := range []func(context.Context){m.runDriver, m.sweep, m.keepDeadlines, m.carryOutHints, m.forgetTopics, m.keepRuns, m.removeTexts, m.findStrays, m.keepReceipts, m.runCanaries, m.runProbes,
		m.watchRevocations, m.reachStore, m.enforceRevocations, m.keepSessionKeys, m.holdLease, m.watchNodes, m.keepPresence, m.relayTyping} {
		m.workers.Go(func() { work(m.life) })
	}
	return m, nil
}

// openSealer makes what session tokens are sealed with.
func (m *Manager) openSealer() (*session.Sealer, error) {
	if len(m.opts.SessionKeys) > 0 {
		return session.NewSealer(m.opts.SessionKeys...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return session.NewStoredSealer(ctx, m.driver)
}

// keepSessionKeys exchanges what session tokens are sealed with, until ctx ends.
func (m *Manager) keepSessionKeys(ctx context.Context) {
	m.sealer.Keep(ctx, m.driver, func(err error) {
		m.log.LogAttrs(ctx, slog.LevelWarn, "keys of session tokens not looked at", slog.Any("err", err))
	})
}

func (m *Manager) closeDriver() error {
	if !m.ownDriver {
		return nil
	}
	return m.driver.Close()
}

// forgetTopics lets go of topics that nobody needs, and of connections that ended long ago,
// until ctx ends.
func (m *Manager) forgetTopics(ctx context.Context) {
	for sleep(ctx, time.Second) {
		for m.forgetIdle(ctx) && ctx.Err() == nil {
		}
		m.ended.expire(time.Now())
		m.tenants.forget(time.Now(), tenantKept)
		m.typing.forget(time.Now())
	}
}
