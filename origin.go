package switchboard

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// maxOrigin is the most bytes that the origin of a page may have.
const maxOrigin = 253

// origin is where a web page is from (RFC 6454), in lower case and without the port that its
// scheme has anyway.
type origin struct {
	scheme, host, port string
}

// originPattern allows pages.
type originPattern struct {
	origin
	below bool // hosts below host, not host itself
}

// origins are those that may connect. It is immutable.
type origins struct {
	all      bool
	secure   bool // none in plain text
	patterns []originPattern
}

// compileOrigins reads what [Options] says, which was checked.
func compileOrigins(opts Options) origins {
	o := origins{all: slices.Contains(opts.Origins, "*"), secure: opts.SecureOrigins}
	for _, text := range opts.Origins {
		if p, ok := parsePattern(text); ok {
			o.patterns = append(o.patterns, p)
		}
	}
	return o
}

// allow reports whether a page may connect that calls host, over TLS or not.
func (o *origins) allow(text, host string, tls bool) bool {
	if text == "null" { // of a file, or of a page whose origin its frame hides
		return o.all && !o.secure
	}
	page, ok := parseOrigin(text)
	if !ok || o.secure && page.scheme == "http" {
		return false
	}
	return o.all || page.servedBy(host, tls) || slices.ContainsFunc(o.patterns, func(p originPattern) bool { return p.matches(page) })
}

// servedBy reports whether a page is the server's own: it has the host that it calls. One that
// came in plain text is not that of a server with TLS, since anybody on the way could write it.
func (o origin) servedBy(host string, tls bool) bool {
	if o.scheme != "https" && (o.scheme != "http" || tls) {
		return false
	}
	own, ok := parseOrigin(o.scheme + "://" + host)
	return ok && own == o
}

func (p originPattern) matches(page origin) bool {
	if !p.below {
		return page == p.origin
	}
	return page.scheme == p.scheme && page.port == p.port && strings.HasSuffix(page.host, "."+p.host)
}

// CheckOrigin says what is wrong with an entry of [Options].Origins.
func CheckOrigin(text string) error {
	if text == "*" {
		return nil
	}
	if _, ok := parsePattern(text); ok {
		return nil
	}
	scheme, host, _ := strings.Cut(text, "://")
	switch {
	case !isScheme(strings.ToLower(scheme)) || host == "":
		return errors.New(`must have a scheme and a host, as "https://app.example.com"`)
	case strings.ContainsAny(host, "/?#@"):
		return errors.New("must have nothing but a scheme and a host")
	case strings.Contains(strings.TrimPrefix(host, "*."), "*"):
		return errors.New("may have a * only in front of the host's first dot")
	}
	return errors.New("has a host that no page can have: browsers say it in ASCII, such as xn--bcher-kva.example, and addresses as 192.0.2.1 or [2001:db8::1]")
}

func parsePattern(text string) (originPattern, bool) {
	scheme, host, _ := strings.Cut(text, "://")
	host, below := strings.CutPrefix(host, "*.")
	o, ok := parseOrigin(scheme + "://" + host)
	if below && ok { // nothing is below an address
		_, err := netip.ParseAddr(strings.Trim(o.host, "[]"))
		ok = err != nil
	}
	return originPattern{o, below}, ok
}

// parseOrigin reads an origin as browsers write it, in any case. Whatever else is there, such as
// a user, a path, a control character, a byte beyond ASCII, an empty label, or an address in a
// form that is not its own (0x7f.1, 127.1), was not written by a browser. Names in punycode are
// names like others: they are compared as they are, and look like nothing to this server.
func parseOrigin(text string) (o origin, ok bool) {
	if len(text) > maxOrigin {
		return o, false
	}
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return o, false
		}
	}
	scheme, rest, found := strings.Cut(strings.ToLower(text), "://")
	if !found || !isScheme(scheme) {
		return o, false
	}
	host, port := rest, ""
	if colon := strings.LastIndexByte(rest, ':'); colon > strings.LastIndexByte(rest, ']') {
		if host, port = rest[:colon], rest[colon+1:]; !isPort(port) {
			return o, false
		}
	}
	if !isHost(host) {
		return o, false
	}
	if scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		port = ""
	}
	return origin{scheme, host, port}, true
}

func isScheme(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isLower(c) && (i == 0 || !isDigit(c) && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return s != ""
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0'
}

// isHost reports whether s is a name, or an address in the one form that browsers give it.
func isHost(s string) bool {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		return ok && err == nil && a.Is6() && a.Zone() == ""
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !isLower(c) && !isDigit(c) && c != '-' && c != '_' {
				return false
			}
		}
		last = label
	}
	if !isDigit(last[0]) { // no name ends with a number, so it is an address (URL standard, "ends in a number")
		return true
	}
	if strings.Trim(last, "0123456789") != "" && !strings.HasPrefix(last, "0x") {
		return true
	}
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is4()
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// originAllowed reports whether the page that the request comes from, if it comes from one, may
// connect.
func (m *Manager) originAllowed(r *http.Request) bool {
	values := r.Header["Origin"]
	return len(values) == 0 || len(values) == 1 && m.origins.allow(values[0], r.Host, r.TLS != nil)
}

// checkOrigin refuses pages that may not connect. An origin that goes on trying is blocked for
// some minutes: it is told so in plain HTTP, without an upgrade. One that may connect is never
// looked up there, so nobody can have it blocked by using its name.
func (m *Manager) checkOrigin(r *http.Request) error {
	if m.originAllowed(r) {
		return nil
	}
	text := ""
	if values := r.Header["Origin"]; len(values) == 1 && len(values[0]) <= maxOrigin {
		text = strings.ToLower(values[0]) // others share a bucket
	}
	told := &Error{Code: wire.CodeForbidden, Message: "origin is not allowed"}
	if _, ok := m.door.strangers.Take(text, 1, time.Now()); !ok {
		return &refusal{cause: told, why: whyBlocked}
	}
	return &refusal{cause: told, why: "origin"}
}
