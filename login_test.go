package switchboard_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// patientBeat keeps heartbeats out of tests that let hours pass.
var patientBeat = switchboard.Heartbeat{Interval: 24 * time.Hour, Timeout: 48 * time.Hour}

// TestATokenRunsOut is journey 13: A proves itself again, B does not.
func TestATokenRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: patientBeat})
		began := time.Now()
		end := float64(began.Add(time.Hour).Unix())
		a, b := s.as(t, "alice exp=1h room:team:*"), s.as(t, "alice exp=1h room:team:*")
		time.Sleep(59 * time.Minute)
		for _, c := range []*device{a, b} {
			got := payload[wire.AuthExpiringPayload](t, c.expect(wire.AuthExpiring))
			if got.ExpiresAt != end || math.Abs(got.InSeconds-60) > 1 {
				t.Errorf("got %+v, want 60 s before %v", got, end)
			}
		}
		a.send(`{"type":"auth","message_id":"a-14","payload":{"token":"alice exp=61m room:other:join"}}`)
		env := a.expect(wire.AuthOK)
		got := payload[wire.AuthOKPayload](t, env)
		later := float64(time.Now().Add(61 * time.Minute).Unix())
		if env.ID != "a-14" || got.ExpiresAt != later || got.Session.ExpiresAt != later ||
			got.Session.ID != a.welcome.Session.ID || got.Session.Token == a.welcome.Session.Token {
			t.Errorf("got %+v, want the same session until %v", got, later)
		}
		wantEqual(t, "permissions", got.Permissions, []string{"room:other:join"})

		b.ends(wire.CloseExpired)
		if late := time.Since(began.Add(time.Hour)); late < 0 || late > time.Second {
			t.Errorf("closed %v after expiry, want within a second", late)
		}
		if _, resp := s.handshake(t, request{path: "/ws", subprotocols: sessionProtocols(b)}); resp.StatusCode != 101 {
			t.Fatalf("got status %d", resp.StatusCode)
		} else if c, _ := s.handshake(t, request{subprotocols: sessionProtocols(b)}); true {
			c.refused(wire.CodeAuthError, "") // the session token has ended with the credential
		}
		s.note(t, switchboard.User("alice"), 1)
		wantEqual(t, "notes", a.notes(1), []int{1})
		time.Sleep(59 * time.Minute)
		a.expect(wire.AuthExpiring)
		a.ends(wire.CloseExpired)
	})
}

func TestARefreshMayEndSoonerOrNever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: patientBeat})
		auth := func(d *device, token string) {
			d.send(`{"type":"auth","message_id":"r","payload":{"token":%q}}`, token)
			d.expect(wire.AuthOK)
		}
		sooner, soon, never := s.as(t, "alice exp=2h"), s.as(t, "alice exp=2h"), s.as(t, "alice exp=1h")
		auth(sooner, "alice exp=5m")
		auth(soon, "alice exp=30s")
		auth(never, "alice")
		began := time.Now()
		soon.expect(wire.AuthExpiring) // at once
		time.Sleep(29 * time.Second)
		soon.ends(wire.CloseExpired)
		if late := time.Since(began) - 30*time.Second; late < 0 || late > time.Second {
			t.Errorf("closed %v after its expiry, want within a second", late)
		}
		time.Sleep(time.Until(began.Add(4*time.Minute - time.Second - patience)))
		sooner.silent() // for a while
		time.Sleep(time.Until(began.Add(4*time.Minute + time.Second)))
		sooner.expect(wire.AuthExpiring)
		time.Sleep(59 * time.Second)
		sooner.ends(wire.CloseExpired)
		time.Sleep(3 * time.Hour)
		never.silent()
		if err := never.conn.SetDeadline(time.Time{}); err != nil { // the harness gives it an hour
			t.Fatal(err)
		}
		auth(never, "alice exp=2m")
		time.Sleep(time.Minute)
		never.expect(wire.AuthExpiring)
		time.Sleep(time.Minute)
		never.ends(wire.CloseExpired)
	})
}

func TestARefreshThatComesTooLateDoesNotKeepTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: patientBeat})
		a := s.as(t, "alice exp=2m")
		time.Sleep(2*time.Minute + time.Millisecond)
		synctest.Wait()
		a.send(`{"type":"auth","message_id":"r","payload":{"token":"alice exp=1h"}}`)
		a.expect(wire.AuthExpiring)
		a.ends(wire.CloseExpired)
	})
}

func TestARefreshTakesBackRoomsThatItDoesNotAllow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		s.Handle("follow", func(ctx context.Context, c *switchboard.Conn, _ switchboard.Envelope) error {
			return c.Follow(ctx, "given")
		})
		a := s.as(t, "alice room:team:* room:board:*")
		a.join("team")
		a.join("board")
		a.send(`{"type":"follow","message_id":"f"}`)
		a.ack("f")
		a.send(`{"type":"auth","message_id":"r","payload":{"token":"alice room:board:join"}}`)
		wantEqual(t, "left", payload[wire.RoomLeftPayload](t, a.expect(wire.RoomLeft)), wire.RoomLeftPayload{Room: "team", Reason: "forbidden"})
		a.expect(wire.AuthOK)
		s.note(t, switchboard.Room("team"), 1)
		s.note(t, switchboard.Room("board"), 2)
		s.note(t, switchboard.Room("given"), 3) // by the application, so it stays
		got := a.notes(2)
		if got[0]+got[1] != 5 {
			t.Errorf("got notes %v, want 2 and 3", got)
		}
		a.send(`{"type":"room_message","message_id":"m","payload":{"room":"team"}}`)
		a.refused(wire.CodeForbidden, "m")
		a.silent()
	})
}

func TestASessionWithoutExpiryLastsADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: patientBeat})
		a := s.as(t, "alice")
		_ = a.conn.Close()
		time.Sleep(24*time.Hour - time.Second)
		b := s.resume(t, a) // and gets a new token
		_ = b.conn.Close()
		time.Sleep(2 * time.Second)
		c, _ := s.handshake(t, request{subprotocols: sessionProtocols(a)})
		c.refused(wire.CodeAuthError, "")
		s.resume(t, b)
	})
}

func TestAResumedConnectionHasTheSameIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claims := json.RawMessage(`{"plan":"gold"}`)
		var seen []switchboard.Identity
		s := newServer(t, switchboard.Options{
			Auth: func(context.Context, switchboard.Credential) (switchboard.Identity, error) {
				return switchboard.Identity{
					Tenant: "acme", User: "alice", Permissions: []string{"room:a:join", "trade"}, Expires: time.Now().Add(time.Hour),
					TokenID: "jti-1", SID: "sid-1", Claims: claims,
				}, nil
			},
			OnConnect: func(_ context.Context, c *switchboard.Conn) error {
				seen = append(seen, c.Identity())
				return nil
			},
		})
		s.resume(t, s.as(t, "x"))
		wantEqual(t, "identity", seen[1], seen[0])
		if seen[0].TokenID != "jti-1" || seen[0].SID != "sid-1" || string(seen[0].Claims) != string(claims) || seen[0].Tenant != "acme" {
			t.Errorf("got %+v", seen[0])
		}
	})
}

func TestWhatACredentialMaySayIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Auth: func(_ context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
			id := switchboard.Identity{User: "alice"}
			switch cred.Token {
			case "claims":
				id.Claims = json.RawMessage(`"` + strings.Repeat("x", 4096) + `"`)
			case "jti":
				id.TokenID = strings.Repeat("x", 257)
			case "permissions":
				for i := range 500 {
					id.Permissions = append(id.Permissions, fmt.Sprintf("room:%d:join", i))
				}
			}
			return id, nil
		}})
		for _, token := range []string{"claims", "jti"} {
			if _, resp := s.handshake(t, request{token: token}); resp.StatusCode != 401 {
				t.Errorf("%s: got %d, want 401", token, resp.StatusCode)
			}
		}
		// A token that could not come back as a subprotocol is not handed out.
		if a := s.as(t, "permissions"); a.welcome.Session.Token != "" || a.welcome.Session.ID == "" {
			t.Errorf("got a session token of %d bytes, want none", len(a.welcome.Session.Token))
		}
	})
}

func TestOnConnectRefusesInWordsAndKnowsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{OnConnect: func(ctx context.Context, c *switchboard.Conn) error {
			if c.Identity().User == "mallory" {
				return &switchboard.Error{Code: wire.CodeForbidden, Message: "not you"}
			}
			return c.Follow(ctx, "lobby")
		}})
		c, _ := s.handshake(t, request{token: "mallory"})
		if e := c.refused(wire.CodeForbidden, ""); e.Message != "not you" {
			t.Errorf("got %q, want the application's words", e.Message)
		}
		c.ends(wire.ClosePolicy)
		a := s.as(t, "alice")
		if len(a.welcome.Topics) != 3 || a.welcome.Topics["room/lobby"].Epoch == "" {
			t.Errorf("got topics %v, want the lobby too", a.welcome.Topics)
		}
		s.note(t, switchboard.Room("lobby"), 1)
		wantEqual(t, "notes", a.notes(1), []int{1})
	})
}

func TestAnAuthenticatorThatPanicsOrHangsRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Auth: func(ctx context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
			switch cred.Token {
			case "panic":
				panic("no")
			case "hang":
				<-ctx.Done()
				return switchboard.Identity{}, ctx.Err()
			case "error":
				return switchboard.Identity{}, errors.New("database")
			}
			return switchboard.Identity{}, nil // without a user
		}})
		for token, want := range map[string]int{"panic": 500, "error": 500, "hang": 503, "empty": 401} {
			began := time.Now()
			if _, resp := s.handshake(t, request{token: token}); resp.StatusCode != want {
				t.Errorf("%s: got %d, want %d", token, resp.StatusCode, want)
			}
			if waited := time.Since(began); token == "hang" && waited != 10*time.Second {
				t.Errorf("waited %v for the authenticator, want 10s", waited)
			}
		}
	})
}

func TestATenantMayBeRequired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{RequireTenant: true})
		if _, resp := s.handshake(t, request{token: "alice"}); resp.StatusCode != 401 {
			t.Errorf("identity without tenant: got %d, want 401", resp.StatusCode)
		}
		a := s.as(t, "acme/alice")
		if _, err := s.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{Type: "note"}); !errors.Is(err, switchboard.ErrInvalid) {
			t.Errorf("publish without tenant: got %v, want %v", err, switchboard.ErrInvalid)
		}
		s.noteIn(t, "acme", switchboard.User("alice"), 1)
		wantEqual(t, "notes", a.notes(1), []int{1})
	})
}
