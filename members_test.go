package switchboard_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// overtaken is a driver with which something happens right after the node that hears of a new
// membership has looked it up, so that what it knows is old. Hints that are given from then on
// are lost, as volatile records may be.
type overtaken struct {
	broker.Driver
	by       func()
	hinted   atomic.Bool // a hint was given
	happened atomic.Bool
}

func (d *overtaken) Publish(ctx context.Context, rec broker.Record) (broker.Published, error) {
	if rec.Class != wire.Volatile {
		return d.Driver.Publish(ctx, rec)
	}
	if d.happened.Load() {
		return broker.Published{}, nil
	}
	d.hinted.Store(true)
	return d.Driver.Publish(ctx, rec)
}

func (d *overtaken) Get(ctx context.Context, key string) (broker.Item, error) {
	item, err := d.Driver.Get(ctx, key)
	if strings.Contains(key, "/m/") && d.hinted.Load() && d.happened.CompareAndSwap(false, true) {
		d.by()
	}
	return item, err
}

func TestADeviceDoesNotStayInARoomWhoseMembershipEndedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &overtaken{Driver: openDriver(t)}
		s := newServer(t, switchboard.Options{Broker: d})
		d.by = func() {
			if err := s.Rooms().Remove(context.Background(), "team", "alice"); err != nil {
				t.Error(err)
			}
		}
		a := s.as(t, "alice")
		if err := s.Rooms().Add(t.Context(), "team", "alice"); err != nil {
			t.Fatal(err)
		}
		s.note(t, switchboard.Room("team"), 1)
		a.silent()
		if !d.happened.Load() {
			t.Error("the membership did not end meanwhile: this test tests nothing")
		}
	})
}

// TestAMemberGetsNothingFromBeforeTheJoinWhereTheNodeIsBehind: the node has not heard of a message
// and of the membership behind it when the member comes to the room.
func TestAMemberGetsNothingFromBeforeTheJoinWhereTheNodeIsBehind(t *testing.T) {
	for _, verb := range []string{
		`{"type":"subscribe","message_id":"s","payload":{"rooms":["team"]}}`,
		`{"type":"join_room","message_id":"s","payload":{"room":"team"}}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			d := openDriver(t)
			s := newServer(t, switchboard.Options{Broker: d})
			bob, alice := s.as(t, "bob room:team:join"), s.as(t, "alice")
			bob.send(`{"type":"subscribe","message_id":"b","payload":{"rooms":["team"]}}`)
			bob.expect(wire.Subscribed)
			d.Faults().DropLive(roomKey("team"), 2)
			s.note(t, switchboard.Room("team"), 1)
			// As on another node: this one's devices are told by a hint, which is lost.
			d.Faults().DropLive(userKey("alice"), 1)
			if err := s.Rooms().Add(t.Context(), "team", "alice"); err != nil {
				t.Fatal(err)
			}
			alice.send("%s", verb)
			answer := alice.next()
			s.note(t, switchboard.Room("team"), 3)
			wantEqual(t, "what alice got", alice.notes(1), []int{3})
			wantEqual(t, "what bob got", bob.notes(2), []int{1, 3})
			pos := payload[struct {
				Position switchboard.Position
				Topics   map[string]switchboard.Position
			}](t, answer)
			if at := max(pos.Position.Offset, pos.Topics["room/team"].Offset); at != 2 {
				t.Errorf("alice was told %d by %s, want 2, the place of the join", at, answer.Type)
			}
			alice.silent()
		})
	}
}
