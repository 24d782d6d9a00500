package switchboard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// Rooms are memberships: they outlast connections and concern all devices of a user. The
// value is a view that costs nothing.
type Rooms struct{ m *Manager }

// Rooms returns the memberships.
func (m *Manager) Rooms() Rooms { return Rooms{m} }

// Add makes user a member of room, which gives the right to follow it, and makes the user's
// live connections follow it from now on. It is no error if the user is a member already. A room
// has about 100,000 members at most, one more is [ErrConflict]; one more than the tenant's [Quota]
// has a place for is refused with code RATE_LIMITED.
func (r Rooms) Add(ctx context.Context, room, user string) error {
	topic, err := r.m.roomTopic(ctx, room, user)
	if err != nil {
		return fmt.Errorf("add member: %w", err)
	}
	pos, changed, err := r.m.setMember(ctx, topic, user, memberAdded, "")
	if err == nil && !changed {
		pos, err = r.m.headOf(ctx, topic)
	}
	if err == nil {
		err = r.m.hintMember(ctx, topic, membership{Member: wire.Member{User: user, Joined: true}, Position: pos})
	}
	if err != nil {
		return fmt.Errorf("add member: %w", err)
	}
	return nil
}

// Remove ends user's membership of room: all devices of the user stop receiving it at once
// and are told. It is no error if the user is no member; then nothing changes.
func (r Rooms) Remove(ctx context.Context, room, user string) error {
	topic, err := r.m.roomTopic(ctx, room, user)
	if err == nil {
		err = r.m.endMembership(ctx, topic, user, reasonRemoved)
	}
	if err != nil {
		return fmt.Errorf("remove member: %w", err)
	}
	return nil
}

// Members yields the users who are members of room, in no order, as of some moment of the
// call. After an error nothing more comes.
func (r Rooms) Members(ctx context.Context, room string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		tenant, err := r.m.tenantOf(ctx)
		if err == nil {
			_, err = Room(room).topic(tenant)
		}
		if err != nil {
			yield("", fmt.Errorf("members: %w", err))
			return
		}
		for member, err := range r.m.members(ctx, wire.Topic{Tenant: tenant, Kind: wire.KindRoom, ID: room}) {
			if !yield(member.user, err) || err != nil {
				return
			}
		}
	}
}

// RoomInfo is what there is of a room at the moment of the call. A room is not made: it is there
// by being named, and nothing of it is left when its members, followers and messages are gone.
type RoomInfo struct {
	Members   int       // memberships
	Followers int       // connections of this node that follow it
	Head      Position  // of its log; offset 0: nothing was ever said
	Oldest    time.Time // when what is kept of its log begins; zero: nothing is kept
	Newest    time.Time // when something was last said, or somebody joined or left; zero likewise
}

// Info says what there is of room. It reads all memberships to count them.
func (r Rooms) Info(ctx context.Context, room string) (RoomInfo, error) {
	info, err := r.info(ctx, room)
	if err != nil {
		return RoomInfo{}, fmt.Errorf("room: %w", err)
	}
	return info, nil
}

func (r Rooms) info(ctx context.Context, room string) (info RoomInfo, err error) {
	tenant, err := r.m.tenantOf(ctx)
	if err != nil {
		return info, err
	}
	topic, err := Room(room).topic(tenant)
	if err != nil {
		return info, err
	}
	for _, err := range r.m.members(ctx, topic) {
		if err != nil {
			return info, err
		}
		info.Members++
	}
	_, info.Followers, _ = r.m.hub.Lookup(hubKey(topic))
	key := broker.KeyOf(topic)
	oldest, head, err := r.m.driver.Since(ctx, key, Position{}, 1)
	if _, gap := gapOf(err); err != nil && !gap {
		return info, err
	}
	newest, err := r.m.driver.Before(ctx, key, Position{}, 1)
	if err != nil {
		return info, err
	}
	info.Head = head
	if len(oldest) > 0 && len(newest) > 0 {
		info.Oldest, info.Newest = oldest[0].At, newest[0].At
	}
	return info, nil
}

// roomTopic checks the arguments of a change of membership.
func (m *Manager) roomTopic(ctx context.Context, room, user string) (wire.Topic, error) {
	tenant, err := m.tenantOf(ctx)
	if err != nil {
		return wire.Topic{}, err
	}
	if err := wire.CheckID(user); err != nil {
		return wire.Topic{}, fmt.Errorf("user %w: %w", err, ErrInvalid)
	}
	return Room(room).topic(tenant)
}

// memberKind is how somebody became a member. It is the first byte of the stored item,
// before the user's id and, after memberSince, the place in the room's log of the join.
type memberKind byte

const (
	memberNone   memberKind = 0
	memberJoined memberKind = 'j' // by joining, with the right to
	memberAdded  memberKind = 'a' // by the application, which gives the right
	memberGone   memberKind = 'x' // no member: about to be deleted
)

// memberSince is in no id and no position.
const memberSince = "\x00"

// Why a member is none any more, as clients hear it.
const (
	reasonLeft    = "left"
	reasonRemoved = "removed"
)

// memberItem is a membership as it is stored.
type memberItem struct {
	kind     memberKind
	revision uint64   // 0: there is no item
	since    Position // of the record of the join; zero: not known
}

// memberTries bounds the attempts to change a membership that others change too.
const memberTries = 8

// membership is the body of a membership record: in the log of a room, and as a hint to
// the nodes where the user is connected, which alone has the last three fields.
type membership struct {
	wire.Member
	Reason   string   `json:"reason,omitempty"`
	Room     string   `json:"room,omitempty"`
	Position Position `json:"position,omitzero"`
	By       string   `json:"by,omitempty"` // the connection that joined, which follows already
}

// memberKey is where the membership of user is stored: with the room's topic, so that a
// guarded publish changes both in one step.
func memberKey(room wire.Topic, user string) string {
	return memberPrefix(room) + broker.KeyOf(wire.Topic{Tenant: room.Tenant, Kind: wire.KindUser, ID: user}).String()
}

func memberPrefix(room wire.Topic) string { return broker.KeyOf(room).String() + "/m/" }

func (m *Manager) memberState(ctx context.Context, room wire.Topic, user string) (memberItem, error) {
	item, err := m.driver.Get(ctx, memberKey(room, user))
	if errors.Is(err, broker.ErrNotFound) {
		return memberItem{}, nil
	}
	if err != nil {
		return memberItem{}, fmt.Errorf("membership: %w", err)
	}
	state := memberItem{revision: item.Revision}
	if len(item.Value) > 0 && memberKind(item.Value[0]) != memberGone {
		state.kind = memberKind(item.Value[0])
		if _, since, ok := strings.Cut(string(item.Value), memberSince); ok {
			if state.since, err = wire.ParsePosition(since); err != nil {
				return memberItem{}, fmt.Errorf("membership: %w", err)
			}
		}
	}
	return state, nil
}

// setMember makes the stored membership of user be kind. If that makes somebody a member or
// ends it, changed is true and pos is the place of the record in the room's log that says so.
func (m *Manager) setMember(ctx context.Context, room wire.Topic, user string, kind memberKind, reason string) (pos Position, changed bool, err error) {
	for try := range memberTries {
		if try > 0 && !sleep(ctx, time.Duration(try)*10*time.Millisecond) {
			return Position{}, false, ctx.Err()
		}
		state, err := m.memberState(ctx, room, user)
		if err != nil {
			return Position{}, false, err
		}
		if state.kind == kind || kind == memberJoined && state.kind == memberAdded {
			return Position{}, false, nil
		}
		if state.kind != memberNone && kind != memberNone { // has joined, and is now added
			_, err = m.driver.Put(ctx, memberKey(room, user), memberValue(kind, user, state.since), state.revision, 0)
			if errors.Is(err, broker.ErrConflict) {
				continue
			}
			if err == nil {
				m.auditMember(ctx, room, user, kind, reason)
			}
			return Position{}, false, err
		}
		if kind == memberNone {
			err = m.unnoteMember(ctx, room, user)
		} else {
			err = m.mayBegin(ctx, room, user, kind)
		}
		if err != nil {
			return Position{}, false, err
		}
		pos, err = m.publishMember(ctx, room, user, kind, reason, state.revision)
		if errors.Is(err, broker.ErrFenced) {
			continue
		}
		if err != nil {
			return pos, false, err
		}
		m.auditMember(ctx, room, user, kind, reason)
		if kind != memberNone {
			m.noteMember(ctx, room, user, kind)
		}
		m.settleMember(ctx, room, user)
		return pos, true, nil
	}
	return Position{}, false, fmt.Errorf("membership keeps changing: %w", ErrConflict)
}

// publishMember appends the record of a change, which changes the stored item in the same
// step, or is [broker.ErrFenced] if the item has another revision.
func (m *Manager) publishMember(ctx context.Context, room wire.Topic, user string, kind memberKind, reason string, revision uint64) (Position, error) {
	body, err := wire.Marshal(membership{Member: wire.Member{User: user, Joined: kind != memberNone}, Reason: reason})
	if err != nil {
		return Position{}, fmt.Errorf("membership: %w", err)
	}
	value := memberValue(kind, user, Position{})
	if kind == memberNone {
		value = memberValue(memberGone, user, Position{})
	}
	key := memberKey(room, user)
	published, err := m.publishRecord(ctx, wire.Record{Kind: wire.RecordMember, Topic: room, Body: body}, broker.Record{
		Guard: broker.Guard{Key: key, Revision: revision, Put: value},
		Keep:  m.opts.Retention,
	})
	if err != nil {
		return Position{}, err
	}
	if kind != memberNone {
		// The place is known only now. Without it the member is told of a gap when coming back.
		_, err := m.driver.Put(ctx, key, memberValue(kind, user, published.Pos), published.Revision, 0)
		if err != nil && !errors.Is(err, broker.ErrConflict) {
			m.log.LogAttrs(ctx, slog.LevelWarn, "place of a join not stored", slog.Any("err", err))
		}
	} else {
		// What is left says that there is no member; without it that is said as well.
		if err := m.driver.Delete(ctx, key, published.Revision); err != nil && !errors.Is(err, broker.ErrConflict) {
			m.log.LogAttrs(ctx, slog.LevelDebug, "ended membership not deleted", slog.Any("err", err))
		}
	}
	return published.Pos, nil
}

func memberValue(kind memberKind, user string, since Position) []byte {
	value := append([]byte{byte(kind)}, user...)
	if !since.IsZero() {
		value = append(value, memberSince+since.String()...)
	}
	return value
}

// endMembership removes user and tells all devices.
func (m *Manager) endMembership(ctx context.Context, room wire.Topic, user, reason string) error {
	pos, changed, err := m.setMember(ctx, room, user, memberNone, reason)
	if err != nil || !changed {
		return err
	}
	return m.hintMember(ctx, room, membership{Member: wire.Member{User: user}, Reason: reason, Position: pos})
}

// hintMember tells all nodes where the user is connected.
func (m *Manager) hintMember(ctx context.Context, room wire.Topic, hint membership) error {
	hint.Room = room.ID
	body, err := wire.Marshal(hint)
	if err != nil {
		return fmt.Errorf("membership: %w", err)
	}
	_, err = m.publishRecord(ctx, wire.Record{
		Kind: wire.RecordMember, Topic: wire.Topic{Tenant: room.Tenant, Kind: wire.KindUser, ID: hint.User}, Body: body,
	}, broker.Record{Class: wire.Volatile})
	return err
}

// roomMember is one of the members of a room.
type roomMember struct {
	user string
	kind memberKind
}

// members yields the members of a room.
func (m *Manager) members(ctx context.Context, room wire.Topic) iter.Seq2[roomMember, error] {
	return func(yield func(roomMember, error) bool) {
		for item, err := range m.membersBelow(ctx, memberPrefix(room)) {
			if !yield(roomMember{string(item.user), item.kind}, err) || err != nil {
				return
			}
		}
	}
}

// storedMember is a member as the store has it: user may be kept but not changed.
type storedMember struct {
	user []byte
	kind memberKind
}

// membersBelow yields the members whose items begin with a prefix.
func (m *Manager) membersBelow(ctx context.Context, prefix string) iter.Seq2[storedMember, error] {
	return func(yield func(storedMember, error) bool) {
		for change, err := range m.driver.Watch(ctx, prefix) {
			switch {
			case err != nil:
				yield(storedMember{}, fmt.Errorf("members: %w", err))
				return
			case change.Synced:
				return
			case change.Deleted || len(change.Value) < 2 || memberKind(change.Value[0]) == memberGone:
			default:
				user, _, _ := bytes.Cut(change.Value[1:], []byte(memberSince))
				if !yield(storedMember{user, memberKind(change.Value[0])}, nil) {
					return
				}
			}
		}
	}
}

// headOf is the exact head of a topic, live here or not.
func (m *Manager) headOf(ctx context.Context, topic wire.Topic) (Position, error) {
	heads, err := m.driver.Heads(ctx, true, broker.KeyOf(topic))
	if err != nil {
		return Position{}, fmt.Errorf("head of %s: %w", topic, err)
	}
	return heads[0], nil
}
