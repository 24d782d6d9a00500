package session_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/session"
)

func issue(t testing.TB, store broker.Store, tok session.Token) string {
	t.Helper()
	text, err := session.IssueTicket(t.Context(), store, tok, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestATicketGivesBackWhatItWasIssuedFor(t *testing.T) {
	store := newStore(t)
	parents, _ := session.Lineage("").And([12]byte{9})
	want := session.Token{
		Session: [12]byte{1}, Lineage: parents, Tenant: "acme", User: "alice", Permissions: []string{"a", "b"}, TokenID: "jti", SID: "sid", Claims: json.RawMessage(`{"a":1}`),
		Credential: time.UnixMilli(time.Now().Add(time.Hour).UnixMilli()), Expires: time.UnixMilli(time.Now().Add(time.Minute).UnixMilli()),
	}
	text := issue(t, store, want)
	if !strings.HasPrefix(text, session.TicketPrefix) || len(text) != 3+32 {
		t.Errorf("got ticket %s, want a prefix and 32 characters", text)
	}
	got, err := session.RedeemTicket(t.Context(), store, text, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("redeemed (-issued +redeemed):\n%s", diff)
	}
	if other := issue(t, store, want); other == text {
		t.Error("got the same ticket twice")
	}
}

// ticketOf puts something where a ticket is stored, and returns the ticket.
func ticketOf(t testing.TB, store broker.Store, value []byte) string {
	t.Helper()
	text := session.TicketPrefix + strings.Repeat("A", 32)
	sum := sha256.Sum256([]byte(text))
	if _, err := store.Put(t.Context(), "switchboard/ticket/"+hex.EncodeToString(sum[:]), value, broker.Any, time.Hour); err != nil {
		t.Fatal(err)
	}
	return text
}

func TestATicketOfBeforeLineagesIsRedeemed(t *testing.T) {
	store, end := newStore(t), time.UnixMilli(4102444800000)
	text := ticketOf(t, store, []byte(`{"s":"AQAAAAAAAAAAAAAA","t":"acme","u":"alice","b":1700000001000,"e":4102444800000}`))
	want := session.Token{Session: [12]byte{1}, Tenant: "acme", User: "alice", Shown: time.UnixMilli(1700000001000), Expires: end}
	got, err := session.RedeemTicket(t.Context(), store, text, end.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("redeemed (-stored +redeemed):\n%s", diff)
	}
}

// meeting is a store in which nobody goes on before all have read.
type meeting struct {
	broker.Store
	all sync.WaitGroup
}

func (m *meeting) Get(ctx context.Context, key string) (broker.Item, error) {
	item, err := m.Store.Get(ctx, key)
	m.all.Done()
	m.all.Wait()
	return item, err
}

func TestOneOfManyGetsATicket(t *testing.T) {
	for range 50 {
		store := &meeting{Store: newStore(t)}
		store.all.Add(20)
		text := issue(t, store, alice(time.Now().Add(time.Minute)))
		var won atomic.Int64
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				switch _, err := session.RedeemTicket(context.Background(), store, text, time.Now()); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, session.ErrTicket):
					t.Errorf("got %v, want %v", err, session.ErrTicket)
				}
			})
		}
		wg.Wait()
		if n := won.Load(); n != 1 {
			t.Fatalf("%d got the ticket, want 1", n)
		}
	}
}

func TestATicketThatIsOverIsNotGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t)
		end := time.Now().Add(1500 * time.Millisecond)
		text := issue(t, store, alice(end))
		// The store keeps it to the end of the second.
		if _, err := session.RedeemTicket(t.Context(), store, text, end); !errors.Is(err, session.ErrTicket) {
			t.Errorf("at its end: got %v, want %v", err, session.ErrTicket)
		}
		if _, err := session.IssueTicket(t.Context(), store, alice(time.Now()), time.Now()); err == nil {
			t.Error("issued when it is over: got no error, though it would be kept for good")
		}
	})
}

func TestATicketIsAwaitedUntilItCannotBeUsedAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t)
		tok := session.Token{User: "alice", Expires: time.Now().Add(time.Minute)}
		redeemed, expired, kept := issue(t, store, tok), issue(t, store, tok), issue(t, store, session.Token{User: "alice", Expires: time.Now().Add(time.Hour)})
		if _, err := session.RedeemTicket(t.Context(), store, redeemed, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := session.AwaitTicket(t.Context(), store, redeemed); err != nil {
			t.Errorf("got %v for a ticket that was redeemed, want nil at once", err)
		}
		start := time.Now()
		if err := session.AwaitTicket(t.Context(), store, expired); err != nil || time.Since(start) < time.Minute || time.Since(start) > time.Minute+10*time.Second {
			t.Errorf("got %v after %v, want nil after a minute", err, time.Since(start))
		}
		late, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := session.AwaitTicket(late, store, kept); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v for a ticket that is still good, want %v", err, context.DeadlineExceeded)
		}
		time.AfterFunc(time.Second, func() { _, _ = session.RedeemTicket(context.Background(), store, kept, time.Now()) })
		start = time.Now()
		if err := session.AwaitTicket(t.Context(), store, kept); err != nil || time.Since(start) != time.Second {
			t.Errorf("got %v after %v for a ticket that is redeemed, want nil after a second", err, time.Since(start))
		}
	})
}

func TestAnIdentityThatIsTooLargeGetsNoTicket(t *testing.T) {
	tok := alice(time.Now().Add(time.Minute))
	tok.Permissions = []string{strings.Repeat("x", 17<<10)}
	if _, err := session.IssueTicket(t.Context(), newStore(t), tok, time.Now()); !errors.Is(err, session.ErrTicketBig) {
		t.Errorf("got %v, want %v", err, session.ErrTicketBig)
	}
}

// deafStore cannot be asked.
type deafStore struct{ broker.Store }

func (deafStore) Get(context.Context, string) (broker.Item, error) {
	return broker.Item{}, broker.ErrUnavailable
}

func TestAStoreThatCannotBeAskedIsNotABadTicket(t *testing.T) {
	store := newStore(t)
	text := issue(t, store, alice(time.Now().Add(time.Minute)))
	_, err := session.RedeemTicket(t.Context(), deafStore{store}, text, time.Now())
	if !errors.Is(err, broker.ErrUnavailable) || errors.Is(err, session.ErrTicket) {
		t.Errorf("got %v, want %v", err, broker.ErrUnavailable)
	}
	// What cannot be a ticket is not looked up.
	if _, err := session.RedeemTicket(t.Context(), deafStore{store}, text+"A", time.Now()); !errors.Is(err, session.ErrTicket) {
		t.Errorf("got %v, want %v", err, session.ErrTicket)
	}
}

func FuzzRedeemTicket(f *testing.F) {
	store := newStore(f)
	text := issue(f, store, alice(time.Now().Add(time.Hour)))
	f.Add(text + "x")
	f.Add(session.TicketPrefix)
	f.Add("tk_!")
	f.Add("")
	ended, cancel := context.WithCancel(context.Background())
	cancel() // nobody waits for the second look
	f.Fuzz(func(t *testing.T, guess string) {
		if tok, err := session.RedeemTicket(ended, store, guess, time.Now()); err == nil && guess != text {
			t.Errorf("%q was redeemed, which was never issued: %+v", guess, tok)
		}
	})
}

// FuzzStoredTicket reads what may stand in the store, which is also what a session token says.
func FuzzStoredTicket(f *testing.F) {
	store := newStore(f)
	f.Add([]byte(`{"s":"AQAAAAAAAAAAAAAA","f":"AgAAAAAAAAAAAAAAAwAAAAAAAAAAAAAA","u":"alice","e":4102444800000}`))
	f.Add([]byte(`{"s":"AQAAAAAAAAAAAAAA","f":"AgAA","u":"alice","e":4102444800000}`))
	f.Add([]byte(`{"s":"AQAAAAAAAAAAAAAA","u":"alice","a":-1,"e":4102444800000}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, value []byte) {
		tok, err := session.RedeemTicket(t.Context(), store, ticketOf(t, store, value), time.Now())
		if err != nil {
			if !errors.Is(err, session.ErrTicket) {
				t.Errorf("got %v, want %v", err, session.ErrTicket)
			}
			return
		}
		if lineage, ok := session.ParseLineage([]byte(tok.Lineage)); !ok || lineage != tok.Lineage {
			t.Errorf("got lineage %q", tok.Lineage)
		}
	})
}

func FuzzTicket(f *testing.F) {
	store := newStore(f)
	ends := time.Now().Add(24 * time.Hour)
	text := issue(f, store, alice(ends))
	f.Add(text[:len(text)-1])
	f.Add(text + "=")
	f.Add(session.TicketPrefix)
	f.Add(session.TicketPrefix + strings.Repeat("A", 32))
	f.Add("")
	f.Fuzz(func(t *testing.T, other string) {
		if other == text {
			return
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // the second look at a store that may be behind is not waited for
		if tok, err := session.RedeemTicket(ctx, store, other, time.Now()); err == nil {
			t.Errorf("redeemed %q, which was never issued: %+v", other, tok)
		}
	})
}
