package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/netra-systems/switchboard/internal/server"
	"github.com/netra-systems/switchboard/web"
)

type devCmd struct {
	Listen    string     `default:"127.0.0.1:8080" placeholder:"ADDR" help:"A loopback address and a port; port 0 picks one (${default})."`
	Docs      string     `placeholder:"DIR" type:"path" help:"A folder of documents about which the agent answers. Default: Switchboard's own."`
	Words     int        `name:"words-per-second" default:"40" placeholder:"N" help:"The pace at which the agent writes (${default}); 0: as fast as it can. A model writes at its own."`
	OpenAIURL string     `name:"openai-url" placeholder:"URL" help:"A server that speaks the OpenAI protocol, such as http://127.0.0.1:11434/v1, whose model writes the answers. Its key is in $$OPENAI_API_KEY."`
	Model     string     `placeholder:"NAME" help:"The name of that model."`
	APIKey    string     `name:"api-key" placeholder:"K" help:"The key of back ends. Default: a new one per start."`
	LAN       bool       `name:"lan" help:"Also listen in the local network, and print a link and a QR code with which one phone gets in; then another."`
	ReadyFile string     `placeholder:"F" help:"A file that has URL, process id and API key while the server accepts connections."`
	LogLevel  slog.Level `default:"info" placeholder:"L" help:"What is logged: debug (every request), info, warn or error (${default})."`
}

// Validate refuses addresses that others can reach: dev lets everybody in.
func (c *devCmd) Validate() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return usage("--listen %s: must be an address and a port, such as 127.0.0.1:8080", c.Listen)
	}
	if (c.OpenAIURL == "") != (c.Model == "") {
		return usage("--openai-url and --model go together")
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
	cfg := server.Config{
		Listen:      c.Listen,
		Development: true,
		Page:        web.Chat(),
		APIKeys:     []server.APIKey{{Name: "dev", Hash: server.HashKey(c.APIKey)}},
		Documents:   c.documents(),
		Drain:       time.Second,
		ReadyFile:   c.ReadyFile,
		ReadyKey:    c.APIKey,
		Version:     thisBuild().version,
		Log:         slog.New(slog.NewTextHandler(term.err, &slog.HandlerOptions{Level: c.LogLevel})),
	}
	said := make(chan struct{}) // closed once the banner is written
	if c.LAN {
		if err := c.joinLAN(ctx, &cfg, term.out, said); err != nil {
			return err
		}
	}
	s, err := server.New(cfg)
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
	c.banner(term.out, s.URL(), self())
	close(said)
	return <-ended
}

// joinLAN has the server listen in the local network too. Links are written to out, below the
// banner.
func (c *devCmd) joinLAN(ctx context.Context, cfg *server.Config, out io.Writer, said <-chan struct{}) error {
	all, err := thisMachine()
	if err != nil {
		return err
	}
	address, err := chooseLAN(all)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return err
	}
	cfg.Network = net.JoinHostPort(address.String(), port)
	cfg.Invite = func(link string) {
		select {
		case <-said:
			invite(out, link, address)
		case <-ctx.Done():
		}
	}
	return nil
}

// invite shows a link for one device.
func invite(w io.Writer, link string, address lanAddress) {
	code, err := drawQR(link)
	if err != nil { // a link is never too long for one
		code = err.Error() + "\n"
	}
	fmt.Fprintf(w, "\nFor one phone in the same network (%s), within an hour; once it is used there is another:\n\n  %s\n\n%s", address.on, link, code)
	if len(address.others) > 0 {
		fmt.Fprintf(w, "\nThis machine has other addresses, which were not taken: %s.\n", strings.Join(address.others, ", "))
	}
}

// banner says what to do next, in lines that work as they are in another terminal. A
// terminal that cannot be written is no reason to stop.
func (c *devCmd) banner(w io.Writer, url, program string) {
	fmt.Fprintf(w, `Open %[1]s

It is alice on two devices. In other terminals, be a third:

  %[2]s tail --url %[3]s

and a fourth:

  %[2]s tail --url %[3]s

In one more, ask about %[5]s:

  %[2]s send --url %[3]s user_message '{"content":"What happens to a client that is slow?"}'

%[6]s Or be her application:

  SWITCHBOARD_API_KEY=%[4]s %[2]s send --url %[1]s --user alice hello '{"text":"Hello, Alice"}'

Everything is in memory and ends with this process: ctrl-C.
`, url, program, quote(url+"?user=alice"), quote(c.APIKey), c.documents().Subject(), c.pace())
}

func (c *devCmd) documents() *server.Documents {
	return &server.Documents{
		Dir: c.Docs, WordsPerSecond: c.Words, ModelURL: c.OpenAIURL, Model: c.Model, ModelKey: os.Getenv("OPENAI_API_KEY"),
	}
}

// pace tells what slows the answer down.
func (c *devCmd) pace() string {
	switch {
	case c.Model != "":
		return "The model " + c.Model + " writes the answer."
	case c.Words == 0:
		return "The answer is written as fast as it is found."
	}
	return fmt.Sprintf("The answer is written at %d words a second (--words-per-second); nothing else waits.", c.Words)
}
