package switchboard_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
)

// Each login is a session of its own, and who logs in all the time leaves no receipts for each.
func TestAUsersReceiptsOfATopicAreThoseOfTheNewestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: switchboard.Limits{ConnectsPerUser: -1}})
		alice := switchboard.User("alice")
		notes := 3
		for i := range notes {
			s.note(t, alice, i+1)
		}
		pos := func(n int) string {
			head, err := s.History(t.Context(), alice, switchboard.Query{Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			p := head.Head
			p.Offset = uint64(n)
			return p.String()
		}
		ack := func(n int) string {
			c := s.as(t, "alice")
			notes++
			s.note(t, alice, notes)
			c.next()
			c.send(`{"type":"ack","payload":{"positions":{"user/alice":%q},"seen":{"user/alice":%q}}}`, pos(n), pos(n))
			c.send(`{"type":"ping","message_id":"p"}`)
			c.next()
			c.conn.Close()
			time.Sleep(2 * time.Second)
			return c.welcome.Session.ID
		}
		first := ack(4) // the furthest
		for range 100 {
			ack(1)
		}
		last := ack(2)
		var sessions []string
		for _, r := range s.receipts(t, alice) {
			switch r.Session {
			case "":
				if r.Delivered.Offset != 4 || r.Seen.Offset != 4 {
					t.Errorf("got %+v of the user, want the furthest", r)
				}
			default:
				sessions = append(sessions, r.Session)
			}
		}
		if len(sessions) != 64 {
			t.Errorf("got the receipts of %d sessions, want 64", len(sessions))
		}
		for name, want := range map[string]string{"the one that says how far the user is": first, "the newest": last} {
			found := false
			for _, got := range sessions {
				found = found || got == want
			}
			if !found {
				t.Errorf("%s is gone", name)
			}
		}
	})
}
