package session_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/session"
	"pgregory.net/rapid"
)

// drawTime draws a time in whole milliseconds, or none.
func drawTime(t *rapid.T, label string) time.Time {
	ms := rapid.Int64Range(-1, 4e12).Draw(t, label)
	if ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func drawRevocation(t *rapid.T) *session.Revocation {
	r := &session.Revocation{
		ID: "rev_" + rapid.StringMatching(`[a-z0-9-]{1,8}`).Draw(t, "id"), Tenant: rapid.String().Draw(t, "tenant"),
		NotBefore: drawTime(t, "not before"), Until: drawTime(t, "until"), Made: drawTime(t, "made"),
		CancelRuns: rapid.Bool().Draw(t, "cancel"), Reason: rapid.String().Draw(t, "reason"),
		Owner: rapid.SampledFrom([]string{"", "alice"}).Draw(t, "owner"), By: rapid.SampledFrom([]string{"", "conn_1"}).Draw(t, "by"),
	}
	name := rapid.StringN(1, 20, -1).Draw(t, "name")
	*rapid.SampledFrom([]*string{&r.User, &r.Session, &r.TokenID, &r.SID}).Draw(t, "names") = name
	return r
}

func TestAStoredRevocationIsReadAsItWasMade(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawRevocation(t)
		value, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := session.ParseRevocation(want.Key(), value)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("read (-made +read):\n%s", diff)
		}
		other := *want
		other.Tenant += "x"
		if _, err := session.ParseRevocation(other.Key(), value); !errors.Is(err, session.ErrRevocation) {
			t.Errorf("in the place of another tenant's: got %v, want %v", err, session.ErrRevocation)
		}
	})
}

func TestNoPartOfAMillisecondIsForgiven(t *testing.T) {
	base := time.UnixMilli(1_700_000_000_000)
	r := &session.Revocation{ID: "rev_1", User: "alice", NotBefore: base.Add(time.Microsecond), Until: base.Add(time.Hour + time.Microsecond)}
	value, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := session.ParseRevocation(r.Key(), value)
	if err != nil || got.NotBefore != base.Add(time.Millisecond) || got.Until != base.Add(time.Hour+time.Millisecond) {
		t.Errorf("got %+v, %v, want both rounded up", got, err)
	}
}

func TestARevocationThatIsOverIsNotStored(t *testing.T) {
	store, now := newStore(t), time.Now()
	r := &session.Revocation{ID: "rev_1", User: "alice", Until: now}
	if err := r.Store(t.Context(), store, now); err == nil {
		t.Error("got no error, though the store would keep it for good")
	}
	if _, err := store.Get(t.Context(), r.Key()); !errors.Is(err, broker.ErrNotFound) {
		t.Errorf("got %v, want %v", err, broker.ErrNotFound)
	}
}

func FuzzParseRevocation(f *testing.F) {
	r := &session.Revocation{ID: "rev_1", Tenant: "acme", User: "alice", Made: time.UnixMilli(1)}
	value, err := r.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(r.Key(), value)
	f.Add(r.Key(), []byte(`{"id":"rev_1","tenant":"acme","user":"a","sid":"b"}`))
	f.Add(session.StoredRevocations, []byte(`{}`))
	f.Add("", []byte("null"))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		r, err := session.ParseRevocation(key, value)
		if err != nil {
			return
		}
		if r.Key() != key {
			t.Errorf("%s was read at %s", r.Key(), key)
		}
		var x session.Revoked
		x.Add(r)
		x.Remove(key)
		if x.Len() != 0 {
			t.Errorf("%+v is still there", r)
		}
	})
}

// TestTheIndexFindsWhatAListWould compares it with the rule itself.
func TestTheIndexFindsWhatAListWould(t *testing.T) {
	base := time.UnixMilli(1_700_000_000_000)
	at := func(t *rapid.T, label string) time.Time {
		n := rapid.IntRange(0, 9).Draw(t, label)
		if n == 0 {
			return time.Time{}
		}
		return base.Add(time.Duration(n) * time.Second)
	}
	name := rapid.SampledFrom([]string{"a", "b", "c"})
	rapid.Check(t, func(t *rapid.T) {
		var x session.Revoked
		list := map[string]*session.Revocation{}
		for range rapid.IntRange(0, 30).Draw(t, "changes") {
			r := &session.Revocation{
				ID: fmt.Sprint("rev_", rapid.IntRange(0, 9).Draw(t, "id")), Tenant: rapid.SampledFrom([]string{"", "acme"}).Draw(t, "tenant"),
				NotBefore: at(t, "not before"), Until: at(t, "until"), Owner: rapid.SampledFrom([]string{"", "a"}).Draw(t, "owner"),
			}
			*rapid.SampledFrom([]*string{&r.User, &r.Session, &r.TokenID, &r.SID}).Draw(t, "names") = name.Draw(t, "name")
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				x.Remove(r.Key())
				delete(list, r.Key())
			case 1:
				kept := map[string]struct{}{r.Key(): {}}
				x.Retain(kept)
				for key := range list {
					if key != r.Key() {
						delete(list, key)
					}
				}
			default:
				x.Add(r)
				list[r.Key()] = r
			}
		}
		p := session.Presented{
			Tenant: rapid.SampledFrom([]string{"", "acme"}).Draw(t, "of tenant"), User: name.Draw(t, "user"),
			Session: name.Draw(t, "session"), TokenID: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "jti"),
			SID: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "sid"), Issued: at(t, "issued"),
		}
		now := base.Add(time.Duration(rapid.IntRange(0, 9).Draw(t, "now")) * time.Second)
		want := false
		for _, r := range list {
			named := r.User == p.User || r.Session == p.Session || r.TokenID != "" && r.TokenID == p.TokenID || r.SID != "" && r.SID == p.SID
			before := r.NotBefore.IsZero() || p.Issued.IsZero() || p.Issued.Before(r.NotBefore)
			want = want || r.Tenant == p.Tenant && named && before && (r.Until.IsZero() || now.Before(r.Until))
		}
		if got := x.Find(p, now); (got != nil) != want || x.Len() != len(list) {
			t.Errorf("got %+v and %d, want found %v and %d", got, x.Len(), want, len(list))
		}
	})
}

func TestTooManyRevocationsAreRefusedAndNoneIsForgotten(t *testing.T) {
	var x session.Revoked
	add := func(i int, owner string) {
		x.Add(&session.Revocation{ID: fmt.Sprint("rev_", i), Session: fmt.Sprint("s", i), Owner: owner})
	}
	room := func(r session.Revocation) error { return x.Room(&r) }
	for i := range session.MaxLogoutsUser {
		add(i, "mallory")
	}
	if err := room(session.Revocation{Session: "s", Owner: "mallory"}); !errors.Is(err, session.ErrLogouts) {
		t.Errorf("one user's logouts: got %v, want %v", err, session.ErrLogouts)
	}
	for _, r := range []session.Revocation{{User: "mallory", Owner: "mallory"}, {Session: "s", Owner: "alice"}, {User: "mallory"}} {
		if err := room(r); err != nil {
			t.Errorf("%+v: got %v, want room", r, err)
		}
	}
	for i := session.MaxLogoutsUser; i < session.MaxLogouts; i++ {
		add(i, fmt.Sprint("user", i))
	}
	if err := room(session.Revocation{Session: "s", Owner: "alice"}); !errors.Is(err, session.ErrLogouts) {
		t.Errorf("the tenant's logouts: got %v, want %v", err, session.ErrLogouts)
	}
	for i := range session.MaxRevocationsName {
		x.Add(&session.Revocation{ID: fmt.Sprint("rev_name", i), User: "alice", NotBefore: time.UnixMilli(1)})
	}
	if err := room(session.Revocation{User: "alice"}); !errors.Is(err, session.ErrSameName) {
		t.Errorf("of one user: got %v, want %v", err, session.ErrSameName)
	}
	for i := x.Len(); i < session.MaxRevocations; i++ {
		add(i, "")
	}
	if err := room(session.Revocation{User: "bob"}); !errors.Is(err, session.ErrRevocations) {
		t.Errorf("of a tenant: got %v, want %v", err, session.ErrRevocations)
	}
	if err := room(session.Revocation{Tenant: "acme", User: "bob"}); err != nil {
		t.Errorf("of another tenant: got %v, want room", err)
	}
	if x.Find(session.Presented{Session: "s0"}, time.Now()) == nil {
		t.Error("the first one is forgotten")
	}
}
