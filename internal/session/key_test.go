package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/session"
)

const (
	storedKeys = "switchboard/session-keys"
	day        = 24 * time.Hour
)

// node is a sealer of stored keys at work.
type node struct {
	*session.Sealer
	stop func()
}

func newNode(t *testing.T, store broker.Store) *node {
	t.Helper()
	s, err := session.NewStoredSealer(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { s.Keep(ctx, store, func(error) {}) })
	n := &node{Sealer: s, stop: func() {
		cancel()
		work.Wait()
	}}
	t.Cleanup(n.stop)
	return n
}

func (n *node) seal(t *testing.T, life time.Duration) string {
	t.Helper()
	return seal(t, n.Sealer, alice(session.Expiry(time.Now().Add(life), time.Now(), time.Now())))
}

func (n *node) wantOpen(t *testing.T, what, text string) {
	t.Helper()
	if _, err := n.Open(text, time.Now()); err != nil {
		t.Errorf("%s, after %v: got %v, want none", what, time.Since(start()), err)
	}
}

// start is when a bubble's clock begins.
func start() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

// keyID is the id of the key that a token was sealed with.
func keyID(t *testing.T, text string) [4]byte { return [4]byte(rawToken(t, text)[1:5]) }

func stored(t *testing.T, store broker.Store) (keys []struct{ F time.Time }) {
	t.Helper()
	item, err := store.Get(t.Context(), storedKeys)
	if err == nil {
		err = json.Unmarshal(item.Value, &keys)
	}
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestOneKeyIsMadeHoweverManyNodesStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t)
		const nodes = 16
		texts := make(chan string, nodes)
		for range nodes {
			go func() {
				s, err := session.NewStoredSealer(t.Context(), store)
				if err != nil {
					t.Error(err)
				}
				text, _ := s.Seal(alice(time.Now().Add(time.Hour)))
				texts <- text
			}()
		}
		first := keyID(t, <-texts)
		for range nodes - 1 {
			if id := keyID(t, <-texts); id != first {
				t.Error("two nodes have two keys")
			}
		}
	})
}

// TestKeysAreExchangedWithoutEndingASession lets half a year pass. At any time each node opens
// what any has sealed, for as long as that lives.
func TestKeysAreExchangedWithoutEndingASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t)
		a := newNode(t, store)
		time.Sleep(2 * time.Minute) // they look at different times
		b := newNode(t, store)
		type sealed struct {
			text string
			ends time.Time
		}
		var alive []sealed
		seen := map[[4]byte]bool{}
		for range 180 * 8 {
			time.Sleep(3 * time.Hour)
			synctest.Wait()
			for _, n := range []*node{a, b} {
				text := n.seal(t, 100*day)
				seen[keyID(t, text)] = true
				alive = append(alive, sealed{text, time.Now().Add(session.Longest)})
				a.wantOpen(t, "a new token", text)
				b.wantOpen(t, "a new token", text)
			}
			for len(alive) > 0 && !time.Now().Before(alive[0].ends) {
				alive = alive[1:]
			}
			a.wantOpen(t, "the oldest token", alive[0].text)
			b.wantOpen(t, "the oldest token", alive[0].text)
			if n := len(stored(t, store)); n > 3 {
				t.Fatalf("got %d keys that are kept, want 3 at most", n)
			}
		}
		if len(seen) < 6 || len(seen) > 7 {
			t.Errorf("got %d keys in 180 days, want one for each 30", len(seen))
		}
	})
}

// TestAKeyIsSeenByAllBeforeItSeals looks at every minute around an exchange.
func TestAKeyIsSeenByAllBeforeItSeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t)
		a := newNode(t, store)
		time.Sleep(2 * time.Minute)
		b := newNode(t, store)
		time.Sleep(30*day - 2*time.Hour)
		former, changed := keyID(t, a.seal(t, day)), 0
		for range 4 * 60 {
			time.Sleep(time.Minute)
			for _, n := range []*node{a, b} {
				text := n.seal(t, day)
				if keyID(t, text) != former {
					changed++
				}
				a.wantOpen(t, "token", text)
				b.wantOpen(t, "token", text)
			}
		}
		if changed == 0 {
			t.Error("the key was not exchanged")
		}
	})
}

func TestANodeThatWasDownCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t)
		a := newNode(t, store)
		old := a.seal(t, 10*day)
		a.stop()
		time.Sleep(200 * day) // nobody is there when the next key is due
		b, c := newNode(t, store), newNode(t, store)
		for range 30 {
			time.Sleep(time.Hour)
			text := b.seal(t, day)
			b.wantOpen(t, "token", text)
			c.wantOpen(t, "token", text)
		}
		if text := b.seal(t, day); keyID(t, text) == keyID(t, old) {
			t.Error("got a token of a key that is 200 days old")
		}
		if _, err := b.Open(old, time.Now()); !errors.Is(err, session.ErrExpired) {
			t.Errorf("token of old: got %v, want %v", err, session.ErrExpired)
		}
	})
}

func TestSessionsGoOnWhenTheStoreWasEmptied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(t)
		a, b := newNode(t, store), newNode(t, store)
		text := a.seal(t, day)
		if err := store.Delete(t.Context(), storedKeys, broker.Any); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Minute)
		c := newNode(t, store)
		for _, n := range []*node{a, b, c} {
			n.wantOpen(t, "token of before", text)
		}
	})
}

func TestStoredKeysThatAreNotValidAreRefused(t *testing.T) {
	for _, value := range []string{``, `null`, `[]`, `[{"k":"AAAA","f":"2000-01-01T00:00:00Z"}]`, "0123456789abcdef0123456789abcdef"} {
		store := newStore(t)
		if _, err := store.Put(t.Context(), storedKeys, []byte(value), 0, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := session.NewStoredSealer(t.Context(), store); err == nil {
			t.Errorf("%q: got no error", value)
		}
	}
}
