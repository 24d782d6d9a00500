package switchboard_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// attempt begins a handshake and says what became of it.
func (s *server) attempt(t *testing.T, req request) <-chan *http.Response {
	answered := make(chan *http.Response, 1)
	go func() {
		_, resp := s.handshake(t, req)
		answered <- resp
	}()
	synctest.Wait()
	return answered
}

func TestHandshakesInExcessAreRefusedBeforeTheyCostAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var asked atomic.Int32
		s := newServer(t, switchboard.Options{
			Limits: switchboard.Limits{Handshakes: 4},
			Auth: func(ctx context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
				if cred.Token == "slow" {
					asked.Add(1)
					<-release
				}
				return login(ctx, cred)
			},
		})
		ended := make(chan error, 1)
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, waiter(ended))
		alice, bob := s.as(t, "alice"), s.as(t, "bob")
		alice.ask("m", "t1", "Write")
		synctest.Wait()
		var slow []<-chan *http.Response
		for range 3 {
			slow = append(slow, s.attempt(t, request{token: "slow"}))
		}
		resp := <-s.attempt(t, request{token: "slow"})
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || asked.Load() != 3 {
			t.Errorf("got %d with Retry-After %q after %d logins, want 503 and 3", resp.StatusCode, resp.Header.Get("Retry-After"), asked.Load())
		}
		// bob has a session and no run; alice has both.
		c, _ := s.handshake(t, request{subprotocols: sessionProtocols(bob)})
		c.refused(wire.CodeUnavailable, "")
		c.ends(wire.CloseTryAgain)
		s.resume(t, alice)
		if got := s.Stats(); got.First != 1 || got.Refusals["handshakes"] != 2 {
			t.Errorf("got %d first and refusals %v", got.First, got.Refusals)
		}
		close(release)
		for _, answered := range slow {
			if resp := <-answered; resp.StatusCode != http.StatusSwitchingProtocols {
				t.Errorf("got %d for one that was admitted", resp.StatusCode)
			}
		}
		s.as(t, "carol") // there is a place again
	})
}

func TestHandshakesOfASecondAreBoundedAndTheRestComesBackApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: switchboard.Limits{HandshakesPerSecond: 8}})
		let, later := 0, map[string]bool{}
		for range 40 {
			_, resp := s.handshake(t, request{token: "alice"})
			if resp.StatusCode == http.StatusSwitchingProtocols {
				let++
			} else {
				later[resp.Header.Get("Retry-After")] = true
			}
		}
		if let != 6 || len(later) < 4 {
			t.Errorf("%d were let in and the others come back after %v, want 6 and each after a time of its own", let, later)
		}
		time.Sleep(time.Second)
		s.as(t, "alice")
	})
}

func TestAUserWithALiveRunKeepsNobodyElseOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: switchboard.Limits{HandshakesPerSecond: 80, ConnsPerUser: 10}})
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, waiter(make(chan error, 2)))
		mallory, alice := s.as(t, "mallory"), s.as(t, "alice")
		mallory.ask("m", "t1", "Write")
		alice.ask("a", "t1", "Write")
		synctest.Wait()
		let := 0
		storm := func() {
			for range 200 { // each is refused at the latest by the limit of the user
				if c, resp := s.handshake(t, request{token: mallory.welcome.Session.Token}); resp.StatusCode == http.StatusSwitchingProtocols {
					let++
					_ = c.conn.Close()
				}
				synctest.Wait()
			}
		}
		storm()
		s.resume(t, alice) // the part that is kept is not mallory's alone
		time.Sleep(250 * time.Millisecond)
		first := s.Stats().First
		for range 5 {
			s.as(t, "bob") // nor does mallory, at the kept entrance, take from what is for all
			_, _ = s.handshake(t, request{token: mallory.welcome.Session.Token})
		}
		if let == 0 || first > 11 {
			t.Errorf("mallory was let in %d times, %d of them first", let, first)
		}
	})
}

func TestOnConnectIsAPartOfAHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newServer(t, switchboard.Options{
			Limits: switchboard.Limits{Handshakes: 1},
			OnConnect: func(context.Context, *switchboard.Conn) error {
				<-release
				return nil
			},
		})
		slow := s.attempt(t, request{token: "alice"})
		if resp := <-s.attempt(t, request{token: "bob"}); resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("got %d, want 503", resp.StatusCode)
		}
		close(release)
		<-slow
		synctest.Wait()
		s.as(t, "bob")
	})
}
