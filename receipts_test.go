package switchboard_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
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

// receipts are those of a topic, without their times.
func (s *server) receipts(t testing.TB, to switchboard.Target) []switchboard.Receipt {
	t.Helper()
	return s.receiptsIn(t, "", to)
}

func (s *server) receiptsIn(t testing.TB, tenant string, to switchboard.Target) (all []switchboard.Receipt) {
	t.Helper()
	for r, err := range s.Receipts(switchboard.WithTenant(t.Context(), tenant), to) {
		if err != nil {
			t.Fatal(err)
		}
		if r.At.IsZero() {
			t.Errorf("got no time in %+v", r)
		}
		r.At = time.Time{}
		all = append(all, r)
	}
	return all
}

// acks says that c has received and shown a topic up to positions; a zero one is left out.
func (c *device) acks(topic string, delivered, seen switchboard.Position) {
	c.t.Helper()
	body := `"positions":{}`
	if !delivered.IsZero() {
		body = fmt.Sprintf(`"positions":{%q:%q}`, topic, delivered)
	}
	if !seen.IsZero() {
		body += fmt.Sprintf(`,"seen":{%q:%q}`, topic, seen)
	}
	c.send(`{"type":"ack","message_id":"a","payload":{%s}}`, body)
	synctest.Wait()
}

// before is the position n offsets before p.
func before(p switchboard.Position, n uint64) switchboard.Position {
	p.Offset -= n
	return p
}

func TestAReceiptIsWrittenASecondAfterItsAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		phone, laptop := s.as(t, "alice"), s.as(t, "alice")
		s.note(t, switchboard.User("alice"), 1)
		pos := s.note(t, switchboard.User("alice"), 2).Position
		phone.notes(2)
		laptop.notes(2)
		phone.acks("user/alice", pos, before(pos, 1))
		laptop.acks("user/alice", before(pos, 1), before(pos, 1))
		wantEqual(t, "receipts at once", len(s.receipts(t, switchboard.User("alice"))), 0)
		time.Sleep(1100 * time.Millisecond)
		want := []switchboard.Receipt{
			{User: "alice", Delivered: pos, Seen: before(pos, 1)},
			{User: "alice", Session: phone.welcome.Session.ID, Delivered: pos, Seen: before(pos, 1)},
			{User: "alice", Session: laptop.welcome.Session.ID, Delivered: before(pos, 1), Seen: before(pos, 1)},
		}
		if want[1].Session > want[2].Session {
			want[1], want[2] = want[2], want[1]
		}
		wantEqual(t, "receipts", s.receipts(t, switchboard.User("alice")), want)
		wantEqual(t, "receipts of another user", len(s.receipts(t, switchboard.User("bob"))), 0)
		wantEqual(t, "receipts of another tenant", len(s.receiptsIn(t, "acme", switchboard.User("alice"))), 0)
		wantEqual(t, "waiting", s.Stats().ReceiptsWaiting, 0)
		phone.silent()
	})
}

func TestSeenImpliesDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		pos := s.note(t, switchboard.User("alice"), 1).Position
		a.notes(1)
		a.acks("user/alice", switchboard.Position{}, pos)
		time.Sleep(2 * time.Second)
		got := s.receipts(t, switchboard.User("alice"))
		if len(got) != 2 || got[1].Delivered != pos || got[1].Seen != pos {
			t.Errorf("got %+v, want %s delivered and seen", got, pos)
		}
	})
}

func TestAnAckThatIsMalformedIsRefusedWithItsField(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		for _, tt := range []struct{ payload, field string }{
			{`{}`, "positions"},
			{`{"positions":{},"seen":{}}`, "positions"},
			{`{"positions":[]}`, "positions"},
			{`{"positions":{"user/alice":7}}`, "positions.user/alice"},
			{`{"positions":{"user/alice":"x"}}`, "positions.user/alice"},
			{`{"positions":{"user/alice":""}}`, "positions.user/alice"},
			{`{"positions":{},"seen":{"user/alice":""}}`, "seen.user/alice"},
			{`{"positions":{"nowhere":"e:1"}}`, "positions.nowhere"},
			{`{"positions":{},"seen":{"user/":"e:1"}}`, "seen.user/"},
		} {
			a.send(`{"type":"ack","message_id":"m","payload":%s}`, tt.payload)
			if got := a.refused(wire.CodeInvalidMessage, "m"); got.Details["field"] != tt.field {
				t.Errorf("got field %v for %s, want %s", got.Details["field"], tt.payload, tt.field)
			}
		}
	})
}

func TestAnAckOfAForeignTopicIsRefusedAlikeWhetherItExists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		bob := s.as(t, "bob room:*:*")
		bob.send(`{"type":"join_room","message_id":"j","payload":{"room":"secret"}}`)
		bob.await(wire.RoomJoined)
		pos := s.note(t, switchboard.Room("secret"), 1).Position
		a := s.as(t, "acme/alice")
		var told []string
		for _, topic := range []string{"user/bob", "user/nobody", "room/secret", "room/none"} {
			a.send(`{"type":"ack","message_id":"m","payload":{"positions":{%q:%q}}}`, topic, pos)
			got := a.refused(wire.CodeForbidden, "m")
			wantEqual(t, "field", got.Details["field"], any("positions."+topic))
			told = append(told, got.Message)
		}
		for _, text := range told {
			wantEqual(t, "message", text, told[0])
		}
		// The name of one's own topic is that of one's own tenant.
		a.acks("user/alice", pos, pos)
		time.Sleep(2 * time.Second)
		for _, to := range []switchboard.Target{switchboard.Room("secret"), switchboard.User("bob"), switchboard.User("alice")} {
			wantEqual(t, "receipts", len(s.receipts(t, to)), 0)
		}
	})
}

func TestOneForeignTopicDoesNotSpoilAnAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		pos := s.note(t, switchboard.User("alice"), 1).Position
		a.notes(1)
		a.send(`{"type":"ack","message_id":"m","payload":{"positions":{"user/alice":%q,"room/gone":"e:4"}}}`, pos)
		a.refused(wire.CodeForbidden, "m")
		time.Sleep(2 * time.Second)
		wantEqual(t, "receipts", len(s.receipts(t, switchboard.User("alice"))), 2)
	})
}

func TestWhatWasNotWrittenIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		pos := s.note(t, switchboard.User("alice"), 1).Position
		a.notes(1)
		above := before(pos, 0)
		above.Offset++
		a.acks("user/alice", above, above)
		a.acks("user/alice", switchboard.Position{Epoch: "other", Offset: 1}, switchboard.Position{})
		time.Sleep(2 * time.Second)
		wantEqual(t, "receipts", len(s.receipts(t, switchboard.User("alice"))), 0)
		wantEqual(t, "doubted", s.Stats().AcksDoubted, 3)
		a.acks("user/alice", pos, above)
		time.Sleep(2 * time.Second)
		got := s.receipts(t, switchboard.User("alice"))
		if len(got) != 2 || got[1].Delivered != pos || !got[1].Seen.IsZero() {
			t.Errorf("got %+v, want %s delivered and nothing seen", got, pos)
		}
		a.silent() // nobody is told
	})
}

func TestAcksDoNotCountAsMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: switchboard.Limits{MessagesPerMinute: 2}})
		a := s.as(t, "alice")
		pos := s.note(t, switchboard.User("alice"), 1).Position
		a.notes(1)
		for range 50 {
			a.acks("user/alice", pos, pos)
		}
		a.send(`{"type":"x","message_id":"m"}`)
		a.ack("m")
	})
}

// counted is a driver that counts writes of receipts, and is away if told so.
type counted struct {
	broker.Driver
	puts atomic.Int64
	away atomic.Bool
}

func (d *counted) Put(ctx context.Context, key string, value []byte, ifRev uint64, ttl time.Duration) (uint64, error) {
	if d.away.Load() {
		return 0, broker.ErrUnavailable
	}
	if !strings.HasPrefix(key, "node/") { // no lease
		d.puts.Add(1)
	}
	return d.Driver.Put(ctx, key, value, ifRev, ttl)
}

func newCounted(t *testing.T) *counted {
	mem := membroker.New(membroker.Options{})
	t.Cleanup(func() { _ = mem.Close() })
	return &counted{Driver: mem}
}

func TestASessionsReceiptIsWrittenOnceASecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCounted(t)
		s := newServer(t, switchboard.Options{Broker: d})
		a := s.as(t, "alice")
		start := d.puts.Load()
		for n := range 100 { // ten seconds
			pos := s.note(t, switchboard.User("alice"), n).Position
			a.notes(1)
			a.acks("user/alice", pos, pos)
			time.Sleep(100 * time.Millisecond)
		}
		if got := d.puts.Load() - start; got < 9 || got > 10 {
			t.Errorf("got %d writes in 10 s, want one a second", got)
		}
		// The same again tells nothing new.
		time.Sleep(2 * time.Second)
		start = d.puts.Load()
		a.acks("user/alice", before(s.note(t, switchboard.User("alice"), 0).Position, 1), switchboard.Position{})
		time.Sleep(2 * time.Second)
		wantEqual(t, "writes", d.puts.Load()-start, 0)
	})
}

func TestTheEndOfAConnectionWritesItsReceiptAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		pos := s.note(t, switchboard.User("alice"), 1).Position
		a.notes(1)
		a.acks("user/alice", pos, pos)
		_ = a.conn.Close()
		synctest.Wait()
		wantEqual(t, "receipts", len(s.receipts(t, switchboard.User("alice"))), 2)
	})
}

func TestReceiptsOutliveTheirNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two := twoNodes(t, membroker.Options{})
		a := one.as(t, "alice")
		pos := one.note(t, switchboard.User("alice"), 1).Position
		a.notes(1)
		a.acks("user/alice", pos, pos)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // less than a receipt waits
		defer cancel()
		if err := one.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		got := two.receipts(t, switchboard.User("alice"))
		if len(got) != 2 || got[0].Seen != pos {
			t.Errorf("got %+v, want %s", got, pos)
		}
	})
}

// raced is a driver on which the same receipt is written between a Get and the Put that follows.
type raced struct {
	broker.Driver
	value atomic.Pointer[[]byte] // that another node writes; nil: it has
}

func (d *raced) Get(ctx context.Context, key string) (broker.Item, error) {
	item, err := d.Driver.Get(ctx, key)
	if strings.Contains(key, "/u/") {
		if value := d.value.Swap(nil); value != nil {
			if _, err := d.Put(ctx, key, *value, broker.Any, time.Hour); err != nil {
				return item, err
			}
		}
	}
	return item, err
}

func TestAReceiptThatAnotherNodeWritesMeanwhileIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &raced{Driver: newCounted(t)}
		s := newServer(t, switchboard.Options{Broker: d})
		a := s.as(t, "alice")
		s.note(t, switchboard.User("alice"), 1)
		pos := s.note(t, switchboard.User("alice"), 2).Position
		a.notes(2)
		session := a.welcome.Session.ID
		value := fmt.Appendf(nil, `{"user":"alice","session":%q,"epoch":%q,"delivered":%d,"at":1}`, session, pos.Epoch, pos.Offset)
		d.value.Store(&value)
		a.acks("user/alice", before(pos, 1), before(pos, 1))
		time.Sleep(2 * time.Second)
		want := switchboard.Receipt{User: "alice", Session: session, Delivered: pos, Seen: before(pos, 1)}
		if got := s.receipts(t, switchboard.User("alice")); len(got) != 2 || got[1] != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func TestReceiptsLiveAsLongAsHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Retention: broker.Retention{Age: time.Hour}})
		a := s.as(t, "alice")
		pos := s.note(t, switchboard.User("alice"), 1).Position
		a.notes(1)
		a.acks("user/alice", pos, pos)
		time.Sleep(59 * time.Minute)
		wantEqual(t, "receipts", len(s.receipts(t, switchboard.User("alice"))), 2)
		time.Sleep(2 * time.Minute)
		wantEqual(t, "receipts after the age", len(s.receipts(t, switchboard.User("alice"))), 0)
	})
}

func TestReceiptsWaitForAStoreThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCounted(t)
		var log bytes.Buffer
		s := newServer(t, switchboard.Options{Broker: d, Log: slog.New(slog.NewTextHandler(&log, nil))})
		a := s.as(t, "alice")
		d.away.Store(true)
		var pos switchboard.Position
		for n := range 20 {
			pos = s.note(t, switchboard.User("alice"), n).Position
			a.notes(1)
			asked := time.Now()
			a.acks("user/alice", pos, pos)
			a.send(`{"type":"ping","message_id":"p"}`)
			a.expect(wire.Pong)
			wantEqual(t, "time that the ack took", time.Since(asked), 0)
			time.Sleep(time.Second)
		}
		stats := s.Stats()
		if stats.ReceiptErrors == 0 || stats.ReceiptsWaiting != 1 {
			t.Errorf("got %d errors and %d waiting, want some and 1", stats.ReceiptErrors, stats.ReceiptsWaiting)
		}
		d.away.Store(false)
		time.Sleep(5 * time.Second)
		got := s.receipts(t, switchboard.User("alice"))
		if len(got) != 2 || got[1].Delivered != pos {
			t.Errorf("got %+v, want %s", got, pos)
		}
		synctest.Wait()
		for _, text := range []string{"receipts not written", "receipts are written again"} {
			wantEqual(t, "times that the log says "+text, strings.Count(log.String(), text), 1)
		}
	})
}

// TestWatermarksNeverGoBack acknowledges in random order from devices that come back on either
// of two nodes, and looks at the receipts on both meanwhile.
func TestWatermarksNeverGoBack(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			_, one, two := twoNodes(t, membroker.Options{})
			nodes := []*server{one, two}
			a := one.as(t, "alice")
			session := a.welcome.Session.ID
			var last switchboard.Position
			var acked, seen uint64
			known := map[*server]switchboard.Receipt{}
			for range 60 {
				switch r.IntN(6) {
				case 0, 1:
					last = nodes[r.IntN(2)].note(t, switchboard.User("alice"), 0).Position
					synctest.Wait()
				case 2, 3:
					if last.Offset > 0 {
						d, s := before(last, r.Uint64N(last.Offset)), switchboard.Position{}
						if r.IntN(2) == 0 {
							s = before(last, r.Uint64N(last.Offset))
						}
						a.acks("user/alice", d, s)
						acked, seen = max(acked, d.Offset, s.Offset), max(seen, s.Offset)
					}
				case 4:
					former := a
					if r.IntN(2) == 0 { // a half-open connection lives on
						_ = former.conn.Close()
					}
					a = nodes[r.IntN(2)].resume(t, former)
					a.send(`{"type":"session_restore","message_id":"r","payload":{}}`)
					synctest.Wait()
				case 5:
					time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
				}
				for _, s := range nodes {
					for _, got := range s.receipts(t, switchboard.User("alice")) {
						if got.Session != session {
							continue
						}
						if was := known[s]; got.Delivered.Offset < was.Delivered.Offset || got.Seen.Offset < was.Seen.Offset || got.Seen.Offset > got.Delivered.Offset {
							t.Fatalf("seed %d: got %+v after %+v", seed, got, was)
						}
						known[s] = got
					}
				}
			}
			time.Sleep(3 * time.Second)
			for _, s := range nodes {
				var got switchboard.Receipt
				for _, r := range s.receipts(t, switchboard.User("alice")) {
					if r.Session == session {
						got = r
					}
				}
				if got.Delivered.Offset != acked || got.Seen.Offset != seen {
					t.Fatalf("seed %d: got %+v, want %d and %d", seed, got, acked, seen)
				}
			}
		})
	}
}

func TestReceiptsOfARoomAreThoseOfItsMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		devices := map[string]*device{}
		for _, user := range []string{"carol", "alice", "bob"} {
			d := s.as(t, user+" room:*:*")
			d.send(`{"type":"join_room","message_id":"j","payload":{"room":"r"}}`)
			d.await(wire.RoomJoined)
			devices[user] = d
		}
		pos := s.note(t, switchboard.Room("r"), 1).Position
		for _, user := range []string{"carol", "alice"} {
			devices[user].await("note")
			devices[user].acks("room/r", pos, switchboard.Position{})
		}
		time.Sleep(2 * time.Second)
		var users []string
		for _, r := range s.receipts(t, switchboard.Room("r")) {
			users = append(users, r.User)
		}
		if slices.Sort(users); len(users) == 4 { // in an order of their own
			users = slices.Compact(users)
		}
		wantEqual(t, "users", users, []string{"alice", "carol"})
		for _, err := range s.Receipts(t.Context(), switchboard.Connection("conn_1")) {
			if switchboard.CodeOf(err) != wire.CodeInvalidMessage {
				t.Errorf("got %v for a connection, want INVALID_MESSAGE", err)
			}
		}
	})
}
