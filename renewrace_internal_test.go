package switchboard

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/session"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// opened is a connection of alice with a state, without a handshake, and what closes it.
func opened(t *testing.T, m *Manager, s state) *Conn {
	t.Helper()
	user, err := m.acquire(t.Context(), wire.Topic{Kind: wire.KindUser, ID: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	all, err := m.acquire(t.Context(), wire.Topic{Kind: wire.KindAll})
	if err != nil {
		t.Fatal(err)
	}
	mine, theirs := ws.Pipe(64 << 10)
	t.Cleanup(func() { _ = mine.Close() })
	s.permissions = m.permissions.put(nil)
	c, err := m.hub.Open(hub.Opening{Conn: theirs, User: user.topic, All: all.topic, Session: hub.NewSession(), Info: s.append(nil)})
	if err != nil {
		t.Fatal(err)
	}
	conn, ok := m.conn(c)
	if !ok {
		t.Fatal("the connection has ended")
	}
	return conn
}

// TestARevocationBetweenTheStepsOfARefreshIsSeen: what an auth does, step by step, with the revocation
// of the former or of the new token between two of them.
func TestARevocationBetweenTheStepsOfARefreshIsSeen(t *testing.T) {
	makers := []hub.Session{hub.NewSession(), hub.NewSession()} // of the former ticket, and of the new one
	for _, tt := range []struct {
		name, revoked string
		at            string // what has been done when the revocation is carried out
		refreshed     bool
	}{
		{"a session that the ticket came of, when it was looked up", "maker", "checked", false},
		{"a session that the ticket came of, when it is the connection's", "maker", "refreshed", true},
		{"a session that the former ticket came of, when the new one was looked up", "former maker", "checked", false},
		{"a session that the former ticket came of, when it is not the connection's any more", "former maker", "refreshed", true},
		{"the new one, when it was looked up", "new", "checked", false},
		{"the former one, when the new one was looked up", "former", "checked", false},
		{"another one", "other", "checked", true},
		{"the new one, when it is the connection's", "new", "refreshed", true},
		{"the former one, when it is not the connection's any more", "former", "refreshed", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, err := New(Options{Auth: func(context.Context, Credential) (Identity, error) { return Identity{}, ErrUnauthenticated }})
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := m.Shutdown(context.Background()); err != nil {
						t.Error(err)
					}
				}()
				var lineages [2]session.Lineage
				for i := range lineages {
					lineages[i], _ = session.Lineage("").And(makers[i])
				}
				conn := opened(t, m, state{tokenID: "former", lineage: lineages[0]})
				next := login{identity: Identity{User: "alice", TokenID: "new"}, lineage: lineages[1]}
				isNew := tt.revoked == "new" || tt.revoked == "maker"
				revoke := func(at string) {
					if at == tt.at {
						r := &session.Revocation{ID: "r", TokenID: tt.revoked, Made: time.Now()}
						switch tt.revoked {
						case "former maker":
							r.TokenID, r.Session = "", makers[0].String()
						case "maker":
							r.TokenID, r.Session = "", makers[1].String()
						}
						m.revocations.add(r)
						if !isNew || at != "checked" {
							synctest.Wait() // it has been carried out
						}
					}
				}
				if err := m.checkRevoked(t.Context(), next); err != nil {
					t.Fatal(err)
				}
				revoke("checked")
				if got := m.refresh(conn, next); got != tt.refreshed {
					t.Errorf("got refreshed %v, want %v", got, tt.refreshed)
				}
				revoke("refreshed")
				_, lives := m.conn(conn.handle)
				if want := tt.refreshed && !isNew; lives != want {
					t.Errorf("got a connection that lives: %v, want %v", lives, want)
				}
			})
		})
	}
}

// TestARefreshThatIsFasterThanARevocationOfTheFormerTokenKeepsTheConnection: who carries it out has
// found the connection by its former token, and looks again before it closes.
func TestARefreshThatIsFasterThanARevocationOfTheFormerTokenKeepsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := New(Options{Limits: Limits{ConnsPerUser: -1}, Auth: func(context.Context, Credential) (Identity, error) { return Identity{}, ErrUnauthenticated }})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := m.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		for range 300 {
			conn := opened(t, m, state{tokenID: "former"})
			done := make(chan bool)
			go func() { done <- m.refresh(conn, login{identity: Identity{User: "alice", TokenID: "new"}}) }()
			m.revocations.index.Add(&session.Revocation{ID: "r", TokenID: "former", Made: time.Now()})
			closed := m.enforce(conn.handle) != nil
			refreshed := <-done
			if closed == refreshed {
				t.Fatalf("got closed %v and refreshed %v, want one of both", closed, refreshed)
			}
			_ = m.hub.Close(conn.handle, wire.CloseNormal, "", false)
			m.revocations.index.Retain(nil)
			synctest.Wait()
		}
	})
}
