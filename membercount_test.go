package switchboard_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

func TestAUserJoinsNoMoreRoomsThanOneMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: switchboard.Limits{MessagesPerMinute: -1, RoomsPerConn: -1}})
		n := 0
		// join returns how the server answers; what other devices have done is told besides.
		join := func(c *device, room string) *wire.ErrorMessage {
			n++
			id := fmt.Sprint("m", n)
			c.send(`{"type":"join_room","message_id":%q,"payload":{"room":%q}}`, id, room)
			for {
				b, err := c.raw(patience)
				if err != nil {
					t.Fatal(err)
				}
				if e, err := wire.ParseErrorMessage(b); err == nil && e.MessageID == id {
					return &e
				}
				if env, err := wire.ParseAnswer(b); err == nil && env.ID == id {
					return nil
				}
			}
		}
		full := func(c *device, room string) {
			t.Helper()
			if e := join(c, room); e == nil || e.Code != wire.CodeConflict || e.Details["limit"] != 1000.0 || e.Details["scope"] != "user" || e.Details["field"] != "room" {
				t.Errorf("got %+v", e)
			}
		}
		fits := func(c *device, room string) {
			t.Helper()
			if e := join(c, room); e != nil {
				t.Errorf("got %+v", e)
			}
		}
		a := s.as(t, "alice room:*:join")
		for i := range 1000 {
			fits(a, fmt.Sprint(i))
		}
		full(a, "one more")
		fits(a, "7") // which alice is a member of
		// Also by another device, and it is nothing to other users, nor to the application.
		full(s.as(t, "alice room:*:join"), "one more")
		fits(s.as(t, "bob room:*:join"), "one more")
		if err := s.Rooms().Add(t.Context(), "added", "alice"); err != nil {
			t.Errorf("the application: %v", err)
		}
		if n := s.Stats().MembershipsRefused; n != 2 {
			t.Errorf("counted %d refusals, want 2", n)
		}
		// A membership that was the application's in the end makes room as well.
		if err := s.Rooms().Add(t.Context(), "8", "alice"); err != nil {
			t.Fatal(err)
		}
		if err := s.Rooms().Remove(t.Context(), "8", "alice"); err != nil {
			t.Fatal(err)
		}
		fits(a, "one more")
		full(a, "and one")
		a.send(`{"type":"leave_room","message_id":"l","payload":{"room":"9"}}`)
		for a.next().ID != "l" {
		}
		fits(a, "and one")
	})
}

func TestATenantsMembershipsHaveABoundOfAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Quota: bounded(switchboard.Quota{Memberships: 10})})
		noisy, quiet := switchboard.WithTenant(t.Context(), "noisy"), switchboard.WithTenant(t.Context(), "quiet")
		add := func(ctx context.Context, i int) error {
			return s.Rooms().Add(ctx, fmt.Sprint("r", i%3), fmt.Sprint("u", i))
		}
		for i := range 10 {
			if err := add(noisy, i); err != nil {
				t.Fatal(err)
			}
		}
		if err := add(noisy, 10); switchboard.CodeOf(err) != wire.CodeRateLimited {
			t.Errorf("got %v, want RATE_LIMITED", err)
		}
		a := s.as(t, "noisy/a room:*:join")
		a.send(`{"type":"join_room","message_id":"m","payload":{"room":"r1"}}`)
		wantFull(t, a.refused(wire.CodeRateLimited, "m"), 10, 2*time.Second)
		for i := range 20 {
			if err := add(quiet, i); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.tenantStats(t, "noisy"); got.MembershipsRefused != 2 {
			t.Errorf("got %+v", got)
		}
		if err := s.Rooms().Remove(noisy, "r0", "u0"); err != nil {
			t.Fatal(err)
		}
		a.send(`{"type":"join_room","message_id":"m","payload":{"room":"r1"}}`)
		a.await(wire.RoomJoined)
	})
}

func TestTicketsOfATenantHaveARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Quota: bounded(switchboard.Quota{TicketsPerMinute: 6})})
		ticket := func(tenant string, i int) error {
			id := switchboard.Identity{Tenant: tenant, User: fmt.Sprint("u", i)}
			_, err := s.Access().Ticket(switchboard.WithTenant(t.Context(), tenant), id, time.Hour)
			return err
		}
		for i := range 6 {
			if err := ticket("noisy", i); err != nil {
				t.Fatal(err)
			}
		}
		err := ticket("noisy", 6)
		told, ok := err, switchboard.CodeOf(err) == wire.CodeRateLimited
		if !ok {
			t.Errorf("got %v, want RATE_LIMITED", told)
		}
		for i := range 20 {
			if err := ticket("quiet", i); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.tenantStats(t, "noisy"); got.TicketsRefused != 1 || got.Quota.TicketsPerMinute != 6 {
			t.Errorf("got %+v", got)
		}
		time.Sleep(10 * time.Second)
		if err := ticket("noisy", 7); err != nil {
			t.Errorf("after the time that was told: %v", err)
		}
	})
}
