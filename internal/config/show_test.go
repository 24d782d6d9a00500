package config

import (
	"strings"
	"testing"
)

func TestTheConfigurationIsShownWithOriginsAndWithoutSecrets(t *testing.T) {
	path := file(t, good+"api-key:\n- name: shop\n  key: "+goodKey+"\n  scopes: [publish]\n  expires: 2027-03-01\n- x"+goodKey+"\nsession-key: ["+goodSecret+goodSecret+"]\nhistory-age: 36h\n")
	got, err := load(t, Sources{File: path, Environ: []string{"SWITCHBOARD_MAX_CONNECTIONS=500"}, Flags: map[string]any{"log-level": "warn"}}).YAML()
	if err != nil {
		t.Fatal(err)
	}
	want := `listen: 127.0.0.1:8080 # default
environment: production # default
# FILE:2
allowed-origin:
  - https://app.test
jwt-secret: … # FILE:1
# FILE:3
api-key:
  - name: shop
    key: …
    scopes:
      - publish
    expires: "2027-03-01T00:00:00Z"
  - …
# FILE:9
session-key:
  - …
heartbeat-interval: 25s # production
heartbeat-timeout: 1m15s # production
canaries: 0s # default
presence-probe: 0s # default
handshake-timeout: 10s # default
message-timeout: 30s # default
drain-timeout: 10s # default
preset: none # default
max-message-bytes: 65536 # default
max-messages-per-minute: 120 # default
max-messages-per-user: 0 # default
max-control-per-minute: 240 # default
max-connections: 500 # $SWITCHBOARD_MAX_CONNECTIONS
max-connections-per-user: 20 # default
max-rooms-per-connection: 128 # default
max-handshakes: 256 # default
max-handshakes-per-second: 2000 # default
max-connects-per-address: 60 # default
max-calls-per-address: 1200 # default
max-refused-credentials-per-address: 10 # default
max-connects-per-user: 120 # default
max-calls-per-user: 1200 # default
max-reads-per-user: 8 # default
max-reads-per-tenant: 16 # default
history-messages: 10000 # default
history-age: 36h # FILE:10
log-level: warn # --log-level
log-format: text # default
`
	if got := strings.ReplaceAll(string(got), path, "FILE"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
