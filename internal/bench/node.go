// Package bench is what "switchboard bench" does: scenarios with processes of their own, which
// print what they measured and fail if a promise was not kept.
package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/brokerlink"
	"github.com/netra-systems/switchboard/internal/server"
)

// address is what a node tells on its standard output once it accepts connections.
type address struct {
	URL string `json:"url"`
}

// badToken begins credentials that nobody is let in with.
const badToken = "bad"

// Node is a server process of a scenario.
type Node struct {
	Socket string        // of the broker that it shares; "": it has one of its own
	Key    string        // of the API
	Drain  time.Duration // how long that may take
	// Strict has the limits that are usual, of clients that this machine is a proxy of; else a
	// user has as many connections as it wants.
	Strict bool
	// Heartbeat is that of connections; zero: that of production.
	Heartbeat Heartbeat
}

// Heartbeat is that of a [Node]: of [switchboard.Heartbeat] what scenarios set.
type Heartbeat struct{ Interval, Timeout, OfflineAfter time.Duration }

// Run serves who says a name, tells its address on out, and ends with in.
func (n Node) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	config := server.Config{
		Listen: "127.0.0.1:0", Drain: n.Drain,
		Heartbeat: switchboard.Heartbeat{Interval: n.Heartbeat.Interval, Timeout: n.Heartbeat.Timeout, OfflineAfter: n.Heartbeat.OfflineAfter},
		Auth: func(_ context.Context, c switchboard.Credential) (switchboard.Identity, error) {
			if strings.HasPrefix(c.Token, badToken) {
				return switchboard.Identity{}, switchboard.ErrUnauthenticated
			}
			return switchboard.Identity{User: c.Token, Permissions: []string{"room:*:*"}}, nil
		},
		APIKeys: []server.APIKey{{Name: "bench", Hash: server.HashKey(n.Key)}},
	}
	if n.Strict {
		config.TrustedProxy = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	} else {
		config.Limits.ConnsPerUser = -1
	}
	if n.Socket != "" {
		link, err := brokerlink.Dial(ctx, "unix", n.Socket)
		if err != nil {
			return err
		}
		defer link.Close()
		config.Broker = link
	}
	s, err := server.New(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in) // until who has started it is done, or gone
		cancel()
	}()
	defer server.CollectSeldom()() // as serve does
	failed := make(chan error, 1)
	go func() { failed <- s.Run(ctx) }()
	select {
	case err := <-failed:
		return err
	case <-s.Ready():
	}
	if err := json.NewEncoder(out).Encode(address{s.URL()}); err != nil {
		return fmt.Errorf("tell the address: %w", err)
	}
	return <-failed
}
