package switchboard

import (
	"math"
	"strconv"
	"testing"
	"time"
)

func TestTenantsThatAreMadeUpTakeNothingFromThoseThatAreKnown(t *testing.T) {
	now := time.Now()
	connected := map[string]int{"quiet": 1}
	of := tenants{
		quota: func(string) Quota { return Quota{MessagesPerMinute: 2} },
		conns: func(tenant string) int { return connected[tenant] },
	}
	if err := of.publish("quiet", false, 1, now); err != nil {
		t.Fatal(err)
	}
	let := 0
	for i := range maxTenants + 1000 {
		if of.publish("t"+strconv.Itoa(i), false, 1, now) == nil {
			let++
		}
	}
	if n := len(of.of); n != maxTenants {
		t.Errorf("got %d tenants, want %d", n, maxTenants)
	}
	if want := maxTenants - 1 + 2; let != want {
		t.Errorf("%d of the messages were let through, want %d: those without room share a quota", let, want)
	}
	if err := of.publish("quiet", false, 1, now); err != nil {
		t.Errorf("the known tenant lost its quota: %v", err)
	}
	if err := of.publish("quiet", false, 1, now); err == nil {
		t.Error("the known tenant has a new quota")
	}
	// Those that have nothing make room for who comes later.
	if err := of.publish("late", false, 1, now.Add(tenantShort)); err != nil {
		t.Error(err)
	}
	if n := len(of.of); n != 2 {
		t.Errorf("got %d tenants, want the connected one and the new one", n)
	}
	of.forget(now.Add(2*tenantKept), tenantKept)
	if n := len(of.of); n != 1 || of.of["quiet"] == nil {
		t.Errorf("got %d tenants, want the connected one", n)
	}
}

func BenchmarkQuotaOfAMessage(b *testing.B) {
	for _, bb := range []struct {
		name  string
		quota func(string) Quota
	}{
		{"without bounds", nil},
		{"with bounds", func(string) Quota { return Quota{MessagesPerMinute: math.MaxInt32, BytesPerMinute: math.MaxInt32} }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			of := tenants{quota: bb.quota, conns: func(string) int { return 0 }}
			b.ReportAllocs()
			for b.Loop() {
				if err := of.publish("acme", false, 256, time.Now()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
