package config

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	goodSecret = "0123456789abcdef0123456789abcdef"
	goodKey    = "sk_0123456789abcdef"
)

// good is a file that is enough for production.
const good = "jwt-secret: " + goodSecret + "\nallowed-origin: https://app.test\n"

// file writes a file and returns its path.
func file(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "switchboard.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, src Sources) *Loaded {
	t.Helper()
	l, err := Load(src)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestDefaultsAreThoseOfTheLibrary(t *testing.T) {
	l := load(t, Sources{File: file(t, good)})
	want := server.Config{
		Listen: "127.0.0.1:8080", Origins: []string{"https://app.test"}, SecureOrigins: true, Drain: 10 * time.Second, ReadsPerTenant: 16,
		Heartbeat: switchboard.HeartbeatFor("production"),
		Limits: switchboard.Limits{MessageBytes: 64 << 10, MessagesPerMinute: 120, ControlPerMinute: 240, ConnsPerUser: 20, RoomsPerConn: 128,
			Handshake: 10 * time.Second, Frame: 30 * time.Second, Handshakes: 256, HandshakesPerSecond: 2000,
			ConnsPerAddress: 60, CallsPerAddress: 1200, GuessesPerAddress: 10, ConnectsPerUser: 120, CallsPerUser: 1200, ReadsPerUser: 8},
	}
	want.Retention.Messages, want.Retention.Age = 10_000, 7*24*time.Hour
	if diff := cmp.Diff(want, l.server); diff != "" {
		t.Errorf("server (-want +got):\n%s", diff)
	}
}

func TestFlagsCountMoreThanTheEnvironmentAndThatMoreThanTheFile(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		env        []string
		flags      map[string]any
		want       time.Duration // of drain-timeout
		from       string
	}{
		{name: "nothing", want: 10 * time.Second, from: "default"},
		{name: "file", file: "drain-timeout: 1s\n", want: time.Second, from: "switchboard.yaml:3"},
		{name: "environment", env: []string{"SWITCHBOARD_DRAIN_TIMEOUT=2s"}, want: 2 * time.Second, from: "$SWITCHBOARD_DRAIN_TIMEOUT"},
		{
			name: "environment over file", file: "drain-timeout: 1s\n", env: []string{"SWITCHBOARD_DRAIN_TIMEOUT=2s"},
			want: 2 * time.Second, from: "$SWITCHBOARD_DRAIN_TIMEOUT",
		},
		{name: "flag over file", file: "drain-timeout: 1s\n", flags: map[string]any{"drain-timeout": 3 * time.Second}, want: 3 * time.Second, from: "--drain-timeout"},
		{
			name: "flag over all", file: "drain-timeout: 1s\n", env: []string{"SWITCHBOARD_DRAIN_TIMEOUT=2s"},
			flags: map[string]any{"drain-timeout": 3 * time.Second}, want: 3 * time.Second, from: "--drain-timeout",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := load(t, Sources{File: file(t, good+tt.file), Environ: tt.env, Flags: tt.flags})
			if l.DrainTimeout != tt.want || !strings.HasSuffix(l.origin["drain-timeout"], tt.from) {
				t.Errorf("got %v from %s, want %v from %s", l.DrainTimeout, l.origin["drain-timeout"], tt.want, tt.from)
			}
		})
	}
}

// What the old system allowed, and in which environment.
func TestAPresetCountsMoreThanDefaultsAndLessThanWhatWasSaid(t *testing.T) {
	type bounds struct{ Conns, PerUser, PerAddress, Bytes, Rate int }
	usual := bounds{0, 20, 60, 65536, 120}
	for _, tt := range []struct {
		name, file string
		env        []string
		flags      map[string]any
		want       bounds
	}{
		{name: "none", want: usual},
		{name: "none, said", file: "preset: none\n", want: usual},
		{name: "production", file: "preset: netra\n", want: bounds{100, 3, 30, 8192, 30}},
		{name: "staging", env: []string{"SWITCHBOARD_PRESET=netra", "SWITCHBOARD_ENVIRONMENT=staging"}, want: bounds{100, 3, 30, 8192, 100}},
		{name: "the old name of the environment", env: []string{"SWITCHBOARD_PRESET=netra", "ENVIRONMENT=testing"}, want: bounds{100, 3, 30, 8192, 300}},
		{
			name: "with others", file: "max-connections: 7\n", env: []string{"SWITCHBOARD_MAX_MESSAGE_BYTES=2048"},
			flags: map[string]any{"preset": "netra", "max-connections-per-user": 20}, want: bounds{7, 20, 30, 2048, 30},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := load(t, Sources{File: file(t, good+tt.file), Environ: tt.env, Flags: tt.flags})
			got := bounds{l.Conns, l.ConnsPerUser, l.ConnsPerAddress, l.MessageBytes, l.MessagesPerMinute}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if from := l.origin["max-connects-per-address"]; (from == "preset netra") != (got.PerAddress == 30) {
				t.Errorf("got %d from %q", got.PerAddress, from)
			}
		})
	}
	_, err := Load(Sources{File: file(t, good+"preset: old\n")})
	if err == nil || !strings.Contains(err.Error(), `preset must be one of none, netra, not "old"`) {
		t.Errorf("got %v, want what presets there are", err)
	}
}

func TestAListReplacesTheFormerOne(t *testing.T) {
	src := Sources{File: file(t, good+"jwt-tenant: [a, b]\n"), Environ: []string{"SWITCHBOARD_JWT_TENANT=c, d", "SWITCHBOARD_ALLOWED_ORIGIN=https://b.test,https://*.c.test"}}
	l := load(t, src)
	if want := []string{"c", "d"}; !slices.Equal(l.JWTTenants, want) {
		t.Errorf("got %q, want %q", l.JWTTenants, want)
	}
	if want := []string{"https://b.test", "https://*.c.test"}; !slices.Equal(l.server.Origins, want) {
		t.Errorf("got %q, want %q", l.server.Origins, want)
	}
	src.Flags = map[string]any{"jwt-tenant": []string{"e"}}
	if got, want := load(t, src).JWTTenants, []string{"e"}; !slices.Equal(got, want) {
		t.Errorf("got %q with a flag, want %q", got, want)
	}
}

// example is a value that each setting takes, as a text.
func example(s setting) string {
	if enum := s.tag.Get("enum"); enum != "" {
		return enum[strings.LastIndex(enum, ",")+1:]
	}
	switch s.name {
	case "listen":
		return "127.0.0.1:9090"
	case "allowed-origin":
		return "https://b.test"
	case "jwt-secret":
		return "another " + goodSecret
	case "api-key":
		return goodKey
	case "session-key":
		return goodSecret + goodSecret
	case "jwks":
		return "https://login.test/keys"
	case "heartbeat-timeout", "history-age":
		return "33s"
	case "heartbeat-interval", "drain-timeout", "canaries", "presence-probe", "handshake-timeout", "message-timeout":
		return "7s"
	case "tenant-quota":
		return "acme connections=7"
	case "max-message-bytes":
		return "8192"
	case "max-memory-bytes", "max-tenant-memory-bytes":
		return "2097152"
	}
	if s.of(new(Config)).Kind() == reflect.Int {
		return "7"
	}
	return "something"
}

func TestEverySettingCanBeSetInTheFileAndInTheEnvironment(t *testing.T) {
	for _, s := range settings() {
		t.Run(s.name, func(t *testing.T) {
			inFile, inEnv := newLoader(), newLoader()
			content, err := mapping([]byte(s.name + ": " + example(s)))
			if err != nil {
				t.Fatal(err)
			}
			inFile.readMapping("f", content)
			inEnv.readEnviron([]string{s.variable() + "=" + example(s)})
			if len(inFile.problems)+len(inEnv.problems) > 0 {
				t.Fatalf("got problems %q and %q, want none", inFile.problems, inEnv.problems)
			}
			got, before := s.of(&inFile.loaded.Config), s.of(&newLoader().loaded.Config)
			if reflect.DeepEqual(got.Interface(), before.Interface()) || !reflect.DeepEqual(inFile.loaded.Config, inEnv.loaded.Config) {
				t.Errorf("got %v and %v, want another value than %v, and the same", got, s.of(&inEnv.loaded.Config), before)
			}
		})
	}
}

func TestWhatIsWrongIsToldWithItsPlaceAndItsRule(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		env        []string
		want       []string // of the only problem
	}{
		{"unknown key", "heartbeat_interval: 20s", nil, []string{"switchboard.yaml:3: heartbeat_interval is not known; the closest is heartbeat-interval"}},
		{"key in capitals", "Listen: 127.0.0.1:80", nil, []string{"Listen is not known; the closest is listen"}},
		{"key of the environment", "config: x", nil, []string{"config is not known"}},
		{"unknown variable", "", []string{"SWITCHBOARD_JWT_SECRT=x"}, []string{"environment: SWITCHBOARD_JWT_SECRT is not known; the closest is SWITCHBOARD_JWT_SECRET"}},
		{"key twice", "listen: 127.0.0.1:80\nlisten: 127.0.0.1:81", nil, []string{"switchboard.yaml:4: listen is there already, in line 3"}},
		{"no value", "listen:", nil, []string{"switchboard.yaml:3: listen has no value"}},
		{"empty value", `listen: ""`, nil, []string{"listen must not be empty"}},
		{"empty variable", "", []string{"SWITCHBOARD_LISTEN="}, []string{"$SWITCHBOARD_LISTEN: listen is empty"}},
		{"no file", "", []string{"SWITCHBOARD_CONFIG="}, []string{"SWITCHBOARD_CONFIG is empty"}},
		{"a list for one", "listen: [a, b]", nil, []string{"listen must be a single value"}},
		{"a mapping in a list", "session-key: [{a: b}]", nil, []string{"session-key must be a single value"}},
		{"duration without unit", "drain-timeout: 25", nil, []string{`drain-timeout must be a duration such as 25s`}},
		{"duration too short", "drain-timeout: 0s", nil, []string{"drain-timeout must be at least 1ms"}},
		{"negative heartbeat", "heartbeat-interval: -1s", nil, []string{"heartbeat-interval must be at least 10ms"}},
		{"timeout below the interval", "heartbeat-interval: 20s\nheartbeat-timeout: 10s", nil, []string{"switchboard.yaml:4: heartbeat-timeout must not be shorter than heartbeat-interval (20s)"}},
		{"timeout below that of the environment", "heartbeat-timeout: 10s", nil, []string{"heartbeat-timeout must not be shorter than heartbeat-interval (25s)"}},
		{"no number", "max-connections: many", nil, []string{`max-connections must be a whole number, not "many"`}},
		{"number too small", "", []string{"SWITCHBOARD_MAX_CONNECTIONS_PER_USER=0"}, []string{"$SWITCHBOARD_MAX_CONNECTIONS_PER_USER: max-connections-per-user must be at least 1"}},
		{"number too large", "max-message-bytes: 9999999999", nil, []string{"max-message-bytes must be at most 1073741824"}},
		{"no such environment", "environment: prod", nil, []string{`environment must be one of production, staging, development, not "prod"`}},
		{"no such level", "log-level: INFO", nil, []string{"log-level must be one of debug, info, warn, error"}},
		{"address without port", "listen: localhost", nil, []string{"listen must be an address and a port"}},
		{"port out of range", "listen: localhost:70000", nil, []string{"listen must be an address and a port"}},
		{"origin with a path", "", []string{"SWITCHBOARD_ALLOWED_ORIGIN=https://a.test/x"}, []string{"$SWITCHBOARD_ALLOWED_ORIGIN: allowed-origin", "nothing but a scheme and a host"}},
		{"origin without TLS in production", "", []string{"SWITCHBOARD_ALLOWED_ORIGIN=http://a.test"}, []string{"https in production"}},
		{"short secret", "", []string{"SWITCHBOARD_JWT_SECRET=short"}, []string{"$SWITCHBOARD_JWT_SECRET: jwt-secret has 5 bytes: HS256 needs 32 or more"}},
		{"two ways to check tokens", "jwks: https://login.test/keys", nil, []string{"switchboard.yaml:3: jwks does not go with jwt-secret"}},
		{"bad tenant", "jwt-tenant: [acme, \"a\\nb\"]", nil, []string{`jwt-tenant "a\nb"`}},
		{"certificate without key", "tls-cert: c.pem", nil, []string{"tls-key is missing", "--tls-key"}},
		{"key without certificate", "tls-key: k.pem", nil, []string{"tls-cert is missing", "--tls-cert"}},
		{"no such certificate", "tls-cert: /nowhere/c.pem\ntls-key: /nowhere/k.pem", nil, []string{"switchboard.yaml:3: tls-cert does not work with tls-key", "/nowhere/c.pem"}},
		{"short API key", "api-key: short", nil, []string{`api-key "api-key-1" has 5 bytes`}},
		{"API key with a space", "api-key: [\"0123456789 abcdef\"]", nil, []string{"ASCII characters without spaces"}},
		{"bad hash", "api-key: sha256:00", nil, []string{"must be sha256: and 64 hex digits"}},
		{"unknown scope", "api-key: [{name: shop, key: " + goodKey + ", scopes: [publsh]}]", nil, []string{`"shop": there is no scope "publsh"`}},
		{"end of a key", "api-key: [{name: shop, key: " + goodKey + ", expires: 1st of March}]", nil, []string{`expires, in line 3, must be a time such as 2027-03-01T12:00:00Z, or a day such as 2027-03-01, not "1st of March"`}},
		{"no end of a key", "api-key: [{name: shop, key: " + goodKey + ", expires: }]", nil, []string{"expires, in line 3, has no value"}},
		{"unknown field of a key", "api-key:\n- key: " + goodKey + "\n  scope: [publish]", nil, []string{"scope, in line 5, which is not known; the closest is scopes"}},
		{"a field twice", "api-key:\n- key: " + goodKey + "\n  key: " + goodKey, nil, []string{"two key, in line 5"}},
		{"a field without value", "api-key:\n- key: " + goodKey + "\n  name:", nil, []string{"name, in line 5, has no value"}},
		{"an API key without key", "api-key: [{name: shop}]", nil, []string{`"shop" has 0 bytes`}},
		{"the same name twice", "api-key: [{name: a, key: " + goodKey + "}, {name: a, key: x" + goodKey + "}]", nil, []string{`two keys called "a"`}},
		{"the same key twice", "api-key: [" + goodKey + ", " + hashed(goodKey) + "]", nil, []string{`"api-key-1" and "api-key-2" are the same key`}},
		{"short session key", "session-key: [" + goodSecret + goodSecret + ", abcd]", nil, []string{"session-key number 2 must be 32 bytes in base64 or hex"}},
		{"old variable that is no number", "", []string{"WEBSOCKET_HEARTBEAT_INTERVAL=20s"}, []string{`$WEBSOCKET_HEARTBEAT_INTERVAL: heartbeat-interval must be a number of seconds, not "20s"`}},
		{"old variable out of range", "", []string{"WEBSOCKET_HEARTBEAT_INTERVAL=NaN"}, []string{"must be a number of seconds"}},
		{"old environment that is none", "", []string{"ENVIRONMENT=qa"}, []string{"$ENVIRONMENT: environment must be one of"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(Sources{File: file(t, good+tt.file), Environ: tt.env})
			problems, ok := errors.AsType[Problems](err)
			if !ok || len(problems) != 1 {
				t.Fatalf("got %q, want one problem", problems)
			}
			for _, want := range tt.want {
				if !strings.Contains(problems[0], want) {
					t.Errorf("got %q, want %q in it", problems[0], want)
				}
			}
		})
	}
}

func hashed(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func TestAFileThatCannotBeReadIsTheOnlyProblem(t *testing.T) {
	for name, text := range map[string]string{
		"no YAML":        "listen: [",
		"a list":         "- listen",
		"a text":         "listen",
		"two documents":  good + "---\n" + good,
		"a tab":          "listen:\n\t- x",
		"more than 1 MB": good + strings.Repeat("# a comment\n", 100_000),
	} {
		path := file(t, text)
		_, err := Load(Sources{File: path})
		if problems, ok := errors.AsType[Problems](err); !ok || len(problems) != 1 || !strings.HasPrefix(problems[0], path) {
			t.Errorf("%s: got %q, want one problem with the path", name, problems)
		}
	}
	_, err := Load(Sources{File: "/nowhere/switchboard.yaml"})
	if problems, ok := errors.AsType[Problems](err); !ok || len(problems) != 1 || !strings.Contains(problems[0], "/nowhere/switchboard.yaml") {
		t.Errorf("got %q, want one problem with the path", problems)
	}
}

func TestAllProblemsAreToldAtOnce(t *testing.T) {
	_, err := Load(Sources{
		File:    file(t, "lissen: x\njwt-secret: short\ndrain-timeout: soon\n"),
		Environ: []string{"SWITCHBOARD_LOG_LEVEL=loud", "SWITCHBOARD_NOTHING=1"},
		Flags:   map[string]any{"max-connections": -1},
	})
	problems, _ := errors.AsType[Problems](err)
	for _, want := range []string{"lissen", "jwt-secret", "drain-timeout", "log-level", "SWITCHBOARD_NOTHING", "--max-connections must be at least 0", "allowed-origin is missing"} {
		if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, want) }) {
			t.Errorf("got %q, want one with %q", problems, want)
		}
	}
	if len(problems) != 7 {
		t.Errorf("got %d problems, want 7: %q", len(problems), problems)
	}
}

func TestWhatIsMissingIsToldWithItsFlag(t *testing.T) {
	jwks := "jwks: https://login.test/keys\n"
	for _, tt := range []struct{ name, file, want string }{
		{"a way to log in", "allowed-origin: https://a.test", "jwt-secret or jwks or auth-url or api-key is missing: without one of them nobody could connect (--jwt-secret or --jwks or --auth-url or --api-key)"},
		{"a key that makes no tickets is none", "allowed-origin: https://a.test\napi-key:\n  - {name: k, key: " + goodKey + ", scopes: [publish]}", "has no key with the scope tickets"},
		{"origins in production", "jwt-secret: " + goodSecret, "(--allowed-origin)"},
		{"an empty list of them", "jwt-secret: " + goodSecret + "\nallowed-origin: []", "(--allowed-origin)"},
		{"the issuer", "allowed-origin: https://a.test\njwt-audience: a\n" + jwks, "(--jwt-issuer)"},
		{"the audience", "allowed-origin: https://a.test\njwt-issuer: i\n" + jwks, "(--jwt-audience)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(Sources{File: file(t, tt.file)})
			if problems, _ := errors.AsType[Problems](err); len(problems) != 1 || !strings.Contains(problems[0], tt.want) {
				t.Errorf("got %q, want one problem with %q", problems, tt.want)
			}
		})
	}
	for _, environment := range []string{"staging", "development"} {
		load(t, Sources{File: file(t, "jwt-secret: "+goodSecret+"\nenvironment: "+environment)})
	}
}

func TestTheHeartbeatFollowsTheEnvironment(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		env        []string
		want       switchboard.Heartbeat
	}{
		{"production", "", nil, switchboard.HeartbeatFor("production")},
		{"staging", "environment: staging", nil, switchboard.HeartbeatFor("staging")},
		{"development", "environment: development", nil, switchboard.HeartbeatFor("development")},
		{"own interval", "heartbeat-interval: 5s", nil, switchboard.Heartbeat{Interval: 5 * time.Second, Timeout: 15 * time.Second, MaxMissed: 2}},
		{"own timeout", "heartbeat-timeout: 40s", nil, switchboard.Heartbeat{Interval: 25 * time.Second, Timeout: 40 * time.Second, MaxMissed: 2}},
		{"both", "heartbeat-interval: 5s\nheartbeat-timeout: 6s", nil, switchboard.Heartbeat{Interval: 5 * time.Second, Timeout: 6 * time.Second, MaxMissed: 2}},
		{"old names", "", []string{"ENVIRONMENT=Staging", "WEBSOCKET_HEARTBEAT_INTERVAL=20", "WEBSOCKET_HEARTBEAT_TIMEOUT=50.5"}, switchboard.Heartbeat{Interval: 20 * time.Second, Timeout: 50500 * time.Millisecond, MaxMissed: 2}},
		{"old name for tests", "", []string{"ENVIRONMENT=testing"}, switchboard.HeartbeatFor("development")},
		{"old names do not override the file", "environment: staging\nheartbeat-interval: 5s", []string{"ENVIRONMENT=development", "WEBSOCKET_HEARTBEAT_INTERVAL=20"}, switchboard.Heartbeat{Interval: 5 * time.Second, Timeout: 15 * time.Second, MaxMissed: 2}},
		{"nor are they looked at then", "environment: staging", []string{"ENVIRONMENT=eu-west", "SWITCHBOARD_HEARTBEAT_INTERVAL=30s", "WEBSOCKET_HEARTBEAT_INTERVAL=x"}, switchboard.HeartbeatFor("staging")},
		{"others are left alone", "", []string{"TESTING=1", "REDIS_URL=redis://h", "WEBSOCKET_CONNECTION_TIMEOUT=x"}, switchboard.HeartbeatFor("production")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := load(t, Sources{File: file(t, good+tt.file), Environ: tt.env}).server.Heartbeat
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestTheBoundsOfTheHeartbeatAreThoseOfTheLibrary(t *testing.T) {
	for interval, want := range map[time.Duration]bool{10 * time.Millisecond: true, 10*time.Millisecond - 1: false} {
		_, err := Load(Sources{File: file(t, good), Flags: map[string]any{"heartbeat-interval": interval, "heartbeat-timeout": time.Minute}})
		m, libraryErr := switchboard.New(switchboard.Options{Auth: login, Heartbeat: switchboard.Heartbeat{Interval: interval, Timeout: time.Minute}})
		if libraryErr == nil {
			if err := m.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if (err == nil) != want || (libraryErr == nil) != want {
			t.Errorf("got %v here and %v from the library for %v, want accepted: %v", err, libraryErr, interval, want)
		}
	}
}

func TestAPIKeysAreHashed(t *testing.T) {
	const text = good + `
api-key:
  - ` + "sha256:9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0" + `
  - 0123456789abcdef # digits are a text
  - name: shop
    key: ` + goodKey + `
    tenants: [acme, ""]
    scopes: [publish, read]
    expires: 2027-03-01
`
	l := load(t, Sources{File: file(t, text)})
	var known [sha256.Size]byte
	if _, err := hex.Decode(known[:], []byte("9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0")); err != nil {
		t.Fatal(err)
	}
	want := []server.APIKey{
		{Name: "api-key-1", Hash: known},
		{Name: "api-key-2", Hash: server.HashKey("0123456789abcdef")},
		{Name: "shop", Hash: server.HashKey(goodKey), Tenants: []string{"acme", ""}, Scopes: []server.Scope{server.ScopePublish, server.ScopeRead}, Expires: time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)},
	}
	if diff := cmp.Diff(want, l.server.APIKeys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if l.server.ReadyKey != "0123456789abcdef" {
		t.Errorf("got %q for the ready file, want the first that is not hashed", l.server.ReadyKey)
	}
}

func TestAKeyEndsAtAMoment(t *testing.T) {
	noon := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, text := range []string{"2027-03-01T12:00:00Z", `"2027-03-01T13:00:00+01:00"`, "2027-03-01T12:00:00.000Z"} {
		got := load(t, Sources{File: file(t, good+"api-key: {key: "+goodKey+", expires: "+text+"}")}).server.APIKeys
		if len(got) != 1 || !got[0].Expires.Equal(noon) {
			t.Errorf("%s: got %v, want %v", text, got, noon)
		}
	}
}

func TestTheAPIKeyOfTheEnvironmentIsOneKey(t *testing.T) {
	l := load(t, Sources{File: file(t, good), Environ: []string{"SWITCHBOARD_API_KEY=sk_with,a_comma_in_it", "SWITCHBOARD_URL=http://h"}})
	if len(l.server.APIKeys) != 1 || l.server.APIKeys[0].Hash != server.HashKey("sk_with,a_comma_in_it") {
		t.Errorf("got %+v, want the key as a command would send it", l.server.APIKeys)
	}
}

func TestSessionKeysAreReadInHexAndBase64(t *testing.T) {
	key := []byte(goodSecret)
	key[0], key[1] = 0xfb, 0xff // + and / in base64
	for _, text := range []string{
		hex.EncodeToString(key), strings.ToUpper(hex.EncodeToString(key)),
		base64.StdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key),
	} {
		got := load(t, Sources{File: file(t, good+"session-key: "+text)}).server.SessionKeys
		if len(got) != 1 || !slices.Equal(got[0], key) {
			t.Errorf("got %x for %s, want %x", got, text, key)
		}
	}
}

func TestDigitsAndWordsAreTexts(t *testing.T) {
	l := load(t, Sources{File: file(t, "allowed-origin: '*'\njwt-issuer: yes\njwt-audience: 0x10\njwt-secret: 00000000000000000000000000000000\n")})
	if l.JWTIssuer != "yes" || l.JWTAudience != "0x10" || l.JWTSecret != "00000000000000000000000000000000" {
		t.Errorf("got %q, %q, %q, want what the file says", l.JWTIssuer, l.JWTAudience, string(l.JWTSecret))
	}
}

func TestAnAliasStandsForItsValue(t *testing.T) {
	l := load(t, Sources{File: file(t, "jwt-secret: "+goodSecret+"\nallowed-origin: [&a https://a.test]\njwt-issuer: *a\n")})
	if l.JWTIssuer != "https://a.test" {
		t.Errorf("got %q, want the value of the anchor", l.JWTIssuer)
	}
}

func TestTheLogIsWrittenAsAskedFor(t *testing.T) {
	for _, tt := range []struct{ file, want string }{
		{"", "level=INFO msg=m"},
		{"log-format: json", `"level":"INFO","msg":"m"}`},
		{"log-level: debug", "level=DEBUG msg=d"},
		{"log-level: error", ""},
	} {
		var out strings.Builder
		log := load(t, Sources{File: file(t, good+tt.file)}).Logger(&out)
		log.LogAttrs(t.Context(), slog.LevelDebug, "d")
		log.LogAttrs(t.Context(), slog.LevelInfo, "m")
		if !strings.Contains(out.String(), tt.want) || tt.want == "" && out.Len() > 0 {
			t.Errorf("%q: got %q, want %q", tt.file, out.String(), tt.want)
		}
	}
}
