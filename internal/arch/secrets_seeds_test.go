package arch

func secretComparisonSeeds() []seed {
	const says = " may be a secret: compare it with crypto/subtle"
	return []seed{
		{
			name: "every way to compare one",
			files: map[string]string{"auth/second.go": `package auth
import (
	"bytes"
	"slices"
	"strings"
)
type Secret string
type APIKey struct{ Hash [32]byte; Name string }
type hash [32]byte
func sign(string) []byte { return nil }
func compare(token string, mac []byte, k *APIKey, s Secret, tickets []string, of map[string]int, by map[hash]int, key hash, x string, y []byte, sum [32]byte) bool {
	_ = token == x
	_ = x != token
	_ = bytes.Equal(y, mac)
	_ = bytes.Equal(mac[:4], y)
	_ = k.Hash == sum
	_ = string(s) == x
	_ = x == (string)(s)
	_ = strings.EqualFold(token, x)
	_ = strings.HasPrefix(x, token)
	_ = slices.Contains(tickets, x)
	_ = slices.Equal[[]byte](mac, y)
	_ = tickets[0] == x
	_ = of[token]
	_ = by[key]
	switch token {
	case "":
	case x:
	}
	apiToken, session_key, resumeTokens, tokenHash, passwordSum := x, x, []string{x}, x, x
	_ = apiToken == x
	_ = session_key == x
	_ = resumeTokens[0] == x
	_ = tokenHash == x
	_ = passwordSum == x
	return token == "guess"
}
`},
			want: []string{
				"auth/second.go:12: token" + says,
				"auth/second.go:13: token" + says,
				"auth/second.go:14: mac" + says,
				"auth/second.go:15: mac[:4]" + says,
				"auth/second.go:16: k.Hash" + says,
				"auth/second.go:17: string(s)" + says,
				"auth/second.go:18: (string)(s)" + says,
				"auth/second.go:19: token" + says,
				"auth/second.go:20: token" + says,
				"auth/second.go:21: tickets" + says,
				"auth/second.go:22: mac" + says,
				"auth/second.go:23: tickets[0]" + says,
				"auth/second.go:24: token" + says,
				"auth/second.go:25: key" + says,
				"auth/second.go:26: token" + says,
				"auth/second.go:31: apiToken" + says,
				"auth/second.go:32: session_key" + says,
				"auth/second.go:33: resumeTokens[0]" + says,
				"auth/second.go:34: tokenHash" + says,
				"auth/second.go:35: passwordSum" + says,
				"auth/second.go:36: token" + says,
			},
		},
		{
			name: "an exception, and one that nothing needs any more",
			files: map[string]string{
				"internal/ws/handshake.go":  "package ws\nfunc has(t, token string) bool { return t == token }\n",
				"internal/config/check.go":  "package config\n",
				"internal/server/second.go": "package server\nfunc has(t, token string) bool { return t == token }\n",
			},
			want: []string{
				"internal/config/check.go:0: nothing needs the exception for internal/config/check.go: other.Hash",
				"internal/server/second.go:2: token" + says,
			},
		},
		{
			name: "whether there is one, its kind, names of it, and what compares in constant time",
			files: map[string]string{
				"auth/second.go": `package auth
import (
	"crypto/subtle"
	"strings"
)
type APIKey struct{ Hash [32]byte; Name string }
func compare(token, tokenID, ticketPrefix, key string, mac []byte, k APIKey, topic [32]byte, x string, y []byte, z [32]byte) bool {
	_ = token == "" || mac == nil || len(token) == 7
	_ = strings.HasPrefix(token, "sk_")
	_ = tokenID == x || ticketPrefix == x || k.Name == x || key == x || topic == z
	_ = subtle.ConstantTimeCompare(k.Hash[:], z[:]) == 1
	return subtle.ConstantTimeCompare(mac, y) == 1
}
`,
				"auth/second_test.go": "package auth\nfunc has(t, token string) bool { return t == token }\n",
			},
		},
	}
}
