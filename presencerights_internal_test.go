package switchboard

import (
	"fmt"
	"testing"

	"github.com/netra-systems/switchboard/wire"
)

// No tenant has more than its share while others wait, and all are asked for in the end.
func TestTheApplicationIsAskedForEachTenantInTurn(t *testing.T) {
	var a rightAsks
	asks := map[string]int{"acme": 1, "globex": 3}
	for n := range 2 * rightsAskedAll / rightsAsked {
		asks[fmt.Sprint("slow", n)] = 4 * rightsAsked
	}
	total := 0
	for tenant, n := range asks {
		if tenant == "acme" || tenant == "globex" {
			continue
		}
		for range n {
			a.add(&rightAsk{room: wire.Topic{Tenant: tenant}})
		}
		total += n
	}
	var running []*rightAsk
	of := make(map[string]int)
	begin := func() {
		for q := a.next(); q != nil; q = a.next() {
			running = append(running, q)
			if of[q.room.Tenant]++; of[q.room.Tenant] > rightsAsked {
				t.Fatalf("%q is asked for %d times at once, want %d at most", q.room.Tenant, of[q.room.Tenant], rightsAsked)
			}
		}
	}
	begin()
	if len(running) != rightsAskedAll {
		t.Fatalf("%d questions at once, want %d", len(running), rightsAskedAll)
	}
	for _, tenant := range []string{"globex", "acme"} { // they come when all is full
		for range asks[tenant] {
			a.add(&rightAsk{room: wire.Topic{Tenant: tenant}})
			total++
		}
	}
	asked := len(running)
	for after := map[string]int{}; len(running) > 0; {
		q := running[0]
		running = running[1:]
		of[q.room.Tenant]--
		a.ended(q)
		before := len(running)
		begin()
		for _, q := range running[before:] {
			asked++
			if after[q.room.Tenant]++; q.room.Tenant == "acme" && asked > rightsAskedAll+len(asks) {
				t.Errorf("the one question of acme was the %d-th behind the first %d, of %d tenants", asked-rightsAskedAll, rightsAskedAll, len(asks))
			}
		}
	}
	if asked != total || len(a.tenants) != 0 || a.running != 0 || len(a.turns) != 0 {
		t.Errorf("%d of %d were asked, and left are %d tenants, %d running and %d turns", asked, total, len(a.tenants), a.running, len(a.turns))
	}
}
