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

// These make this program a node, with the socket of its broker and a key, or an attack, with a
// host and a number.
const (
	nodeVariable   = "SWITCHBOARD_BENCH_NODE"
	attackVariable = "SWITCHBOARD_BENCH_ATTACK"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == nodeVariable {
		node := bench.Node{Socket: os.Args[2], Key: os.Args[3], Drain: 10 * time.Second, Strict: os.Args[2] == ""}
		if err := node.Run(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 4 && os.Args[1] == attackVariable {
		n, err := strconv.Atoi(os.Args[3])
		if err == nil {
			err = bench.Attack(context.Background(), os.Args[2], n, os.Stdin, os.Stdout)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
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
