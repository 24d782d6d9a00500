package switchboard_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// TestAPublishReachesItsUserOnceAtItsPlace is the first journey: a client connects, a back
// end publishes to its user, and publishes the same again.
func TestAPublishReachesItsUserOnceAtItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.connect(t, request{path: "/ws?device=laptop", token: "alice exp=1h"})

		w := a.welcome
		if w.Event != wire.WelcomeEvent || w.Held || w.UserID != "alice" || !strings.HasPrefix(w.ConnectionID, "conn_") ||
			!strings.HasPrefix(w.Session.ID, "ses_") || !strings.HasPrefix(w.Session.Token, "swt_") {
			t.Errorf("got welcome %+v", w)
		}
		if got, want := w.Config, (wire.Config{HeartbeatInterval: 25, MaxMessageSize: 65536}); got != want {
			t.Errorf("config: got %+v, want %+v", got, want)
		}
		if got, want := w.Session.ExpiresAt, float64(time.Now().Add(time.Hour).Unix()); got != want {
			t.Errorf("session ends at %v, want %v, with its credential", got, want)
		}
		if len(w.Topics) != 2 || w.Topics["user/alice"].Epoch == "" || w.Topics["all"].Epoch == "" {
			t.Errorf("got topics %v, want user/alice and all", w.Topics)
		}

		msg := switchboard.Message{Type: "order_shipped", ID: "shop-1042-shipped", Payload: map[string]any{"order": 1042, "carrier": "DHL"}}
		d, err := s.Publish(t.Context(), switchboard.User("alice"), msg)
		if err != nil {
			t.Fatal(err)
		}
		first := w.Topics["user/alice"]
		first.Offset++
		wantEqual(t, "delivery", d, switchboard.Delivery{ID: "shop-1042-shipped", Position: first, Receivers: 1})
		got := a.expect("order_shipped")
		wantEqual(t, "message", got, wire.Envelope{
			Type: "order_shipped", ID: "shop-1042-shipped", Timestamp: got.Timestamp, Topic: "user/alice", Offset: first.Offset,
			Payload: []byte(`{"carrier":"DHL","order":1042}`),
		})

		d, err = s.Publish(t.Context(), switchboard.User("alice"), msg)
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "second delivery", d, switchboard.Delivery{ID: "shop-1042-shipped", Position: first, Duplicate: true})

		a.send(`{"type":"ping","message_id":"a-1","payload":{"n":1}}`)
		if pong := a.expect(wire.Pong); pong.ID != "a-1" || payload[wire.PongPayload](t, pong).Timestamp == 0 {
			t.Errorf("got pong %+v", pong)
		}
		a.silent()
	})
}

func TestTheWelcomeComesBeforeWhatOthersSendToTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *server
		s = newServer(t, switchboard.Options{OnConnect: func(ctx context.Context, c *switchboard.Conn) error {
			if _, err := s.Publish(ctx, switchboard.Connection(c.ID()), switchboard.Message{Type: "hello"}); err != nil {
				return err
			}
			if err := s.Rooms().Add(ctx, "team", "alice"); err != nil { // whose devices are told by another goroutine
				return err
			}
			synctest.Wait()
			return nil
		}})
		a := s.as(t, "alice") // reads the welcome first
		if _, follows := a.welcome.Topics["room/team"]; !follows {
			t.Errorf("got topics %v, want the room that the user was added to meanwhile", a.welcome.Topics)
		}
		a.expect("hello")
		a.expect(wire.RoomJoined)
	})
}
