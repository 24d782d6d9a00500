package quota

import "net/netip"

// Address is whose bucket an address draws from: its own, or that of its /64, which is what one
// subscriber of IPv6 has. ok is false for what cannot be told apart by its address: a peer that
// has none, and this machine itself, which is either its owner or a proxy that speaks for all.
func Address(a netip.Addr) (key netip.Prefix, ok bool) {
	a = a.Unmap().WithZone("")
	if !a.IsValid() || a.IsLoopback() {
		return netip.Prefix{}, false
	}
	bits := 32
	if a.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(a, bits).Masked(), true
}
