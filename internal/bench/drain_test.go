package bench_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/netra-systems/switchboard/internal/bench"
)

// These make this program a node, with the socket of its broker and a key, an attack, with a host
// and a number, a node with a short heartbeat, with a key, or a follower, with a host and a user.
const (
	nodeVariable     = "SWITCHBOARD_BENCH_NODE"
	attackVariable   = "SWITCHBOARD_BENCH_ATTACK"
	briefVariable    = "SWITCHBOARD_BENCH_BRIEF"
	followerVariable = "SWITCHBOARD_BENCH_FOLLOWER"
)

// briefly is a heartbeat that needs not minutes to find a client dead.
func briefly() bench.Heartbeat {
	return bench.Heartbeat{Interval: 800 * time.Millisecond, Timeout: 2400 * time.Millisecond, OfflineAfter: 2500 * time.Millisecond}
}

func TestMain(m *testing.M) {
	if known, err := child(os.Args[1:]); known {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// child is one of the processes of a scenario, if that is what the arguments ask for.
func child(args []string) (known bool, err error) {
	if len(args) != 3 {
		return false, nil
	}
	ctx := context.Background()
	switch args[0] {
	case nodeVariable:
		return true, bench.Node{Socket: args[1], Key: args[2], Drain: 10 * time.Second, Strict: args[1] == ""}.Run(ctx, os.Stdin, os.Stdout)
	case briefVariable:
		return true, bench.Node{Socket: args[1], Key: args[2], Drain: time.Second, Heartbeat: briefly()}.Run(ctx, os.Stdin, os.Stdout)
	case followerVariable:
		return true, bench.Follower{Host: args[1], User: args[2]}.Run(ctx, os.Stdin, os.Stdout)
	case attackVariable:
		n, err := strconv.Atoi(args[2])
		if err == nil {
			err = bench.Attack(ctx, args[1], n, hostileTime, os.Stdin, os.Stdout)
		}
		return true, err
	}
	return false, nil
}

func TestADrainBetweenTwoProcessesLosesNothing(t *testing.T) {
	var out strings.Builder
	err := bench.Drain{
		Connections: 200, Out: &out,
		Program: func(socket, key string) []string { return []string{os.Args[0], nodeVariable, socket, key} },
	}.Run(t.Context())
	t.Log(out.String())
	if err != nil {
		t.Error(err)
	}
}
