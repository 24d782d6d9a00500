package switchboard_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"pgregory.net/rapid"
)

// TestNobodyGetsWhatIsNotTheirs publishes to users, rooms and everybody of several tenants
// whose ids look alike, and compares what each connection got with what it should have.
func TestNobodyGetsWhatIsNotTheirs(t *testing.T) {
	tenants := []string{"", "acme", "a"}
	users := []string{"alice", "bob", "acme", "all", "room/r", "*", ">", "a/b", "ü🙂"}
	rooms := []string{"r", "alice", "all", "user/alice"}
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, switchboard.Options{Auth: slashLogin, Limits: unlimited})
			type who struct {
				tenant, user string
				rooms        []string
				*device
			}
			var all []who
			for i := range rapid.IntRange(2, 8).Draw(rt, "connections") {
				w := who{
					tenant: rapid.SampledFrom(tenants).Draw(rt, "tenant"), user: rapid.SampledFrom(users).Draw(rt, "user"),
					rooms: rapid.SliceOfNDistinct(rapid.SampledFrom(rooms), 0, 3, rapid.ID[string]).Draw(rt, fmt.Sprint("rooms", i)),
				}
				w.device = s.as(t, w.tenant+"|"+w.user)
				for _, room := range w.rooms {
					w.send(`{"type":"subscribe","message_id":"s","payload":{"rooms":[%q]}}`, room)
					w.expect("subscribed")
				}
				all = append(all, w)
			}
			want := make([][]int, len(all))
			for n := range rapid.IntRange(1, 30).Draw(rt, "messages") {
				tenant := rapid.SampledFrom(tenants).Draw(rt, "to tenant")
				kind := rapid.SampledFrom([]string{"user", "room", "all"}).Draw(rt, "kind")
				user, room := rapid.SampledFrom(users).Draw(rt, "to user"), rapid.SampledFrom(rooms).Draw(rt, "to room")
				to := map[string]switchboard.Target{"user": switchboard.User(user), "room": switchboard.Room(room), "all": switchboard.All()}[kind]
				s.noteIn(t, tenant, to, n)
				for i, w := range all {
					if w.tenant == tenant && (kind == "all" || kind == "user" && w.user == user || kind == "room" && slices.Contains(w.rooms, room)) {
						want[i] = append(want[i], n)
					}
				}
			}
			synctest.Wait()
			for i, w := range all {
				got := w.notes(len(want[i]))
				slices.Sort(got) // topics have no order among each other
				if !slices.Equal(got, want[i]) {
					rt.Errorf("%q of %q in %q: got %v, want %v", w.user, w.tenant, w.rooms, got, want[i])
				}
				if w.drained() {
					rt.Errorf("%q of %q got more than is theirs", w.user, w.tenant)
				}
			}
			if n := s.Stats().Isolation; n != 0 {
				rt.Errorf("%d isolation faults", n)
			}
		})
	})
}

// slashLogin takes tokens of the form tenant|user, with any characters, and gives all rights.
func slashLogin(_ context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
	tenant, user, _ := strings.Cut(cred.Token, "|")
	return switchboard.Identity{Tenant: tenant, User: user, Permissions: []string{"room:*:*"}}, nil
}

// TestReadersThatNeverReadHoldUpNobody: 100 sockets take nothing, and one does.
func TestReadersThatNeverReadHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		for i := range 100 {
			c := s.connect(t, request{token: fmt.Sprintf("sleeper%d room:team:join", i), buffer: 1024})
			c.join("team")
		}
		a := s.connect(t, request{token: "alice room:team:join", buffer: 4 << 20})
		a.join("team")
		began := time.Now()
		for n := range 200 {
			s.note(t, switchboard.Room("team"), n)
		}
		got := a.notes(200)
		if !slices.IsSorted(got) || got[199] != 199 {
			t.Errorf("got %v, want 0 to 199 in order", got)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("waited %v for the sleepers", waited)
		}
	})
}

// TestConcurrentClientsAndPublishers drives everything at once, for the race detector and
// for what must hold afterwards: each connection has seen each message once, in order.
func TestConcurrentClientsAndPublishers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		const publishers, messages, clients = 4, 50, 6
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range clients {
			c := s.as(t, fmt.Sprintf("user%d room:team:*", i%3))
			c.join("team")
			synctest.Wait() // until the user's other devices follow too
			wg.Go(func() {
				<-start
				next := make([]int, publishers)
				for range publishers * messages {
					env := c.await("count")
					got := payload[struct{ Publisher, N int }](t, env)
					if next[got.Publisher] != got.N {
						t.Errorf("client %d: got %d of publisher %d, want %d", i, got.N, got.Publisher, next[got.Publisher])
						return
					}
					next[got.Publisher]++
				}
			})
		}
		synctest.Wait()
		for p := range publishers {
			wg.Go(func() {
				<-start
				for n := range messages {
					_, err := s.Publish(t.Context(), switchboard.Room("team"), switchboard.Message{
						Type: "count", Payload: map[string]int{"publisher": p, "n": n},
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		close(start)
		wg.Wait()
	})
}

func TestTenantsOfConnectionsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		s.as(t, "alice")
		acme := s.connect(t, request{path: "/websocket?device=phone", token: "acme/alice"})
		ctx := switchboard.WithTenant(t.Context(), "acme")
		var ids []string
		for info, err := range s.Connections().List(ctx, switchboard.All()) {
			if err != nil {
				t.Fatal(err)
			}
			if info.User != "alice" || info.Device != "phone" || info.Transport != "websocket" || info.Address.String() != "127.0.0.1" ||
				info.Session != acme.welcome.Session.ID || info.Health != 100 || info.Opened.IsZero() || info.Node == "" {
				t.Errorf("got %+v", info)
			}
			ids = append(ids, info.ID)
		}
		wantEqual(t, "ids", ids, []string{acme.welcome.ConnectionID})
		n, err := s.Connections().Close(t.Context(), switchboard.Connection(acme.welcome.ConnectionID), switchboard.CloseError{})
		if n != 0 || err != nil {
			t.Errorf("closing another tenant's connection: got %d, %v, want 0", n, err)
		}
		n, err = s.Connections().Close(ctx, switchboard.All(), switchboard.CloseError{Code: 4999, Reason: strings.Repeat("é", 100)})
		if n != 1 || err != nil {
			t.Errorf("got %d, %v, want 1", n, err)
		}
		acme.ends(4999)
	})
}
