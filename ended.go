package switchboard

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// ConnEnd is a connection that has ended: how it was at the end, and why it ended.
type ConnEnd struct {
	ConnInfo
	Ended  time.Time
	Code   wire.CloseCode // what was sent to the client, else what it sent, else 1006
	Reason string
	Remote bool // the client or the network ended it
}

// Bounds of what is kept of connections that have ended. When they are reached the oldest of the
// tenant leaves of which most is kept, so that nobody's end is forgotten because others end often.
const (
	endedKept     = 10 * time.Minute
	maxEnded      = 16_384
	maxEndedBytes = 16 << 20
)

// ended are the connections of this node that ended lately: what they were, not a way to reach
// anything.
type ended struct {
	mu    sync.Mutex            // guards the fields below
	of    map[string]*endedList // by tenant; none is empty
	n     int                   // in all lists
	bytes int                   // of all lists
}

// endedList is one tenant's part, oldest first.
type endedList struct {
	list  []*endedConn // each immutable
	bytes int
}

type endedConn struct {
	end   ConnEnd
	bytes int
}

// endInfo is what to keep of a connection.
func (m *Manager) endInfo(end hub.End, s state) ConnEnd {
	return ConnEnd{
		ConnInfo: m.infoOf(end.View, s, end.Topics),
		Ended:    time.Now(), Code: end.Code, Reason: end.Reason, Remote: end.Remote,
	}
}

func (e *ended) add(tenant string, end ConnEnd) {
	const record, topic = 512, 160 // about, with what they point to of their own
	c := &endedConn{end: end, bytes: record + topic*len(end.Topics) + len(end.Reason)}
	for _, t := range end.Topics {
		c.bytes += len(t.Topic)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	own := e.of[tenant]
	if own == nil {
		if e.of == nil {
			e.of = make(map[string]*endedList)
		}
		own = new(endedList)
		e.of[tenant] = own
	}
	own.list = append(own.list, c)
	own.bytes += c.bytes
	e.n++
	e.bytes += c.bytes
	for e.n > maxEnded || e.bytes > maxEndedBytes {
		e.dropFirst(e.largest(tenant))
	}
}

// largest is the tenant of which most is kept, or the one that adds if it has more than its share:
// who ends most often finds it without a look at the others. The caller holds mu.
func (e *ended) largest(adds string) string {
	if own := e.of[adds]; own != nil && len(own.list) > 1 && own.bytes > e.bytes/len(e.of) {
		return adds
	}
	most, tenant := -1, ""
	for name, l := range e.of {
		if l.bytes > most {
			most, tenant = l.bytes, name
		}
	}
	return tenant
}

// dropFirst forgets a tenant's oldest. The caller holds mu.
func (e *ended) dropFirst(tenant string) {
	l := e.of[tenant]
	e.n--
	e.bytes -= l.list[0].bytes
	l.bytes -= l.list[0].bytes
	l.list[0] = nil // it may go
	if l.list = l.list[1:]; len(l.list) == 0 {
		delete(e.of, tenant)
	}
}

// expire forgets those that ended too long before now.
func (e *ended) expire(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for tenant, l := range e.of {
		for len(l.list) > 0 && now.Sub(l.list[0].end.Ended) >= endedKept {
			e.dropFirst(tenant)
		}
	}
}

// all returns what is kept of a tenant's, newest first.
func (e *ended) all(tenant string) []*endedConn {
	e.expire(time.Now())
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.of[tenant]
	if l == nil {
		return nil
	}
	list := slices.Clone(l.list)
	slices.Reverse(list)
	return list
}

// matches reports whether to, which is of the same tenant, names c.
func (c *endedConn) matches(to Target) bool {
	switch {
	case to.connection():
		return c.end.ID == to.id
	case slices.Contains(to.except, c.end.Session):
		return false
	}
	return slices.ContainsFunc(c.end.Topics, func(t ConnTopic) bool { return t.Topic == to.String() })
}

// Ended yields the connections of this node that ended within the last 10 minutes, newest first: the
// one that to names, a user's, those that followed a room to the end, or all of the tenant.
// Some thousands are kept; when more end, the oldest of the tenant with most of them are forgotten sooner.
func (l Connections) Ended(ctx context.Context, to Target) iter.Seq2[ConnEnd, error] {
	return func(yield func(ConnEnd, error) bool) {
		tenant, err := l.m.tenantOf(ctx)
		if err == nil && !to.connection() {
			_, err = to.topic(tenant)
		}
		if err != nil {
			yield(ConnEnd{}, fmt.Errorf("ended connections: %w", err))
			return
		}
		for _, c := range l.m.ended.all(tenant) {
			if err := ctx.Err(); err != nil {
				yield(ConnEnd{}, err)
				return
			}
			if c.matches(to) && !yield(c.end, nil) {
				return
			}
		}
	}
}
