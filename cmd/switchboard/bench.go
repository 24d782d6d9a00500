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
	Drain    benchDrainCmd    `cmd:"" help:"Drain one of two server processes under load, and prove that nothing was lost."`
	Hostile  benchHostileCmd  `cmd:"" help:"Attack a server process in fourteen ways, and prove that its normal clients lose nothing."`
	Presence benchPresenceCmd `cmd:"" help:"Let clients die in every way, and prove for how long they are shown online at most."`
	Node     benchNodeCmd     `cmd:"" hidden:"" help:"A server process of a scenario."`
	Attack   benchAttackCmd   `cmd:"" hidden:"" help:"The hostile process of a scenario."`
	Follower benchFollowerCmd `cmd:"" hidden:"" help:"A client process of a scenario."`
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
	heartbeatFlags
}

// Run serves until its standard input ends.
func (c *benchNodeCmd) Run(ctx context.Context, term terminal) error {
	return bench.Node{Socket: c.Socket, Key: c.Key, Drain: c.DrainTime, Strict: c.Strict, Heartbeat: c.heartbeat()}.Run(ctx, term.in, term.out)
}

// heartbeatFlags are those of production, unless they say something else.
type heartbeatFlags struct {
	Interval time.Duration `name:"heartbeat-interval" default:"25s" placeholder:"D" help:"How often a silent client is pinged."`
	Timeout  time.Duration `name:"heartbeat-timeout" default:"75s" placeholder:"D" help:"How long a client may be silent."`
	Offline  time.Duration `name:"offline-after" default:"30s" placeholder:"D" help:"How long who was lost is shown online."`
}

func (f heartbeatFlags) heartbeat() bench.Heartbeat {
	return bench.Heartbeat{Interval: f.Interval, Timeout: f.Timeout, OfflineAfter: f.Offline}
}

type benchPresenceCmd struct {
	heartbeatFlags
	Each   int           `default:"4" placeholder:"N" help:"Clients that die in each way."`
	Sleep  time.Duration `default:"2m" placeholder:"D" help:"How long clients sleep."`
	Freeze time.Duration `default:"5s" placeholder:"D" help:"How long the server is stopped."`
}

// Run carries out the scenario.
func (c *benchPresenceCmd) Run(ctx context.Context, term terminal) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b := bench.Presence{
		Heartbeat: c.heartbeat(), Each: c.Each, Sleep: c.Sleep, Freeze: c.Freeze, Out: term.out,
		Node: func(key string) []string {
			return []string{
				self, "bench", "node", "--key", key, "--heartbeat-interval", fmt.Sprint(c.Interval),
				"--heartbeat-timeout", fmt.Sprint(c.Timeout), "--offline-after", fmt.Sprint(c.Offline),
			}
		},
		Follower: func(host, user string) []string {
			return []string{self, "bench", "follower", "--host", host, "--user", user}
		},
	}
	if err := b.Check(); err != nil {
		return usageError{err}
	}
	return b.Run(ctx)
}

type benchFollowerCmd struct {
	Host string `required:"" help:"The server, host and port."`
	User string `required:"" help:"Who follows."`
}

// Run follows until its standard input ends, or says so.
func (c *benchFollowerCmd) Run(ctx context.Context, term terminal) error {
	return bench.Follower{Host: c.Host, User: c.User}.Run(ctx, term.in, term.out)
}

type benchHostileCmd struct {
	Connections int           `default:"10000" placeholder:"N" help:"Hostile connections at a time."`
	Clients     int           `default:"100" placeholder:"N" help:"Normal clients beside them."`
	Time        time.Duration `default:"60s" placeholder:"D" help:"How long all of them attack."`
	Apart       bool          `help:"The server has half of the processors for itself, and clients and attackers have the others (Linux)."`
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
		Connections: c.Connections, Clients: c.Clients, Time: c.Time, Apart: c.Apart, Out: term.out,
		Node: func(key string) []string { return []string{self, "bench", "node", "--strict", "--key", key} },
		Attack: func(host string, n int, lasts time.Duration) []string {
			return []string{self, "bench", "attack", "--host", host, "--connections", fmt.Sprint(n), "--time", fmt.Sprint(lasts)}
		},
	}.Run(ctx)
}

type benchAttackCmd struct {
	Host        string        `required:"" help:"The server, host and port."`
	Connections int           `required:"" help:"How many attackers there are."`
	Time        time.Duration `required:"" help:"How long they are to attack."`
}

// Run attacks until its standard input ends.
func (c *benchAttackCmd) Run(ctx context.Context, term terminal) error {
	return bench.Attack(ctx, c.Host, c.Connections, c.Time, term.in, term.out)
}
