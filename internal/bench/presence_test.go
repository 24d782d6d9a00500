//go:build unix

package bench_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/netra-systems/switchboard/internal/bench"
)

func TestWhoDiesIsShownOnlineForNoLongerThanItsBound(t *testing.T) {
	var out strings.Builder
	err := bench.Presence{
		Heartbeat: briefly(), Each: 2, Sleep: 7500 * time.Millisecond, Freeze: time.Second, Late: 2 * time.Second, Out: &out,
		Node:     func(key string) []string { return []string{os.Args[0], briefVariable, "", key} },
		Follower: func(host, user string) []string { return []string{os.Args[0], followerVariable, host, user} },
	}.Run(t.Context())
	t.Log(out.String())
	if err != nil {
		t.Error(err)
	}
}
