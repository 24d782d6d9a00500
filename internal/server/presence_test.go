package server

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// TestWhoIsThereIsNotAnsweredInPart while a node that is there by its lease says nothing.
func TestWhoIsThereIsNotAnsweredInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := membroker.New(membroker.Options{})
		t.Cleanup(func() { _ = b.Close() })
		cfg := config()
		cfg.Broker = b
		n, _ := inMemory(t, cfg)
		time.Sleep(time.Second)
		if _, err := b.Put(t.Context(), "node/mute", []byte(`{"node":"mute"}`), 0, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for _, path := range []string{"/api/v1/presence/users/alice", "/api/v1/presence/rooms/team"} {
			got := n.get(t, path)
			if p := got.problem(t); p.Status != http.StatusServiceUnavailable || p.Code != wire.CodeUnavailable || got.header.Get("Retry-After") == "" {
				t.Errorf("%s: got %d %s, want 503 UNAVAILABLE and when to try again", path, got.status, got.body)
			}
		}
		if err := b.Delete(t.Context(), "node/mute", broker.Any); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for _, path := range []string{"/api/v1/presence/users/alice", "/api/v1/presence/rooms/team"} {
			if got := n.get(t, path); got.status != http.StatusOK {
				t.Errorf("%s: got %d %s without that node, want 200", path, got.status, got.body)
			}
		}
	})
}
