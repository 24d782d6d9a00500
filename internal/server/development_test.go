package server

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/wire"
)

// devConfiguration is that of a server in development, with a page and the agent.
func devConfiguration() Config {
	cfg := config()
	cfg.Auth, cfg.Development, cfg.Version = nil, true, "v1.2.3"
	cfg.Page = fstest.MapFS{
		"index.html":               {Data: []byte("<!doctype html><title>Test</title>")},
		"assets/main-a1b2c3d4.js":  {Data: []byte("import './other.js'")},
		"assets/main-a1b2c3d4.css": {Data: []byte("p{}")},
		"assets/deep/x-1.svg":      {Data: []byte("<svg/>")},
		"other.txt":                {Data: []byte("not for everybody")},
	}
	cfg.Documents = &Documents{WordsPerSecond: 300}
	return cfg
}

func TestThePageIsServedWithAStrictPolicy(t *testing.T) {
	n := start(t, devConfiguration())
	for path, want := range map[string]struct{ kind, cache, body string }{
		"/":                         {"text/html; charset=utf-8", "no-cache", "<!doctype html><title>Test</title>"},
		"/assets/main-a1b2c3d4.js":  {"text/javascript; charset=utf-8", "public, max-age=31536000, immutable", "import './other.js'"},
		"/assets/main-a1b2c3d4.css": {"text/css; charset=utf-8", "public, max-age=31536000, immutable", "p{}"},
		"/assets/deep/x-1.svg":      {"image/svg+xml", "public, max-age=31536000, immutable", "<svg/>"},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			got := n.call(t, request{method: method, path: path})
			if method == http.MethodHead {
				want.body = ""
			}
			headers := map[string]string{
				"Content-Type": want.kind, "Cache-Control": want.cache, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
				"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
				"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
					"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; report-uri /dev/csp",
			}
			for name, value := range headers {
				if got.header.Get(name) != value {
					t.Errorf("%s %s: got %s %q, want %q", method, path, name, got.header.Get(name), value)
				}
			}
			if got.status != http.StatusOK || string(got.body) != want.body {
				t.Errorf("%s %s: got %d with %q, want %q", method, path, got.status, got.body, want.body)
			}
		}
	}
	tag := n.call(t, request{method: http.MethodGet, path: "/"}).header.Get("ETag")
	again := n.call(t, request{method: http.MethodGet, path: "/", header: http.Header{"If-None-Match": {tag}}})
	if tag == "" || again.status != http.StatusNotModified {
		t.Errorf("got %d for the same page again, tag %q, want 304", again.status, tag)
	}
}

func TestWhatIsNotOfThePageIsAnsweredAsWithoutIt(t *testing.T) {
	dev, production := start(t, devConfiguration()), start(t, config())
	for _, r := range []request{
		{method: http.MethodPost, path: "/"},
		{method: http.MethodGet, path: "/index.html"},
		{method: http.MethodGet, path: "/other.txt"},
		{method: http.MethodGet, path: "/assets/"},
		{method: http.MethodGet, path: "/assets/none.js"},
		{method: http.MethodPut, path: "/assets/main-a1b2c3d4.js"},
		{method: http.MethodGet, path: "/dev/link"},
		{method: http.MethodGet, path: "/dev/"},
		{method: http.MethodGet, path: "/ws"},
		{method: http.MethodDelete, path: "/messages"},
		{method: http.MethodOptions, path: "/ws/config"},
		{method: http.MethodGet, path: "/api/v1/nothing"},
	} {
		got, want := dev.call(t, r), production.call(t, r)
		got.header.Del("Date")
		want.header.Del("Date")
		if got.status != want.status || string(got.body) != string(want.body) || !cmp.Equal(got.header, want.header) {
			t.Errorf("%s %s: got %d %s %v, want %d %s %v", r.method, r.path, got.status, got.body, got.header, want.status, want.body, want.header)
		}
	}
	for _, r := range []request{
		{method: http.MethodGet, path: "/"},
		{method: http.MethodGet, path: "/dev/config"},
		{method: http.MethodPost, path: "/dev/link", body: `{}`},
		{method: http.MethodPost, path: "/dev/csp", body: `{}`},
	} {
		if p := production.call(t, r).problem(t); p.Status != http.StatusNotFound {
			t.Errorf("%s %s: got %d in production, want 404", r.method, r.path, p.Status)
		}
	}
}

func TestAPageIsForDevelopmentAndHasAnIndex(t *testing.T) {
	cfg := config()
	cfg.Page = fstest.MapFS{"index.html": {}}
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "Page") {
		t.Errorf("got %v for a page in production, want an error that names Page", err)
	}
	cfg = devConfiguration()
	cfg.Page = fstest.MapFS{"assets/a.js": {}}
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "index.html is missing") {
		t.Errorf("got %v for a page without an index, want that it is missing", err)
	}
}

func TestThePageLearnsHowTheServerIsConfigured(t *testing.T) {
	n := start(t, devConfiguration())
	var got map[string]any
	n.call(t, request{method: http.MethodGet, path: "/dev/config", header: http.Header{"Authorization": {""}}}).decode(t, &got)
	if questions, _ := got["questions"].([]any); len(questions) != 4 {
		t.Errorf("got questions %v, want 4", got["questions"])
	}
	if files, _ := got["files"].(float64); files < 5 {
		t.Errorf("got %v files, want those of the project", got["files"])
	}
	delete(got, "questions")
	delete(got, "files")
	want := map[string]any{
		"user": "alice", "subject": "Switchboard's own documentation", "words_per_second": 300.0, "model": nil, "version": "v1.2.3",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}

	cfg := devConfiguration()
	cfg.Documents = &Documents{Dir: t.TempDir(), ModelURL: "http://127.0.0.1:1/v1", Model: "tiny"}
	var other struct {
		Subject   string
		Model     string
		Questions []string
	}
	start(t, cfg).call(t, request{method: http.MethodGet, path: "/dev/config"}).decode(t, &other)
	if other.Model != "tiny" || other.Questions == nil || len(other.Questions) > 0 || !strings.HasPrefix(other.Subject, "the documents in ") || strings.Contains(other.Subject, "/") {
		t.Errorf("got %+v, want the model, no questions, and the folder's name without its path", other)
	}
}

func TestViolationsOfThePolicyAreLoggedOnceEach(t *testing.T) {
	var log lines
	cfg := devConfiguration()
	cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	n := start(t, cfg)
	send := func(body string) answer {
		t.Helper()
		return n.call(t, request{method: http.MethodPost, path: "/dev/csp", body: body, header: http.Header{"Content-Type": {"application/csp-report"}}})
	}
	report := func(blocked string) string {
		body, err := json.Marshal(map[string]any{"csp-report": map[string]any{
			"document-uri": "http://127.0.0.1/", "effective-directive": "img-src", "blocked-uri": blocked, "line-number": 7, "disposition": "enforce",
		}})
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	for range 3 {
		if got := send(report("http://evil.example/x?ticket=tk_secret")); got.status != http.StatusNoContent {
			t.Errorf("got %d with %s, want 204", got.status, got.body)
		}
	}
	send(report("http://evil.example/x#ticket=tk_secret"))
	if text := log.String(); strings.Count(text, "content security policy violated") != 1 || !strings.Contains(text, "img-src") ||
		!strings.Contains(text, "http://evil.example/x ") || strings.Contains(text, "secret") {
		t.Errorf("got log %q, want one line with directive and place, and without the query", text)
	}
	for i := range 2 * maxReports {
		send(report(strings.Repeat("x", i+1)))
	}
	if n := strings.Count(log.String(), "\n"); n != maxReports+1 {
		t.Errorf("got %d lines, want %d and one that says that there are more", n, maxReports)
	}
	for body, status := range map[string]int{"{": 400, "{}": 400, "[]": 400, report(strings.Repeat("x", maxDevBody)): 413} {
		if p := send(body).problem(t); p.Status != status {
			t.Errorf("got %d for a body of %d bytes, want %d", p.Status, len(body), status)
		}
	}
}

func TestPagesOfOtherNamesAreNotOurs(t *testing.T) {
	n := start(t, devConfiguration())
	for _, path := range []string{"/", "/assets/main-a1b2c3d4.js", "/dev/config"} {
		for host, want := range map[string]int{
			"evil.example": 421, "evil.example:8080": 421, "localhost.evil.example": 421, "": 421,
			"localhost:8080": 200, "LOCALHOST": 200, "127.0.0.1": 200, "[::1]:8080": 200, "192.168.1.7:8080": 200,
		} {
			if got := n.callAt(t, n.address(), host, path); got != want {
				t.Errorf("%s at %q: got %d, want %d", path, host, got, want)
			}
		}
	}
	for header, want := range map[string]int{"cross-site": http.StatusForbidden, "same-origin": http.StatusNotFound} {
		got := n.call(t, request{
			method: http.MethodPost, path: "/dev/link", body: `{"link":"0123456789abcdef","cut_seconds":1}`, header: http.Header{"Sec-Fetch-Site": {header}},
		})
		if got.status != want {
			t.Errorf("got %d from a page that is %s, want %d", got.status, header, want)
		}
	}
}

func TestPassagesAreReadOverTheSocket(t *testing.T) {
	n := start(t, devConfiguration())
	d := n.page(t, "laptop", "")
	ack, err := d.ask(t, `{"file":"protocol.md","line":1,"around":2}`)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		File, Title  string
		Of, From, To int
		Lines        []struct {
			Line int
			Text string
		}
	}
	if err := json.Unmarshal(ack.Result, &got); err != nil {
		t.Fatal(err)
	}
	if got.File != "protocol.md" || got.Title == "" || got.Of < 100 || got.From != 1 || got.To != 3 || len(got.Lines) != 3 || !strings.HasSuffix(got.Lines[0].Text, got.Title) {
		t.Errorf("got %s, want the first lines of protocol.md", ack.Result)
	}
	_, err = d.ask(t, `{"file":"none.md","line":1}`)
	wantRefusal(t, err, wire.CodeNotFound, "file")
	_, err = d.ask(t, `{"file":"protocol.md","line":"1"}`)
	wantRefusal(t, err, wire.CodeInvalidMessage, "line")
}
