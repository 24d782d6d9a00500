package switchboard_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// fillHistory publishes what takes much room in all ways that there are: to one user, to rooms
// that nobody has written to, of class latest, and text.
func (s *server) fillHistory(t *testing.T, tenant string) {
	t.Helper()
	ctx := switchboard.WithTenant(t.Context(), tenant)
	padding := strings.Repeat("x", 500)
	say := func(to switchboard.Target, msg switchboard.Message) {
		msg.Type, msg.Payload = "note", map[string]any{"n": 0, "padding": padding}
		if _, err := s.Publish(ctx, to, msg); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1000 {
		room := switchboard.Room(fmt.Sprint("new", i))
		say(room, switchboard.Message{})
		say(switchboard.User("a"), switchboard.Message{})
		say(room, switchboard.Message{Class: wire.Latest, Key: "k", TTL: time.Hour})
		if i%20 != 0 {
			continue
		}
		run, err := s.Runs().Start(ctx, switchboard.RunOptions{Agent: "writer", To: switchboard.User("a")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(run.Stream("answer"), padding); err != nil {
			t.Fatal(err)
		}
		if _, err := run.Complete(ctx, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestATenantThatFillsItsHistoryLosesItsOldestAndAnotherLosesNothing(t *testing.T) {
	const most = 256 << 10
	d := membroker.New(membroker.Options{HistoryBytes: most})
	defer d.Close()
	for name, opts := range map[string]switchboard.Options{
		"its quota":             {Quota: bounded(switchboard.Quota{HistoryBytes: most})},
		"what there is for all": {Broker: d},
	} {
		t.Run(name, func(t *testing.T) {
			overSockets(t, opts, func(t *testing.T, m *switchboard.Manager, dial func(string) *device) {
				s := &server{Manager: m}
				noisy, quiet := dial("noisy/a"), dial("quiet/a")
				from, mine := noisy.welcome.Topics["user/a"], quiet.welcome.Topics["user/a"]
				_ = noisy.conn.Close()
				_ = quiet.conn.Close()
				note := func(n int) {
					for _, tenant := range []string{"noisy", "quiet"} { // without an id: both runs share a broker
						msg := switchboard.Message{Type: "note", Payload: map[string]int{"n": n}}
						if _, err := s.Publish(switchboard.WithTenant(t.Context(), tenant), switchboard.User("a"), msg); err != nil {
							t.Fatal(err)
						}
					}
				}
				for n := range 20 {
					note(n)
				}
				s.fillHistory(t, "noisy")
				note(20)

				back := dial("quiet/a")
				_, answer := back.restored(map[string]wire.Position{"user/a": mine}, "")
				if !answer.Topics["user/a"].Recovered {
					t.Errorf("the quiet tenant is told %+v, want that all comes", answer)
				}
				for n, got := range back.notes(21) { // and nothing before or between them
					if n != got {
						t.Fatalf("the quiet tenant got note %d, want %d", got, n)
					}
				}

				lost := dial("noisy/a")
				_, answer = lost.restored(map[string]wire.Position{"user/a": from}, "")
				gap := payload[wire.Gap](t, lost.expect(wire.GapType))
				if gap.Reason != wire.ReasonExpired || gap.From != from || gap.Count == 0 || answer.Topics["user/a"].Reason != wire.ReasonExpired {
					t.Errorf("the noisy tenant is told %+v, and at first %+v; want what has expired", gap, answer)
				}
				for at := gap.To.Offset; at < answer.Topics["user/a"].Head.Offset; { // and all after it comes
					env := lost.next()
					if env.Offset != 0 && env.Offset != at+1 {
						t.Fatalf("offset %d after %d", env.Offset, at)
					}
					at = max(at, env.Offset)
				}
				a, b := s.tenantStats(t, "noisy"), s.tenantStats(t, "quiet")
				if a.History.Bytes > most || a.History.Bytes < most/4 || a.History.Evicted == 0 || a.TextsRefused != 0 {
					t.Errorf("of the noisy tenant %+v is kept, of at most %d", *a.History, most)
				}
				if b.History.Evicted != 0 || b.History.Bytes == 0 {
					t.Errorf("of the quiet tenant %+v is kept", *b.History)
				}
			})
		})
	}
}

func TestTextForWhichThereIsNoRoomIsRefusedAndTheRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := newServer(t, switchboard.Options{
			Quota: bounded(switchboard.Quota{HistoryBytes: 64 << 10}), Log: slog.New(slog.NewJSONHandler(&log, nil)),
		})
		ctx := switchboard.WithTenant(t.Context(), "noisy")
		run, err := s.Runs().Start(ctx, switchboard.RunOptions{ID: "R", Agent: "writer", To: switchboard.User("a")})
		if err != nil {
			t.Fatal(err)
		}
		stream, written := run.Stream("answer"), 0
		for err == nil {
			written, err = stream.AppendAt(ctx, written, strings.Repeat("x", 1000))
		}
		if switchboard.CodeOf(err) != wire.CodeRateLimited || written < 16<<10 || written > 32<<10 {
			t.Fatalf("%d characters until %v, want half of 64 KiB at most and %s", written, err, wire.CodeRateLimited)
		}
		if again, err := stream.AppendAt(ctx, written, "more "+strings.Repeat("x", 2000)); err == nil || again != written {
			t.Errorf("got length %d and %v, want %d and the same error", again, err, written)
		}
		stats := s.tenantStats(t, "noisy")
		if stats.TextsRefused != 2 || stats.History.Bytes > 64<<10 {
			t.Errorf("got %+v with %+v, want two refused", stats, *stats.History)
		}
		if _, err := run.Complete(ctx, nil); err != nil {
			t.Fatal(err)
		}
		got, err := stream.Snapshot(ctx)
		if err != nil || got.Length != written || got.Text != strings.Repeat("x", written) {
			t.Errorf("the text has %d characters, %v; want %d", got.Length, err, written)
		}
		if n := strings.Count(log.String(), "a tenant is at its quota"); n != 1 {
			t.Errorf("the log says so %d times, want once:\n%s", n, log.String())
		}
	})
}

// A text that is complete may leave before its end is in the log. What was its length stays.
func TestATextThatLeavesWhileItIsCompletedKeepsItsLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := hookedNode(t, switchboard.Options{})
		run := started(t, s, switchboard.RunOptions{ID: "R"})
		if _, err := io.WriteString(run.Stream("answer"), "some text"); err != nil {
			t.Fatal(err)
		}
		key := broker.KeyOf(wire.Topic{Kind: wire.KindUser, ID: "alice"})
		var sealed, left, told atomic.Bool
		d.set(hooks{seal: func(context.Context) error {
			sealed.Store(true)
			return nil
		}, read: func(ctx context.Context) error {
			if sealed.Load() && !left.Swap(true) { // nobody knows yet
				return errors.Join(broker.ErrUnavailable, d.Driver.Remove(ctx, key, broker.NameKey("R/answer")))
			}
			return nil
		}, publish: func(_ context.Context, typ wire.MessageType, do func() (broker.Published, error)) (broker.Published, error) {
			if typ == wire.StreamComplete && !told.Swap(true) { // so that all is done again
				return broker.Published{}, errors.New("for once")
			}
			return do()
		}})
		_, err := run.Complete(t.Context(), nil)
		time.Sleep(10 * time.Second)
		info, failed := run.Info(t.Context())
		if failed != nil || info.State != wire.RunCompleted || len(info.Streams) != 1 || info.Streams[0].Length != 9 {
			t.Fatalf("Complete: %v; then %+v, %v; want it completed with a text of 9", err, info, failed)
		}
		if _, err := run.Stream("answer").Snapshot(t.Context()); switchboard.CodeOf(err) != wire.CodeNotFound {
			t.Errorf("got %v, want %s", err, wire.CodeNotFound)
		}
	})
}

func TestHistoryIsNotToldWhileTheBrokerDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		s := newServer(t, switchboard.Options{Broker: d})
		s.noteIn(t, "noisy", switchboard.User("a"), 1)
		elect := d.Faults().KillLeader()
		if got := s.tenantStats(t, "noisy"); got.History != nil || got.BackendPublished != 1 {
			t.Errorf("got %+v, want the other counters only", got)
		}
		elect()
		if got := s.tenantStats(t, "noisy"); got.History == nil || got.History.Bytes == 0 {
			t.Errorf("got %+v, want what is kept", got)
		}
	})
}
