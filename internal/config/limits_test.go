package config

import (
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
)

func TestLimitsThatAreSetReachTheServer(t *testing.T) {
	for name, tt := range map[string]struct {
		flag any
		got  func(switchboard.Limits) any
		want any
	}{
		"max-control-per-minute":  {50, func(l switchboard.Limits) any { return l.ControlPerMinute }, 50},
		"handshake-timeout":       {time.Second, func(l switchboard.Limits) any { return l.Handshake }, time.Second},
		"message-timeout":         {time.Second, func(l switchboard.Limits) any { return l.Frame }, time.Second},
		"max-memory-bytes":        {1 << 21, func(l switchboard.Limits) any { return l.MemoryBytes }, int64(1 << 21)},
		"max-tenant-memory-bytes": {1 << 20, func(l switchboard.Limits) any { return l.TenantMemoryBytes }, int64(1 << 20)},
	} {
		t.Run(name, func(t *testing.T) {
			l := load(t, Sources{File: file(t, good), Flags: map[string]any{name: tt.flag}})
			if got := tt.got(l.server.Limits); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if _, err := Load(Sources{File: file(t, good+name+": 0\n")}); err == nil {
				t.Error("nothing at all is accepted")
			}
		})
	}
}
