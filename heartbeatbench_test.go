package switchboard_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
)

// What the former system was to do within some time, measured. Both ends are in this process, over
// pipes in memory, and so are their costs. `go test -run xxx -bench 'Activity|ComeAndGo|Ping|Heartbeat' .`

// BenchmarkActivity is a ping message of one of 1,000 connections until its pong is there, while
// heartbeats look at all of them twice a second.
func BenchmarkActivity(b *testing.B) {
	s := newServer(b, switchboard.Options{Limits: unlimited, Heartbeat: patient(500 * time.Millisecond)})
	all := s.crowd(b, "user", 1000)
	took := make([]time.Duration, 0, 1<<20)
	for b.Loop() {
		c := all[len(took)%len(all)]
		began := time.Now()
		c.send(`{"type":"ping","message_id":"p"}`)
		c.await("pong")
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms(was<50)")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkComeAndGo is 50 connections that come and go.
func BenchmarkComeAndGo(b *testing.B) {
	s := newServer(b, switchboard.Options{Limits: unlimited, Heartbeat: patient(500 * time.Millisecond)})
	for b.Loop() {
		for _, c := range s.crowd(b, "user", 50) {
			_ = c.conn.Close()
		}
		for s.Stats().Connections > 0 {
			runtime.Gosched()
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/50(was<0.5)")
}

// BenchmarkPing is 50 pings to each of 100 connections, all connections at once.
func BenchmarkPing(b *testing.B) {
	s := newServer(b, switchboard.Options{Limits: unlimited, Heartbeat: patient(500 * time.Millisecond)})
	all := s.crowd(b, "user", 100)
	for _, c := range all {
		go c.answer()
	}
	var pings, late atomic.Int64
	for b.Loop() {
		var wg sync.WaitGroup
		for _, c := range all {
			wg.Go(func() {
				for range 50 {
					switch _, err := s.Connections().Ping(b.Context(), c.welcome.ConnectionID); {
					case errors.Is(err, context.DeadlineExceeded): // the machine did something else for a second
						late.Add(1)
					case err != nil:
						b.Error(err)
					default:
						pings.Add(1)
					}
				}
			})
		}
		wg.Wait()
	}
	b.ReportMetric(float64(late.Load()), "late")
	b.ReportMetric(float64(pings.Load())/b.Elapsed().Seconds(), "operations/s(was>1000)")
}

// BenchmarkHeartbeat is 10 s of 500 connections with a ping each half second.
func BenchmarkHeartbeat(b *testing.B) {
	for _, n := range []int{500, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := newServer(b, switchboard.Options{Limits: unlimited, Heartbeat: patient(500 * time.Millisecond)})
			for _, c := range s.crowd(b, "user", n) {
				go c.answer()
			}
			for b.Loop() {
				before, pongs, began := cpu(), s.Stats().Heartbeat.Pongs, time.Now()
				time.Sleep(10 * time.Second)
				used := cpu() - before
				pongs = s.Stats().Heartbeat.Pongs - pongs
				b.ReportMetric(100*used.Seconds()/time.Since(began).Seconds(), "%cpu(was<80)")
				b.ReportMetric(float64(used.Nanoseconds())/float64(pongs), "ns/ping")
			}
		})
	}
}
