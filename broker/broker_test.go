package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/netra-systems/switchboard/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestKeysOfDifferentTopicsDiffer(t *testing.T) {
	seen := map[Key]string{}
	see := func(what string, k Key) {
		t.Helper()
		if other, ok := seen[k]; ok {
			t.Errorf("%s has the key of %s", what, other)
		}
		seen[k] = what
	}
	parts := []string{"", "a", "aa", "a/a", "/", "user", "user/a", "topic", "name", "\x00", "*", strings.Repeat("a", 300)}
	for _, tenant := range parts {
		for _, id := range parts {
			for kind := range wire.KindAll + 1 {
				see(fmt.Sprintf("%q %v %q", tenant, kind, id), KeyOf(wire.Topic{Tenant: tenant, Kind: kind, ID: id}))
			}
		}
		see(fmt.Sprintf("name %q", tenant), NameKey(tenant))
		see(fmt.Sprintf("owner %q", tenant), OwnerKey(tenant))
	}
	see("the zero key", Key{})
}

// Keys are stored: a change makes every log unreadable.
func TestKeysStayAsTheyAre(t *testing.T) {
	for _, tt := range []struct {
		got  Key
		want string
	}{
		{KeyOf(wire.Topic{Kind: wire.KindUser, ID: "alice"}), "95d053501293098051a358ce337c8537"},
		{KeyOf(wire.Topic{Tenant: "acme", Kind: wire.KindRoom, ID: "r1"}), "41fa458d9662417117ebc531ecb881db"},
		{NameKey("R/answer"), "e5198dd002afffc4a0159e07a571ebd0"},
		{OwnerKey("acme"), "737c9c47882b56570cb01c82df793c12"},
	} {
		if tt.got.String() != tt.want {
			t.Errorf("got %v, want %v", tt.got, tt.want)
		}
	}
}

func TestPlacedWithIsTheReverseOfString(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := Key(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "key"))
		name := rapid.String().Draw(t, "name")
		got, ok := PlacedWith(key.String() + "/" + name)
		if !ok || got != key {
			t.Fatalf("got %v, %v; want %v", got, ok, key)
		}
	})
}

func FuzzPlacedWith(f *testing.F) {
	k := NameKey("x").String()
	for _, s := range []string{"", k, k + "/", k + "/run", strings.ToUpper(k) + "/run", k[:31] + "/x", "lease/node", strings.Repeat("g", 32) + "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, itemKey string) {
		topic, ok := PlacedWith(itemKey)
		if ok != strings.HasPrefix(itemKey, topic.String()+"/") {
			t.Errorf("PlacedWith(%q) = %v, %v", itemKey, topic, ok)
		}
		if !ok && topic != (Key{}) {
			t.Errorf("PlacedWith(%q) = %v beside false", itemKey, topic)
		}
	})
}

func TestCheckRefusesWhatNoDriverTakes(t *testing.T) {
	topic := NameKey("topic")
	guard := Guard{Key: topic.String() + "/run", Revision: 3, Put: []byte("v")}
	for _, tt := range []struct {
		name   string
		record Record
		ok     bool
	}{
		{"durable", Record{}, true},
		{"durable, all of it", Record{DedupeID: "id", Guard: guard, Keep: Retention{1, 1}, Data: []byte("x")}, true},
		{"latest", Record{Class: wire.Latest, Key: "k", TTL: time.Second, Guard: guard}, true},
		{"volatile", Record{Class: wire.Volatile, DedupeID: "id"}, true},
		{"unknown class", Record{Class: 3}, false},
		{"latest without key", Record{Class: wire.Latest, TTL: time.Second}, false},
		{"latest without ttl", Record{Class: wire.Latest, Key: "k"}, false},
		{"durable with key", Record{Key: "k"}, false},
		{"volatile with ttl", Record{Class: wire.Volatile, TTL: 1}, false},
		{"negative count", Record{Keep: Retention{Messages: -1}}, false},
		{"negative age", Record{Keep: Retention{Age: -1}}, false},
		{"owner", Record{Owner: Owner{Key: OwnerKey("acme"), Bytes: 1}}, true},
		{"negative bound of the owner", Record{Owner: Owner{Bytes: -1}}, false},
		{"bound of nobody", Record{Owner: Owner{Bytes: 1}}, false},
		{"guard without key", Record{Guard: Guard{Revision: 1}}, false},
		{"guard of nothing that puts", Record{Guard: Guard{Put: []byte("v")}}, false},
		{"guard elsewhere", Record{Guard: Guard{Key: NameKey("other").String() + "/run"}}, false},
		{"guard without place", Record{Guard: Guard{Key: "run"}}, false},
		{"guard on volatile", Record{Class: wire.Volatile, Guard: guard}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.record.Topic = topic
			if err := tt.record.Check(); (err == nil) != tt.ok {
				t.Errorf("got %v, want it taken: %v", err, tt.ok)
			}
		})
	}
}

func TestGapErrorIsAGap(t *testing.T) {
	for lost, want := range map[uint64]string{0: "records are gone", 7: "7 records are gone"} {
		err := fmt.Errorf("since: %w", &GapError{Lost: lost})
		if !errors.Is(err, ErrGap) || errors.Is(err, ErrHole) {
			t.Errorf("%v is %v: %v, want only that", err, ErrGap, errors.Is(err, ErrGap))
		}
		if got := err.Error(); got != "since: "+want {
			t.Errorf("got %q, want %q", got, "since: "+want)
		}
	}
}

func ExampleGapError() {
	err := fmt.Errorf("since: %w", &GapError{Lost: 12})
	var gap *GapError
	fmt.Println(errors.Is(err, ErrGap), errors.As(err, &gap), gap.Lost)
	// Output: true true 12
}

func ExamplePlacedWith() {
	topic := KeyOf(wire.Topic{Kind: wire.KindUser, ID: "alice"})
	placed, ok := PlacedWith(topic.String() + "/run/R")
	fmt.Println(placed == topic, ok)
	_, ok = PlacedWith("lease/node-1")
	fmt.Println(ok)
	// Output:
	// true true
	// false
}

func BenchmarkKeyOf(b *testing.B) {
	topic := wire.Topic{Tenant: "acme", Kind: wire.KindUser, ID: "3f2504e0-4f89-11d3-9a0c-0305e82c3301"}
	b.ReportAllocs()
	for b.Loop() {
		KeyOf(topic)
	}
}
