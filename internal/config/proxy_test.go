package config

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestTrustedProxiesAreNetworksOrAddresses(t *testing.T) {
	l := load(t, Sources{File: file(t, good+"trusted-proxy: [10.1.0.0/16, \"2001:db8::/48\", 192.0.2.1]\n")})
	want := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/48"), netip.MustParsePrefix("192.0.2.1/32")}
	if !slices.Equal(l.server.TrustedProxy, want) {
		t.Errorf("got %v, want %v", l.server.TrustedProxy, want)
	}
	for _, bad := range []string{"10.1.0.0/33", "proxy.internal", "0.0.0.0/0", "::/0", "fe80::1%eth0", "10.1.0.0-10.1.0.9"} {
		_, err := Load(Sources{File: file(t, good+"trusted-proxy: \""+bad+"\"\n")})
		if err == nil || !strings.Contains(err.Error(), "trusted-proxy") || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: got %v, want an error that names it", bad, err)
		}
	}
}

func TestNoBoundByAddressIsZero(t *testing.T) {
	l := load(t, Sources{File: file(t, good+"max-connects-per-address: 0\nmax-calls-per-address: 0\nmax-refused-credentials-per-address: 0\n")})
	if got := l.server.Limits; got.ConnsPerAddress != -1 || got.CallsPerAddress != -1 || got.GuessesPerAddress != -1 {
		t.Errorf("got %+v, want no bounds", got)
	}
}
