package server

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/netra-systems/switchboard/auth"
	"github.com/netra-systems/switchboard/client"
)

// secrets are texts, by the place where they stand, that nobody else may see.
type secrets map[string]string

func (s secrets) mark(place string) string {
	s[place] = fmt.Sprintf("Zq7:%x/%s+", len(place)*7919, strings.ReplaceAll(place, " ", "-"))
	return s[place]
}

// in looks for every secret, in any form that it may have been given, in what should have none.
func (s secrets) in(t *testing.T, what, text string) {
	t.Helper()
	for place, secret := range s {
		forms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), hex.EncodeToString([]byte(secret))}
		for skip := range 3 {
			for _, coding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				coded := coding.EncodeToString([]byte(strings.Repeat("x", skip) + secret))
				forms = append(forms, coded[4:len(coded)-3]) // what does not depend on what is around it
			}
		}
		for _, form := range forms {
			if at := strings.Index(text, form); at >= 0 {
				t.Errorf("the %s has the secret of the %s: …%s…", what, place, text[max(0, at-300):min(len(text), at+100)])
				break
			}
		}
	}
}

const jwtSecret = "Zq7-the-secret-that-signs-tokens"

// token signs claims, of which one is secret.
func (s secrets) token(t *testing.T, key, place string, claims jwt.MapClaims) string {
	t.Helper()
	claims["secret"] = s.mark("claim of the " + place)
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	s[place] = token
	_, signature, _ := strings.Cut(token[strings.Index(token, ".")+1:], ".")
	s["signature of the "+place] = signature
	return token
}

// badCalls are calls of clients and back ends with a secret in each place.
func (s secrets) badCalls(t *testing.T) []request {
	bearer := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	hour := time.Now().Add(time.Hour).Unix()
	other := strings.Repeat("another secret! ", 4)
	post := func(path, body string) request { return request{method: http.MethodPost, path: path, body: body} }
	with := func(r request, h http.Header) request { r.header = h; return r }
	get := func(path string) request { return request{method: http.MethodGet, path: path} }
	q := url.QueryEscape
	return []request{
		with(get("/api/v1/stats"), bearer(s.mark("unknown API key"))),
		with(get("/api/v1/stats"), http.Header{"Authorization": {"Basic " + s.mark("password")}}),
		with(get("/api/v1/stats"), http.Header{tenantHeader: {s.mark("tenant asked for")}}),
		get("/api/v1/stats?" + q(s.mark("name in a query")) + "=" + q(s.mark("value in a query"))),
		get("/api/v1/stats?a;" + s.mark("query with a semicolon")),
		get("/api/v1/history?topic=user/alice&since=" + q(s.mark("position that is none"))),
		get("/api/v1/audit?since=" + q(s.mark("number that is none"))),
		post("/api/v1/publish", `{"to":{"user":"alice"},"type":"x","payload":{"s":"`+s.mark("payload")+`"}}`),
		post("/api/v1/publish", `{"to":{"user":"alice"},"type":"x","payload":{"s":"`+s.mark("payload that is cut")),
		post("/api/v1/publish", `{"to":{"user":"alice"},"type":"x","`+s.mark("unknown member")+`":"`+s.mark("value of an unknown member")+`"}`),
		post("/api/v1/publish", `{"to":{"user":"alice"},"type":"x","payload":{"`+s.mark("name twice")+`":1,"`+s.mark("name twice")+`":2}}`),
		post("/api/v1/publish", `{"to":{"user":"alice"},"type":"x","payload":{"s":"`+strings.Repeat(s.mark("payload that is too large"), 1<<16)+`"}}`),
		post("/api/v1/publish/batch", `{"messages":[{"to":{"user":"alice"},"type":"x","payload":"`+s.mark("payload in a batch")+`"}]}`),
		post("/api/v1/tickets", `{"user":"carol","permissions":["room:`+s.mark("permission")+`:join"]}`),
		post("/api/v1/tickets", `{"user":"carol","permissions":[{"`+s.mark("permission of another kind")+`":1}]}`),
		post("/api/v1/runs", `{"to":{"user":"alice"},"agent_name":"writer","run_id":"R"}`),
		post("/api/v1/runs/R/events", `{"type":"tool_executing","payload":{"tool_name":"search","parameters":{"q":"`+s.mark("parameter of a tool")+`"}}}`),
		with(post("/api/v1/runs/R/streams/answer?start=0", s.mark("text of a stream")), http.Header{"Content-Type": {"text/plain"}}),
		with(post("/api/v1/runs/R/streams/answer?start=0", strings.ToUpper(s.mark("text that differs"))), http.Header{"Content-Type": {"text/plain"}}),
		with(post("/api/v1/runs/R/streams/answer?format=openai", "data: {\""+s.mark("chunk of a model")+"\n\n"), http.Header{"Content-Type": {"text/event-stream"}}),
		post("/api/v1/runs/R/fail", `{"error_message":"`+s.mark("error of a run")+`"}`),
		post("/api/v1/runs/R/complete", `{"result":{"s":"`+s.mark("result of a run that has ended")+`"}}`),
		with(get("/websocket/ticket"), bearer(s.mark("token with a wrong method"))),
		with(post("/websocket/ticket", ""), bearer(s.mark("token that is none"))),
		with(post("/websocket/ticket", ""), bearer(s.token(t, other, "token of another issuer", jwt.MapClaims{"sub": "alice", "exp": hour}))),
		with(post("/websocket/ticket", ""), bearer(s.token(t, jwtSecret, "token that has expired", jwt.MapClaims{"sub": "alice", "exp": 1}))),
		with(post("/websocket/ticket", ""), bearer(s.token(t, jwtSecret, "token without a user", jwt.MapClaims{"exp": hour}))),
		with(post("/websocket/ticket", ""), bearer(s.token(t, jwtSecret, "token with a bad user", jwt.MapClaims{"sub": s.mark("user that is none") + "\x07", "exp": hour}))),
		with(post("/websocket/ticket", ""), bearer(s.token(t, jwtSecret, "token with claims of other kinds", jwt.MapClaims{"sub": []string{s.mark("list for a user")}, "exp": s.mark("text for a time")}))),
		with(get("/events?ticket="+q(s.mark("ticket of a stream"))), http.Header{"Accept": {"text/event-stream"}, "Authorization": {""}}),
		with(get("/ws?ticket="+q(s.mark("ticket without an upgrade"))), http.Header{"Authorization": {""}}),
		with(get("/nothing?q="+q(s.mark("query to nothing"))), http.Header{"Cookie": {"s=" + s.mark("cookie")}}),
		with(post("/messages", s.mark("message to no stream")), bearer(s.mark("token of a message"))),
	}
}

// TestNoSecretIsInWhatTheServerWrites: its log at level Debug, the audit log, the ready file, but
// for the key that it is there for, and what it shows to those who watch.
func TestNoSecretIsInWhatTheServerWrites(t *testing.T) {
	login, err := auth.NewJWT(t.Context(), auth.JWT{Secret: []byte(jwtSecret)})
	if err != nil {
		t.Fatal(err)
	}
	s := secrets{"secret of tokens": jwtSecret, "API key": testKey + "-Zq7-of-a-test"}
	var log lines
	dir := t.TempDir()
	cfg := config()
	cfg.Auth, cfg.Data, cfg.ReadyFile, cfg.ReadyKey = login, dir, filepath.Join(t.TempDir(), "ready.json"), "the key of the file"
	cfg.APIKeys[0].Hash = HashKey(s["API key"])
	cfg.APIKeys = append(cfg.APIKeys, APIKey{Name: "watch", Hash: HashKey(testKey), Scopes: []Scope{ScopeMonitor, ScopeAudit}})
	cfg.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
	n := start(t, cfg)

	token := s.token(t, jwtSecret, "token", jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()})
	c, err := client.Dial(t.Context(), client.Options{URL: n.URL() + "/ws", Token: func(context.Context) (string, error) { return token, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Send(t.Context(), client.Message{Type: "x", Payload: map[string]string{"s": s.mark("payload of a client")}}); err != nil {
		t.Fatal(err)
	}
	calls := s.badCalls(t)
	refused := 0
	for _, r := range calls {
		if _, given := r.header["Authorization"]; !given {
			h := http.Header{"Authorization": {"Bearer " + s["API key"]}}
			maps.Copy(h, r.header)
			r.header = h
		}
		got := n.call(t, r)
		if got.status >= 400 {
			refused++
		}
		if got.status == http.StatusInternalServerError {
			t.Errorf("got %s for %s %s", got.body, r.method, r.path)
		}
	}
	if refused < 20 || refused > len(calls)-7 {
		t.Errorf("%d of %d calls were refused: this test tests little", refused, len(calls))
	}
	var made ticketAnswer
	n.ticket(t, `{"user":"carol"}`, http.Header{"Authorization": {"Bearer " + s["API key"]}}).decode(t, &made)
	s["ticket"] = made.Ticket

	for _, path := range []string{"stats", "connections", "connections?ended=true", "nodes", "audit?limit=1000"} {
		got := n.call(t, request{method: http.MethodGet, path: "/api/v1/" + path})
		if got.status != http.StatusOK {
			t.Errorf("got %d %s for %s", got.status, got.body, path)
		}
		s.in(t, path, string(got.body))
	}
	ready, err := os.ReadFile(cfg.ReadyFile)
	if err != nil {
		t.Fatal(err)
	}
	s.in(t, "ready file", string(ready))
	s.in(t, "log", log.String())
	files := 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		s.in(t, path, string(text))
		return err
	})
	if err != nil || files < 3 {
		t.Errorf("got %d files of the audit log, %v, want both series and the lock", files, err)
	}
}
