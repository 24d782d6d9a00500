package arch

func registrySeeds() []seed {
	const says = " is a second registry of connections; ask the manager instead"
	return []seed{
		{
			name: "containers of the manager's connections",
			files: map[string]string{"dashboard/second.go": `package dashboard
import (
	"sync"
	"sync/atomic"
	"container/list"
	"github.com/netra-systems/switchboard"
)
type box[T any] struct{ v []T }
type session struct{ c *switchboard.Conn }
type old = switchboard.Conn
type page struct {
	recent []*switchboard.Conn
	gen    box[*switchboard.Conn]
	online sync.Map
	lru    *list.List
	nested map[string]session
	alias  map[string]*old
	keys   map[*switchboard.Conn]bool
	queue  chan *switchboard.Conn
	fixed  [8]switchboard.Conn
	inline struct{ all []*switchboard.Conn }
	swap   atomic.Pointer[map[string]*switchboard.Conn]
}
var everyone []session
`},
			want: []string{
				"dashboard/second.go:12: recent []*" + root + ".Conn" + says,
				"dashboard/second.go:13: gen box[*" + root + ".Conn]" + says,
				"dashboard/second.go:14: online sync.Map" + says,
				"dashboard/second.go:15: lru *container/list.List" + says,
				"dashboard/second.go:16: nested map[string]session" + says,
				"dashboard/second.go:17: alias map[string]*old" + says,
				"dashboard/second.go:18: keys map[*" + root + ".Conn]bool" + says,
				"dashboard/second.go:19: queue chan *" + root + ".Conn" + says,
				"dashboard/second.go:20: fixed [8]" + root + ".Conn" + says,
				"dashboard/second.go:21: all []*" + root + ".Conn" + says,
				"dashboard/second.go:21: inline struct{all []*" + root + ".Conn}" + says,
				"dashboard/second.go:22: swap sync/atomic.Pointer[map[string]*" + root + ".Conn]" + says,
				"dashboard/second.go:24: everyone []session" + says,
			},
		},
		{
			name: "connections behind an interface",
			files: map[string]string{"dashboard/second.go": `package dashboard
import "io"
type named interface{ ID() string }
type wide interface{ ID() string; Name() string }
type page struct {
	one   named
	few   []named
	plain map[string]interface{ ID() string }
	other []wide
	any   map[string]any
	errs  []error
	files []io.Closer
}
`},
			want: []string{
				"dashboard/second.go:7: few []named" + says,
				"dashboard/second.go:8: plain map[string]interface{ID() string}" + says,
			},
		},
		{
			name: "sockets, whatever they are called",
			files: map[string]string{"internal/ws/engine.go": `package ws
import "net"
type Conn struct{}
type quiet struct{ net.Conn }
type frameConn interface{ net.Conn; Flush() error }
type engine struct {
	one   net.Conn
	conns map[int]net.Conn
	tcp   []*net.TCPConn
	quiet []quiet
	frame []frameConn
	own   []*Conn
	lists []net.Listener
}
`},
			want: []string{
				"internal/ws/engine.go:10: quiet []quiet" + says,
				"internal/ws/engine.go:11: frame []frameConn" + says,
				"internal/ws/engine.go:12: own []*Conn" + says,
				"internal/ws/engine.go:8: conns map[int]net.Conn" + says,
				"internal/ws/engine.go:9: tcp []*net.TCPConn" + says,
			},
		},
		{
			name: "the engine's table, and a second one",
			files: map[string]string{"internal/ws/table.go": `package ws
import "net"
type conn struct{ nc net.Conn }
type table struct{ conns []conn }
type engine struct{ t table; shards []table }
`},
			want: []string{"internal/ws/table.go:5: shards []table" + says},
		},
		{
			name: "a type seen alone first, then in a container",
			files: map[string]string{"second.go": `package switchboard
type session struct{ c *Conn }
type table struct {
	x struct {
		one  session
		many map[string]session
	}
}
`},
			want: []string{
				"second.go:4: x struct{one session; many map[string]session}" + says,
				"second.go:6: many map[string]session" + says,
			},
		},
		{
			name: "one connection, ids, snapshots in locals, recursive types",
			files: map[string]string{"dashboard/page.go": `package dashboard
import (
	"sync/atomic"
	"github.com/netra-systems/switchboard"
)
type tree struct{ left, right *tree; kids []tree }
type page struct {
	c    *switchboard.Conn
	last atomic.Pointer[switchboard.Conn]
	ids  map[string]bool
	tree tree
	m    *switchboard.Manager
	each func(*switchboard.Conn)
}
func (p *page) show(all []*switchboard.Conn) {
	local := map[string]*switchboard.Conn{}
	_, _ = all, local
}
`},
		},
	}
}

func hubSeeds() []seed {
	const says = " is a second hub; there is one, in the manager"
	return []seed{
		{
			name: "hubs beside the manager",
			files: map[string]string{"dashboard/second.go": `package dashboard
import (
	"sync/atomic"
	"github.com/netra-systems/switchboard/internal/hub"
)
type box[T any] struct{ v T }
type page struct {
	h      *hub.Hub
	shards []*hub.Hub
	gen    box[hub.Hub]
}
var global atomic.Pointer[hub.Hub]
`},
			want: []string{
				"dashboard/second.go:10: gen box[" + root + "/internal/hub.Hub]" + says,
				"dashboard/second.go:12: global sync/atomic.Pointer[" + root + "/internal/hub.Hub]" + says,
				"dashboard/second.go:8: h *" + root + "/internal/hub.Hub" + says,
				"dashboard/second.go:9: shards []*" + root + "/internal/hub.Hub" + says,
			},
		},
		{
			name:  "a second one in the root package",
			files: map[string]string{"z.go": "package switchboard\nimport \"" + root + "/internal/hub\"\nvar spare hub.Hub\n"},
			want:  []string{"z.go:3: spare " + root + "/internal/hub.Hub" + says},
		},
		{
			name:  "a manager without a hub",
			files: map[string]string{"switchboard.go": "package switchboard\ntype Manager struct{}\n"},
			want:  []string{".:0: the manager has no hub"},
		},
	}
}
