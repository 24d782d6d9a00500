package switchboard_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// behindProxy makes a server whose clients say by X-Forwarded-For where they are, and counts what
// its authenticator is asked.
func behindProxy(t *testing.T, opts switchboard.Options) (s *server, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	opts.TrustedProxy = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	opts.Auth = func(ctx context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
		asked.Add(1)
		return login(ctx, cred)
	}
	return newServer(t, opts), asked
}

// tried is what became of a handshake.
func (s *server) tried(t *testing.T, req request) (status int, p problem) {
	t.Helper()
	c, resp := s.handshake(t, req)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp.StatusCode, p
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.conn.Close()
	return resp.StatusCode, reply{status: resp.StatusCode, header: resp.Header, body: string(body)}.problem(t)
}

func TestAStormFromOneAddressCostsOthersNoRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s, asked := behindProxy(t, switchboard.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		accepted := 0
		for i := range 500 {
			// A /64 is one address, and what a client says of itself in front of the proxy is nothing.
			storm := []string{"203.0.113.7", "198.51.100." + strconv.Itoa(i%250) + ", 203.0.113.7", "::ffff:203.0.113.7"}[i%3]
			status, p := s.tried(t, request{token: fmt.Sprintf("storm-%d", i), from: storm})
			switch {
			case status == 101:
				accepted++
			case status != 429 || p.Code != string(wire.CodeRateLimited) || p.Details["retry_after_ms"] == nil:
				t.Fatalf("got %d %+v, want 429 and when to come back", status, p)
			}
			if i%10 == 0 {
				other := "192.0.2." + strconv.Itoa(i/10)
				if status, p := s.tried(t, request{token: fmt.Sprintf("user-%d", i), from: other}); status != 101 {
					t.Fatalf("%s pays for another address: got %d %+v", other, status, p)
				}
			}
		}
		st := s.Stats()
		if accepted != 60 || st.Refusals["address_rate"] != 440 || asked.Load() != 60+50 {
			t.Errorf("got %d accepted, refusals %v and %d questions, want 60, 440 and 110", accepted, st.Refusals, asked.Load())
		}
		if n := strings.Count(log.String(), "refused at the door"); n != 1 {
			t.Errorf("it was logged %d times, want once in ten seconds:\n%s", n, log.String())
		}
		time.Sleep(time.Second)
		if status, _ := s.tried(t, request{token: "storm-1000", from: "203.0.113.7"}); status != 101 {
			t.Errorf("got %d a second later, want 101", status)
		}
	})
}

func TestOneNetworkOfIPv6IsOneAddressAndThisMachineIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := behindProxy(t, switchboard.Options{Limits: switchboard.Limits{ConnsPerAddress: 3}})
		for i := range 4 {
			status, _ := s.tried(t, request{token: fmt.Sprintf("u%d", i), from: fmt.Sprintf("2001:db8:1:2::%x", i)})
			if want := map[bool]int{true: 101, false: 429}[i < 3]; status != want {
				t.Errorf("connection %d: got %d, want %d", i, status, want)
			}
		}
		for i := range 100 {
			if status, p := s.tried(t, request{token: fmt.Sprintf("v%d", i)}); status != 101 { // the proxy itself, on this machine
				t.Fatalf("this machine was refused: %d %+v", status, p)
			}
		}
	})
}

func TestWhoWasHereComesBackToAnAddressThatIsFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := behindProxy(t, switchboard.Options{Limits: switchboard.Limits{ConnsPerAddress: 5, ConnsPerUser: 50, ConnectsPerUser: 4}})
		const home = "203.0.113.7"
		alice := s.connect(t, request{token: "alice", from: home})
		for range 20 {
			s.tried(t, request{token: "bad", from: home})
		}
		if status, _ := s.tried(t, request{token: "bob", from: home}); status != 429 {
			t.Fatalf("a new client: got %d, want 429", status)
		}
		for range 3 {
			alice = s.connect(t, request{subprotocols: sessionProtocols(alice), from: home})
		}
		// She pays for herself: a token that was stolen is no way round.
		c, resp := s.handshake(t, request{subprotocols: sessionProtocols(alice), from: home})
		if resp.StatusCode != 101 {
			t.Fatalf("got %d, want an upgrade to say no", resp.StatusCode)
		}
		if e := c.refused(wire.CodeRateLimited, ""); e.Details["retry_after_ms"] == nil {
			t.Errorf("got %+v, want when to come back", e)
		}
		c.ends(wire.CloseTryAgain)
		if n := s.Stats().Refusals["user_rate"]; n != 1 {
			t.Errorf("got %d refusals by user, want 1", n)
		}
	})
}

func TestCredentialsCannotBeTriedOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, asked := behindProxy(t, switchboard.Options{})
		const from = "203.0.113.7"
		bad := []request{
			{token: "bad", from: from},
			{path: "/ws?ticket=tkt_guessed", from: from},
			{subprotocols: "switchboard.v1x", token: "bad", from: from},
		}
		bad[2].subprotocols = ""
		for i := range 10 {
			if status, p := s.tried(t, bad[i%len(bad)]); status != 401 {
				t.Fatalf("guess %d: got %d %+v, want 401", i, status, p)
			}
		}
		before := asked.Load()
		for _, req := range append(bad, request{token: "alice", from: from}) {
			if status, p := s.tried(t, req); status != 429 || p.Details["retry_after_ms"] == nil {
				t.Errorf("got %d %+v, want 429", status, p)
			}
		}
		c := s.web(t)
		for _, req := range []call{{method: "POST", path: "/websocket/ticket"}, {path: "/threads/t"}, {method: "POST", path: "/messages", body: "{}"}, {path: "/events"}} {
			req.token, req.header = "alice", map[string]string{"X-Forwarded-For": from}
			if p := c.do(req).problem(t); p.Status != 429 {
				t.Errorf("%s: got %+v, want 429", req.path, p)
			}
		}
		if n := asked.Load(); n != before || s.Stats().Refusals["guesses"] != 5 || s.Stats().CallRefusals["guesses"] != 3 {
			t.Errorf("the authenticator was asked %d times more, stats %+v", n-before, s.Stats())
		}
		if status, _ := s.tried(t, request{token: "bob", from: "203.0.113.8"}); status != 101 {
			t.Errorf("another address: got %d", status)
		}
		time.Sleep(6 * time.Second)
		if status, _ := s.tried(t, request{token: "alice", from: from}); status != 101 {
			t.Errorf("six seconds later: got %d", status)
		}
	})
}

func TestSessionTokensAndPagesBeforeTheirLoginAreNoGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := behindProxy(t, switchboard.Options{})
		for range 20 { // as all clients of an office do after a restart without keys
			s.tried(t, request{token: "swt_of_another_key", from: "203.0.113.7"})
			s.tried(t, request{from: "203.0.113.7"})
		}
		if status, p := s.tried(t, request{token: "alice", from: "203.0.113.7"}); status != 101 {
			t.Errorf("got %d %+v, want 101", status, p)
		}
	})
}

func TestAStormOfCallsAsksTheAuthenticatorNoMoreThanOneOfHandshakes(t *testing.T) {
	for _, path := range []string{"/ws", "/events", "/websocket/ticket", "/messages", "/threads/t"} {
		t.Run(path[1:], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, asked := behindProxy(t, switchboard.Options{Limits: switchboard.Limits{HandshakesPerSecond: 40}})
				c := s.web(t)
				for i := range 200 {
					from := fmt.Sprintf("192.0.2.%d", i)
					if path == "/ws" {
						s.tried(t, request{token: "bad", from: from})
						continue
					}
					method := http.MethodPost
					if path == "/events" || strings.HasPrefix(path, "/threads") {
						method = http.MethodGet
					}
					c.do(call{method: method, path: path, token: "bad", header: map[string]string{"X-Forwarded-For": from}}).problem(t)
				}
				refused := s.Stats().Refusals
				if path != "/ws" && path != "/events" {
					refused = s.Stats().CallRefusals
				}
				if n := asked.Load(); n != 30 || refused["handshakes"] != 170 || refused["credential"] != 30 {
					t.Errorf("got %d questions and refusals %v, want 30 and 170", n, refused)
				}
			})
		})
	}
}

func TestAUserCallsSoOftenAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := behindProxy(t, switchboard.Options{Limits: switchboard.Limits{CallsPerUser: 3, CallsPerAddress: 5}})
		c := s.web(t)
		thread := func(token, from string) int {
			t.Helper()
			return c.do(call{path: "/threads/t", token: token, header: map[string]string{"X-Forwarded-For": from}}).status
		}
		for i, want := range []int{200, 200, 200, 429} {
			if got := thread("alice", fmt.Sprintf("192.0.2.%d", i)); got != want { // wherever she is
				t.Errorf("call %d of alice: got %d, want %d", i, got, want)
			}
		}
		if got := thread("acme/alice", "192.0.2.9"); got != 200 {
			t.Errorf("alice of another tenant: got %d", got)
		}
		for i, want := range []int{200, 200, 200, 200, 200, 429} {
			if got := thread(fmt.Sprintf("u%d", i), "203.0.113.7"); got != want {
				t.Errorf("call %d from one address: got %d, want %d", i, got, want)
			}
		}
		if got := s.Stats().CallRefusals; got["user_rate"] != 1 || got["address_rate"] != 1 {
			t.Errorf("got refusals %v, want one of each", got)
		}
	})
}

func TestAnOriginThatGoesOnIsBlockedAndOneThatMayConnectNeverIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const app, evil = "https://app.example.com", "https://evil.example"
		s, _ := behindProxy(t, switchboard.Options{Origins: []string{app}})
		browser := func(origin, token string) int {
			status, _ := s.tried(t, request{subprotocols: "switchboard.v1, token." + base64.RawURLEncoding.EncodeToString([]byte(token)), origin: origin})
			return status
		}
		for range 20 { // somebody who is no browser uses the name of the application
			browser(app, "bad")
		}
		for range 5 {
			if got := browser(evil, "alice"); got != 101 { // it is told so in a message
				t.Fatalf("got %d, want an upgrade to say no", got)
			}
		}
		if got := browser(evil, "alice"); got != 403 {
			t.Errorf("got %d, want 403 without an upgrade", got)
		}
		if got := browser("HTTPS://EVIL.example", "alice"); got != 403 {
			t.Errorf("the same in capitals: got %d, want 403", got)
		}
		if got := s.Stats().Refusals; got["origin"] != 5 || got["origin_blocked"] != 2 || got["credential"] != 20 {
			t.Errorf("got refusals %v", got)
		}
		s.connect(t, request{token: "alice", origin: app})
		time.Sleep(10 * time.Minute)
		if got := browser(evil, "alice"); got != 101 {
			t.Errorf("ten minutes later: got %d, want it forgiven", got)
		}
	})
}

func TestRefusedBrowsersAreWaitedForInBoundedNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := behindProxy(t, switchboard.Options{})
		told, plain := 0, 0
		for i := range 300 { // who neither read nor leave
			_, resp := s.handshake(t, request{token: "bad", subprotocols: "switchboard.v1", from: fmt.Sprintf("10.0.%d.%d", i/250, i%250)})
			switch resp.StatusCode {
			case 101:
				told++
			case 401:
				plain++
			}
		}
		if told != 256 || plain != 44 {
			t.Errorf("got %d told by a message and %d by a status, want 256 and 44", told, plain)
		}
		began := time.Now()
		s.connect(t, request{token: "alice", from: "192.0.2.1"})
		if took := time.Since(began); took > 0 {
			t.Errorf("a client that is let in waited %v", took)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if _, resp := s.handshake(t, request{token: "bad", subprotocols: "switchboard.v1", from: "192.0.2.2"}); resp.StatusCode != 101 {
			t.Errorf("a second later: got %d, want 101", resp.StatusCode)
		}
	})
}

func TestARequestThatIsLargerThanAnybodyNeedsIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, asked := behindProxy(t, switchboard.Options{})
		big := strings.Repeat("x", 70_000)
		for name, req := range map[string]request{
			"a query":         {token: "alice", path: "/ws?x=" + big},
			"a credential":    {token: big},
			"one subprotocol": {token: "alice", subprotocols: big},
			"many of them":    {token: "alice", subprotocols: strings.Repeat("a, ", 30_000)},
		} {
			if status, p := s.tried(t, req); status != 431 || p.Code != string(wire.CodeTooLarge) {
				t.Errorf("%s: got %d %+v, want 431", name, status, p)
			}
		}
		c := s.web(t)
		if p := c.do(call{path: "/threads/t?x=" + big, token: "alice"}).problem(t); p.Status != 431 {
			t.Errorf("a call: got %+v, want 431", p)
		}
		if asked.Load() != 0 {
			t.Error("the authenticator was asked")
		}
		s.connect(t, request{token: "alice", subprotocols: "switchboard.v1" + strings.Repeat(", a", 1000)})
	})
}

func TestTwoCredentialsOfOneKindAreNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, asked := behindProxy(t, switchboard.Options{})
		sub := func(token string) string { return "token." + base64.RawURLEncoding.EncodeToString([]byte(token)) }
		for name, req := range map[string]request{
			"subprotocols": {subprotocols: "switchboard.v1, " + sub("alice") + ", " + sub("bob")},
			"tickets":      {path: "/ws?ticket=a&ticket=b"},
			"an empty one": {path: "/ws?ticket=&ticket=b"},
		} {
			c, resp := s.handshake(t, req)
			if resp.StatusCode == 101 {
				c.refused(wire.CodeAuthError, "")
			} else if resp.StatusCode != 401 {
				t.Errorf("%s: got %d, want 401", name, resp.StatusCode)
			}
		}
		if asked.Load() != 0 {
			t.Error("the authenticator was asked")
		}
	})
}

func TestCredentialsCannotBeTriedOnALiveConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, asked := behindProxy(t, switchboard.Options{})
		const from = "203.0.113.7"
		a := s.connect(t, request{token: "alice", from: from})
		for i := range 10 {
			a.send(`{"type":"auth","message_id":"g-%d","payload":{"token":"bad"}}`, i)
			a.refused(wire.CodeAuthError, fmt.Sprintf("g-%d", i))
		}
		before := asked.Load()
		a.send(`{"type":"auth","message_id":"g-10","payload":{"token":"alice"}}`)
		if e := a.refused(wire.CodeRateLimited, "g-10"); e.Details["retry_after_ms"] == nil {
			t.Errorf("got %+v, want when to try again", e)
		}
		if status, _ := s.tried(t, request{token: "bob", from: from}); status != 429 || asked.Load() != before {
			t.Errorf("got %d for another connection, and %d questions", status, asked.Load()-before)
		}
		time.Sleep(6 * time.Second)
		a.send(`{"type":"auth","message_id":"g-11","payload":{"token":"alice"}}`)
		a.await(wire.AuthOK)
	})
}
