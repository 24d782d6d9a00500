package switchboard_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
)

// BenchmarkUserBesideRoom measures how long a message to one user takes, first while nothing
// else happens, then while a room of 10,000 real sockets is served without a pause: until it is
// written, which is when Publish returns, and until its client has read it.
func BenchmarkUserBesideRoom(b *testing.B) {
	const followers, samples = 9_900, 3_000 // with the listener and the probe below 20,000 files in all
	m, address := benchServer(b)
	l := startLoad(b, address, followers, "large")
	defer l.stop(b)
	probe := newProbe(b, m, address)
	for b.Loop() {
		idle := probe.run(b, samples)
		ctx, stop := context.WithCancel(context.Background())
		var crowd sync.WaitGroup
		rounds := 0
		crowd.Go(func() {
			for ; ctx.Err() == nil; rounds++ {
				_, err := m.Publish(ctx, switchboard.Room("large"), switchboard.Message{
					Type: "bench", Payload: map[string]string{"text": strings.Repeat("x", 100)},
				})
				if err != nil && ctx.Err() == nil {
					b.Error(err)
					return
				}
				l.await(b, "delivered")
			}
		})
		began := time.Now()
		busy := probe.run(b, samples)
		stop()
		crowd.Wait()
		b.ReportMetric(float64(rounds*followers)/time.Since(began).Seconds(), "room-deliveries/s")
		if rounds == 0 {
			b.Fatal("the room was never served meanwhile")
		}
		for _, what := range []struct {
			name       string
			idle, busy []time.Duration
		}{{"write", idle.written, busy.written}, {"read", idle.read, busy.read}} {
			for _, p := range []int{50, 99} {
				before, beside := percentile(what.idle, p), percentile(what.busy, p)
				b.ReportMetric(float64(before.Nanoseconds())/1e3, fmt.Sprintf("idle-%s-p%d-us", what.name, p))
				b.ReportMetric(float64(beside.Nanoseconds())/1e3, fmt.Sprintf("busy-%s-p%d-us", what.name, p))
				b.ReportMetric(float64(beside)/float64(before), fmt.Sprintf("%s-p%d-ratio", what.name, p))
			}
		}
	}
}

// probe is one user's connection, and the message that goes to it.
type probe struct {
	m    *switchboard.Manager
	conn net.Conn
	r    *bufio.Reader
}

type delays struct{ written, read []time.Duration }

func newProbe(b *testing.B, m *switchboard.Manager, address string) *probe {
	b.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = nc.Close() })
	p := &probe{m: m, conn: nc, r: bufio.NewReader(nc)}
	if err := upgrade(nc, p.r, 1_000_000, "-"); err != nil {
		b.Fatal(err)
	}
	return p
}

// run sends messages one after another, with a pause between them that lets the rest go on.
func (p *probe) run(b *testing.B, n int) (d delays) {
	b.Helper()
	pace := time.NewTicker(200 * time.Microsecond)
	defer pace.Stop()
	for range n {
		began := time.Now()
		if _, err := p.m.Publish(context.Background(), switchboard.User("user-1000000"), switchboard.Message{Type: "probe"}); err != nil {
			b.Fatal(err)
		}
		d.written = append(d.written, time.Since(began))
		if err := skipFrame(p.r); err != nil {
			b.Fatal(err)
		}
		d.read = append(d.read, time.Since(began))
		<-pace.C
	}
	return d
}

func percentile(list []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}
