package session_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/netra-systems/switchboard/internal/session"
	"pgregory.net/rapid"
)

func TestALineageHasEachOfItsSessionsOnceAndRoomForSoMany(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l session.Lineage
		var want [][12]byte
		for _, n := range rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "sessions") {
			id := [12]byte{n % 32, 11: n}
			more, ok := l.And(id)
			switch in := slices.Contains(want, id); {
			case in != (ok && more == l):
				t.Fatalf("%v is there: %v, and got %v, %q after %q", id, in, ok, more, l)
			case ok != (in || len(want) < session.MaxLineage):
				t.Fatalf("got %v for one more than %d", ok, len(want))
			case ok && !in:
				l, want = more, append(want, id)
			}
		}
		if diff := cmp.Diff(want, slices.Collect(l.All())); diff != "" {
			t.Errorf("the sessions differ (-added +got):\n%s", diff)
		}
		if got, ok := session.ParseLineage([]byte(l)); !ok || got != l {
			t.Errorf("got %q, %v, want %q", got, ok, l)
		}
	})
}

func TestWhatIsNoLineageIsNotRead(t *testing.T) {
	for n := range 16 * 15 {
		want := n%12 == 0 && n <= 16*12
		if got, ok := session.ParseLineage(make([]byte, n)); ok != want || !ok && got != "" {
			t.Errorf("%d bytes: got %v, %q, want %v", n, ok, got, want)
		}
	}
}

func TestWhatCameOfARevokedSessionIsFound(t *testing.T) {
	var x session.Revoked
	r := &session.Revocation{ID: "rev_1", Tenant: "acme", Session: "s2", NotBefore: time.UnixMilli(2)}
	x.Add(r)
	for _, tt := range []struct {
		name string
		p    session.Presented
		want *session.Revocation
	}{
		{"itself", session.Presented{Tenant: "acme", Session: "s2"}, r},
		{"its child", session.Presented{Tenant: "acme", Session: "s3", CameOf: []string{"s1", "s2"}}, r},
		{"a ticket, whose session is not yet", session.Presented{Tenant: "acme", CameOf: []string{"s2", "s3"}}, r},
		{"what it came of", session.Presented{Tenant: "acme", Session: "s1"}, nil},
		{"a sibling", session.Presented{Tenant: "acme", Session: "s4", CameOf: []string{"s1"}}, nil},
		{"another tenant's", session.Presented{Session: "s3", CameOf: []string{"s2"}}, nil},
		{"what was issued later", session.Presented{Tenant: "acme", Session: "s3", CameOf: []string{"s2"}, Issued: time.UnixMilli(2)}, nil},
	} {
		if got := x.Find(tt.p, time.Now()); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
