package switchboard

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// TestOneTenantLeavesRoomForOthersToType, and nothing stays of those who have stopped.
func TestOneTenantLeavesRoomForOthersToType(t *testing.T) {
	var ty typing
	ty.init()
	now := time.Now()
	begin := func(tenant string, i int) error {
		user := tenant + strconv.Itoa(i)
		place := typingPlace{topic: wire.Topic{Tenant: tenant, Kind: wire.KindUser, ID: user}, user: user}
		_, err := ty.begin(hub.Handle(i+1), hub.Session{}, place, now)
		return err
	}
	for i := range maxTenantTyping {
		if err := begin("acme", i); err != nil {
			t.Fatal(err)
		}
	}
	if err := begin("acme", maxTenantTyping); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v beyond the tenant's bound, want ErrBusy", err)
	}
	if err := begin("ajax", maxTenantTyping+1); err != nil {
		t.Errorf("another tenant: got %v, want nil", err)
	}
	for i := range maxTenantTyping + 2 {
		ty.end(hub.Handle(i+1), everywhere)
	}
	for {
		r, ok := ty.take(now)
		if !ok {
			break
		}
		t.Errorf("got a relay about %v, who has stopped before anybody was told", r.who.place)
		ty.done(r.who, now)
	}
	if len(ty.of)+len(ty.conns)+len(ty.tenants)+len(ty.queue)+len(ty.resting)+ty.n != 0 {
		t.Errorf("got %d places, %d connections, %d tenants, want nothing left", len(ty.of), len(ty.conns), len(ty.tenants))
	}
}

// TestWhoWasToldOfIsForgottenOnceOthersMayBeToldAgain.
func TestWhoWasToldOfIsForgottenOnceOthersMayBeToldAgain(t *testing.T) {
	var ty typing
	ty.init()
	now := time.Now()
	place := typingPlace{topic: wire.Topic{Kind: wire.KindRoom, ID: "team"}, user: "bob"}
	relayed := func(types bool) {
		t.Helper()
		r, ok := ty.take(now)
		if !ok || r.types != types || !r.wait.IsZero() {
			t.Fatalf("got %+v, %t, want a relay that says %t", r, ok, types)
		}
		ty.done(r.who, now)
	}
	for range 3 {
		if _, err := ty.begin(1, hub.Session{}, place, now); err != nil {
			t.Fatal(err)
		}
		relayed(true)
		ty.end(1, everywhere)
		relayed(false)
		ty.forget(now)
		if len(ty.of) != 1 {
			t.Errorf("got %d, want the one of whom others were just told", len(ty.of))
		}
		now = now.Add(typingPause)
	}
	ty.forget(now)
	if len(ty.of) != 0 || len(ty.resting) != 0 {
		t.Errorf("got %d and %d, want nobody", len(ty.of), len(ty.resting))
	}
}
