package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/netra-systems/switchboard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testKey = "sk_test"

// byName takes a client's token for its user's name, behind its tenant's if there is a
// slash.
func byName(_ context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
	if cred.Token == "" {
		return switchboard.Identity{}, switchboard.ErrUnauthenticated
	}
	tenant, user, ok := strings.Cut(cred.Token, "/")
	if !ok {
		tenant, user = "", cred.Token
	}
	return switchboard.Identity{Tenant: tenant, User: user, Permissions: []string{"room:*:*"}}, nil
}

// config is that of a server on a free port, with a key that may do everything.
func config() Config {
	return Config{
		Listen: "127.0.0.1:0", Auth: byName, Drain: time.Second,
		APIKeys: []APIKey{{Name: "test", Hash: HashKey(testKey)}},
	}
}

// node is a running server.
type node struct {
	*Server
	http *http.Client
}

// start runs a server until the test ends, and fails the test if it does not stop well.
func start(t *testing.T, cfg Config) *node {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	transport := new(http.Transport)
	t.Cleanup(func() {
		cancel()
		transport.CloseIdleConnections()
		if err := <-ended; err != nil {
			t.Errorf("got %v from Run, want nil", err)
		}
	})
	select {
	case <-s.Ready():
	case err := <-ended:
		ended <- err
		t.Fatalf("Run ended before the server was ready: %v", err)
	}
	return &node{Server: s, http: &http.Client{Transport: transport}}
}

// answer is what came back from the API.
type answer struct {
	status int
	header http.Header
	body   []byte
	last   bool // the connection is closed behind it
}

// problem decodes an error; the test fails if the answer is none.
func (a answer) problem(t *testing.T) problem {
	t.Helper()
	var p problem
	dec := json.NewDecoder(bytes.NewReader(a.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		t.Fatalf("got %d with body %q, want a problem document: %v", a.status, a.body, err)
	}
	if got := a.header.Get("Content-Type"); got != problemType {
		t.Errorf("got Content-Type %q, want %q", got, problemType)
	}
	if p.Type != "about:blank" || p.Title != http.StatusText(a.status) || p.Status != a.status || p.Detail == "" {
		t.Errorf("got problem %s with status %d: type, title, status or detail is wrong", a.body, a.status)
	}
	return p
}

// decode decodes the body of a success.
func (a answer) decode(t *testing.T, v any) {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("got status %d with body %s, want 200", a.status, a.body)
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("decode %s: %v", a.body, err)
	}
}

// request is a call of the API. Zero: with the test key, and JSON if there is a body.
type request struct {
	method, path, body string
	header             http.Header // replaces defaults; an empty value removes one
	chunked            bool        // the length of the body is not told
}

func (n *node) call(t *testing.T, r request) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.method, n.URL()+r.path, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	if r.chunked {
		req.ContentLength = -1
	}
	req.Header.Set("Authorization", "Bearer "+testKey)
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, values := range r.header {
		req.Header[name] = values
		if len(values) == 1 && values[0] == "" {
			delete(req.Header, name)
		}
	}
	res, err := n.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{status: res.StatusCode, header: res.Header, body: body, last: res.Close}
}

func (n *node) publish(t *testing.T, body string) answer {
	t.Helper()
	return n.call(t, request{method: http.MethodPost, path: "/api/v1/publish", body: body})
}
