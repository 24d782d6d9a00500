package switchboard

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// addressOf is where a request comes from: its peer, or what a proxy that is trusted says of the
// client before it. Of what X-Forwarded-For lists, each proxy vouches for the entry before its
// own only, so it is read from the end, up to the first address that is no trusted proxy's.
// Nothing that a client itself could have written is believed. It is not valid if the peer has no
// address.
func (m *Manager) addressOf(r *http.Request) netip.Addr {
	at := plainAddr(r.RemoteAddr)
	if !m.trusts(at) {
		return at
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		next := plainAddr(strings.TrimSpace(hop))
		if !next.IsValid() {
			return at // nobody vouches for what is before that
		}
		if at = next; !m.trusts(at) {
			return at
		}
	}
	return at
}

func (m *Manager) trusts(a netip.Addr) bool {
	return a.IsValid() && slices.ContainsFunc(m.opts.TrustedProxy, func(p netip.Prefix) bool { return p.Contains(a) })
}

// plainAddr reads an address, with or without a port.
func plainAddr(text string) netip.Addr {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		var ap netip.AddrPort
		if ap, err = netip.ParseAddrPort(text); err != nil {
			return netip.Addr{}
		}
		a = ap.Addr()
	}
	return a.Unmap().WithZone("")
}
