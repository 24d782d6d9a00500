package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/netra-systems/switchboard/internal/server"
)

type devCmd struct {
	Listen    string     `default:"127.0.0.1:8080" placeholder:"ADDR" help:"A loopback address and a port; port 0 picks one (${default})."`
	APIKey    string     `name:"api-key" placeholder:"K" help:"The key of back ends. Default: a new one per start."`
	ReadyFile string     `placeholder:"F" help:"A file that has URL, process id and API key while the server accepts connections."`
	LogLevel  slog.Level `default:"info" placeholder:"L" help:"What is logged: debug (every request), info, warn or error (${default})."`
}

// Validate refuses addresses that others can reach: dev lets everybody in.
func (c *devCmd) Validate() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return usage("--listen %s: must be an address and a port, such as 127.0.0.1:8080", c.Listen)
	}
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		return nil
	}
	return usage("--listen %s: dev lets everybody in without a credential, so it listens on loopback addresses only, such as 127.0.0.1:8080", c.Listen)
}

// Run serves until ctx ends.
func (c *devCmd) Run(ctx context.Context, term terminal) error {
	if c.APIKey == "" {
		c.APIKey = "sk_dev_" + rand.Text()
	}
	s, err := server.New(server.Config{
		Listen:      c.Listen,
		Development: true,
		APIKeys:     []server.APIKey{{Name: "dev", Hash: server.HashKey(c.APIKey)}},
		Drain:       time.Second,
		ReadyFile:   c.ReadyFile,
		ReadyKey:    c.APIKey,
		Version:     thisBuild().version,
		Log:         slog.New(slog.NewTextHandler(term.err, &slog.HandlerOptions{Level: c.LogLevel})),
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-s.Ready():
	}
	banner(term.out, s.URL(), c.APIKey, self())
	return <-ended
}

// banner says what to do next, in lines that work as they are in another terminal. A
// terminal that cannot be written is no reason to stop.
func banner(w io.Writer, url, key, program string) {
	alice := quote(url + "?user=alice")
	fmt.Fprintf(w, `Switchboard is ready at %[1]s

In two other terminals, be alice on two devices:

  %[2]s tail --url %[3]s
  %[2]s tail --url %[3]s

In a third, be her application:

  SWITCHBOARD_API_KEY=%[4]s %[2]s send --url %[1]s --user alice hello '{"text":"Hello, Alice"}'

Everything is in memory and ends with this process: ctrl-C.
`, url, program, alice, quote(key))
}
