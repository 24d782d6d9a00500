package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/client"
)

func TestWithTLSTheServerSpeaksNothingElse(t *testing.T) {
	fixed := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate
	defer fixed.Close()
	cfg := config()
	cfg.TLS = &tls.Config{Certificates: fixed.TLS.Certificates}
	n := start(t, cfg)
	if !strings.HasPrefix(n.URL(), "https://127.0.0.1:") {
		t.Fatalf("got URL %s, want https", n.URL())
	}
	roots := x509.NewCertPool()
	roots.AddCert(fixed.Certificate())
	n.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
	if got := n.publish(t, `{"to":{"user":"alice"},"type":"hello"}`); got.status != http.StatusOK {
		t.Errorf("got status %d with body %s, want 200", got.status, got.body)
	}
	res, err := n.http.Get(strings.Replace(n.URL(), "https", "http", 1))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("got status %d without TLS, want 400", res.StatusCode)
	}
}

func TestBoundsReachTheManager(t *testing.T) {
	cfg := config()
	cfg.Limits = switchboard.Limits{ConnsPerUser: 1}
	cfg.Retention = broker.Retention{Messages: 2, Age: time.Hour}
	n := start(t, cfg)
	n.connect(t, "alice")
	token := func(context.Context) (string, error) { return "alice", nil }
	if c, err := client.Dial(t.Context(), client.Options{URL: n.URL() + "/ws", Token: token}); err == nil {
		c.Close()
		t.Error("got a second connection, want one at most")
	}
	for range 3 {
		n.publish(t, `{"to":{"user":"alice"},"type":"hello"}`)
	}
	var history struct{ Messages []any }
	n.call(t, request{method: http.MethodGet, path: "/api/v1/history?topic=user/alice"}).decode(t, &history)
	if len(history.Messages) != 2 {
		t.Errorf("got %d messages of history, want the last 2", len(history.Messages))
	}
}

func TestSessionKeysReachTheManager(t *testing.T) {
	cfg := config()
	cfg.SessionKeys = [][]byte{make([]byte, 31)}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "SessionKeys") {
		t.Errorf("got %v, want that the key is too short", err)
	}
}
