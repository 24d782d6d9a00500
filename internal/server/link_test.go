package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

const (
	oneLink   = "0123456789abcdef"
	otherLink = "fedcba9876543210"
)

// exchange sends a request and reads the head of the answer.
func exchange(t *testing.T, nc net.Conn, text string) *http.Response {
	t.Helper()
	if _, err := io.WriteString(nc, text); err != nil {
		t.Fatal(err)
	}
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	res, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res
}

func TestASlowClientFallsBehindAndOthersDoNotNotice(t *testing.T) {
	n := start(t, devConfiguration())
	fast, slow := n.page(t, "laptop", otherLink), n.page(t, "phone", oneLink)
	var until struct{ Until int64 }
	n.link(t, `{"link":"`+oneLink+`","bytes_per_second":1024,"seconds":60}`).decode(t, &until)
	if left := time.Until(time.UnixMilli(until.Until)); left > time.Minute || left < 50*time.Second {
		t.Errorf("got %v until the link is free, want a minute", left)
	}
	asked := time.Now()
	if _, err := fast.Send(t.Context(), client.Message{Type: wire.UserMessage, Payload: map[string]string{"content": "How does a client resume?"}}); err != nil {
		t.Fatal(err)
	}
	var whole, late view
	for !whole.take(t, fast.next(t)) {
	}
	took := time.Since(asked)
	for behind := true; behind; { // what the slow one has got so far
		select {
		case msg := <-slow.messages:
			if late.take(t, msg) {
				t.Fatalf("the slow client has everything after %v", took)
			}
		default:
			behind = false
		}
	}
	n.link(t, `{"link":"`+oneLink+`","bytes_per_second":0}`).decode(t, &until)
	if off := time.Since(time.UnixMilli(until.Until)); off < -time.Second || off > time.Minute {
		t.Errorf("got a link that was free %v ago, want now", off)
	}
	freed := time.Now()
	for !late.take(t, slow.next(t)) {
	}
	if caught := time.Since(freed); caught > 5*time.Second {
		t.Errorf("the client took %v to catch up over a free link", caught)
	}
	if late.text != whole.text || len(whole.text) < 200 {
		t.Errorf("got %q over the slow link, want %q", late.text, whole.text)
	}
	if diff := cmp.Diff(whole.events, late.events); diff != "" {
		t.Errorf("events (-fast +slow):\n%s", diff)
	}
	if late.chunks*2 > whole.chunks {
		t.Errorf("got the text in %d chunks over the slow link and %d over the fast one, want it in far fewer", late.chunks, whole.chunks)
	}
}

func TestAClientWhosePlugIsPulledGoesOnWhereItWas(t *testing.T) {
	n := start(t, devConfiguration())
	stays, cut := n.page(t, "laptop", otherLink), n.page(t, "phone", oneLink)
	if _, err := stays.Send(t.Context(), client.Message{Type: wire.UserMessage, Payload: map[string]string{"content": "How does a client resume?"}}); err != nil {
		t.Fatal(err)
	}
	var whole, parts view
	for len(parts.text) < 100 {
		if parts.take(t, cut.next(t)) {
			t.Fatal("the answer has ended before its middle")
		}
	}
	n.link(t, `{"link":"`+oneLink+`","cut_seconds":0.5}`).decode(t, new(struct{ Until int64 }))
	for !whole.take(t, stays.next(t)) {
	}
	for !parts.take(t, cut.next(t)) {
	}
	if parts.text != whole.text {
		t.Errorf("got %q, want %q", parts.text, whole.text)
	}
	if diff := cmp.Diff(whole.events, parts.events); diff != "" {
		t.Errorf("events (-whole +parts):\n%s", diff)
	}
}

func TestHandshakesOfALinkThatIsCutAreReset(t *testing.T) {
	n := start(t, devConfiguration())
	n.page(t, "phone", oneLink)
	handshake := func(link string) error {
		t.Helper()
		nc, err := net.DialTimeout("tcp", n.address(), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		fmt.Fprintf(nc, "GET /ws?user=bob&link=%s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", link)
		_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
		res, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err == nil {
			err = res.Body.Close()
			if res.StatusCode != http.StatusSwitchingProtocols {
				t.Errorf("got %d, want 101", res.StatusCode)
			}
		}
		return err
	}
	n.link(t, `{"link":"`+oneLink+`","cut_seconds":60}`).decode(t, new(struct{ Until int64 }))
	if err := handshake(oneLink); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
	if err := handshake(otherLink); err != nil {
		t.Errorf("got %v over another link, want a connection", err)
	}
	n.link(t, `{"link":"`+oneLink+`","cut_seconds":0.001}`).decode(t, new(struct{ Until int64 }))
	for err := handshake(oneLink); err != nil; err = handshake(oneLink) {
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("got %v, want a reset or a connection", err)
		}
	}
}

// A picture of another page is asked for without an origin, and an event stream, which stays
// with the HTTP server, could not be cut.
func TestOnlyHandshakesOfSocketsUseALink(t *testing.T) {
	n := start(t, devConfiguration())
	for _, accept := range []string{"image/png", "text/event-stream"} {
		nc, err := net.DialTimeout("tcp", n.address(), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(nc, "GET /ws?link=%s HTTP/1.1\r\nHost: localhost\r\nAccept: %s\r\n\r\n", oneLink, accept)
		_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
		res, err := http.ReadResponse(bufio.NewReader(nc), nil)
		_ = nc.Close() // first: to close a body means to read it, and that of a stream does not end
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if p := n.link(t, `{"link":"`+oneLink+`","cut_seconds":1}`).problem(t); p.Status != http.StatusNotFound {
			t.Errorf("%s: got %d for its link, want 404", accept, p.Status)
		}
	}
}

func TestBadRequestsAboutLinksNameTheField(t *testing.T) {
	n := start(t, devConfiguration())
	n.page(t, "phone", oneLink)
	const link = `"link":"` + oneLink + `"`
	for _, tt := range []struct {
		name, body, field string
		status            int
	}{
		{"nothing to do", `{` + link + `}`, "cut_seconds", 422},
		{"two things to do", `{` + link + `,"cut_seconds":1,"bytes_per_second":0}`, "cut_seconds", 422},
		{"a cut of no time", `{` + link + `,"cut_seconds":0}`, "cut_seconds", 422},
		{"a long cut", `{` + link + `,"cut_seconds":60.1}`, "cut_seconds", 422},
		{"a cut with another time", `{` + link + `,"cut_seconds":1,"seconds":1}`, "seconds", 422},
		{"text", `{` + link + `,"cut_seconds":"4"}`, "cut_seconds", 422},
		{"too slow", `{` + link + `,"bytes_per_second":255,"seconds":1}`, "bytes_per_second", 422},
		{"negative", `{` + link + `,"bytes_per_second":-1,"seconds":1}`, "bytes_per_second", 422},
		{"too fast", `{` + link + `,"bytes_per_second":10485761,"seconds":1}`, "bytes_per_second", 422},
		{"for how long", `{` + link + `,"bytes_per_second":2048}`, "seconds", 422},
		{"for too long", `{` + link + `,"bytes_per_second":2048,"seconds":121}`, "seconds", 422},
		{"unknown member", `{` + link + `,"cut":1}`, "cut", 422},
		{"unknown link", `{"link":"` + otherLink + `","cut_seconds":1}`, "link", 404},
		{"unknown link made free", `{"link":"` + otherLink + `","bytes_per_second":0}`, "link", 404},
		{"no link", `{"cut_seconds":1}`, "link", 404},
		{"no JSON", `{`, "", 400},
		{"too large", `{"link":"` + strings.Repeat("x", maxDevBody) + `"}`, "", 413},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := n.link(t, tt.body).problem(t)
			if field, _ := p.Details["field"].(string); p.Status != tt.status || field != tt.field {
				t.Errorf("got %+v, want %d and field %q", p, tt.status, tt.field)
			}
		})
	}
	p := n.call(t, request{method: http.MethodGet, path: "/ws?link=short", header: handshakeHeader.Clone()}).problem(t)
	if p.Status != 422 || p.Details["field"] != "link" {
		t.Errorf("got %+v for a short name, want 422 and field link", p)
	}
	if got := n.call(t, request{method: http.MethodPost, path: "/dev/link", body: "{}", header: http.Header{"Content-Type": {"text/plain"}}}); got.status != 415 {
		t.Errorf("got %d for text, want 415", got.status)
	}
}
