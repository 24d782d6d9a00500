// Package bench is what "switchboard bench" does: scenarios with processes of their own, which
// print what they measured and fail if a promise was not kept.
package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
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

// Node runs a server process of a scenario: it shares the broker behind the socket, or has one of
// its own if that is "", lets in who says a name, tells its address on out, and ends with in.
func Node(ctx context.Context, socket, key string, drain time.Duration, in io.Reader, out io.Writer) error {
	config := server.Config{
		Listen: "127.0.0.1:0", Drain: drain,
		Auth: func(_ context.Context, c switchboard.Credential) (switchboard.Identity, error) {
			if strings.HasPrefix(c.Token, badToken) {
				return switchboard.Identity{}, switchboard.ErrUnauthenticated
			}
			return switchboard.Identity{User: c.Token, Permissions: []string{"room:*:*"}}, nil
		},
		APIKeys: []server.APIKey{{Name: "bench", Hash: server.HashKey(key)}},
		Limits:  switchboard.Limits{ConnsPerUser: -1},
	}
	if socket != "" {
		link, err := brokerlink.Dial(ctx, "unix", socket)
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
