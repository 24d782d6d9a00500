package bench_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/netra-systems/switchboard/internal/bench"
)

const hostileTime = 2 * time.Second

func TestNormalClientsLoseNothingBesideHostileOnes(t *testing.T) {
	var out strings.Builder
	err := bench.Hostile{
		Connections: 120, Clients: 10, Time: hostileTime, Out: &out,
		Node: func(key string) []string { return []string{os.Args[0], nodeVariable, "", key} },
		Attack: func(host string, n int, _ time.Duration) []string {
			return []string{os.Args[0], attackVariable, host, strconv.Itoa(n)}
		},
	}.Run(t.Context())
	t.Log(out.String())
	if err != nil {
		t.Error(err)
	}
}
