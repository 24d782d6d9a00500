package switchboard

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

const (
	// nodeLease is for how long a node counts as alive that was not heard of, by the broker's clock,
	// which rounds up to a second and looks at it once a second.
	nodeLease = 10 * time.Second
	// nodeRenew is how often a node says that it is alive.
	nodeRenew = 3 * time.Second
	// nodeReturn is how long a node is waited for at least that has lost its lease: when all have, because
	// the broker was away, each has another one by then.
	nodeReturn = 5 * time.Second
	// nodeRetry is after how long a store that failed is asked again.
	nodeRetry  = 500 * time.Millisecond
	nodePrefix = "node/"
)

// nodes are the nodes of a cluster, as their leases in the store tell. What hangs on a node, such as
// the presence of its users, hangs on one lease: a node that came back after it was given up for dead
// has another name here.
type nodes struct {
	everybody broker.Key // where all nodes listen

	mu    sync.Mutex // guards the fields below
	inbox broker.Key // where self listens
	self  string     // this node's name and its present life; "": it is about to get another one
	peers map[string]struct{}
	known chan struct{} // closed once all that are there have been read
}

// nodeValue is what a lease says of its node.
type nodeValue struct {
	Node    string  `json:"node"`
	Started float64 `json:"started"` // seconds since 1970
}

func (n *nodes) init() {
	n.everybody, n.peers, n.known = broker.NameKey("nodes"), make(map[string]struct{}), make(chan struct{})
}

// id is this node, "" without a lease.
func (n *nodes) id() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.self
}

// others are the nodes besides this one.
func (n *nodes) others() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.peers))
}

// alone reports whether there is no other node.
func (n *nodes) alone() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.peers) == 0
}

// has reports whether a node is there.
func (n *nodes) has(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, there := n.peers[id]
	return there
}

func (n *nodes) setSelf(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.self, n.inbox = id, nodeInbox(id)
	delete(n.peers, id)
}

// listens reports whether this node listens at a key, besides the topics that it follows.
func (n *nodes) listens(key broker.Key) bool {
	if key == n.everybody {
		return true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return key == n.inbox
}

// set notes whether a node is there, and reports whether that is news.
func (n *nodes) set(id string, there bool) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, was := n.peers[id]
	switch {
	case id == n.self || was == there:
		return false
	case there:
		n.peers[id] = struct{}{}
	default:
		delete(n.peers, id)
	}
	return true
}

// nodeInbox is where one node listens.
func nodeInbox(id string) broker.Key { return broker.NameKey(nodePrefix + id) }

// holdLease keeps this node's lease until ctx ends, and gives it back then.
func (m *Manager) holdLease(ctx context.Context) {
	var id string
	var revision uint64
	for ctx.Err() == nil {
		if id == "" {
			id, revision = m.opts.Node+"."+strings.ToLower(rand.Text()[:10]), 0
			m.nodes.setSelf(id)
		}
		next, err := m.renewLease(ctx, id, revision)
		switch {
		case err == nil && revision == 0:
			revision = next
			m.presence.post(presenceEvent{what: nodeBegan})
		case err == nil:
			revision = next
		case errors.Is(err, broker.ErrConflict):
			if held, err := m.leaseOf(ctx, id); err == nil { // written, and the answer was lost
				if revision == 0 {
					m.presence.post(presenceEvent{what: nodeBegan})
				}
				revision = held
				sleep(ctx, nodeRetry)
				continue
			} else if !errors.Is(err, broker.ErrNotFound) {
				sleep(ctx, nodeRetry)
				continue
			}
			// It has expired: others have given this node up.
			m.log.LogAttrs(ctx, slog.LevelWarn, "this node was given up for dead and begins anew", slog.String("node", id))
			m.leaveInbox(ctx, id)
			id = ""
			continue
		case errors.Is(err, broker.ErrClosed):
			return
		case ctx.Err() == nil:
			m.log.LogAttrs(ctx, slog.LevelDebug, "lease of this node not renewed", slog.Any("err", err))
			if !sleep(ctx, nodeRetry) {
				break
			}
			continue
		}
		sleep(ctx, nodeRenew)
	}
	if revision != 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), nodeRetry)
		defer cancel()
		_ = m.driver.Delete(ctx, nodePrefix+id, broker.Any) // else it expires
	}
}

// renewLease writes the lease; revision 0 is the first time. It follows where this node is asked before
// others can know of it.
func (m *Manager) renewLease(ctx context.Context, id string, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeRenew) // so that there is time for another try
	defer cancel()
	if revision == 0 {
		if err := m.driver.Follow(ctx, m.nodes.everybody, nodeInbox(id)); err != nil {
			return 0, err
		}
	}
	value, err := wire.Marshal(nodeValue{Node: m.opts.Node, Started: wire.Seconds(m.started)})
	if err != nil {
		return 0, err
	}
	return m.driver.Put(ctx, nodePrefix+id, value, revision, nodeLease)
}

// leaveInbox ceases to listen where a node of a former name is asked.
func (m *Manager) leaveInbox(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, nodeRetry)
	defer cancel()
	_ = m.driver.Unfollow(ctx, nodeInbox(id)) // a hint: what comes is not listened to
}

// leaseOf is the revision of a lease that only this node writes.
func (m *Manager) leaseOf(ctx context.Context, id string) (revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, nodeRenew)
	defer cancel()
	item, err := m.driver.Get(ctx, nodePrefix+id)
	return item.Revision, err
}

// watchNodes hears of other nodes until ctx ends.
func (m *Manager) watchNodes(ctx context.Context) {
	for ctx.Err() == nil {
		there, synced := make(map[string]struct{}), false
		for change, err := range m.driver.Watch(ctx, nodePrefix) {
			if err != nil {
				if errors.Is(err, broker.ErrClosed) {
					return
				}
				m.log.LogAttrs(ctx, slog.LevelDebug, "nodes not watched", slog.Any("err", err))
				break
			}
			id := strings.TrimPrefix(change.Key, nodePrefix)
			switch {
			case change.Synced:
				m.missNodes(there)
				synced = true
			case change.Deleted:
				m.setNode(id, false)
			default:
				if !synced {
					there[id] = struct{}{}
				}
				m.setNode(id, true)
			}
		}
		sleep(ctx, nodeRetry)
	}
}

// missNodes gives up the nodes that are not there any more.
func (m *Manager) missNodes(there map[string]struct{}) {
	for _, id := range m.nodes.others() {
		if _, ok := there[id]; !ok {
			m.setNode(id, false)
		}
	}
	select {
	case <-m.nodes.known:
	default:
		close(m.nodes.known) // by one goroutine
		m.presence.post(presenceEvent{what: nodesKnown})
	}
}

func (m *Manager) setNode(id string, there bool) {
	if !m.nodes.set(id, there) {
		return
	}
	what := nodeGone
	if there {
		what = nodeCame
	}
	m.presence.post(presenceEvent{what: what, more: &presenceMore{node: id}})
}
