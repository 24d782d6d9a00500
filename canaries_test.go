package switchboard_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// TestCanariesTryAndFindNothing: with each interval, in each tenant that has somebody, and nobody
// but operators sees them.
func TestCanariesTryAndFindNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text lockedBuffer
		s := newServer(t, switchboard.Options{
			Canaries: 10 * time.Second, Log: slog.New(slog.NewTextHandler(&text, nil)),
			OnConnect: func(_ context.Context, c *switchboard.Conn) error {
				if strings.HasPrefix(c.Identity().User, "canary") {
					t.Error("OnConnect is called for a canary")
				}
				return nil
			},
		})
		all := []*device{s.as(t, "alice"), s.as(t, "acme/alice"), s.as(t, "other/alice")}
		synctest.Wait()
		before := s.Stats()
		time.Sleep(9 * time.Second)
		if got := s.Stats().Canaries; got != (switchboard.CanaryStats{}) {
			t.Errorf("got %+v before the interval is over, want nothing", got)
		}
		time.Sleep(26 * time.Second)
		synctest.Wait()
		got := s.Stats()
		// Three canaries of each round have two others: ten ways to a look-alike, and at least as many to a neighbour.
		if c := got.Canaries; c.Rounds != 9 || c.Tries < 9*3*2*8 || c.Leaks != 0 || c.Missed != 0 {
			t.Errorf("got %+v after three intervals with three tenants, want 9 rounds, many tries and no leak", c)
		}
		if got.Connections != before.Connections || got.Users != before.Users || got.Rooms != before.Rooms || got.Isolation != 0 {
			t.Errorf("got %d connections, %d users, %d rooms, want those of before", got.Connections, got.Users, got.Rooms)
		}
		for _, c := range all {
			c.silent()
		}
		if text.String() != "" {
			t.Errorf("got the log %s, want nothing", text.String())
		}
	})
}

// misdelivering is a broker that publishes what is for one canary to all that it has seen.
type misdelivering struct {
	broker.Driver
	mu   sync.Mutex // guards seen
	seen map[wire.Topic]bool
}

func (d *misdelivering) Publish(ctx context.Context, r broker.Record) (broker.Published, error) {
	rec, err := wire.ParseRecord(r.Data)
	if err != nil || rec.Topic.Kind != wire.KindUser || !strings.HasPrefix(rec.Topic.ID, "canary-") {
		return d.Driver.Publish(ctx, r)
	}
	d.mu.Lock()
	d.seen[rec.Topic] = true
	var others []wire.Topic
	for topic := range d.seen {
		if topic != rec.Topic {
			others = append(others, topic)
		}
	}
	d.mu.Unlock()
	published, err := d.Driver.Publish(ctx, r)
	for _, topic := range others {
		rec.Topic = topic
		data, encodeErr := wire.AppendRecord(nil, rec)
		copied := r
		copied.Topic, copied.Data, copied.DedupeID, copied.Guard = broker.KeyOf(topic), data, "", broker.Guard{}
		_, lateErr := d.Driver.Publish(ctx, copied)
		err = errors.Join(err, encodeErr, lateErr)
	}
	return published, err
}

func TestALeakIsFoundByCanariesAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := membroker.New(membroker.Options{})
		defer shared.Close()
		var text lockedBuffer
		var mu sync.Mutex
		audited := 0
		ways := make(map[string]bool)
		s := newServer(t, switchboard.Options{
			Canaries: time.Second, Broker: &misdelivering{Driver: shared, seen: map[wire.Topic]bool{}}, Log: slog.New(slog.NewTextHandler(&text, nil)),
			Audit: func(e switchboard.AuditEvent) {
				mu.Lock()
				defer mu.Unlock()
				if e.Action == switchboard.AuditLeak && e.Object != "" {
					audited++
					ways[e.Object] = true
				}
			},
		})
		s.as(t, "alice")
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if got := s.Stats().Canaries; got.Leaks == 0 || uint64(audited) != got.Leaks || !strings.Contains(text.String(), "a canary got what is another's") {
			t.Errorf("got %+v, %d audit events and the log %q, want a leak in all of them", got, audited, text.String())
		}
		if !ways["event stream"] || !ways["thread_open"] {
			t.Errorf("leaks were found by %v, want all to whom the log is read", ways)
		}
	})
}

// countedDrops counts what is erased.
type countedDrops struct {
	broker.Driver
	n atomic.Int64
}

func (d *countedDrops) Drop(ctx context.Context, topic broker.Key) error {
	d.n.Add(1)
	return d.Driver.Drop(ctx, topic)
}

// storedKeys are those of all items in the store.
func storedKeys(t *testing.T, d broker.Driver) (keys []string) {
	t.Helper()
	for change, err := range d.Watch(t.Context(), "") {
		switch {
		case err != nil:
			t.Fatal(err)
		case change.Synced:
			slices.Sort(keys)
			return keys
		}
		keys = append(keys, change.Key)
	}
	return nil
}

// TestCanariesLeaveNothingInTheLog: what they said is erased.
func TestCanariesLeaveNothingInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := membroker.New(membroker.Options{})
		defer shared.Close()
		spy := &misdelivering{Driver: shared, seen: map[wire.Topic]bool{}}
		drops := &countedDrops{Driver: spy}
		var text lockedBuffer
		s := newServer(t, switchboard.Options{
			Canaries: time.Second, Broker: drops, Log: slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		s.as(t, "alice")
		before := storedKeys(t, shared)
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		spy.mu.Lock()
		defer spy.mu.Unlock()
		if len(spy.seen) != 2 {
			t.Errorf("got %d canaries, want two", len(spy.seen))
		}
		if n := drops.n.Load(); n != 2 {
			t.Errorf("%d topics were erased, want those in which something was said", n)
		}
		for topic := range spy.seen {
			entries, err := shared.Before(t.Context(), broker.KeyOf(topic), wire.Position{}, 10)
			if err != nil || len(entries) != 0 {
				t.Errorf("the log of %s has %d entries, %v, want none", topic, len(entries), err)
			}
		}
		if after := storedKeys(t, shared); !slices.Equal(after, before) {
			t.Errorf("stored are %q, want what was before, %q; %+v, %s", after, before, s.Stats().Canaries, text.String())
		}
	})
}

// TestCanariesTakeNothingFromTheirTenant: neither a place nor a message, and what they are refused is in
// no audit log.
func TestCanariesTakeNothingFromTheirTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var audited trail
		s := newServer(t, switchboard.Options{
			Canaries: time.Second,
			Quota: bounded(switchboard.Quota{
				Conns: 2, ConnsPerSecond: 2, MessagesPerMinute: 1, BackendMessagesPerMinute: 1, TicketsPerMinute: 1, Runs: 1,
			}),
			Limits: switchboard.Limits{ConnsPerUser: 1},
			Audit:  audited.add,
		})
		s.as(t, "noisy/a")
		run, err := s.Runs().Start(switchboard.WithTenant(t.Context(), "noisy"), switchboard.RunOptions{Agent: "agent", To: switchboard.User("a")})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		second := s.as(t, "noisy/b")
		for range 3 {
			_, resp := s.handshake(t, request{token: "noisy/c"})
			if resp.StatusCode != 429 {
				t.Errorf("got %d for a third, want 429", resp.StatusCode)
			}
			time.Sleep(10*time.Second + 7*time.Millisecond) // at any place of a round
		}
		if got := s.Stats().Canaries; got.Rounds < 30 || got.Missed != 0 || got.Leaks != 0 || got.Tries < 30*2*8 {
			t.Errorf("got %+v in a tenant that is full, want that they try all the same", got)
		}
		if got := s.tenantStats(t, "noisy"); got.BackendPublished != 0 || got.Published != 0 || got.BackendLimited != 0 || got.Refused != 3 {
			t.Errorf("got %+v, want that nobody has published, and three refused", got)
		}
		ctx := switchboard.WithTenant(t.Context(), "noisy")
		if _, err := s.Publish(ctx, switchboard.User("a"), switchboard.Message{Type: "note"}); err != nil {
			t.Errorf("the one message of the minute: %v", err)
		}
		if _, err := s.Access().Ticket(ctx, switchboard.Identity{Tenant: "noisy", User: "a"}, time.Minute); err != nil {
			t.Errorf("the one ticket of the minute: %v", err)
		}
		if _, err := run.Complete(t.Context(), nil); err != nil {
			t.Error(err)
		}
		second.conn.Close()
		synctest.Wait()
		s.as(t, "noisy/c")
		events := audited.all()
		for _, e := range events {
			if strings.HasPrefix(e.User, "canary") || e.Action != switchboard.AuditConnect && e.Action != switchboard.AuditTicket {
				t.Errorf("got %+v in the audit log", e)
			}
		}
		if len(events) != 4 {
			t.Errorf("got %d events, want those of the three who were refused and of the ticket", len(events))
		}
	})
}

// TestSomebodyWhoTakesTheNameOfACanaryHidesNothing: what a client is refused is recorded, whatever its name.
func TestSomebodyWhoTakesTheNameOfACanaryHidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *server
		var mu sync.Mutex
		refusals := 0
		var once sync.Once
		done := make(chan struct{})
		spy := &spying{Driver: openDriver(t)}
		spy.heard = func(user string) {
			once.Do(func() {
				defer close(done)
				c := s.as(t, user)
				c.send(`{"type":"join_room","message_id":"j","payload":{"room":"secret"}}`)
				c.refused(wire.CodeForbidden, "j")
			})
		}
		s = newServer(t, switchboard.Options{Canaries: time.Second, Broker: spy, Limits: unlimited, Audit: func(e switchboard.AuditEvent) {
			mu.Lock()
			defer mu.Unlock()
			if e.Action == switchboard.AuditRoom && strings.HasPrefix(e.User, "canary-") {
				refusals++
			}
		}})
		s.as(t, "alice")
		time.Sleep(1500 * time.Millisecond)
		<-done
		mu.Lock()
		defer mu.Unlock()
		if refusals != 1 {
			t.Errorf("got %d refusals of a room, want that of the impostor", refusals)
		}
	})
}

// spying is a broker that tells the users whom something is published to, while canaries sing, and
// when the third ticket is made, which is that of a round in which they try already.
type spying struct {
	broker.Driver
	heard, trying func(user string) // nil: nothing is done

	mu      sync.Mutex // guards the fields below
	last    string     // user whom something was published to
	tickets int
}

func (d *spying) Publish(ctx context.Context, r broker.Record) (broker.Published, error) {
	if rec, err := wire.ParseRecord(r.Data); err == nil && strings.HasPrefix(rec.Topic.ID, "canary-") {
		d.mu.Lock()
		d.last = rec.Topic.ID
		d.mu.Unlock()
		if d.heard != nil {
			d.heard(rec.Topic.ID)
		}
	}
	return d.Driver.Publish(ctx, r)
}

func (d *spying) Put(ctx context.Context, key string, value []byte, ifRevision uint64, ttl time.Duration) (uint64, error) {
	d.mu.Lock()
	if strings.HasPrefix(key, "switchboard/ticket/") {
		d.tickets++
	}
	user, third := d.last, d.tickets == 3 && strings.HasPrefix(key, "switchboard/ticket/")
	d.mu.Unlock()
	if third && d.trying != nil {
		d.trying(user)
	}
	return d.Driver.Put(ctx, key, value, ifRevision, ttl)
}

// closeUser closes the connections of a user, as an operator does.
func closeUser(code wire.CloseCode) func(*testing.T, *server, string) {
	return func(t *testing.T, s *server, user string) {
		if n, err := s.Connections().Close(t.Context(), switchboard.User(user), switchboard.CloseError{Code: code}); n != 1 || err != nil {
			t.Errorf("closed %d connections of %s, %v, want one", n, user, err)
		}
	}
}

func otherCanary(user string) string {
	if base, ok := strings.CutSuffix(user, "-a"); ok {
		return base + "-b"
	}
	return strings.TrimSuffix(user, "-b") + "-a"
}

// TestACanaryThatCannotTryIsMissedAndNoLeak: a bound that leaves it no message, a node without a place, an
// operator who closes or revokes it in the middle of a round.
func TestACanaryThatCannotTryIsMissedAndNoLeak(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limits switchboard.Limits
		act    func(*testing.T, *server, string)
	}{
		{"few messages", switchboard.Limits{MessagesPerMinute: 3}, nil},
		{"few calls", switchboard.Limits{CallsPerUser: 1}, nil},
		{"no place", switchboard.Limits{Conns: 1}, nil},
		{"closed", switchboard.Limits{}, closeUser(wire.CloseNormal)},
		{"the other is closed", switchboard.Limits{}, func(t *testing.T, s *server, user string) {
			closeUser(wire.CloseNormal)(t, s, otherCanary(user))
		}},
		{"revoked", switchboard.Limits{}, func(t *testing.T, s *server, user string) {
			s.revoke(t, switchboard.Revocation{User: user})
			time.Sleep(100 * time.Millisecond)
		}},
		{"the other is revoked", switchboard.Limits{}, func(t *testing.T, s *server, user string) {
			s.revoke(t, switchboard.Revocation{User: otherCanary(user)})
			time.Sleep(100 * time.Millisecond)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var text lockedBuffer
				spy := &spying{Driver: openDriver(t)}
				var s *server
				if tt.act != nil {
					spy.trying = func(user string) { tt.act(t, s, user) }
				}
				s = newServer(t, switchboard.Options{
					Canaries: 20 * time.Second, Broker: spy, Limits: tt.limits, Log: slog.New(slog.NewTextHandler(&text, nil)),
				})
				s.as(t, "alice")
				time.Sleep(50 * time.Second)
				synctest.Wait()
				got := s.Stats().Canaries
				want := uint64(2)
				if tt.act != nil {
					want = 1
				}
				if got.Rounds != 2 || got.Missed != want || got.Leaks != 0 || !strings.Contains(text.String(), "canary round not finished") {
					t.Errorf("got %+v and the log\n%s\nwant two rounds, of which %d are missed, and no leak", got, text.String(), want)
				}
			})
		})
	}
}
