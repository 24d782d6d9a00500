package switchboard_test

import (
	"bytes"
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/session"
	"github.com/netra-systems/switchboard/wire"
)

// cutStore is a driver whose store tells nothing of revocations while it is cut off.
type cutStore struct {
	broker.Driver
	link atomic.Pointer[storeLink]
}

// storeLink is a link that can be cut.
type storeLink struct {
	context.Context
	cut context.CancelFunc
}

// join makes a link.
func (d *cutStore) join(t testing.TB) {
	link := new(storeLink)
	link.Context, link.cut = context.WithCancel(t.Context())
	d.link.Store(link)
}

func (d *cutStore) Get(ctx context.Context, key string) (broker.Item, error) {
	if d.link.Load().Err() != nil && strings.HasPrefix(key, session.StoredRevocations) {
		return broker.Item{}, broker.ErrUnavailable
	}
	return d.Driver.Get(ctx, key)
}

func (d *cutStore) Watch(ctx context.Context, prefix string) iter.Seq2[broker.Change, error] {
	return func(yield func(broker.Change, error) bool) {
		link := d.link.Load()
		if link.Err() != nil {
			yield(broker.Change{}, broker.ErrUnavailable)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(link, cancel)()
		for change, err := range d.Driver.Watch(ctx, prefix) {
			if err != nil && link.Err() != nil {
				err = broker.ErrUnavailable
			}
			if !yield(change, err) {
				return
			}
		}
	}
}

func TestSessionTokensAreRefusedWhileNobodyKnowsWhatIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drive := openDriver(t)
		cut := &cutStore{Driver: drive.Node()}
		cut.join(t)
		one := newServer(t, switchboard.Options{Broker: drive})
		two := newServer(t, switchboard.Options{Broker: cut})
		a, b := one.as(t, issued("alice")), two.as(t, issued("bob"))
		synctest.Wait()
		bySession, byToken := one.ticketBy(t, a.welcome.Session.Token), one.ticketBy(t, issued("dave"))
		cut.link.Load().cut()
		time.Sleep(4 * time.Second)
		two.resume(t, a)
		time.Sleep(2 * time.Second)
		one.revoke(t, switchboard.Revocation{User: "bob"})
		c, _ := two.handshake(t, request{subprotocols: sessionProtocols(a)})
		if e := c.refused(wire.CodeUnavailable, ""); e.Details["retry_after_ms"] == nil {
			t.Errorf("got %+v, want it to say when to come again", e)
		}
		c.ends(wire.CloseTryAgain)
		if _, resp := two.handshake(t, request{path: "/ws?ticket=" + bySession}); resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a ticket of a session: got %d, want 503", resp.StatusCode)
		}
		two.as(t, issued("carol")) // another's issuer can say no itself
		two.connect(t, request{path: "/ws?ticket=" + byToken})
		cut.join(t)
		b.ends(wire.CloseRevoked)
		synctest.Wait() // it has heard of bob, and now of all
		two.resume(t, a)
	})
}

func TestAMonthIsAllThatSessionTokensGive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := bytes.Repeat([]byte{7}, session.KeyBytes)
		s := newServer(t, switchboard.Options{SessionKeys: [][]byte{key}, Heartbeat: patientBeat})
		sealer, err := session.NewSealer(key)
		if err != nil {
			t.Fatal(err)
		}
		month := time.Now().Add(12 * time.Hour) // is over then
		text, err := sealer.Seal(session.Token{
			Session: [12]byte{1}, User: "alice", Shown: month.Add(-30 * 24 * time.Hour), Expires: time.Now().Add(time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		until := func(c *device) time.Time { return time.UnixMilli(int64(c.welcome.Session.ExpiresAt * 1000)) }
		a := s.connect(t, request{token: text})
		b := s.resume(t, a)
		// A ticket that was made with a session token is no new beginning.
		c := s.connect(t, request{path: "/ws?ticket=" + s.ticketBy(t, b.welcome.Session.Token)})
		for i, c := range []*device{a, b, c} {
			if got := until(c); !got.Equal(month) {
				t.Errorf("connection %d: got a token until %v, want %v", i, got, month)
			}
		}
		b.send(`{"type":"auth","payload":{"token":"alice"}}`)
		renewed := payload[wire.AuthOKPayload](t, b.await(wire.AuthOK)).Session
		if got := time.UnixMilli(int64(renewed.ExpiresAt * 1000)); !got.Equal(time.Now().Add(24 * time.Hour)) {
			t.Errorf("with a credential: got a token until %v, want one of a day", got)
		}
		time.Sleep(12 * time.Hour)
		late, _ := s.handshake(t, request{subprotocols: sessionProtocols(c)})
		late.refused(wire.CodeAuthError, "")
		late.ends(wire.ClosePolicy)
		b.welcome.Session = renewed
		s.resume(t, b)
	})
}

// ticketBy makes a ticket as a client does.
func (s *server) ticketBy(t testing.TB, token string) string {
	t.Helper()
	got := s.web(t).do(call{method: http.MethodPost, path: "/websocket/ticket", token: token})
	var answer struct{ Ticket string }
	if err := json.Unmarshal([]byte(got.body), &answer); err != nil || answer.Ticket == "" {
		t.Fatalf("got %d %s, want a ticket", got.status, got.body)
	}
	return answer.Ticket
}
