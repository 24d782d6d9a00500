package switchboard

import (
	"fmt"
	"slices"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// Target is an address in the tenant of the call's context. The zero Target is none. A
// Target is immutable and comparable only with reflect.
type Target struct {
	kind   wire.Kind // 0 with id: a connection
	id     string
	except []string // session ids
}

// User addresses all devices of a user.
func User(id string) Target { return Target{kind: wire.KindUser, id: id} }

// Room addresses all who follow a room.
func Room(id string) Target { return Target{kind: wire.KindRoom, id: id} }

// All addresses every connection of the tenant.
func All() Target { return Target{kind: wire.KindAll} }

// Connection addresses one device now, by the id of its connection. What is published to it
// is never stored; [ErrNotFound] says that it is gone, or on another node.
func Connection(id string) Target { return Target{id: id} }

// Except leaves out the sessions of some devices, such as the one that caused the message,
// now and when they come back. It means nothing for a Connection.
func (t Target) Except(sessions ...string) Target {
	t.except = append(slices.Clip(t.except), sessions...)
	return t
}

// String is what clients call the address: "user/alice", "room/r1", "all"; of a connection
// "connection/" and its id, and "" of the zero Target. Except does not show.
func (t Target) String() string {
	switch {
	case t.connection():
		return "connection/" + t.id
	case t.kind == 0:
		return ""
	}
	return wire.Topic{Kind: t.kind, ID: t.id}.String()
}

// maxExcept is how many sessions a message may leave out.
const maxExcept = 64

// connection reports whether t is a Connection.
func (t Target) connection() bool { return t.kind == 0 && t.id != "" }

// topic returns the topic that t names in tenant.
func (t Target) topic(tenant string) (wire.Topic, error) {
	topic := wire.Topic{Tenant: tenant, Kind: t.kind, ID: t.id}
	if t.kind == 0 {
		return topic, fmt.Errorf("the target names no topic: %w", ErrInvalid)
	}
	if err := topic.Check(); err != nil {
		return topic, fmt.Errorf("the target's id %w: %w", err, ErrInvalid)
	}
	if len(t.except) > maxExcept {
		return topic, fmt.Errorf("more than %d sessions are left out: %w", maxExcept, ErrInvalid)
	}
	for _, s := range t.except {
		if _, ok := hub.ParseSession(s); !ok {
			return topic, fmt.Errorf("%q is no session id: %w", s, ErrInvalid)
		}
	}
	return topic, nil
}
