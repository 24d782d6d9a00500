package ws

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const exampleKey = "dGhlIHNhbXBsZSBub25jZQ==" // of RFC 6455 §1.3

func handshake(change func(r *http.Request)) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/ws", nil)
	r.Header = http.Header{
		"Connection":            {"Upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":     {exampleKey},
	}
	if change != nil {
		change(r)
	}
	return r
}

func TestHandshakeIsCheckedAgainstTheRFC(t *testing.T) {
	set := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	tests := []struct {
		name   string
		change func(r *http.Request)
		want   int // 0: valid
	}{
		{"plain", nil, 0},
		{"as Firefox sends it", set("Connection", "keep-alive, Upgrade"), 0},
		{"tokens in any case", func(r *http.Request) {
			r.Header["Connection"], r.Header["Upgrade"] = []string{"UPGRADE"}, []string{"WebSocket"}
		}, 0},
		{"tokens over several lines", set("Connection", "keep-alive", "x, upgrade"), 0},
		{"white space", set("Sec-Websocket-Key", " "+exampleKey+" "), 0},
		{"POST", func(r *http.Request) { r.Method = http.MethodPost }, 405},
		{"HTTP/1.0", func(r *http.Request) { r.ProtoMinor = 0 }, 505},
		{"HTTP/2", func(r *http.Request) { r.ProtoMajor, r.ProtoMinor = 2, 0 }, 505},
		{"plain GET", func(r *http.Request) { r.Header = http.Header{} }, 426},
		{"no Connection", func(r *http.Request) { r.Header.Del("Connection") }, 426},
		{"part of a token", set("Connection", "upgrade-insecure"), 426},
		{"another protocol", set("Upgrade", "h2c"), 426},
		{"no version", func(r *http.Request) { r.Header.Del("Sec-Websocket-Version") }, 426},
		{"old version", set("Sec-Websocket-Version", "8"), 426},
		{"two versions", set("Sec-Websocket-Version", "13", "8"), 426},
		{"no key", func(r *http.Request) { r.Header.Del("Sec-Websocket-Key") }, 400},
		{"two keys", set("Sec-Websocket-Key", exampleKey, exampleKey), 400},
		{"short key", set("Sec-Websocket-Key", "dGhlIHNhbXBsZQ=="), 400},
		{"key of 17 bytes", set("Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZWU="), 400},
		{"key of 18 bytes", set("Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZWVl"), 400},
		{"key not base64", set("Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ=!"), 400},
		{"body", func(r *http.Request) { r.ContentLength = 5 }, 400},
		{"chunked body", func(r *http.Request) { r.ContentLength, r.TransferEncoding = -1, []string{"chunked"} }, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckUpgrade(handshake(tt.change))
			he, refused := errors.AsType[*HandshakeError](err)
			switch {
			case tt.want == 0 && err != nil:
				t.Errorf("got %v, want no error", err)
			case tt.want != 0 && (!refused || he.Status != tt.want || !strings.HasPrefix(he.Error(), "websocket handshake: ")):
				t.Errorf("got %v, want status %d", err, tt.want)
			}
		})
	}
}

func TestRefusalSaysHowToDoBetter(t *testing.T) {
	headerOf := func(change func(*http.Request)) http.Header {
		he, _ := errors.AsType[*HandshakeError](CheckUpgrade(handshake(change)))
		return he.Header
	}
	if got := headerOf(func(r *http.Request) { r.Method = http.MethodPut }).Get("Allow"); got != "GET" {
		t.Errorf("got Allow %q for PUT, want GET", got)
	}
	got := headerOf(func(r *http.Request) { r.Header["Sec-Websocket-Version"] = []string{"7"} })
	want := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("for an old version (-got +want):\n%s", diff)
	}
}

func TestSubprotocolsComeInOrderFromAllLines(t *testing.T) {
	r := handshake(func(r *http.Request) {
		r.Header["Sec-Websocket-Protocol"] = []string{"switchboard.v1, token.abc", " ,jwt-auth,, "}
	})
	if diff := cmp.Diff(Subprotocols(r), []string{"switchboard.v1", "token.abc", "jwt-auth"}); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
	if got := Subprotocols(handshake(nil)); got != nil {
		t.Errorf("got %q, want none", got)
	}
}

// upgraded is what a server's handler got from Upgrade.
type upgraded struct {
	nc       net.Conn
	buffered []byte
	err      error
}

// serve runs handler in a server of net/http and returns a connection to it.
func serve(t *testing.T, handler http.HandlerFunc) net.Conn {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	nc, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

func TestUpgradeAnswersAndHandsTheConnectionOver(t *testing.T) {
	got := make(chan upgraded, 1)
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "7")
		w.Header().Set("Content-Type", "text/plain")
		nc, buffered, err := Upgrade(w, r, "switchboard.v1")
		got <- upgraded{nc, buffered, err}
	})
	// The first frame comes with the handshake, as an eager client may send it.
	first := masked(OpText, true, "early")
	request := "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Protocol: token.abc, switchboard.v1\r\nSec-WebSocket-Key: " + exampleKey + "\r\n\r\n" + string(first)
	if _, err := io.WriteString(client, request); err != nil {
		t.Fatal(err)
	}
	server := <-got
	if server.err != nil {
		t.Fatal(server.err)
	}
	t.Cleanup(func() { _ = server.nc.Close() })
	resp, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("got status %d, want 101", resp.StatusCode)
	}
	want := http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Protocol": {"switchboard.v1"},
		"Sec-Websocket-Accept": {"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, // RFC 6455 §1.3
		"X-Request-Id":         {"7"},
	}
	if diff := cmp.Diff(resp.Header, want); diff != "" {
		t.Errorf("answer (-got +want):\n%s", diff)
	}

	rest := make([]byte, len(first)-len(server.buffered))
	if _, err := io.ReadFull(server.nc, rest); err != nil {
		t.Fatal(err)
	}
	if got := slices.Concat(server.buffered, rest); string(got) != string(first) {
		t.Errorf("got %x behind the handshake, want %x", got, first)
	}
}

func TestUpgradeLeavesNoDeadlines(t *testing.T) {
	got := make(chan upgraded, 1)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nc, buffered, err := Upgrade(w, r, "")
		got <- upgraded{nc, buffered, err}
	}))
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = time.Hour, time.Hour
	spy := &spyListener{Listener: srv.Listener, accepted: make(chan *spyConn, 1)}
	srv.Listener = spy
	srv.Start()
	t.Cleanup(srv.Close)
	client, err := net.Dial("tcp", spy.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if err := handshake(nil).Write(client); err != nil {
		t.Fatal(err)
	}
	server := <-got
	if server.err != nil {
		t.Fatal(server.err)
	}
	t.Cleanup(func() { _ = server.nc.Close() })
	accepted := <-spy.accepted
	if !accepted.read.IsZero() || !accepted.write.IsZero() {
		t.Errorf("got deadlines %v and %v, want none", accepted.read, accepted.write)
	}
}

// spyListener hands out connections that remember their deadlines.
type spyListener struct {
	net.Listener
	accepted chan *spyConn
}

func (l *spyListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &spyConn{Conn: nc}
	l.accepted <- c
	return c, nil
}

// spyConn is not safe for concurrent use: the server and then Upgrade own it.
type spyConn struct {
	net.Conn
	read, write time.Time
}

func (c *spyConn) SetDeadline(t time.Time) error {
	c.read, c.write = t, t
	return c.Conn.SetDeadline(t)
}

func (c *spyConn) SetReadDeadline(t time.Time) error {
	c.read = t
	return c.Conn.SetReadDeadline(t)
}

func (c *spyConn) SetWriteDeadline(t time.Time) error {
	c.write = t
	return c.Conn.SetWriteDeadline(t)
}

func TestUpgradeThatFailsEarlyLeavesTheAnswerToTheCaller(t *testing.T) {
	tests := []struct {
		name        string
		change      func(r *http.Request)
		subprotocol string
		want        func(error) bool
	}{
		{"invalid handshake", func(r *http.Request) { r.Header.Del("Upgrade") }, "",
			func(err error) bool { _, ok := errors.AsType[*HandshakeError](err); return ok }},
		{"cannot be hijacked", nil, "", func(err error) bool { return errors.Is(err, http.ErrNotSupported) }},
		{"subprotocol that was not offered", nil, "switchboard.v1",
			func(err error) bool { return err != nil && strings.Contains(err.Error(), "switchboard.v1") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			_, _, err := Upgrade(w, handshake(tt.change), tt.subprotocol)
			if !tt.want(err) {
				t.Errorf("got error %v", err)
			}
			w.WriteHeader(http.StatusTeapot)
			if w.Code != http.StatusTeapot || w.Body.Len() > 0 {
				t.Errorf("got status %d and %q, want an untouched answer", w.Code, w.Body)
			}
		})
	}
}

func FuzzHandshake(f *testing.F) {
	f.Add("GET", "Upgrade", "websocket", "13", exampleKey, "switchboard.v1, token.abc")
	f.Add("GET", "keep-alive, Upgrade", "WebSocket", "13", "AAAAAAAAAAAAAAAAAAAAAA==", "")
	f.Add("POST", ",,", " ", "8", "====", ",\t,")
	f.Add("GET", "upgrade", "websocket", " 13 ", "AAAAAAAAAAAAAAAAAAAAA===", "a,b")
	f.Fuzz(func(t *testing.T, method, connection, upgrade, version, key, protocols string) {
		r := handshake(nil)
		r.Method = method
		r.Header = http.Header{
			"Connection": {connection}, "Upgrade": {upgrade}, "Sec-Websocket-Version": {version},
			"Sec-Websocket-Key": {key}, "Sec-Websocket-Protocol": {protocols},
		}
		for _, p := range Subprotocols(r) {
			if p == "" || strings.ContainsAny(p, ", ") && strings.TrimSpace(p) != p {
				t.Errorf("got subprotocol %q", p)
			}
		}
		got, err := checkUpgrade(r)
		if err != nil {
			he, ok := errors.AsType[*HandshakeError](err)
			if !ok || he.Status < 400 || he.Reason == "" {
				t.Errorf("got %#v, want a HandshakeError with status and reason", err)
			}
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(answer(got, "", nil)))), r)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("got answer %v, %v, want 101", resp, err)
		}
		if n := len(resp.Header.Get("Sec-Websocket-Accept")); n != 28 {
			t.Errorf("got a Sec-WebSocket-Accept of %d characters, want 28", n)
		}
	})
}

func TestURLIsWhereTheRequestCameFrom(t *testing.T) {
	tests := []struct {
		name, target, path string // as it was asked for, and as the handler sees it
		tls                bool
		want               string
	}{
		{"plain", "/websocket/ticket", "/websocket/ticket", false, "ws://sb.test:8080/ws?ticket=a%2Bb"},
		{"TLS", "/websocket/ticket", "/websocket/ticket", true, "wss://sb.test:8080/ws?ticket=a%2Bb"},
		{"behind a prefix", "/live/websocket/ticket?x=1", "/websocket/ticket", false, "ws://sb.test:8080/live/ws?ticket=a%2Bb"},
		{"through a proxy's form", "http://other.test/live/websocket/ticket", "/websocket/ticket", false, "ws://sb.test:8080/live/ws?ticket=a%2Bb"},
		{"rewritten", "/t", "/websocket/ticket", false, "ws://sb.test:8080/ws?ticket=a%2Bb"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Host: "sb.test:8080", RequestURI: tt.target, URL: &url.URL{Path: tt.path}}
			if tt.tls {
				r.TLS = new(tls.ConnectionState)
			}
			if got := URL(r, "/ws", url.Values{"ticket": {"a+b"}}); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
