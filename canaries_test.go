package switchboard_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
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
		copied.Topic, copied.Data, copied.DedupeID = broker.KeyOf(topic), data, ""
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
		s := newServer(t, switchboard.Options{
			Canaries: time.Second, Broker: &misdelivering{Driver: shared, seen: map[wire.Topic]bool{}}, Log: slog.New(slog.NewTextHandler(&text, nil)),
			Audit: func(e switchboard.AuditEvent) {
				mu.Lock()
				defer mu.Unlock()
				if e.Action == switchboard.AuditLeak && e.Object != "" {
					audited++
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
	})
}

// TestCanariesLeaveNothingInTheLog: what they said is erased.
func TestCanariesLeaveNothingInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := membroker.New(membroker.Options{})
		defer shared.Close()
		spy := &misdelivering{Driver: shared, seen: map[wire.Topic]bool{}}
		s := newServer(t, switchboard.Options{Canaries: time.Second, Broker: spy})
		s.as(t, "alice")
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		spy.mu.Lock()
		defer spy.mu.Unlock()
		if len(spy.seen) != 2 {
			t.Errorf("got %d canaries, want two", len(spy.seen))
		}
		for topic := range spy.seen {
			entries, err := shared.Before(t.Context(), broker.KeyOf(topic), wire.Position{}, 10)
			if err != nil || len(entries) != 0 {
				t.Errorf("the log of %s has %d entries, %v, want none", topic, len(entries), err)
			}
		}
	})
}
