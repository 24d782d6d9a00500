package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// whoServer knows logins as "<user>-<anything>", of which those that end in -bad are none.
func whoServer(t *testing.T) (srv *httptest.Server, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		user, rest, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), "-")
		switch rest {
		case "bad":
			w.WriteHeader(http.StatusUnauthorized)
		case "barred":
			w.WriteHeader(http.StatusForbidden)
		default:
			fmt.Fprintf(w, `{"user":%q,"permissions":["room:%s:*"],"expires_at":%d}`, user, rest, time.Now().Add(time.Hour).Unix())
		}
	}))
	t.Cleanup(srv.Close)
	return srv, asked
}

// TestALoginServerIsAskedAgainOnALiveConnection: what it says of a new token is what the connection may
// from then on, and whatever else it says, or if it says nothing, the connection goes on as it was.
func TestALoginServerIsAskedAgainOnALiveConnection(t *testing.T) {
	who, asked := whoServer(t)
	n := serve(t, nil, "--auth-url", who.URL)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := client.Dial(ctx, client.Options{
		URL: strings.Replace(n.URL, "http", "ws", 1) + "/ws", Token: func(context.Context) (string, error) { return "alice-first", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	join := func(room string) error { return c.Do(ctx, wire.JoinRoom, wire.JoinRoomRequest{Room: room}, nil) }
	prove := func(token string) (got wire.AuthOKPayload, err error) {
		err = c.Do(ctx, wire.Auth, wire.AuthRequest{Token: token}, &got)
		return got, err
	}
	if err := join("first"); err != nil {
		t.Fatal(err)
	}

	got, err := prove("alice-second")
	if err != nil || !slices.Equal(got.Permissions, []string{"room:second:*"}) || got.ExpiresAt < wire.Seconds(time.Now()) {
		t.Fatalf("accepted: got %+v, %v, want what the login server says", got, err)
	}
	wantCode(t, "a room of the former token", join("first"), wire.CodeForbidden)
	if err := join("second"); err != nil {
		t.Errorf("a room of the new token: got %v, want to follow it", err)
	}

	for token, code := range map[string]wire.Code{"alice-bad": wire.CodeAuthError, "alice-barred": wire.CodeForbidden, "bob-second": wire.CodeAuthError} {
		_, err := prove(token)
		wantCode(t, token, err, code)
	}
	before := asked.Load()
	who.Close()
	_, err = prove("alice-third")
	wantCode(t, "nobody to ask", err, wire.CodeUnavailable)
	if asked.Load() != before || before != 5 {
		t.Errorf("the login server was asked %d times and then %d, want 5 and no more", before, asked.Load()-before)
	}
	if err := join("second"); err != nil {
		t.Errorf("after all refusals: got %v, want that nothing has changed", err)
	}
	wantCode(t, "a room of a token that nobody knows", join("third"), wire.CodeForbidden)

	if log := n.errs.String(); strings.Count(log, "logins cannot be asked for") != 1 || strings.Contains(log, "alice-") {
		t.Errorf("got the log\n%s\nwant one line that nobody can be asked, and no token", log)
	}
	res, err := http.Get(n.URL + "/ws/config")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("got %d, %v without the login server, want that the node serves", res.StatusCode, err)
	}
}

func wantCode(t *testing.T, what string, err error, code wire.Code) {
	t.Helper()
	if refused, ok := errors.AsType[*client.Error](err); !ok || refused.Code != code {
		t.Errorf("%s: got %v, want %s", what, err, code)
	}
}
