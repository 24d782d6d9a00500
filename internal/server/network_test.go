package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// network is a server in development with a second address, and the links that it gave out.
type network struct {
	*node
	links chan string
}

func startNetwork(t *testing.T) *network {
	t.Helper()
	return startNetworkWith(t, devConfiguration())
}

func startNetworkWith(t *testing.T, cfg Config) *network {
	t.Helper()
	n := &network{links: make(chan string, 10)}
	cfg.Network, cfg.Invite = "127.0.0.1:0", func(link string) { n.links <- link }
	n.node = start(t, cfg)
	return n
}

// invited waits for a link, and returns the base URL of the network and the ticket.
func (n *network) invited(t *testing.T) (base, ticket string) {
	t.Helper()
	select {
	case link := <-n.links:
		base, ticket, ok := strings.Cut(link, "/#ticket=")
		if !ok || !strings.HasPrefix(base, "http://127.0.0.1:") || base == n.URL() || !strings.HasPrefix(ticket, "tk_") {
			t.Fatalf("got link %q, want the second address with a ticket in the fragment", link)
		}
		return base, ticket
	case <-time.After(10 * time.Second):
		t.Fatal("no link was given out")
	}
	panic("unreachable")
}

// ask makes a request of the network, and returns status and code.
func ask(t *testing.T, base, method, path string, header http.Header) (int, wire.Code) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Host = req.Header.Get("Host")
	if method == http.MethodGet {
		req.Body, req.ContentLength = nil, 0
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusSwitchingProtocols {
		return res.StatusCode, ""
	}
	var p struct{ Code wire.Code }
	body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	_ = json.Unmarshal(body, &p)
	return res.StatusCode, p.Code
}

var handshakeHeader = http.Header{
	"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
}

func with(header http.Header, pairs ...string) http.Header {
	h := header.Clone()
	if h == nil {
		h = http.Header{}
	}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

func TestNobodyOfTheNetworkGetsInWithoutATicket(t *testing.T) {
	n := startNetwork(t)
	base, ticket := n.invited(t)
	for _, tt := range []struct {
		name, method, path string
		header             http.Header
		status             int
	}{
		{"a socket", "GET", "/ws?user=alice", handshakeHeader, 401},
		{"a socket, to a loopback host", "GET", "/ws?user=alice", with(handshakeHeader, "Host", "127.0.0.1"), 401},
		{"a socket, to localhost", "GET", "/ws?user=alice", with(handshakeHeader, "Host", "localhost:8080", "Origin", "http://localhost:8080"), 401},
		{"a socket by its other name", "GET", "/websocket", handshakeHeader, 401},
		{"a socket over a link", "GET", "/ws?link=" + oneLink, handshakeHeader, 401},
		{"a socket that says where it came from", "GET", "/ws", with(handshakeHeader, "X-Forwarded-For", "127.0.0.1", "Forwarded", "for=127.0.0.1"), 401},
		{"events", "GET", "/events?user=alice", nil, 401},
		{"events of a socket's path", "GET", "/ws", http.Header{"Accept": {"text/event-stream"}}, 401},
		{"a message", "POST", "/messages", nil, 401},
		{"a thread", "GET", "/threads/t1", nil, 401},
		{"a ticket for itself", "POST", "/websocket/ticket", nil, 401},
		{"a made-up ticket", "GET", "/ws?ticket=tk_" + strings.Repeat("A", 32), handshakeHeader, 401},
		{"a made-up session", "GET", "/ws", with(handshakeHeader, "Authorization", "Bearer swt_AAAA"), 401},
		{"a token", "GET", "/ws", with(handshakeHeader, "Authorization", "Bearer "+testKey), 401},
		{"the API for back ends", "GET", "/api/v1/stats", http.Header{"Authorization": {"Bearer " + testKey}}, 404},
		{"its counters", "GET", "/ws/stats", http.Header{"Authorization": {"Bearer " + testKey}}, 404},
		{"the API, for a ticket", "POST", "/api/v1/tickets", http.Header{"Authorization": {"Bearer " + testKey}}, 404},
		{"the description of the API", "GET", "/api/openapi.json", http.Header{"Authorization": {"Bearer " + testKey}}, 404},
		{"a link that is nobody's", "POST", "/dev/link", nil, 422},
		{"the page", "GET", "/", nil, 200},
		{"its configuration", "GET", "/dev/config", nil, 200},
		{"the page by a name", "GET", "/", http.Header{"Host": {"evil.example"}}, 421},
		{"a socket by a name, with a ticket", "GET", "/ws?ticket=" + ticket, with(handshakeHeader, "Host", "evil.example", "Origin", "http://evil.example"), 421},
		{"a socket for another page, with a ticket", "GET", "/ws?ticket=" + ticket, with(handshakeHeader, "Origin", "http://evil.example"), 403},
		{"a socket for no page, with a ticket", "GET", "/ws?ticket=" + ticket, with(handshakeHeader, "Origin", "null"), 403},
		{"a socket for the page of this machine, with a ticket", "GET", "/ws?ticket=" + ticket, with(handshakeHeader, "Origin", n.URL()), 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if status, code := ask(t, base, tt.method, tt.path, tt.header.Clone()); status != tt.status {
				t.Errorf("got %d %s, want %d", status, code, tt.status)
			}
		})
	}
	select {
	case <-n.links:
		t.Error("got another link, though nobody has used the first one")
	default:
	}
	if status, _ := ask(t, base, "GET", "/ws?ticket="+ticket, with(handshakeHeader, "Origin", base)); status != http.StatusSwitchingProtocols {
		t.Errorf("got %d with the ticket that nobody has used, want 101", status)
	}
}

func TestLinksOfTheNetworkAreNoneOfThisMachine(t *testing.T) {
	n := startNetwork(t)
	base, _ := n.invited(t)
	ask(t, base, "GET", "/ws?link="+oneLink, handshakeHeader.Clone()) // refused, it has used the link all the same
	const cut = `{"link":"` + oneLink + `","cut_seconds":60}`
	n.link(t, cut).problem(t)
	n.page(t, "laptop", oneLink)
	res, err := n.http.Post(base+"/dev/link", "application/json", strings.NewReader(cut))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("got %d for a link of the network, want 200", res.StatusCode)
	}
	n.page(t, "laptop", oneLink)
}

func TestTheNetworkLearnsNothingOfAFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secret")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "plan.md"), []byte("# The hidden garden\n\nThe hidden garden is behind the house.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := devConfiguration()
	cfg.Documents = &Documents{Dir: dir, WordsPerSecond: 40}
	n := startNetworkWith(t, cfg)
	base, _ := n.invited(t)
	var here, there devConfig
	n.call(t, request{method: http.MethodGet, path: "/dev/config"}).decode(t, &here)
	if here.Subject != "the documents in secret" || here.Files != 1 || len(here.Questions) != 1 {
		t.Errorf("got %+v on this machine, want the folder with a question", here)
	}
	res, err := n.http.Get(base + "/dev/config")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&there); err != nil {
		t.Fatal(err)
	}
	want := devConfig{User: "alice", Words: 40, Version: "v1.2.3", Questions: []string{}}
	if diff := cmp.Diff(want, there); diff != "" {
		t.Errorf("configuration for the network (-want +got):\n%s", diff)
	}
}

func TestALinkIsForOneClientAndThenThereIsAnother(t *testing.T) {
	n := startNetwork(t)
	laptop := n.page(t, "laptop", "")
	base, first := n.invited(t)
	phone := connectPage(t, client.Options{
		URL: base + "/ws?link=" + oneLink, Device: "phone", Ticket: func(context.Context) (string, error) { return first, nil },
	})
	_, second := n.invited(t)
	if second == first {
		t.Error("got the same ticket again")
	}
	if status, _ := ask(t, base, "GET", "/ws?ticket="+first, handshakeHeader.Clone()); status != http.StatusUnauthorized {
		t.Errorf("got %d with a ticket that was used, want 401", status)
	}
	n.publish(t, `{"to":{"user":"alice"},"type":"hello"}`)
	for _, p := range []*pageClient{laptop, phone} {
		if msg := p.next(t); msg.Type != "hello" {
			t.Errorf("got %s, want what is for alice", msg.Type)
		}
	}
	if err := phone.Do(t.Context(), wire.JoinRoom, map[string]string{"room": "team"}, nil); err == nil {
		t.Error("the phone got into a room, for which its ticket is not good")
	}
}

func TestAClientOfTheNetworkComesBackByItsSession(t *testing.T) {
	n := startNetwork(t)
	base, ticket := n.invited(t)
	w := greeted(t, base, "?ticket="+ticket, "")
	if w.UserID != "alice" || w.Session.Token == "" {
		t.Fatalf("got welcome %+v, want alice's with a session", w)
	}
	again := greeted(t, base, "", w.Session.Token)
	if again.UserID != "alice" || again.Session.ID != w.Session.ID {
		t.Errorf("got welcome %+v, want the same session", again)
	}
	if status, code := ask(t, base, "POST", "/websocket/ticket", http.Header{"Authorization": {"Bearer " + w.Session.Token}}); status != http.StatusOK {
		t.Errorf("got %d %s for a ticket by a session, want 200", status, code)
	}
}

// greeted opens an event stream and reads the welcome.
func greeted(t *testing.T, base, query, token string) (w wire.Welcome) {
	t.Helper()
	nc, err := net.DialTimeout("tcp", strings.TrimPrefix(base, "http://"), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprintf(nc, "GET /events%s HTTP/1.1\r\nHost: 127.0.0.1\r\n", query)
	if token != "" {
		fmt.Fprintf(nc, "Authorization: Bearer %s\r\n", token)
	}
	fmt.Fprint(nc, "\r\n")
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	res, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { // to close a body means to read it, and this one does not end
		_ = nc.Close()
		_ = res.Body.Close()
	}()
	for scan := bufio.NewScanner(res.Body); scan.Scan(); {
		data, ok := strings.CutPrefix(scan.Text(), "data:")
		if !ok {
			continue
		}
		var env wire.Envelope
		if err := json.Unmarshal([]byte(data), &env); err != nil {
			t.Fatal(err)
		}
		if err := env.Decode(&w); err != nil {
			t.Fatal(err)
		}
		return w
	}
	t.Fatalf("got status %d and no event", res.StatusCode)
	return w
}

func TestThePageOfThisMachineStaysAsItIsBesideANetwork(t *testing.T) {
	n := startNetwork(t)
	n.invited(t)
	n.page(t, "laptop", "")
	if got := n.call(t, request{method: http.MethodGet, path: "/api/v1/stats"}); got.status != http.StatusOK {
		t.Errorf("got %d from the API, want 200", got.status)
	}
	for _, tt := range []struct {
		name   string
		header http.Header
		status int
	}{
		{"a page of this machine", with(handshakeHeader, "Origin", "http://localhost:5173"), 101},
		{"a page of the internet", with(handshakeHeader, "Origin", "http://evil.example"), 403},
		{"a name that was made to resolve here", with(handshakeHeader, "Host", "evil.example", "Origin", "http://evil.example"), 403},
		{"the same without an origin", with(handshakeHeader, "Host", "evil.example"), 401},
	} {
		if status, code := ask(t, n.URL(), "GET", "/ws", tt.header.Clone()); status != tt.status {
			t.Errorf("%s: got %d %s, want %d", tt.name, status, code, tt.status)
		}
		if tt.status != http.StatusSwitchingProtocols { // and does not get as far as the links
			if status, code := ask(t, n.URL(), "GET", "/ws?link=short", tt.header); status != http.StatusForbidden {
				t.Errorf("%s, over a link: got %d %s, want 403", tt.name, status, code)
			}
		}
	}
}
