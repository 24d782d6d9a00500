package switchboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/netra-systems/switchboard/internal/presence"
	"github.com/netra-systems/switchboard/wire"
)

// Presence is who is there, on any device, on any node. The value is a view that costs nothing.
type Presence struct{ m *Manager }

// Presence returns who is there.
func (m *Manager) Presence() Presence { return Presence{m} }

// UserPresence is one user: online while a device is, or was within Heartbeat.OfflineAfter.
type UserPresence struct {
	User    string
	Online  bool
	Since   time.Time // when the device was connected that is there for the longest; zero: offline
	Devices []Device
}

// Device is one session of a user.
type Device struct {
	Session      string
	Name         string // as it calls itself
	State        string // "active", "idle" or "background", as the client says
	LastActivity time.Time
	Meta         json.RawMessage // a JSON object, as the client says; nil: none
}

// User returns the presence of a user. It asks all nodes; while one does not answer, such as one that has
// died as long as its lease lives, the error is ErrUnavailable: see docs/presence.md.
func (p Presence) User(ctx context.Context, id string) (UserPresence, error) {
	tenant, err := p.m.tenantOf(ctx)
	if err == nil {
		if wrong := wire.CheckID(id); wrong != nil {
			err = fmt.Errorf("user %w: %w", wrong, ErrInvalid)
		}
	}
	var found map[string][][]presence.Device
	if err == nil {
		found, err = p.m.whoIs(ctx, wire.Topic{Tenant: tenant, Kind: wire.KindUser, ID: id})
	}
	if err != nil {
		return UserPresence{}, fmt.Errorf("presence of user: %w", err)
	}
	return userPresence(presence.Merge(id, found[id]...)), nil
}

// Room yields the users who follow a room, by id, as of some moment of the call. After an error
// nothing more comes. As in [Presence.User] it is ErrUnavailable while a node does not answer: then
// nobody is yielded.
func (p Presence) Room(ctx context.Context, id string) iter.Seq2[UserPresence, error] {
	return func(yield func(UserPresence, error) bool) {
		var found map[string][][]presence.Device
		tenant, err := p.m.tenantOf(ctx)
		if err == nil {
			var room wire.Topic
			if room, err = Room(id).topic(tenant); err == nil {
				found, err = p.m.whoIs(ctx, room)
			}
		}
		if err != nil {
			yield(UserPresence{}, fmt.Errorf("presence in room: %w", err))
			return
		}
		users := make([]string, 0, len(found))
		for user := range found {
			users = append(users, user)
		}
		slices.Sort(users)
		for _, user := range users {
			if !yield(userPresence(presence.Merge(user, found[user]...)), nil) {
				return
			}
		}
	}
}

func userPresence(p wire.Presence) UserPresence {
	u := UserPresence{User: p.UserID, Online: p.Online, Devices: make([]Device, len(p.Devices))}
	if p.Online {
		u.Since = fromSeconds(p.Since)
	}
	for i, d := range p.Devices {
		u.Devices[i] = Device{Session: d.SessionID, Name: d.Name, State: d.State, LastActivity: fromSeconds(d.LastActivity), Meta: d.Meta}
	}
	return u
}

func fromSeconds(s float64) time.Time { return time.UnixMilli(int64(s*1000 + 0.5)) }

// whoIs asks all nodes, and this one, who is in a place.
func (m *Manager) whoIs(ctx context.Context, place wire.Topic) (map[string][][]presence.Device, error) {
	select {
	case <-m.nodes.known:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-m.life.Done():
		return nil, ErrClosed
	}
	here := make(chan answered, 1)
	m.presence.post(presenceEvent{what: placeAsked, topic: place, more: &presenceMore{reply: here}})
	waits, cancel := context.WithTimeout(ctx, askLongest)
	defer cancel()
	all, silent, err := m.ask(waits, place, false, m.nodes.others()...)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(silent, m.nodes.has) { // the others have gone meanwhile
		m.silent(silent)
		return nil, &Error{Code: wire.CodeUnavailable, Message: "a node does not answer who is there"}
	}
	select {
	case a := <-here:
		all = append(all, a)
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-m.life.Done():
		return nil, ErrClosed
	}
	found := make(map[string][][]presence.Device)
	for _, a := range all {
		for _, e := range a.entries {
			found[e.User] = append(found[e.User], e.Devices)
		}
	}
	return found, nil
}

// presenceUpdateVerb takes what the user does on the sender's device.
func presenceUpdateVerb(_ context.Context, in *inbound) error {
	var req wire.PresenceUpdateRequest
	if err := in.env.Decode(&req); err != nil {
		return err
	}
	doing, ok := parseDeviceState(req.State)
	if !ok {
		return fieldError(wire.CodeInvalidMessage, "state", "state must be active, idle or background")
	}
	meta := string(req.Meta)
	switch {
	case meta == "null":
		meta = ""
	case len(meta) > maxMeta:
		return fieldError(wire.CodeInvalidMessage, "meta", fmt.Sprintf("meta must have at most %d bytes", maxMeta))
	case meta != "" && meta[0] != '{':
		return fieldError(wire.CodeInvalidMessage, "meta", "meta must be an object")
	}
	// It is told in each room that the device follows.
	if err := in.spend(len(in.m.hub.Following(in.c)) / namesPerMessage); err != nil {
		return err
	}
	changed := false
	if !in.m.changeState(in.c, func(s *state) {
		changed = s.doing != doing || s.meta != meta || s.flags&flagPresent == 0
		s.doing, s.meta = doing, meta
		s.flags |= flagPresent
	}) {
		return errors.New("the connection has ended")
	}
	if changed {
		in.m.presence.post(presenceEvent{what: deviceChanged, conn: in.c})
	}
	in.m.ack(in.c, in.env.ID, wire.Ack{Status: wire.StatusOK}, "")
	return nil
}
