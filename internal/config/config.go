// Package config is what "switchboard serve" can be told: one struct, read from a YAML file,
// the environment and flags, in this order. It is strict: what it does not know, and what
// cannot work, is an error that says where it stands.
package config

import (
	"log/slog"
	"time"

	"github.com/netra-systems/switchboard/internal/server"
)

// Config is everything that can be set. A field's name tag is the key in the file, the flag
// and, in upper case behind SWITCHBOARD_, the variable; help, default, enum, min and max are
// read by this package, by the flag parser and by the tests that write the JSON Schema and
// the table in docs/configuration.md. A zero field is one that was not set.
type Config struct {
	Network `group:"Network"`
	Login   `group:"Who may connect"`
	Pace    `group:"Time"`
	Bounds  `group:"Bounds"`
	Log     `group:"Log"`
}

// Network is where the server is and what it is for.
type Network struct {
	Listen      string   `name:"listen" default:"127.0.0.1:8080" placeholder:"ADDR" help:"The address and port to listen on. Port 0 picks one; without a host it is all addresses."`
	TLSCert     string   `name:"tls-cert" placeholder:"FILE" help:"The certificate, followed by its chain, in PEM. With it the server speaks https and wss, and nothing else."`
	TLSKey      string   `name:"tls-key" placeholder:"FILE" help:"The key of the certificate, in PEM."`
	Environment string   `name:"environment" default:"production" enum:"production,staging,development" placeholder:"E" help:"What the server is for: production, staging or development. It sets the heartbeat; production needs allowed-origin."`
	Origins     []string `name:"allowed-origin" sep:"none" placeholder:"ORIGIN" help:"Web pages that may connect, such as https://app.example.com or https://*.example.com; * is all. The server's own always may."`
	Data        string   `name:"data" placeholder:"DIR" help:"A directory for the audit log, in audit below it, which is made if there is none. Without it that log is in memory and ends with the process."`
	Proxies     []string `name:"trusted-proxy" sep:"none" placeholder:"CIDR" help:"Networks of proxies in front of the server, such as 10.1.0.0/16: what they say in X-Forwarded-For is where a client is. Without it all clients behind a proxy have its address."`
	ReadyFile   string   `name:"ready-file" placeholder:"FILE" help:"A file that has URL, process id and the first API key that is not hashed, while the server accepts connections. Only its owner can read it."`
}

// Login is how clients and back ends prove who they are.
type Login struct {
	JWTSecret   Secret   `name:"jwt-secret" placeholder:"S" help:"The secret that users' tokens are signed with (HS256), of 32 bytes or more."`
	JWKS        string   `name:"jwks" placeholder:"URL" help:"Where an identity provider publishes the keys that users' tokens are signed with, instead of jwt-secret."`
	JWTIssuer   string   `name:"jwt-issuer" placeholder:"I" help:"What tokens must say in iss. Required with jwks."`
	JWTAudience string   `name:"jwt-audience" placeholder:"A" help:"What tokens must say in aud, perhaps among others. Required with jwks."`
	JWTTenants  []string `name:"jwt-tenant" sep:"none" placeholder:"T" help:"Tenants that tokens may name; an empty one stands for tokens that name none. Without this only those are good. With auth-url: tenants that it may name."`
	AuthURL     string   `name:"auth-url" placeholder:"URL" help:"A URL of your own that is asked who a token is of, instead of jwt-secret or jwks."`
	APIKeys     []APIKey `name:"api-key" sep:"none" placeholder:"K" help:"Keys of back ends: as they are, or as sha256: with the hash in hex. In the file a key may have a name, tenants, scopes and an end."`
	SessionKeys []Secret `name:"session-key" sep:"none" placeholder:"K" help:"Keys of session tokens, 32 bytes in base64 or hex. The first one seals, all of them open. Without any, keys are kept with the messages and exchanged every 30 days, and sessions end with the process."`
}

// Pace is how long things take.
type Pace struct {
	HeartbeatInterval time.Duration `name:"heartbeat-interval" min:"10ms" placeholder:"D" help:"How long a connection may be silent before it is pinged. Without it: 25s in production, 30s in staging, 45s in development."`
	HeartbeatTimeout  time.Duration `name:"heartbeat-timeout" min:"10ms" placeholder:"D" help:"How long it may be silent before it is closed. Without it: three times heartbeat-interval if that is set, else 75s, 90s, 60s."`
	Canaries          time.Duration `name:"canaries" default:"0s" min:"0s" placeholder:"D" help:"How often two users that the server makes up in each tenant try to read each other; the statistics count what they find, and a leak is logged as an error. At least 1s; 0s is never."`
	PresenceProbe     time.Duration `name:"presence-probe" default:"0s" min:"0s" placeholder:"D" help:"How often a user that the server makes up is cut off, to measure how long it is shown online; the statistics have it, and one that is late is logged. At least 1s; 0s is never."`
	HandshakeTimeout  time.Duration `name:"handshake-timeout" default:"10s" min:"10ms" placeholder:"D" help:"How long a client may take to connect, with what checks its token."`
	MessageTimeout    time.Duration `name:"message-timeout" default:"30s" min:"10ms" placeholder:"D" help:"How long a message of a client may take from its first byte to its last; then the connection is closed."`
	DrainTimeout      time.Duration `name:"drain-timeout" default:"10s" min:"1ms" placeholder:"D" help:"How long clients are given to leave when the server stops."`
}

// Bounds is what clients may cost, and what is kept for them.
type Bounds struct {
	Preset            string        `name:"preset" default:"none" enum:"none,netra" placeholder:"P" help:"Other defaults for some of these: netra has the bounds of the system that Switchboard replaces."`
	MessageBytes      int           `name:"max-message-bytes" default:"65536" min:"1024" max:"1073741824" placeholder:"N" help:"Bytes of one message from a client."`
	MessagesPerMinute int           `name:"max-messages-per-minute" default:"120" min:"1" placeholder:"N" help:"Messages from one connection; heartbeats are not counted."`
	MessagesPerUser   int           `name:"max-messages-per-user" default:"0" min:"0" placeholder:"N" help:"Messages in a minute from all connections of one user together. 0 is four times max-messages-per-minute."`
	ControlPerMinute  int           `name:"max-control-per-minute" default:"240" min:"1" placeholder:"N" help:"Heartbeats, acknowledgements and refused messages from one connection; who goes on beyond it is closed."`
	Conns             int           `name:"max-connections" default:"0" min:"0" placeholder:"N" help:"Connections to this server. 0 is no bound."`
	ConnsPerUser      int           `name:"max-connections-per-user" default:"20" min:"1" placeholder:"N" help:"Connections of one user."`
	RoomsPerConn      int           `name:"max-rooms-per-connection" default:"128" min:"1" placeholder:"N" help:"Rooms that one connection follows."`
	Handshakes        int           `name:"max-handshakes" default:"256" min:"1" placeholder:"N" help:"Clients that connect at the same time. The rest is asked to come back later."`
	HandshakeRate     int           `name:"max-handshakes-per-second" default:"2000" min:"1" placeholder:"N" help:"Clients that begin to connect within a second. The rest is asked to come back later."`
	TenantQuotas      []TenantQuota `name:"tenant-quota" sep:"none" placeholder:"Q" help:"What a tenant may cost this server, as 'acme connections=100 messages-per-minute=6000'; * stands for tenants that are not named. A name with a space, =, a quote or * in it is written in double quotes, as \"two words\" connections=100."`
	ConnsPerAddress   int           `name:"max-connects-per-address" default:"60" min:"0" placeholder:"N" help:"New connections from one address in a minute, without those that resume a session. 0 is no bound."`
	CallsPerAddress   int           `name:"max-calls-per-address" default:"1200" min:"0" placeholder:"N" help:"HTTP calls of clients from one address in a minute, without those that show a session token. 0 is no bound."`
	GuessesPerAddress int           `name:"max-refused-credentials-per-address" default:"10" min:"0" placeholder:"N" help:"Credentials and API keys from one address that are refused in a minute; then none is looked at. 0 is no bound."`
	ConnectsPerUser   int           `name:"max-connects-per-user" default:"120" min:"1" placeholder:"N" help:"New connections of one user in a minute."`
	CallsPerUser      int           `name:"max-calls-per-user" default:"1200" min:"1" placeholder:"N" help:"HTTP calls of one user in a minute."`
	ReadsPerUser      int           `name:"max-reads-per-user" default:"8" min:"1" placeholder:"N" help:"HTTP calls of one user that read at the same time, each until its answer is written."`
	ReadsPerTenant    int           `name:"max-reads-per-tenant" default:"16" min:"1" placeholder:"N" help:"The same of the calls of back ends for one tenant."`
	MemoryBytes       int           `name:"max-memory-bytes" min:"1048576" placeholder:"N" help:"Bytes of memory for recent messages and texts; the oldest leave first. Without it: a quarter of GOMEMLIMIT if that is set, else 268435456."`
	TenantMemoryBytes int           `name:"max-tenant-memory-bytes" min:"1048576" placeholder:"N" help:"The same of one tenant. Without it: half of all."`
	HistoryMessages   int           `name:"history-messages" default:"10000" min:"1" placeholder:"N" help:"Messages that are kept of each topic."`
	HistoryAge        time.Duration `name:"history-age" default:"168h" min:"1s" placeholder:"D" help:"How long a message is kept."`
}

// Log is what the server says on stderr.
type Log struct {
	Level  string `name:"log-level" default:"info" enum:"debug,info,warn,error" placeholder:"L" help:"What is logged: debug (every request), info, warn or error."`
	Format string `name:"log-format" default:"text" enum:"text,json" placeholder:"F" help:"How it is written: text or json."`
}

// Secret is a text that is not shown.
type Secret string

// hidden stands for what is not shown.
const hidden = "…"

// String returns a sign that there is something.
func (Secret) String() string { return hidden }

// LogValue returns the same for logs.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// APIKey is a key of back ends. Flags, variables and texts in the file have only Key.
type APIKey struct {
	// Name is what the log calls the key. "": by its place in the list.
	Name string
	// Key is the key itself, or "sha256:" and its hash in hex.
	Key Secret
	// Tenants are those that it may speak for; none: the one without a name.
	Tenants []string
	// Scopes are what it may do; none: everything.
	Scopes []server.Scope
	// Expires is the moment from which it is refused; zero: never.
	Expires time.Time
}

// UnmarshalText reads a key without anything besides.
func (k *APIKey) UnmarshalText(text []byte) error {
	*k = APIKey{Key: Secret(text)}
	return nil
}
