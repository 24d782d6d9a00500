package switchboard

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/netra-systems/switchboard/internal/ws"
)

// FuzzHandshake reads what a stranger says before anybody knows who it is.
func FuzzHandshake(f *testing.F) {
	f.Add("Bearer abc", "switchboard.v1, token.YWJj", "https://app.example.com", "ticket=x&device=laptop&thread=t&heartbeat=app")
	f.Add("", "switchboard.v1,session.c3d0Xw==", "null", "resume=1")
	f.Add("Basic eDp5", "token.!", "://", "%zz")
	f.Add("bearer", "", "http://[::1", "heartbeat=never")
	f.Add("Bearer swt_abc", "", "null", "ticket=")
	opts := Options{Origins: []string{"https://app.example.com", "https://*.example.org"}}
	m := &Manager{opts: opts, origins: compileOrigins(opts)}
	f.Fuzz(func(t *testing.T, authorization, subprotocols, origin, query string) {
		r := &http.Request{Header: http.Header{}, Host: "switchboard.test", URL: &url.URL{Path: "/ws", RawQuery: query}}
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		r.Header.Set("Sec-Websocket-Protocol", subprotocols)
		r.Header.Set("Origin", origin)
		kind, token := credentialOf(r, ws.Subprotocols(r))
		if has := kind == tokenCredential || kind == sessionCredential || kind == ticketCredential; has != (token != "") {
			t.Errorf("got kind %d with a token of %d bytes", kind, len(token))
		}
		if kind == noCredential && authorization != "" {
			t.Errorf("%q was looked past", authorization)
		}
		q, err := parseConnect(r.URL.Query())
		if err == nil && len(q.device) > maxDevice {
			t.Errorf("got a device of %d bytes", len(q.device))
		}
		if u, err := url.Parse(origin); m.originAllowed(r) && (err != nil || u.Host == "") {
			t.Errorf("origin %q is allowed", origin)
		}
	})
}

func TestTwoAuthorizationHeadersAreNoCredential(t *testing.T) {
	for _, values := range [][]string{{"Bearer a", "Bearer b"}, {"", "Bearer b"}, {"Bearer a", ""}, {""}} {
		r := &http.Request{Header: http.Header{"Authorization": values}, URL: &url.URL{RawQuery: "ticket=x"}}
		if kind, token := credentialOf(r, []string{"token.YWJj"}); kind != badCredential || token != "" {
			t.Errorf("%q: got kind %d and %q, want that it is refused and nothing else is looked at", values, kind, token)
		}
	}
}

// TestTicketsThatTwoProgramsReadInTwoWaysAreNone: what is skipped here, another may take for the one.
func TestTicketsThatTwoProgramsReadInTwoWaysAreNone(t *testing.T) {
	for _, query := range []string{"ticket=a&ticket=b", "ticket=&ticket=b", "ticket", "ticket=%zz&ticket=b", "ticket=b&ticket=%zz", "ticket=a;ticket=b&ticket=c"} {
		r := &http.Request{URL: &url.URL{RawQuery: query}}
		if kind, token := credentialOf(r, nil); kind != badCredential || token != "" {
			t.Errorf("%q: got kind %d and %q, want that it is refused", query, kind, token)
		}
	}
	r := &http.Request{URL: &url.URL{RawQuery: "thread=%zz"}}
	if kind, _ := credentialOf(r, nil); kind != noCredential {
		t.Errorf("got kind %d without a ticket, want none", kind)
	}
}
