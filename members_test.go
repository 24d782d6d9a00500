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
		a.expect(wire.RoomJoined)
		wantEqual(t, "left", payload[wire.RoomLeftPayload](t, a.expect(wire.RoomLeft)), wire.RoomLeftPayload{Room: "team", Reason: "removed"})
		s.note(t, switchboard.Room("team"), 1)
		a.silent()
		if !d.happened.Load() {
			t.Error("the membership did not end meanwhile: this test tests nothing")
		}
	})
}
