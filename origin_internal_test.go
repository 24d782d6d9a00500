package switchboard

import (
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestOriginsThatMayConnect(t *testing.T) {
	list := Options{Origins: []string{"https://app.example.com", "https://*.example.org", "https://ports.example:8443", "https://*.local.test:9000", "chrome-extension://abcdef", "https://[2001:db8::1]"}}
	for _, c := range []struct {
		name, origin, host string
		tls, want          bool
	}{
		{"named", "https://app.example.com", "api.test", false, true},
		{"in capitals", "HTTPS://APP.example.com", "api.test", false, true},
		{"with the port that https has", "https://app.example.com:443", "api.test", false, true},
		{"another port", "https://app.example.com:8443", "api.test", false, false},
		{"another scheme", "http://app.example.com", "api.test", false, false},
		{"a longer name", "https://app.example.com.evil.test", "api.test", false, false},
		{"a final dot", "https://app.example.com.", "api.test", false, false},
		{"below", "https://a.example.org", "api.test", false, true},
		{"far below", "https://a.b.example.org", "api.test", false, true},
		{"not below but it", "https://example.org", "api.test", false, false},
		{"that ends as it does", "https://evilexample.org", "api.test", false, false},
		{"nothing below", "https://.example.org", "api.test", false, false},
		{"below with a port", "https://a.example.org:444", "api.test", false, false},
		{"below with the port that is named", "https://a.local.test:9000", "api.test", false, true},
		{"below without it", "https://a.local.test", "api.test", false, false},
		{"a port that is named", "https://ports.example:8443", "api.test", false, true},
		{"an extension", "chrome-extension://abcdef", "api.test", false, true},
		{"an address of IPv6", "https://[2001:db8::1]", "api.test", false, true},
		{"a user", "https://app.example.com@evil.test", "api.test", false, false},
		{"a user of the name", "https://evil.test@app.example.com", "api.test", false, false},
		{"a path", "https://app.example.com/", "api.test", false, false},
		{"a query", "https://app.example.com?x", "api.test", false, false},
		{"a fragment", "https://evil.test#.example.org", "api.test", false, false},
		{"a backslash", `https://evil.test\.example.org`, "api.test", false, false},
		{"a space", "https://app.example.com ", "api.test", false, false},
		{"a tab", "https://app.exam\tple.com", "api.test", false, false},
		{"NUL", "https://app.example.com\x00.evil.test", "api.test", false, false},
		{"two", "https://app.example.com https://evil.test", "api.test", false, false},
		{"a percent", "https://app%2eexample.com", "api.test", false, false},
		{"a letter that looks like another", "https://аpp.example.com", "api.test", false, false},
		{"the same in punycode", "https://xn--pp-8sbc.example.com", "api.test", false, false},
		{"null", "null", "api.test", false, false},
		{"nothing", "", "api.test", false, false},
		{"a file", "file://", "api.test", false, false},
		{"too long", "https://" + strings.Repeat("a.", 120) + "a.example.org", "api.test", false, false},

		{"the own host", "http://api.test", "api.test", false, true},
		{"the own host over TLS", "https://api.test", "api.test", true, true},
		{"the own host in plain text, of a server with TLS", "http://api.test", "api.test", true, false},
		{"the own host with a port", "http://localhost:8080", "localhost:8080", false, true},
		{"another port of the own host", "http://localhost:8080", "localhost:8081", false, false},
		{"a usual port that only one says", "https://api.test", "api.test:443", false, true},
		{"the usual port of another scheme", "https://api.test", "api.test:80", false, false},
		{"a host with a user", "http://api.test", "x@api.test", false, false},
		{"a host with a path", "http://api.test", "api.test/x", false, false},
		{"no host", "http://", "", false, false},
		{"a wildcard as host", "http://*", "*", false, false},
		{"an address as host", "http://192.0.2.1:80", "192.0.2.1", false, true},
		{"an address that hides", "http://0x7f.1", "0x7f.1", false, false},
		{"an address as a number", "http://2130706433", "2130706433", false, false},
		{"half an address", "http://127.1", "127.1", false, false},
		{"an extension with the name of the host", "chrome-extension://api.test", "api.test", false, false},
	} {
		o := compileOrigins(list)
		if got := o.allow(c.origin, c.host, c.tls); got != c.want {
			t.Errorf("%s: got %v for %q at %q, want %v", c.name, got, c.origin, c.host, c.want)
		}
	}
}

func TestPagesInPlainTextMayNotConnectInProduction(t *testing.T) {
	all := compileOrigins(Options{Origins: []string{"*", "http://plain.test"}, SecureOrigins: true})
	for origin, want := range map[string]bool{
		"https://any.test": true, "http://any.test": false, "http://plain.test": false, "http://api.test": false, "HTTP://api.test": false,
		"null": false, "https://a@b": false, "https://api.test": true,
	} {
		if got := all.allow(origin, "api.test", false); got != want {
			t.Errorf("%s: got %v, want %v", origin, got, want)
		}
	}
	open := compileOrigins(Options{Origins: []string{"*"}})
	if !open.allow("null", "api.test", false) || !open.allow("http://any.test", "api.test", false) || open.allow("http://a/b", "api.test", false) {
		t.Error("* must allow all that browsers say, and nothing else")
	}
}

func TestAnOriginIsCheckedWhenItIsConfigured(t *testing.T) {
	for origin, want := range map[string]bool{
		"*": true, "https://app.example.com": true, "https://*.example.com": true, "http://localhost:3000": true, "https://[::1]": true,
		"capacitor://localhost": true, "": false, "app.example.com": false, "https://": false, "https://a/": false, "https://*": false,
		"https://a.*.com": false, "https://*.*.com": false, "https://münchen.example": false, "https://a:0": false, "https://a:99999": false,
		"https://*.192.0.2.1": false, "https://u@a": false, "null": false,
	} {
		if err := CheckOrigin(origin); (err == nil) != want {
			t.Errorf("%q: got %v, want it accepted: %v", origin, err, want)
		}
	}
}

// slowOrigin is parseOrigin in terms of others' code.
func slowOrigin(text string) (o origin, ok bool) {
	if !regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]*://(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9_-]{1,63}(\.[a-zA-Z0-9_-]{1,63})*)(:[1-9][0-9]{0,4})?$`).MatchString(text) || len(text) > 253 {
		return o, false
	}
	u, err := url.Parse(text)
	if err != nil {
		return o, false
	}
	if port, err := strconv.Atoi(u.Port()); u.Port() != "" && (err != nil || port > 65535) {
		return o, false
	}
	o = origin{strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()}
	if o.scheme == "https" && o.port == "443" || o.scheme == "http" && o.port == "80" {
		o.port = ""
	}
	if strings.Contains(u.Host, "[") {
		a, err := netip.ParseAddr(o.host)
		o.host = "[" + o.host + "]"
		return o, err == nil && a.Is6()
	}
	labels := strings.Split(o.host, ".")
	if last := labels[len(labels)-1]; regexp.MustCompile(`^([0-9]+|0x.*)$`).MatchString(last) {
		a, err := netip.ParseAddr(o.host)
		return o, err == nil && a.Is4()
	}
	return o, true
}

func FuzzOrigin(f *testing.F) {
	for _, s := range []string{"https://app.example.com", "http://[::1]:80", "null", "https://a@b", "https://a.example.org:8443", "http://127.1", "https://0xff", "://", "https://EVIL.example.org."} {
		f.Add(s, "app.example.com:443", true)
	}
	opts := Options{Origins: []string{"https://app.example.com", "https://*.example.org", "http://*.plain.test:81"}}
	o := compileOrigins(opts)
	f.Fuzz(func(t *testing.T, text, host string, tls bool) {
		got, ok := parseOrigin(text)
		slow, slowOK := slowOrigin(text)
		if ok != slowOK || ok && got != slow {
			t.Fatalf("%q: got %+v %v, want %+v %v", text, got, ok, slow, slowOK)
		}
		want := false
		if slowOK {
			for _, p := range []string{"https://app\\.example\\.com", "https://[^/:]+\\.example\\.org", "http://[^/:]+\\.plain\\.test:81"} {
				name := slow.scheme + "://" + slow.host
				if slow.port != "" {
					name += ":" + slow.port
				}
				want = want || regexp.MustCompile("^"+p+"$").MatchString(name)
			}
			own, ownOK := slowOrigin(slow.scheme + "://" + host)
			want = want || ownOK && own == slow && (slow.scheme == "https" || slow.scheme == "http" && !tls)
		}
		if got := o.allow(text, host, tls); got != want {
			t.Errorf("%q at %q (TLS %v): got %v, want %v", text, host, tls, got, want)
		}
	})
}

func TestTheOriginIsOneLineOrNone(t *testing.T) {
	m := &Manager{origins: compileOrigins(Options{Origins: []string{"https://app.example.com"}})}
	for _, lines := range [][]string{nil, {"https://app.example.com"}, {"https://app.example.com", "https://app.example.com"}, {"https://app.example.com", "https://evil.test"}, {""}} {
		want := len(lines) == 0 || slices.Equal(lines, []string{"https://app.example.com"})
		if got := m.originAllowed(&http.Request{Host: "api.test", Header: http.Header{"Origin": lines}}); got != want {
			t.Errorf("%q: got %v, want %v", lines, got, want)
		}
	}
}
