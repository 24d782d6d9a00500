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

// Bounds of what is kept of connections that have ended. The oldest leave first.
const (
	endedKept     = 10 * time.Minute
	maxEnded      = 16_384
	maxEndedBytes = 16 << 20
)

// ended are the connections of this node that ended lately, oldest first: what they were, not
// a way to reach anything.
type ended struct {
	mu    sync.Mutex   // guards the fields below
	list  []*endedConn // each immutable
	bytes int          // of list
}

type endedConn struct {
	tenant string
	end    ConnEnd
	bytes  int
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
	c := &endedConn{tenant: tenant, end: end, bytes: record + topic*len(end.Topics) + len(end.Reason)}
	for _, t := range end.Topics {
		c.bytes += len(t.Topic)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, c)
	e.bytes += c.bytes
	for len(e.list) > maxEnded || e.bytes > maxEndedBytes {
		e.dropFirst()
	}
}

// dropFirst forgets the oldest. The caller holds mu.
func (e *ended) dropFirst() {
	e.bytes -= e.list[0].bytes
	e.list[0] = nil // it may go
	if e.list = e.list[1:]; len(e.list) == 0 {
		e.list = nil
	}
}

// expire forgets those that ended too long before now.
func (e *ended) expire(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.list) > 0 && now.Sub(e.list[0].end.Ended) >= endedKept {
		e.dropFirst()
	}
}

// all returns what is kept, newest first.
func (e *ended) all() []*endedConn {
	e.expire(time.Now())
	e.mu.Lock()
	defer e.mu.Unlock()
	list := slices.Clone(e.list)
	slices.Reverse(list)
	return list
}

// matches reports whether to, in the tenant of c, names c.
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
// Some thousands are kept; when more end, the oldest are forgotten sooner.
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
		for _, c := range l.m.ended.all() {
			if err := ctx.Err(); err != nil {
				yield(ConnEnd{}, err)
				return
			}
			if c.tenant == tenant && c.matches(to) && !yield(c.end, nil) {
				return
			}
		}
	}
}
