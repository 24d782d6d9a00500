package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/netra-systems/switchboard/internal/bench"
)

// benchCmd is scenarios that prove something, with numbers.
type benchCmd struct {
	Drain benchDrainCmd `cmd:"" help:"Drain one of two server processes under load, and prove that nothing was lost."`
	Node  benchNodeCmd  `cmd:"" hidden:"" help:"A server process of a scenario."`
}

type benchDrainCmd struct {
	Connections int           `default:"5000" placeholder:"N" help:"Clients that are connected to the node that is drained."`
	DrainTime   time.Duration `name:"drain-timeout" default:"10s" placeholder:"D" help:"How long the node may take."`
}

// Run carries out the scenario.
func (c *benchDrainCmd) Run(ctx context.Context, term terminal) error {
	if c.Connections < 1 || c.DrainTime <= 0 {
		return usage("there must be a connection, and time")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return bench.Drain{
		Connections: c.Connections, Out: term.out,
		Program: func(socket, key string) []string {
			return []string{self, "bench", "node", "--socket", socket, "--key", key, "--drain-timeout", fmt.Sprint(c.DrainTime)}
		},
	}.Run(ctx)
}

type benchNodeCmd struct {
	Socket    string        `required:"" help:"Where the broker is."`
	Key       string        `required:"" help:"The API key."`
	DrainTime time.Duration `name:"drain-timeout" default:"10s" help:"How long a drain may take."`
}

// Run serves until its standard input ends.
func (c *benchNodeCmd) Run(ctx context.Context, term terminal) error {
	return bench.Node(ctx, c.Socket, c.Key, c.DrainTime, term.in, term.out)
}
