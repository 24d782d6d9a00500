package switchboard_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/auth"
	"github.com/netra-systems/switchboard/wire"
)

// secretMark is in all credentials of FuzzCredential that are looked for where they do not belong.
const secretMark = "Zq7secret"

// offering is a request with all the ways that a credential can come.
type offering struct {
	authorization, second string // headers; "": not there
	offered               string // subprotocols
	query                 string
	user, tenant          string // of the headers of a proxy; "": not there
	trusted, call         bool   // the peer is that proxy; it is a call and no handshake
}

func (s offering) request() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://switchboard.test/ws", nil)
	if s.call {
		r.URL.Path = "/threads/t"
	} else {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		r.Header.Set("Sec-WebSocket-Version", "13")
		r.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	}
	r.URL.RawQuery = s.query
	r.RemoteAddr = "203.0.113.7:1"
	if s.trusted {
		r.RemoteAddr = "192.0.2.1:1"
	}
	for name, values := range map[string][]string{
		"Authorization": {s.authorization, s.second}, "Sec-Websocket-Protocol": {s.offered},
		auth.HeaderUser: {s.user}, auth.HeaderTenant: {s.tenant},
	} {
		for _, value := range values {
			if value != "" {
				r.Header[name] = append(r.Header[name], value)
			}
		}
	}
	return r
}

// tokens returns, of the kind of credential that counts, how many there are, and those that an
// authenticator may be asked about.
func (s offering) tokens() (n int, all []string) {
	for _, header := range []string{s.authorization, s.second} {
		if header != "" {
			n++
			_, token, _ := strings.Cut(header, " ")
			all = append(all, strings.TrimLeft(token, " "))
		}
	}
	if n > 0 {
		return n, all
	}
	for sub := range strings.SplitSeq(s.offered, ",") {
		sub = strings.TrimSpace(sub)
		coded, ok := strings.CutPrefix(sub, "token.")
		if !s.call && (ok || strings.HasPrefix(sub, "session.")) {
			n++
			if raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(coded, "=")); err == nil {
				all = append(all, string(raw))
			}
		}
	}
	if n > 0 {
		return n, all
	}
	for _, pair := range strings.FieldsFunc(s.query, func(r rune) bool { return r == '&' || r == ';' }) {
		name, _, _ := strings.Cut(pair, "=")
		if name == "ticket" {
			n++
		}
	}
	return n, nil
}

// witness is a manager that believes a proxy or takes tokens, and what it was asked and has told.
type witness struct {
	asked []string
	log   bytes.Buffer
	last  switchboard.AuditEvent
	calls http.Handler
}

func newWitness(f *testing.F) *witness {
	w := new(witness)
	login, err := auth.NewProxy(auth.Proxy{
		Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Tenants: []string{"", "acme"},
		Next: func(_ context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
			w.asked = append(w.asked, cred.Token)
			if !strings.HasPrefix(cred.Token, "good") {
				return switchboard.Identity{}, fmt.Errorf("%w: not good", switchboard.ErrUnauthenticated)
			}
			return switchboard.Identity{User: "by-token", Expires: time.Now().Add(time.Hour)}, nil
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	m, err := switchboard.New(switchboard.Options{
		Auth: login, Log: slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Audit: func(e switchboard.AuditEvent) { w.last = e },
		Limits: switchboard.Limits{
			HandshakesPerSecond: -1, ConnsPerAddress: -1, CallsPerAddress: -1, GuessesPerAddress: -1, ConnectsPerUser: -1, CallsPerUser: -1,
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := m.Shutdown(context.Background()); err != nil {
			f.Error(err)
		}
	})
	w.calls = m.ClientAPI()
	return w
}

// allocated is how many bytes this process has ever taken.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// FuzzCredential holds, for all ways that a credential can come in one request: an authenticator is
// asked about one at most, and about none if there are two of the kind that counts; who is let in is
// whom that one credential names; no credential is in an answer or in the log; and what a request
// costs is bounded by its length.
func FuzzCredential(f *testing.F) {
	const token = "good" + secretMark
	sub := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	add := func(s offering) {
		for _, call := range []bool{false, true} {
			f.Add(s.authorization, s.second, s.offered, s.query, s.user, s.tenant, s.trusted, call)
		}
	}
	add(offering{authorization: "Bearer " + token})
	add(offering{authorization: "Bearer bad" + secretMark})
	add(offering{authorization: "bearer  " + token + " ", query: "ticket=" + secretMark})
	add(offering{authorization: "Bearer " + token, second: "Bearer good"})
	add(offering{authorization: "Basic " + secretMark, offered: "switchboard.v1, token." + sub(token)})
	add(offering{offered: "switchboard.v1, token." + sub(token)})
	add(offering{offered: "switchboard.v1, token." + sub(token) + ", token." + sub("good")})
	add(offering{offered: "switchboard.v1,token." + sub(token) + ",session." + sub("swt_"+secretMark)})
	add(offering{offered: "switchboard.v1, session." + sub(secretMark) + "=="})
	add(offering{offered: "jwt-auth, jwt." + sub(token)})
	add(offering{offered: "jwt-auth, switchboard.v1, jwt." + sub(token)})
	add(offering{offered: "jwt-auth, switchboard.v1, jwt." + sub(token) + ", token.!"})
	add(offering{query: "ticket=tk_" + secretMark})
	add(offering{query: "ticket=" + secretMark + "&ticket=x"})
	add(offering{query: "ticket=%zz&ticket=tk_" + secretMark})
	add(offering{query: "a;ticket=tk_" + secretMark + "&device=d"})
	add(offering{user: "alice", tenant: "acme", trusted: true})
	add(offering{user: "alice"})
	add(offering{user: "alice", trusted: true, authorization: "Bearer " + token})
	add(offering{tenant: "acme", trusted: true})
	w := newWitness(f)
	f.Fuzz(func(t *testing.T, authorization, second, offered, query, user, tenant string, trusted, call bool) {
		s := offering{authorization, second, offered, query, user, tenant, trusted, call}
		if strings.Contains(user+tenant, secretMark) {
			return // names are told
		}
		var answer *httptest.ResponseRecorder
		used, most := uint64(math.MaxUint64), uint64(1<<20+64*len(strings.Join([]string{authorization, second, offered, query, user, tenant}, "")))
		for try := 0; try < 3 && used > most; try++ { // the manager may take something for itself meanwhile, but not each time
			w.asked, w.last = nil, switchboard.AuditEvent{}
			w.log.Reset()
			answer = httptest.NewRecorder()
			before := allocated()
			w.calls.ServeHTTP(answer, s.request())
			used = min(used, allocated()-before)
		}
		if used > most {
			t.Errorf("%+v cost %d bytes, want at most %d", s, used, most)
		}
		w.check(t, s, answer)
	})
}

// check judges what became of a request.
func (w *witness) check(t *testing.T, s offering, answer *httptest.ResponseRecorder) {
	n, tokens := s.tokens()
	if len(w.asked) > 1 || n > 1 && len(w.asked) > 0 {
		t.Errorf("%+v: asked about %q, want one credential at most, and none of two", s, w.asked)
	}
	for _, token := range w.asked {
		if !slices.Contains(tokens, token) {
			t.Errorf("%+v: asked about %q, want one of %q", s, token, tokens)
		}
	}
	if in := w.last.User; in != "" { // it got as far as the network, which a recorder is not
		byToken := n == 1 && len(w.asked) == 1 && strings.HasPrefix(w.asked[0], "good") && s.user == "" && s.tenant == ""
		byProxy := n == 0 && len(w.asked) == 0 && s.trusted && wire.CheckID(s.user) == nil
		if !(byToken && in == "by-token") && !(byProxy && in == s.user && w.last.Tenant == s.tenant) {
			t.Errorf("%+v: %q of %q was let in", s, in, w.last.Tenant)
		}
	}
	told := fmt.Sprint(answer.Result().Header, answer.Body, w.log.String(), w.last)
	secrets := []string{secretMark}
	for sub := range strings.SplitSeq(s.offered, ",") {
		_, coded, _ := strings.Cut(strings.TrimSpace(sub), ".")
		if raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(coded, "=")); err == nil && strings.Contains(string(raw), secretMark) {
			secrets = append(secrets, coded)
		}
	}
	for _, secret := range secrets {
		if strings.Contains(told, secret) || strings.Contains(told, url.QueryEscape(secret)) {
			t.Errorf("%+v: %q is in what was told: %s", s, secret, told)
		}
	}
}
