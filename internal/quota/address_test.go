package quota

import (
	"net/netip"
	"testing"
	"time"
)

func TestAnAddressDrawsFromItsOwnBucketAndOneOfIPv6FromThatOfItsNetwork(t *testing.T) {
	for _, c := range []struct{ address, key string }{
		{"203.0.113.7", "203.0.113.7/32"},
		{"::ffff:203.0.113.7", "203.0.113.7/32"},
		{"10.0.0.1", "10.0.0.1/32"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"fe80::1%eth0", "fe80::/64"},
		{"127.0.0.1", ""},
		{"127.9.9.9", ""},
		{"::1", ""},
		{"::ffff:127.0.0.1", ""},
	} {
		key, ok := Address(netip.MustParseAddr(c.address))
		if ok != (c.key != "") || ok && key.String() != c.key {
			t.Errorf("%s: got %v, %v, want %q", c.address, key, ok, c.key)
		}
	}
	if _, ok := Address(netip.Addr{}); ok {
		t.Error("who has no address has a bucket")
	}
}

func TestLookingTakesNothing(t *testing.T) {
	table := New[string](60, 2, 1)
	for range 10 {
		if _, ok := table.Holds("a", 2, start); !ok || table.Len() != 0 {
			t.Fatal("it was not there, or has left a bucket")
		}
	}
	table.Take("a", 1, start)
	if wait, ok := table.Holds("a", 2, start); ok || wait != time.Second {
		t.Errorf("got %v, %v, want a second", wait, ok)
	}
	if _, ok := table.Holds("a", 1, start); !ok {
		t.Error("one is left, and not seen")
	}
	if _, ok := table.Holds("b", 3, start); ok {
		t.Error("more than there ever is")
	}
	table.Take("b", 2, start) // of the bucket that those beyond share
	if _, ok := table.Holds("c", 1, start); ok {
		t.Error("nothing is left for those beyond")
	}
	if _, ok := (*Table[string])(nil).Holds("a", 1<<30, start); !ok {
		t.Error("refused without a bound")
	}
}
