package switchboard

import (
	"testing"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
)

// tenantOfHalf gives the first half of all receipts to one tenant and the rest to another.
func tenantOfHalf(i int) string {
	if i < maxTenantReceipts {
		return "a"
	}
	return "b"
}

func TestATenantWhoseConnectionsEndAllTheTimeLeavesAnothersInTheList(t *testing.T) {
	var e ended
	now := time.Now()
	for range 100 {
		e.add("quiet", ConnEnd{Ended: now})
	}
	for range 2 * maxEnded {
		e.add("noisy", ConnEnd{Ended: now})
	}
	if n := len(e.all("quiet")); n != 100 {
		t.Errorf("got %d connections of the quiet tenant, want 100", n)
	}
	if n := len(e.all("noisy")); n != maxEnded-100 {
		t.Errorf("got %d connections of the noisy tenant, want %d", n, maxEnded-100)
	}
	if n := len(e.all("third")); n != 0 {
		t.Errorf("got %d connections of a tenant that has none", n)
	}
}

func TestATenantWithReceiptsAtItsBoundLeavesRoomForAnothers(t *testing.T) {
	r := receipts{wake: make(chan struct{}, 1)}
	name := func(i int) receiptName {
		return receiptName{topic: hub.Key{byte(i), byte(i >> 8), byte(i >> 16)}}
	}
	noisy, quiet := 0, 0
	for i := range maxReceipts {
		if r.note(name(i), mark{Epoch: "e", Delivered: 1, tenant: "noisy"}) {
			noisy++
		}
	}
	for i := range 1000 {
		if r.note(name(maxReceipts+i), mark{Epoch: "e", Delivered: 1, tenant: "quiet"}) {
			quiet++
		}
	}
	if noisy != maxTenantReceipts || quiet != 1000 {
		t.Errorf("got room for %d and %d, want %d and 1000", noisy, quiet, maxTenantReceipts)
	}
	for len(r.waiting) > 0 {
		r.take(time.Now().Add(time.Hour), 1000)
	}
	if !r.note(name(0), mark{Epoch: "e", Delivered: 1, tenant: "noisy"}) || r.tenants["noisy"] != 1 {
		t.Errorf("got %v, want the room back once all is written", r.tenants)
	}
}
