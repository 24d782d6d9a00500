package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// What may happen to a body that is open for long.

func TestAServerThatStopsAnswersOpenBodies(t *testing.T) {
	s, err := New(config())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-s.Ready()
	n := &node{Server: s, http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	alice := n.connect(t, "alice")
	n.startRun(t, "R")
	u := n.upload(t, "/api/v1/runs/R/streams/answer", nil)
	u.write("Dear ")
	alice.text(t, "", "Dear ")
	stop()
	wantProblem(t, "open body", u.answer(), 409, wire.CodeRunEnded, `{"run_id":"R","run_state":"dead"}`)
	if err := <-ended; err != nil {
		t.Errorf("got %v from Run, want nil", err)
	}
}

func TestABodyWhoseRunHasMovedIsToldSo(t *testing.T) {
	drive := membroker.New(membroker.Options{})
	other := drive.Node()
	t.Cleanup(func() {
		if err := errors.Join(other.Close(), drive.Close()); err != nil {
			t.Error(err)
		}
	})
	here, there := config(), config()
	here.Broker, there.Broker = drive, other
	one, two := start(t, here), start(t, there)
	alice := one.connect(t, "alice")
	one.startRun(t, "R")
	u := one.upload(t, "/api/v1/runs/R/streams/answer?start=0", nil)
	u.write("Dear ")
	alice.text(t, "", "Dear ")
	if got := two.post(t, "/api/v1/runs/R/heartbeat", ""); got.status != http.StatusOK {
		t.Fatalf("got %d with %s, want 200", got.status, got.body)
	}
	u.write("all")
	wantProblem(t, "open body", u.answer(), 409, wire.CodeConflict, `{"run_id":"R"}`)
	again := one.append(t, "/api/v1/runs/R/streams/answer?start=0&complete=true", "Dear all")
	if again.status != http.StatusOK {
		t.Errorf("the same again: got %d with %s, want 200", again.status, again.body)
	}
	wantObject(t, "text", two.get(t, "/api/v1/runs/R/streams/answer"), 200, `{"length":8,"state":"complete","text":"Dear all"}`)
}

func TestABodyThatIsBrokenIsToldSo(t *testing.T) {
	n := start(t, config())
	for _, tt := range []struct{ id, head, body, details, text string }{
		{"open", "Transfer-Encoding: chunked", "5\r\nDear \r\nno length\r\n", `{"field":"body","length":5}`, `{"length":5,"state":"open","text":"Dear "}`},
		{"cut", "Transfer-Encoding: chunked", "5\r\nDear \r\n5\r\nal", `{"field":"body","length":7}`, `{"length":7,"state":"open","text":"Dear al"}`},
		{"short", "Content-Length: 8", "Dear al", `{"field":"body","length":0}`, ``},
	} {
		t.Run(tt.id, func(t *testing.T) {
			n.startRun(t, tt.id)
			path := "/api/v1/runs/" + tt.id + "/streams/answer"
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", n.URL()[len("http://"):])
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := fmt.Fprintf(conn, "POST %s?complete=true HTTP/1.1\r\nHost: switchboard\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n%s", path, testKey, tt.head, tt.body); err != nil {
				t.Fatal(err)
			}
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			wantProblem(t, "broken body", answer{status: res.StatusCode, header: res.Header, body: body}, 400, wire.CodeInvalidMessage, tt.details)
			if got := n.get(t, path); tt.text != "" {
				wantObject(t, "text", got, 200, tt.text)
			} else if got.status != http.StatusNotFound {
				t.Errorf("got %d with %s, want no text", got.status, got.body)
			}
		})
	}
}

func TestAnOpenBodyOverHTTP2(t *testing.T) {
	m, err := switchboard.New(switchboard.Options{Auth: byName})
	if err != nil {
		t.Fatal(err)
	}
	h, err := newHandler(m, config(), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := m.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		srv.Close()
	})
	n := &node{Server: &Server{ready: make(chan struct{}), url: srv.URL}, http: srv.Client()}
	close(n.ready)
	n.startRun(t, "R")
	u := n.upload(t, "/api/v1/runs/R/streams/answer", nil)
	u.write("Dear ")
	for begin := time.Now(); n.get(t, "/api/v1/runs/R/streams/answer").status != http.StatusOK; {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("got no text for 10 s")
		}
	}
	begin := time.Now()
	n.post(t, "/api/v1/runs/R/cancel", "")
	wantProblem(t, "open body", u.answer(), 409, wire.CodeRunCancelled, `{"run_id":"R","run_state":"cancelled"}`)
	if took := time.Since(begin); took > 100*time.Millisecond {
		t.Errorf("got the answer after %v, want it within 100 ms", took)
	}
}

// FuzzPlainText holds that text is the same however its bytes are cut, and that nothing else
// passes.
func FuzzPlainText(f *testing.F) {
	for _, seed := range []string{"Grüße 🙂", "", "a\xff", "\xc3", "\xf0\x9f\x99", "\xed\xa0\x80", "\x00\n"} {
		f.Add([]byte(seed), uint(3))
	}
	f.Fuzz(func(t *testing.T, body []byte, cut uint) {
		d, text := new(plainText), ""
		var err error
		for rest := body; len(rest) > 0 && err == nil; cut = cut*31 + 7 {
			n := min(int(cut%5)+1, len(rest))
			var more string
			more, err = d.decode(rest[:n])
			text, rest = text+more, rest[n:]
		}
		if err == nil {
			err = d.end()
		}
		if valid := utf8.Valid(body); (err == nil) != valid || valid && text != string(body) || !utf8.ValidString(text) {
			t.Fatalf("got %q, %v of %q", text, err, body)
		}
	})
}

// FuzzStartRunRequest holds that a request is refused in a way that its sender hears, or has
// times that make sense.
func FuzzStartRunRequest(f *testing.F) {
	for _, seed := range []string{
		`{"to":{"user":"alice"},"agent_name":"w","run_id":"R","thread_id":"t","user":"bob","in_reply_to":"m","policy":{"max_seconds":1e-12,"stop_unwatched_seconds":5}}`,
		`{"to":{"room":"r"},"agent_name":"w","policy":null}`, `{"to":null,"agent_name":null}`, `{"to":{},"policy":{"max_seconds":-0}}`, `[]`, `null`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var r startRunRequest
		if decode(body, &r) != nil {
			return // as every body: see FuzzPublishRequest
		}
		opts, err := r.options()
		if err != nil {
			if p, internal := problemOf(err); internal || p.Status != http.StatusUnprocessableEntity || p.Details["field"] == nil {
				t.Fatalf("got %v for %q, want 422 and the field", err, body)
			}
			return
		}
		if opts.Lease != producerLease || opts.Max < 0 || opts.Unwatched < 0 || r.Policy != nil && r.Policy.Max != nil && opts.Max == 0 {
			t.Fatalf("got %+v for %q", opts, body)
		}
	})
}
