package switchboard

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/netip"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/session"
	"github.com/netra-systems/switchboard/wire"
)

// state is what the manager itself knows of a connection. It lives encoded in the hub's
// record of the connection, so that there is one registry only.
type state struct {
	flags        stateFlags
	logins       uint8         // how often the credential was exchanged, modulo 256
	expires      time.Time     // of the credential; zero: never
	issued       time.Time     // when the credential was; zero: not known
	shown        time.Time     // when the client showed a credential, not a session token
	look         time.Duration // the deadline at which it is looked at, as in deadlines; 0: none
	permissions  uint64        // number in the permission table
	address      netip.Addr
	device       string
	tokenID, sid string
	lineage      session.Lineage // the sessions that the credential came of
	doing        deviceState
	meta         string // JSON that others see, "": none
	claims       json.RawMessage
}

// deviceState is what the user does on a device, as the client says.
type deviceState uint8

const (
	deviceActive deviceState = iota
	deviceIdle
	deviceBackground
)

// String is as clients name it.
func (d deviceState) String() string {
	switch d {
	case deviceIdle:
		return wire.StateIdle
	case deviceBackground:
		return wire.StateBackground
	}
	return wire.StateActive
}

// parseDeviceState reads what String wrote.
func parseDeviceState(text string) (d deviceState, ok bool) {
	for d := range deviceBackground + 1 {
		if d.String() == text {
			return d, true
		}
	}
	return 0, false
}

type stateFlags uint8

const (
	// flagRestored: the one late session_restore has been used.
	flagRestored stateFlags = 1 << iota
	// flagAppPings: the client asked for ping messages beside the protocol's pings.
	flagAppPings
	// flagWarned: auth_expiring was sent for this credential.
	flagWarned
	// flagEvents: the client reads server-sent events.
	flagEvents
	// flagRevoked: it is being closed because of a revocation.
	flagRevoked
	// flagPresent: the client has said what its user does, and hears of the user's other devices.
	flagPresent
	// flagResumed: the session had a connection before this one, perhaps on another node.
	flagResumed
)

// Bounds of the texts in a state.
const (
	maxDevice  = 64
	maxTokenID = 256
	maxMeta    = 1 << 10
)

// hasLineage, beside what the user does, says that a lineage follows: most connections have none,
// and no byte for it.
const hasLineage = 1 << 7

var errState = errors.New("not the state of a connection")

// append encodes s behind dst.
func (s *state) append(dst []byte) []byte {
	doing := byte(s.doing)
	if s.lineage != "" {
		doing |= hasLineage
	}
	dst = append(dst, byte(s.flags), doing, s.logins)
	for _, at := range []time.Time{s.expires, s.issued, s.shown} {
		var ms uint64
		if !at.IsZero() {
			ms = uint64(at.UnixMilli())
		}
		dst = binary.AppendUvarint(dst, ms)
	}
	dst = binary.AppendUvarint(dst, uint64(s.look))
	dst = binary.AppendUvarint(dst, s.permissions)
	text := func(text string) {
		dst = binary.AppendUvarint(dst, uint64(len(text)))
		dst = append(dst, text...)
	}
	for _, part := range []string{string(s.address.AsSlice()), s.device, s.tokenID, s.sid, s.meta} {
		text(part)
	}
	if s.lineage != "" {
		text(string(s.lineage))
	}
	return append(dst, s.claims...)
}

// decodeState reads what append wrote.
func decodeState(b []byte) (state, error) {
	if len(b) < 3 || deviceState(b[1]&^hasLineage) > deviceBackground {
		return state{}, errState
	}
	s := state{flags: stateFlags(b[0]), doing: deviceState(b[1] &^ hasLineage), logins: b[2]}
	rest, ok := b[3:], true
	number := func() uint64 {
		n, size := binary.Uvarint(rest)
		if size <= 0 {
			ok, rest = false, nil
			return 0
		}
		rest = rest[size:]
		return n
	}
	text := func() string {
		n := number()
		if n > uint64(len(rest)) {
			ok, rest = false, nil
			return ""
		}
		s := string(rest[:n])
		rest = rest[n:]
		return s
	}
	for _, at := range []*time.Time{&s.expires, &s.issued, &s.shown} {
		if ms := number(); ms != 0 {
			*at = time.UnixMilli(int64(ms))
		}
	}
	s.look = time.Duration(number())
	s.permissions = number()
	address := text()
	s.address, _ = netip.AddrFromSlice([]byte(address))
	s.device, s.tokenID, s.sid, s.meta = text(), text(), text(), text()
	if b[1]&hasLineage != 0 {
		lineage, whole := session.ParseLineage([]byte(text()))
		s.lineage, ok = lineage, ok && whole
	}
	if !ok || address != "" && !s.address.IsValid() {
		return state{}, errState
	}
	if len(rest) > 0 {
		s.claims = rest
	}
	return s, nil
}

// stateOf returns the state of a connection, and false if it is gone.
func (m *Manager) stateOf(c hub.Handle) (state, *permissions, bool) {
	for {
		blob, ok := m.hub.Info(c)
		if !ok {
			return state{}, nil, false
		}
		s, err := decodeState(blob)
		if err != nil {
			return state{}, nil, false
		}
		if set, ok := m.permissions.get(s.permissions); ok {
			return s, set, true
		}
		// A refresh has replaced the permissions since, or the connection is closing.
	}
}

// changeState applies change to the state of a connection, and reports whether it is still
// there. Changes of one connection do not overlap.
func (m *Manager) changeState(c hub.Handle, change func(*state)) bool {
	m.stateMu.Lock()
	defer m.stateMu.Unlock()
	blob, ok := m.hub.Info(c)
	if !ok {
		return false
	}
	s, err := decodeState(blob)
	if err != nil {
		return false
	}
	change(&s)
	return m.hub.SetInfo(c, s.append(nil)) == nil
}

// sameLogin is whether an encoded state is still of the credential with that number.
func sameLogin(logins uint8) func(state []byte) bool {
	return func(b []byte) bool { return len(b) > 2 && b[2] == logins }
}

// identity is who a connection with state s belongs to.
func (s *state) identity(view hub.View, set *permissions) Identity {
	return Identity{
		Tenant: view.User.Tenant, User: view.User.ID, Permissions: set.list,
		Expires: s.expires, Issued: s.issued, TokenID: s.tokenID, SID: s.sid, Claims: s.claims,
	}
}
