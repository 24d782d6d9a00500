package auth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/auth"
)

// loginServer answers what a test says, and counts.
type loginServer struct {
	*httptest.Server
	asked atomic.Int64
	seen  atomic.Pointer[http.Request]
}

func newLoginServer(t testing.TB, answer http.HandlerFunc) *loginServer {
	t.Helper()
	s := new(loginServer)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		s.seen.Store(r)
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *loginServer) login(t testing.TB, tenants ...string) switchboard.Authenticator {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	a, err := auth.NewForward(ctx, auth.Forward{URL: s.URL + "/who", Tenants: tenants})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func says(status int, header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if header != "" {
			w.Header().Set("Cache-Control", header)
		}
		w.WriteHeader(status)
		io.WriteString(w, body) //nolint:errcheck // who asked hangs up on what is too long
	}
}

func TestAnotherServerSaysWhoIsCalling(t *testing.T) {
	exp := time.Now().Add(2 * time.Hour).Truncate(time.Second)
	s := newLoginServer(t, says(200, "", fmt.Sprintf(
		`{"user":"alice","tenant":"acme","permissions":["room:a:*"],"expires_at":%d,"issued_at":1000,"token_id":"t","sid":"s","claims":{"plan":1}}`, exp.Unix())))
	r := httptest.NewRequest(http.MethodGet, "/ws", nil)
	r.RemoteAddr = "192.0.2.1:5000"
	r.Header.Set("Origin", "https://app.example.com")
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	r.Header.Set("Cookie", "login=of-the-visitor")
	got, err := s.login(t, "acme")(t.Context(), switchboard.Credential{Token: "tok~1", Request: r})
	want := switchboard.Identity{
		Tenant: "acme", User: "alice", Permissions: []string{"room:a:*"}, Expires: exp, Issued: time.Unix(1000, 0), TokenID: "t", SID: "s", Claims: []byte(`{"plan":1}`),
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	header := map[string]string{}
	for _, name := range []string{"Authorization", "Origin", "X-Forwarded-For", "Cookie"} {
		header[name] = s.seen.Load().Header.Get(name)
	}
	if diff := cmp.Diff(map[string]string{
		"Authorization": "Bearer tok~1", "Origin": "https://app.example.com", "X-Forwarded-For": "203.0.113.9, 192.0.2.1", "Cookie": "",
	}, header); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestWhatAnotherServerAnswersDecides(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   error // nil: let in
	}{
		{"who it is", says(200, "", `{"user":"alice"}`), nil},
		{"a bad token", says(401, "", `{"user":"alice"}`), switchboard.ErrUnauthenticated},
		{"not this user", says(403, "", `{"user":"alice"}`), switchboard.ErrForbidden},
		{"another status of success", says(201, "", `{"user":"alice"}`), switchboard.ErrUnavailable},
		{"nothing", says(204, "", ""), switchboard.ErrUnavailable},
		{"a fault", says(500, "", `{"user":"alice"}`), switchboard.ErrUnavailable},
		{"no JSON", says(200, "", "alice"), switchboard.ErrUnavailable},
		{"no user", says(200, "", `{}`), switchboard.ErrUnavailable},
		{"two users", says(200, "", `{"user":"alice","user":"bob"}`), switchboard.ErrUnavailable},
		{"a user in other letters", says(200, "", `{"User":"alice"}`), switchboard.ErrUnavailable},
		{"a user that is none", says(200, "", `{"user":"a\nb"}`), switchboard.ErrUnavailable},
		{"a member that means nothing", says(200, "", `{"user":"alice","permission":["room:a:*"]}`), switchboard.ErrUnavailable},
		{"another tenant", says(200, "", `{"user":"alice","tenant":"acme"}`), switchboard.ErrUnauthenticated},
		{"a login that is over", says(200, "", `{"user":"alice","expires_at":1000}`), switchboard.ErrUnauthenticated},
		{"an expiry in milliseconds", says(200, "", `{"user":"alice","expires_at":1767225600000}`), switchboard.ErrUnavailable},
		{"too much", says(200, "", `{"user":"alice","claims":"`+strings.Repeat("x", 64<<10)+`"}`), switchboard.ErrUnavailable},
		{"half an answer", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"user":"alice"}`) //nolint:errcheck // it hangs up
		}, switchboard.ErrUnavailable},
		{"elsewhere", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/who" {
				http.Redirect(w, r, "/other", http.StatusFound)
				return
			}
			says(200, "", `{"user":"alice"}`)(w, r)
		}, switchboard.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := newLoginServer(t, tt.answer).login(t)(t.Context(), switchboard.Credential{Token: "t"})
			if !errors.Is(err, tt.want) || (err == nil) != (id.User == "alice") {
				t.Errorf("got %+v, %v, want %v", id, err, tt.want)
			}
		})
	}
}

func TestNobodyIsAskedAboutWhatIsNoToken(t *testing.T) {
	s := newLoginServer(t, says(200, "", `{"user":"alice"}`))
	a := s.login(t)
	for _, token := range []string{"", " ", "a b", "a\r\nX: y", "ä", strings.Repeat("x", auth.MaxTokenBytes+1)} {
		wantRefused(t, a, token, switchboard.ErrUnauthenticated)
	}
	if n := s.asked.Load(); n != 0 {
		t.Errorf("got %d questions, want none", n)
	}
}

func TestAnAnswerIsUsedAgainOnlyIfItSaysSo(t *testing.T) {
	for header, want := range map[string]int64{"": 3, "no-store": 3, "max-age=60": 1} {
		s := newLoginServer(t, says(200, header, `{"user":"alice"}`))
		a := s.login(t)
		for range 3 {
			wantUser(t, a, "t")
		}
		if n := s.asked.Load(); n != want {
			t.Errorf("%q: got %d questions, want %d", header, n, want)
		}
		r := httptest.NewRequest(http.MethodGet, "/ws", nil)
		r.Header.Set("Origin", "https://elsewhere.example")
		if _, err := a(t.Context(), switchboard.Credential{Token: "t", Request: r}); err != nil || s.asked.Load() != want+1 {
			t.Errorf("%q: from another page: got %v and %d questions, want one more", header, err, s.asked.Load())
		}
	}
}

func TestARefusalIsNotRemembered(t *testing.T) {
	s := newLoginServer(t, says(401, "max-age=60", ""))
	a := s.login(t)
	for range 2 {
		wantRefused(t, a, "t", switchboard.ErrUnauthenticated)
	}
	if n := s.asked.Load(); n != 2 {
		t.Errorf("got %d questions, want 2", n)
	}
}

func TestAServerThatHangsIsUnavailable(t *testing.T) {
	release := make(chan struct{})
	s := newLoginServer(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	a := s.login(t)
	began := time.Now()
	wantRefused(t, a, "t", switchboard.ErrUnavailable)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v, want 3s", took)
	}
}

func TestNewForwardRefusesWhatCannotBeTrusted(t *testing.T) {
	for name, f := range map[string]auth.Forward{
		"no URL":       {},
		"http":         {URL: "http://login.test/who"},
		"a password":   {URL: "https://a:b@login.test/who"},
		"a bad tenant": {URL: "https://login.test", Tenants: []string{"a\nb"}},
		"a bad life":   {URL: "https://login.test", Life: 25 * time.Hour},
	} {
		if _, err := auth.NewForward(t.Context(), f); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func TestOnlyATrustedProxySaysWhoIsCalling(t *testing.T) {
	next := func(_ context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
		return switchboard.Identity{User: "by " + cred.Token}, nil
	}
	a, err := auth.NewProxy(auth.Proxy{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.7.0/24")}, Tenants: []string{"", "acme"}, Next: next})
	if err != nil {
		t.Fatal(err)
	}
	exp := time.Now().Add(time.Hour).Truncate(time.Second)
	for _, tt := range []struct {
		name, peer, token string
		header            http.Header
		want              switchboard.Identity
		err               error
	}{
		{"everything", "10.0.7.1:5", "", http.Header{
			auth.HeaderUser: {"alice"}, auth.HeaderTenant: {"acme"}, auth.HeaderPermissions: {"room:a:*, room:b:join"}, auth.HeaderExpires: {fmt.Sprint(exp.Unix())},
		}, switchboard.Identity{Tenant: "acme", User: "alice", Permissions: []string{"room:a:*", "room:b:join"}, Expires: exp}, nil},
		{"a mapped address", "[::ffff:10.0.7.1]:5", "", http.Header{auth.HeaderUser: {"alice"}}, switchboard.Identity{User: "alice", Expires: exp}, nil},
		{"a token and no header", "192.0.2.1:5", "tok", nil, switchboard.Identity{User: "by tok"}, nil},
		{"nothing", "10.0.7.1:5", "", nil, switchboard.Identity{}, switchboard.ErrUnauthenticated},
		{"somebody else", "10.0.8.1:5", "", http.Header{auth.HeaderUser: {"alice"}}, switchboard.Identity{}, switchboard.ErrForbidden},
		{"somebody else with a token", "10.0.8.1:5", "tok", http.Header{auth.HeaderUser: {"alice"}}, switchboard.Identity{}, switchboard.ErrForbidden},
		{"somebody else names a tenant", "10.0.8.1:5", "tok", http.Header{auth.HeaderTenant: {"acme"}}, switchboard.Identity{}, switchboard.ErrForbidden},
		{"who says to come by the proxy", "10.0.8.1:5", "", http.Header{auth.HeaderUser: {"alice"}, "X-Forwarded-For": {"10.0.7.1"}}, switchboard.Identity{}, switchboard.ErrForbidden},
		{"no address", "@", "", http.Header{auth.HeaderUser: {"alice"}}, switchboard.Identity{}, switchboard.ErrForbidden},
		{"a token besides", "10.0.7.1:5", "tok", http.Header{auth.HeaderUser: {"alice"}}, switchboard.Identity{}, switchboard.ErrUnauthenticated},
		{"two users", "10.0.7.1:5", "", http.Header{auth.HeaderUser: {"alice", "bob"}}, switchboard.Identity{}, switchboard.ErrUnauthenticated},
		{"an empty user", "10.0.7.1:5", "", http.Header{auth.HeaderUser: {""}}, switchboard.Identity{}, switchboard.ErrUnauthenticated},
		{"no user", "10.0.7.1:5", "", http.Header{auth.HeaderTenant: {"acme"}}, switchboard.Identity{}, switchboard.ErrUnauthenticated},
		{"another tenant", "10.0.7.1:5", "", http.Header{auth.HeaderUser: {"alice"}, auth.HeaderTenant: {"ajax"}}, switchboard.Identity{}, switchboard.ErrUnauthenticated},
		{"expired", "10.0.7.1:5", "", http.Header{auth.HeaderUser: {"alice"}, auth.HeaderExpires: {"1000"}}, switchboard.Identity{}, switchboard.ErrUnauthenticated},
		{"no time", "10.0.7.1:5", "", http.Header{auth.HeaderUser: {"alice"}, auth.HeaderExpires: {"soon"}}, switchboard.Identity{}, switchboard.ErrUnauthenticated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/ws", nil)
			r.RemoteAddr = tt.peer
			maps.Copy(r.Header, tt.header)
			got, err := a(t.Context(), switchboard.Credential{Token: tt.token, Request: r})
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(switchboard.Identity{}, "Issued"), cmpopts.EquateApproxTime(time.Minute)); diff != "" || !errors.Is(err, tt.err) {
				t.Errorf("%v, want %v (-want +got):\n%s", err, tt.err, diff)
			}
		})
	}
	if id, err := a(t.Context(), switchboard.Credential{Token: "tok"}); id.User != "by tok" || err != nil {
		t.Errorf("a refresh: got %+v, %v, want who the token names", id, err)
	}
	if _, err := auth.NewProxy(auth.Proxy{}); err == nil {
		t.Error("without networks: got no error")
	}
}
