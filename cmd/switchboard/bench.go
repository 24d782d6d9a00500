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
	Drain   benchDrainCmd   `cmd:"" help:"Drain one of two server processes under load, and prove that nothing was lost."`
	Hostile benchHostileCmd `cmd:"" help:"Attack a server process in fourteen ways, and prove that its normal clients lose nothing."`
	Node    benchNodeCmd    `cmd:"" hidden:"" help:"A server process of a scenario."`
	Attack  benchAttackCmd  `cmd:"" hidden:"" help:"The hostile process of a scenario."`
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
	Socket    string        `help:"Where the broker is; without it there is one of its own."`
	Key       string        `required:"" help:"The API key."`
	DrainTime time.Duration `name:"drain-timeout" default:"10s" help:"How long a drain may take."`
	Strict    bool          `help:"Has the usual limits, and believes X-Forwarded-For of this machine."`
}

// Run serves until its standard input ends.
func (c *benchNodeCmd) Run(ctx context.Context, term terminal) error {
	return bench.Node{Socket: c.Socket, Key: c.Key, Drain: c.DrainTime, Strict: c.Strict}.Run(ctx, term.in, term.out)
}

type benchHostileCmd struct {
	Connections int           `default:"10000" placeholder:"N" help:"Hostile connections at a time."`
	Clients     int           `default:"100" placeholder:"N" help:"Normal clients beside them."`
	Time        time.Duration `default:"60s" placeholder:"D" help:"How long all of them attack."`
}

// Run carries out the scenario.
func (c *benchHostileCmd) Run(ctx context.Context, term terminal) error {
	if c.Connections < 1 || c.Clients < 1 || c.Time <= 0 {
		return usage("there must be connections, clients, and time")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return bench.Hostile{
		Connections: c.Connections, Clients: c.Clients, Time: c.Time, Out: term.out,
		Node: func(key string) []string { return []string{self, "bench", "node", "--strict", "--key", key} },
		Attack: func(host string, n int) []string {
			return []string{self, "bench", "attack", "--host", host, "--connections", fmt.Sprint(n)}
		},
	}.Run(ctx)
}

type benchAttackCmd struct {
	Host        string `required:"" help:"The server, host and port."`
	Connections int    `required:"" help:"How many attackers there are."`
}

// Run attacks until its standard input ends.
func (c *benchAttackCmd) Run(ctx context.Context, term terminal) error {
	return bench.Attack(ctx, c.Host, c.Connections, term.in, term.out)
}
