//go:build unix

package main

import (
	"context"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestAServerThatWasStoppedLosesNobody stops the process for longer than the heartbeat's timeout. Its
// clients were silent meanwhile, since nobody pinged them.
func TestAServerThatWasStoppedLosesNobody(t *testing.T) {
	n := serve(t, []string{"SWITCHBOARD_JWT_SECRET=" + serveSecret}, "--heartbeat-interval", "1s", "--heartbeat-timeout", "3s")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ended := make(chan error, 5)
	for i := range cap(ended) {
		header := http.Header{"Authorization": {"Bearer " + tokenFor(t, fmt.Sprint("user", i))}}
		c, _, err := websocket.Dial(ctx, n.URL+"/ws", &websocket.DialOptions{HTTPHeader: header})
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		go func() {
			for {
				if _, _, err := c.Read(ctx); err != nil { // it answers pings
					ended <- err
					return
				}
			}
		}()
	}
	signal := func(s syscall.Signal, then time.Duration) {
		if err := n.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			t.Fatalf("%v: a client was lost: %v", s, err)
		case <-time.After(then):
		}
	}
	signal(syscall.SIGSTOP, 4*time.Second)
	signal(syscall.SIGCONT, 3*time.Second)
	n.says(t, "server stood still")
}
