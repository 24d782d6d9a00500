package switchboard

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// Connections are the live ones of this node. The value is a view that costs nothing.
type Connections struct{ m *Manager }

// Connections returns the live connections.
func (m *Manager) Connections() Connections { return Connections{m} }

// ConnInfo is a snapshot of a connection.
type ConnInfo struct {
	ID, Session, User, Node string
	Device                  string // what the client calls itself
	Transport               string // websocket or sse
	Address                 netip.Addr
	Opened, LastActivity    time.Time
	Idle                    time.Duration // since LastActivity, which is its last frame of any kind
	RoundTrip               time.Duration // of the last ping; 0: not known yet, or sse
	LastPing, LastPong      time.Time     // the last of each; zero: none yet
	Pinging                 bool          // a ping is under way
	Missed                  int           // pings in a row after which nothing came
	// Health is 100 at first; each pong adds 10 and each missed ping takes 25, within 0 and 100.
	// It closes nothing: see [Heartbeat] for what does.
	Health          int
	Behind          int       // messages not yet written, at most
	UnwritableSince time.Time // zero: writable
	// Lag is how many messages the client has not acknowledged, at most, over the topics of
	// which it has acknowledged any.
	Lag            int
	LastAck        time.Time   // when it last acknowledged something new; zero: never
	Topics         []ConnTopic // what it follows
	Received, Sent uint64      // messages
	Errors         uint64      // messages refused
}

// Healthy reports whether the connection answers its pings, by and large: its Health is above 50.
func (c ConnInfo) Healthy() bool { return c.Health > hub.HealthGood }

// Stale reports whether nothing has come from it for more than five minutes. With a shorter
// Heartbeat.Timeout none gets that far.
func (c ConnInfo) Stale() bool { return c.Idle > staleAfter }

// ConnTopic is how far a connection is in one topic.
type ConnTopic struct {
	Topic           string   // user/<id>, room/<id> or all
	Written         Position // everything up to here has been written to the socket
	Behind          int      // offsets from there to the head
	Delivered, Seen Position // as acknowledged on this connection; zero: nothing
	Lag             int      // offsets from Delivered to the head; 0 without one
}

// List yields those that to names: one connection, a user's, the followers of a room, or all
// of the tenant. A connection that ends meanwhile may be missing. After an error nothing more
// comes.
func (l Connections) List(ctx context.Context, to Target) iter.Seq2[ConnInfo, error] {
	return l.ListAfter(ctx, to, "")
}

// ListAfter goes on with a List behind the connection with an ID, which may have ended since. What
// begins meanwhile may be in it or not, but no connection is there twice. It is [ErrInvalid] if that
// is no ID of a connection.
func (l Connections) ListAfter(ctx context.Context, to Target, after string) iter.Seq2[ConnInfo, error] {
	return func(yield func(ConnInfo, error) bool) {
		found, err := l.m.find(ctx, to)
		if err == nil {
			var ok bool
			if found, ok = hub.Behind(found, after); !ok {
				err = fieldError(wire.CodeInvalidMessage, "after", "after must be the id of a connection")
			}
		}
		if err != nil {
			yield(ConnInfo{}, fmt.Errorf("list connections: %w", err))
			return
		}
		for _, c := range found {
			if err := ctx.Err(); err != nil {
				yield(ConnInfo{}, err)
				return
			}
			if info, ok := l.m.connInfo(c); ok && !yield(info, nil) {
				return
			}
		}
	}
}

// Close closes what to names, each as [Conn.Close] does, and reports how many there were.
func (l Connections) Close(ctx context.Context, to Target, why CloseError) (int, error) {
	found, err := l.m.find(ctx, to)
	if err != nil {
		return 0, fmt.Errorf("close connections: %w", err)
	}
	if why.Code != 0 && !sendable(why.Code) {
		return 0, fmt.Errorf("close code %d must not be sent: %w", why.Code, ErrInvalid)
	}
	n := 0
	for _, c := range found {
		if l.m.closeConn(c, why) == nil {
			n++
		}
	}
	if n > 0 {
		tenant, _ := l.m.tenantOf(ctx) // find has asked
		l.m.auditClose(ctx, tenant, to)
	}
	return n, nil
}

// find returns the connections that a target names. One that does not exist is not there.
func (m *Manager) find(ctx context.Context, to Target) ([]hub.Handle, error) {
	tenant, err := m.tenantOf(ctx)
	if err != nil {
		return nil, err
	}
	if to.connection() {
		c, ok := m.hub.Find(to.id)
		if !ok {
			return nil, nil
		}
		if view, ok := m.hub.View(c); !ok || view.User.Tenant != tenant && !mutantTenant {
			return nil, nil
		}
		return []hub.Handle{c}, nil
	}
	topic, err := to.topic(tenant)
	if err != nil {
		return nil, err
	}
	found := m.hub.Followers(hubKey(topic))
	if len(to.except) == 0 {
		return found, nil
	}
	except := make(map[hub.Session]bool)
	for _, text := range to.except {
		s, _ := hub.ParseSession(text) // checked by topic
		except[s] = true
	}
	kept := found[:0]
	for _, c := range found {
		if view, ok := m.hub.View(c); ok && !except[view.Session] {
			kept = append(kept, c)
		}
	}
	return kept, nil
}

// connInfo is the snapshot of a connection that is still there.
func (m *Manager) connInfo(c hub.Handle) (ConnInfo, bool) {
	v, ok := m.hub.View(c)
	if !ok {
		return ConnInfo{}, false
	}
	s, _, ok := m.stateOf(c)
	if !ok {
		return ConnInfo{}, false
	}
	return m.infoOf(v, s, m.hub.Following(c)), true
}

// infoOf is what is shown of a connection.
func (m *Manager) infoOf(v hub.View, s state, topics []hub.Cursor) ConnInfo {
	info := ConnInfo{
		ID: v.ID, Session: v.Session.String(), User: v.User.ID, Node: m.opts.Node, Device: s.device,
		Transport: "websocket", Address: s.address, Opened: v.Opened, LastActivity: v.Seen,
		Idle: v.Idle, RoundTrip: v.RoundTrip, LastPing: v.Pinged, LastPong: v.Ponged, Pinging: v.Pinging,
		Missed: v.Missed, Health: v.Health, Behind: int(v.Behind),
		UnwritableSince: v.Blocked, Received: v.Received, Sent: v.Sent, Errors: v.Errors,
		LastAck: v.Acked, Topics: make([]ConnTopic, len(topics)),
	}
	for i, at := range topics {
		info.Topics[i] = connTopic(at)
		info.Lag += info.Topics[i].Lag
	}
	if s.flags&flagEvents != 0 {
		info.Transport = "sse"
	}
	return info
}

func connTopic(at hub.Cursor) ConnTopic {
	t := ConnTopic{
		Topic: at.Address.String(), Written: at.Pos, Behind: int(at.Behind), Delivered: at.Delivered, Seen: at.Seen,
	}
	switch {
	case at.Delivered.IsZero():
	case at.Delivered.Epoch != at.Pos.Epoch: // a new log, of which nothing is acknowledged
		t.Lag = int(at.Pos.Offset + at.Behind)
	case at.Pos.Offset+at.Behind > at.Delivered.Offset:
		t.Lag = int(at.Pos.Offset + at.Behind - at.Delivered.Offset)
	}
	return t
}
