package config

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/auth"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/server"
	"github.com/netra-systems/switchboard/wire"
)

const (
	// minAPIKeyBytes is the least that can have the 128 bits that RFC 6749 §10.10 asks of
	// what nobody may guess.
	minAPIKeyBytes  = 16
	sessionKeyBytes = 32
	hashPrefix      = "sha256:"
)

const production = "production"

// check finds what cannot work although each value is one of its kind, and makes of them
// what the server wants.
func (l *loader) check() {
	c := &l.loaded.Config
	l.checkNetwork(c)
	l.checkAPIKeys(c)
	l.checkLogin(c)
	l.checkSessionKeys(c)
	l.checkHeartbeat(c)
	l.checkQuotas(c)
	s := &l.loaded.server
	s.Listen, s.Origins, s.Drain, s.ReadyFile, s.Data = c.Listen, c.Origins, c.DrainTimeout, c.ReadyFile, c.Data
	s.Canaries, s.PresenceProbe = c.Canaries, c.PresenceProbe
	if c.Canaries != 0 && c.Canaries < time.Second && !l.bad["canaries"] {
		l.problem("canaries", "must be at least 1s, or 0s for never")
	}
	if c.PresenceProbe != 0 && c.PresenceProbe < time.Second && !l.bad["presence-probe"] {
		l.problem("presence-probe", "must be at least 1s, or 0s for never")
	}
	s.Limits = switchboard.Limits{
		MessageBytes: c.MessageBytes, MessagesPerMinute: c.MessagesPerMinute, MessagesPerUser: c.MessagesPerUser, ControlPerMinute: c.ControlPerMinute,
		Handshake: c.HandshakeTimeout, Frame: c.MessageTimeout,
		MemoryBytes: int64(c.MemoryBytes), TenantMemoryBytes: int64(c.TenantMemoryBytes),
		Conns: c.Conns, ConnsPerUser: c.ConnsPerUser, RoomsPerConn: c.RoomsPerConn,
		Handshakes: c.Handshakes, HandshakesPerSecond: c.HandshakeRate,
		ConnsPerAddress: orNone(c.ConnsPerAddress), CallsPerAddress: orNone(c.CallsPerAddress), GuessesPerAddress: orNone(c.GuessesPerAddress),
		ConnectsPerUser: c.ConnectsPerUser, CallsPerUser: c.CallsPerUser, ReadsPerUser: c.ReadsPerUser,
	}
	s.ReadsPerTenant = c.ReadsPerTenant
	s.SecureOrigins = c.Environment == production
	s.Retention = broker.Retention{Messages: c.HistoryMessages, Age: c.HistoryAge}
}

// orNone is a bound for those to whom 0 is the default and less is none.
func orNone(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

func (l *loader) checkNetwork(c *Config) {
	if err := checkAddress(c.Listen); err != nil && !l.bad["listen"] {
		l.problem("listen", "%s", err)
	}
	for _, origin := range c.Origins {
		if err := switchboard.CheckOrigin(origin); err != nil {
			l.problem("allowed-origin", "%q %s", origin, err)
		} else if c.Environment == production && strings.HasPrefix(strings.ToLower(origin), "http:") {
			l.problem("allowed-origin", "%q must be https in production", origin)
		}
	}
	for _, text := range c.Proxies {
		proxy, err := network(text)
		if err != nil {
			l.problem("trusted-proxy", "%s", err)
		}
		l.loaded.server.TrustedProxy = append(l.loaded.server.TrustedProxy, proxy)
	}
	if c.Environment == production && len(c.Origins) == 0 && !l.bad["allowed-origin"] {
		l.missing("in production, name the web pages that may connect", "allowed-origin")
	}
	switch {
	case c.TLSCert == "" && c.TLSKey == "":
	case c.TLSKey == "":
		l.missing("tls-cert is of no use without it", "tls-key")
	case c.TLSCert == "":
		l.missing("tls-key is of no use without it", "tls-cert")
	default:
		pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			l.problem("tls-cert", "does not work with tls-key: %s", err)
			return
		}
		l.loaded.server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
}

// network reads a network, or an address, which is one by itself.
func network(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("must be networks such as 10.1.0.0/16, or addresses, not %q", text)
	}
	if p.Bits() == 0 {
		return p, fmt.Errorf("must not be %q: if everybody is trusted, clients choose their addresses", text)
	}
	return p, nil
}

func checkAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("must be an address and a port, such as 127.0.0.1:8080, not %q", address)
	}
	return nil
}

func (l *loader) checkLogin(c *Config) {
	given := func(name string) bool { return l.loaded.origin[name] != "" }
	tokens := given("jwt-secret") || given("jwks") || given("auth-url")
	switch {
	case !tokens && !given("api-key"):
		l.missing("without one of them nobody could connect", "jwt-secret", "jwks", "auth-url", "api-key")
	case !tokens: // then users come with the tickets of back ends
		if !l.bad["api-key"] && !slices.ContainsFunc(l.loaded.server.APIKeys, makesTickets) {
			l.problem("api-key", "has no key with the scope %s: without a token or a ticket nobody could connect", server.ScopeTickets)
		}
	case given("jwt-secret") && given("jwks"):
		l.problem("jwks", "does not go with jwt-secret: tokens have one issuer")
	case given("auth-url"):
		l.checkAuthURL(c, given)
	case given("jwt-secret"):
		if n := len(c.JWTSecret); n < auth.MinSecretBytes && !l.bad["jwt-secret"] {
			l.problem("jwt-secret", "has %d bytes: HS256 needs %d or more", n, auth.MinSecretBytes)
		}
	default:
		if err := auth.CheckJWKS(c.JWKS); err != nil && !l.bad["jwks"] {
			l.problem("jwks", "%s", err)
		}
		for _, name := range []string{"jwt-issuer", "jwt-audience"} {
			if !given(name) {
				l.missing("the keys of jwks sign tokens for others too", name)
			}
		}
	}
	for _, tenant := range c.JWTTenants {
		if tenant == "" {
			continue
		}
		if err := wire.CheckID(tenant); err != nil {
			l.problem("jwt-tenant", "%q %s", tenant, err)
		}
	}
}

// checkAuthURL refuses what the server at auth-url would have to check itself.
func (l *loader) checkAuthURL(c *Config, given func(string) bool) {
	if err := auth.CheckAuthURL(c.AuthURL); err != nil && !l.bad["auth-url"] {
		l.problem("auth-url", "%s", err)
	}
	for _, name := range []string{"jwt-secret", "jwks", "jwt-issuer", "jwt-audience"} {
		if given(name) {
			l.problem("auth-url", "does not go with %s: one of them checks tokens", name)
		}
	}
}

func makesTickets(k server.APIKey) bool {
	return len(k.Scopes) == 0 || slices.Contains(k.Scopes, server.ScopeTickets)
}

func (l *loader) checkAPIKeys(c *Config) {
	s := &l.loaded.server
	for i, k := range c.APIKeys {
		key := server.APIKey{Name: k.Name, Tenants: k.Tenants, Scopes: k.Scopes, Expires: k.Expires}
		if key.Name == "" {
			key.Name = fmt.Sprintf("api-key-%d", i+1)
		}
		var err error
		if key.Hash, err = k.hash(); err != nil {
			l.problem("api-key", "%q %s", key.Name, err)
			key.Hash = server.HashKey(key.Name) // the rest of it may be wrong too
		}
		if err := key.Check(); err != nil {
			l.problem("api-key", "%s", err)
		}
		for _, other := range s.APIKeys {
			if other.Name == key.Name {
				l.problem("api-key", "has two keys called %q", key.Name)
			} else if other.Hash == key.Hash {
				l.problem("api-key", "%q and %q are the same key", other.Name, key.Name)
			}
		}
		s.APIKeys = append(s.APIKeys, key)
		if s.ReadyKey == "" && !k.hashed() {
			s.ReadyKey = string(k.Key)
		}
	}
}

func (k APIKey) hashed() bool { return strings.HasPrefix(string(k.Key), hashPrefix) }

// hash returns the hash of the key, which may be all that is known of it.
func (k APIKey) hash() (sum [sha256.Size]byte, err error) {
	if k.hashed() {
		b, err := hex.DecodeString(string(k.Key[len(hashPrefix):]))
		if err != nil || len(b) != len(sum) {
			return sum, fmt.Errorf("must be %s and %d hex digits", hashPrefix, 2*len(sum))
		}
		copy(sum[:], b)
		return sum, nil
	}
	if n := len(k.Key); n < minAPIKeyBytes {
		return sum, fmt.Errorf("has %d bytes: a key needs %d or more", n, minAPIKeyBytes)
	}
	if slices.ContainsFunc([]byte(k.Key), func(b byte) bool { return b <= ' ' || b > '~' }) {
		return sum, errors.New("must be of ASCII characters without spaces")
	}
	return server.HashKey(string(k.Key)), nil
}

func (l *loader) checkSessionKeys(c *Config) {
	for i, k := range c.SessionKeys {
		key, err := sessionKey(string(k))
		if err != nil {
			l.problem("session-key", "number %d %s", i+1, err)
			continue
		}
		l.loaded.server.SessionKeys = append(l.loaded.server.SessionKeys, key)
	}
}

// sessionKey reads hex or any base64. So many bytes cannot be meant as both: the lengths of
// their texts differ.
func sessionKey(text string) ([]byte, error) {
	if b, err := hex.DecodeString(text); err == nil && len(b) == sessionKeyBytes {
		return b, nil
	}
	plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	if b, err := base64.RawStdEncoding.Strict().DecodeString(plain); err == nil && len(b) == sessionKeyBytes {
		return b, nil
	}
	return nil, fmt.Errorf("must be %d bytes in base64 or hex", sessionKeyBytes)
}

// checkHeartbeat puts the values of the environment where none were set.
func (l *loader) checkHeartbeat(c *Config) {
	if l.bad["environment"] || l.bad["heartbeat-interval"] || l.bad["heartbeat-timeout"] {
		return
	}
	h := switchboard.HeartbeatFor(c.Environment)
	own, origin := c.HeartbeatInterval != 0, l.loaded.origin
	if !own {
		c.HeartbeatInterval, origin["heartbeat-interval"] = h.Interval, c.Environment
	}
	switch {
	case c.HeartbeatTimeout == 0 && own:
		c.HeartbeatTimeout, origin["heartbeat-timeout"] = 3*c.HeartbeatInterval, "three times heartbeat-interval"
	case c.HeartbeatTimeout == 0:
		c.HeartbeatTimeout, origin["heartbeat-timeout"] = h.Timeout, c.Environment
	case c.HeartbeatTimeout < c.HeartbeatInterval:
		l.problem("heartbeat-timeout", "must not be shorter than heartbeat-interval (%s)", short(c.HeartbeatInterval))
	}
	h.Interval, h.Timeout = c.HeartbeatInterval, c.HeartbeatTimeout
	l.loaded.server.Heartbeat = h
}
