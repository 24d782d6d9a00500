package switchboard

import (
	"iter"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxHops is how many proxies one behind the other are looked past.
const maxHops = 16

// AddressOf is where a request comes from: its peer, or what a proxy of [Options].TrustedProxy
// says of the client before it, in X-Forwarded-For and nothing else. It is not valid if the peer
// has no address.
func (m *Manager) AddressOf(r *http.Request) netip.Addr { return m.addressOf(r) }

// addressOf reads what X-Forwarded-For lists from the end, up to the first address that is no
// trusted proxy's: each proxy vouches for the entry before its own only. Nothing that a client
// itself could have written is believed. X-Real-IP is not read, nor is Forwarded: they do not say
// who has set them, and proxies that set only one pass on what a client puts into the other.
func (m *Manager) addressOf(r *http.Request) netip.Addr {
	at, looked := plainAddr(r.RemoteAddr), 0
	if !m.trusts(at) {
		return at
	}
	for hop := range hops(r.Header["X-Forwarded-For"]) {
		next := plainAddr(hop)
		if !next.IsValid() {
			break // nobody vouches for what is before that
		}
		at = next
		if looked++; looked == maxHops || !m.trusts(at) && !mutantForwarded {
			break
		}
	}
	return at
}

// hops yields the entries of a list that may have several lines, the last one first.
func hops(lines []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range slices.Backward(lines) {
			for comma := len(line); comma >= 0; line = line[:max(0, comma)] {
				comma = strings.LastIndexByte(line, ',')
				if !yield(strings.TrimSpace(line[comma+1:])) {
					return
				}
			}
		}
	}
}

func (m *Manager) trusts(a netip.Addr) bool {
	return a.IsValid() && slices.ContainsFunc(m.opts.TrustedProxy, func(p netip.Prefix) bool { return p.Contains(a) })
}

// plainAddr reads an address, with or without a port.
func plainAddr(text string) netip.Addr {
	if len(text) > 100 {
		return netip.Addr{} // no address is so long, but for its zone
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		ap, err := netip.ParseAddrPort(text)
		if inner, ok := strings.CutPrefix(text, "["); err != nil && ok {
			if inner, ok = strings.CutSuffix(inner, "]"); ok && strings.Contains(inner, ":") {
				a, _ = netip.ParseAddr(inner)
				return a.Unmap().WithZone("")
			}
		}
		a = ap.Addr()
	}
	return a.Unmap().WithZone("")
}

// plainNetwork is a network as addresses are compared with it.
func plainNetwork(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p
}
