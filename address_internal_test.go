package switchboard

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func proxied(networks ...string) *Manager {
	m := &Manager{}
	for _, n := range networks {
		m.opts.TrustedProxy = append(m.opts.TrustedProxy, plainNetwork(netip.MustParsePrefix(n)))
	}
	return m
}

func TestAnAddressIsWhatATrustedProxyVouchesForAndNothingAClientWrote(t *testing.T) {
	m := proxied("10.0.0.0/8", "2001:db8:ffff::/48", "::ffff:172.16.0.0/108")
	for _, c := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"no proxy", "203.0.113.7:4711", nil, "203.0.113.7"},
		{"a client that says it is another", "203.0.113.7:4711", []string{"198.51.100.1"}, "203.0.113.7"},
		{"a proxy without a word", "10.0.0.1:80", nil, "10.0.0.1"},
		{"a proxy", "10.0.0.1:80", []string{"203.0.113.7"}, "203.0.113.7"},
		{"a client before it that says it is another", "10.0.0.1:80", []string{"198.51.100.1, 203.0.113.7"}, "203.0.113.7"},
		{"the same in lines", "10.0.0.1:80", []string{"198.51.100.1", "203.0.113.7"}, "203.0.113.7"},
		{"a client that says it is this machine", "10.0.0.1:80", []string{"127.0.0.1, 203.0.113.7"}, "203.0.113.7"},
		{"a client that says it is a proxy", "10.0.0.1:80", []string{"198.51.100.1, 10.0.0.9, 203.0.113.7"}, "203.0.113.7"},
		{"two proxies", "10.0.0.1:80", []string{"203.0.113.7, 10.0.0.2"}, "203.0.113.7"},
		{"proxies only", "10.0.0.1:80", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"a mapped proxy", "[::ffff:10.0.0.1]:80", []string{"203.0.113.7"}, "203.0.113.7"},
		{"a mapped network", "172.16.3.4:80", []string{"203.0.113.7"}, "203.0.113.7"},
		{"a mapped client", "10.0.0.1:80", []string{"::ffff:203.0.113.7"}, "203.0.113.7"},
		{"a proxy of IPv6", "[2001:db8:ffff::1]:80", []string{"2001:db8:1::5"}, "2001:db8:1::5"},
		{"a zone", "[fe80::1%eth0]:80", nil, "fe80::1"},
		{"a zone that is said", "10.0.0.1:80", []string{"fe80::1%evil"}, "fe80::1"},
		{"a port", "10.0.0.1:80", []string{"203.0.113.7:5555"}, "203.0.113.7"},
		{"brackets", "10.0.0.1:80", []string{"[2001:db8:1::5]"}, "2001:db8:1::5"},
		{"brackets and a port", "10.0.0.1:80", []string{"[2001:db8:1::5]:5555"}, "2001:db8:1::5"},
		{"half a bracket", "10.0.0.1:80", []string{"[203.0.113.7"}, "10.0.0.1"},
		{"a bracket too many", "10.0.0.1:80", []string{"203.0.113.7]"}, "10.0.0.1"},
		{"unknown", "10.0.0.1:80", []string{"198.51.100.1, unknown"}, "10.0.0.1"},
		{"a name", "10.0.0.1:80", []string{"_hidden"}, "10.0.0.1"},
		{"an end that is empty", "10.0.0.1:80", []string{"198.51.100.1,"}, "10.0.0.1"},
		{"an empty line at the end", "10.0.0.1:80", []string{"198.51.100.1", ""}, "10.0.0.1"},
		{"leading zeros", "10.0.0.1:80", []string{"203.0.113.07"}, "10.0.0.1"},
		{"a long zone", "10.0.0.1:80", []string{"fe80::1%" + strings.Repeat("z", 1000)}, "10.0.0.1"},
		{"a Unix socket", "@", []string{"203.0.113.7"}, "invalid IP"},
		{"nothing", "", []string{"203.0.113.7"}, "invalid IP"},
	} {
		r := &http.Request{RemoteAddr: c.peer, Header: http.Header{
			"X-Forwarded-For": c.forwarded, "X-Real-Ip": {"192.0.2.66"}, "Forwarded": {"for=192.0.2.66"}, "Cf-Connecting-Ip": {"192.0.2.66"},
		}}
		if got := m.addressOf(r).String(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestSoManyHopsCostNothing(t *testing.T) {
	m := proxied("10.0.0.0/8")
	one := &http.Request{RemoteAddr: "10.0.0.1:80", Header: http.Header{"X-Forwarded-For": {strings.Repeat("10.0.0.2,", 100_000) + "10.0.0.2"}}}
	many := &http.Request{RemoteAddr: "10.0.0.1:80", Header: http.Header{"X-Forwarded-For": slices.Repeat([]string{"10.0.0.2"}, 100_000)}}
	for _, r := range []*http.Request{one, many} {
		if got := m.addressOf(r).String(); got != "10.0.0.2" {
			t.Errorf("got %s", got)
		}
		if n := testing.AllocsPerRun(10, func() { m.addressOf(r) }); n > 10 {
			t.Errorf("got %v allocations, want a few", n)
		}
	}
}

// slowAddress is addressOf as one would say it: all entries in a row, and from the end as long as
// everything behind is trusted.
func slowAddress(m *Manager, peer string, lines []string) netip.Addr {
	all := []netip.Addr{plainAddr(peer)}
	entries := strings.Split(strings.Join(lines, ","), ",")
	for i := len(entries) - 1; i >= 0 && len(all) <= maxHops; i-- {
		all = append(all, plainAddr(strings.TrimSpace(entries[i])))
	}
	believed := all[0]
	for i := 1; i < len(all) && m.trusts(all[i-1]) && all[i].IsValid(); i++ {
		believed = all[i]
	}
	return believed
}

func FuzzAddress(f *testing.F) {
	f.Add("10.0.0.1:80", "198.51.100.1, 203.0.113.7", "10.0.0.2", "192.0.2.1")
	f.Add("203.0.113.7:1", "10.0.0.1", "", "127.0.0.1")
	f.Add("[::ffff:10.0.0.1]:80", "[2001:db8::1]:443,,", "fe80::1%eth0", "")
	f.Add("@", "\x00, ,", "10.0.0.1", "10.0.0.1")
	m := proxied("10.0.0.0/8", "2001:db8::/32")
	f.Fuzz(func(t *testing.T, peer, first, second, other string) {
		r := &http.Request{RemoteAddr: peer, Header: http.Header{
			"X-Forwarded-For": {first, second}, "X-Real-Ip": {other}, "Forwarded": {other}, "True-Client-Ip": {other},
		}}
		got := m.addressOf(r)
		if want := slowAddress(m, peer, []string{first, second}); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
		if at := plainAddr(peer); !m.trusts(at) && got != at {
			t.Errorf("got %v of a peer %v whom nobody trusts", got, at)
		}
		if got.Is4In6() || got.Zone() != "" {
			t.Errorf("got %v, which is not the one form of it", got)
		}
	})
}
