package scenarios_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// Each metric is named with the mark that the former system was held to, as in
// "p99-ms(was<50)". Sender, server and receivers share one process.
//
// go test -run xxx -bench . -benchtime 1x -count 3 ./internal/scenarios

// timed is a note that knows when it was sent.
type timed struct {
	Sent int64 `json:"sent"` // nanoseconds since 1970
	N    int   `json:"n"`
}

// times are durations that were measured.
type times []time.Duration

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// at is the duration below which a part of all is.
func (all times) at(part float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return ms(sorted[min(len(sorted)-1, int(part*float64(len(sorted))))])
}

func (all times) mean() float64 {
	var sum time.Duration
	for _, d := range all {
		sum += d
	}
	return ms(sum) / float64(len(all))
}

// arrivals reads count timed notes and returns how long each was under way.
func (d *device) arrivals(count int) (all times, err error) {
	for len(all) < count {
		text, err := d.text()
		if err != nil {
			return all, err
		}
		now := time.Now().UnixNano()
		_, payload, _ := strings.Cut(string(text), `"payload":`)
		var one timed
		if err := json.NewDecoder(strings.NewReader(payload)).Decode(&one); err != nil {
			return all, err
		}
		all = append(all, time.Duration(now-one.Sent))
	}
	return all, nil
}

func (n *node) timed(to switchboard.Target, k int) error {
	msg := switchboard.Message{Type: noteType, Payload: timed{Sent: time.Now().UnixNano(), N: k}}
	_, err := n.Publish(context.Background(), to, msg)
	return err
}

// BenchmarkBridgeLatency: one event after the other, each when the one before it has arrived.
func BenchmarkBridgeLatency(b *testing.B) {
	n := newNode(b, switchboard.Options{})
	d := connect(b, n, "alice")
	for b.Loop() {
		var all times
		for k := range 1000 {
			must(b, n.timed(switchboard.User("alice"), k))
			one, err := d.arrivals(1)
			must(b, err)
			all = append(all, one...)
		}
		b.ReportMetric(all.at(0.50), "p50-ms(was<10)")
		b.ReportMetric(all.at(0.95), "p95-ms(was<30)")
		b.ReportMetric(all.at(0.99), "p99-ms(was<50)")
		b.ReportMetric(all.mean(), "mean-ms(was<15)")
	}
}

// BenchmarkBridgeThroughput: 5,000 events as fast as they go, to one device.
func BenchmarkBridgeThroughput(b *testing.B) {
	const events = 5000
	n := newNode(b, switchboard.Options{})
	d := connect(b, n, "alice")
	for b.Loop() {
		began := time.Now()
		each(b, 2, func(i int) error {
			if i == 1 {
				_, err := d.arrivals(events)
				return err
			}
			for k := range events {
				if err := n.timed(switchboard.User("alice"), k); err != nil {
					return err
				}
			}
			return nil
		})
		b.ReportMetric(events/time.Since(began).Seconds(), "events/s(was>1000)")
	}
}

// BenchmarkConnect: a client, until it has its welcome; and 50 at once, which is what the
// former system took 1.25 s for.
func BenchmarkConnect(b *testing.B) {
	n := newNode(b, switchboard.Options{Limits: switchboard.Limits{ConnsPerUser: -1}})
	open := func() (time.Duration, error) {
		began := time.Now()
		c, err := client.Dial(context.Background(), client.Options{URL: n.url(), Token: as("alice")})
		if err != nil {
			return 0, err
		}
		took := time.Since(began)
		return took, c.Close()
	}
	for b.Loop() {
		var all times
		for range 200 {
			took, err := open()
			must(b, err)
			all = append(all, took)
		}
		b.ReportMetric(all.at(0.99), "p99-ms(was<500)")
		b.ReportMetric(all.mean(), "mean-ms(was<100)")
		began := time.Now()
		n.crowd(b, 50, 50, 50)
		b.ReportMetric(ms(time.Since(began)), "50-at-once-ms(was-1250)")
	}
}

// BenchmarkRoundTrip: a client sends, a handler publishes to the sender, and it arrives.
func BenchmarkRoundTrip(b *testing.B) {
	n := newNode(b, switchboard.Options{})
	n.Handle("say", func(ctx context.Context, c *switchboard.Conn, msg switchboard.Envelope) error {
		_, err := n.Publish(ctx, switchboard.User(c.Identity().User), switchboard.Message{Type: noteType, Payload: msg.Payload})
		return err
	})
	d := connect(b, n, "alice")
	for b.Loop() {
		var all times
		for k := range 1000 {
			began := time.Now()
			must(b, d.say(fmt.Sprintf(`{"type":"say","message_id":"%d-%d","payload":{"n":1}}`, began.UnixNano(), k)))
			for {
				env, err := d.read()
				must(b, err)
				if env.Type == noteType {
					break
				}
			}
			all = append(all, time.Since(began))
			if _, err := nextOf(d, wire.AckType); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(all.at(0.99), "p99-ms(was<100)")
		b.ReportMetric(all.mean(), "mean-ms(was<25)")
	}
}

// BenchmarkThirtyUsers: 50 events to each of 30 users, all at once, and what that costs.
func BenchmarkThirtyUsers(b *testing.B) {
	const users, events = 30, 50
	n := newNode(b, switchboard.Options{})
	devices := n.crowd(b, users, users, users)
	for b.Loop() {
		before, began := footprint(), time.Now()
		late := make([]times, users)
		each(b, 2*users, func(i int) (err error) {
			if i%2 == 1 {
				late[i/2], err = devices[i/2].arrivals(events)
				return err
			}
			for k := range events {
				if err := n.timed(switchboard.User(fmt.Sprintf("user-%d", i/2)), k); err != nil {
					return err
				}
			}
			return nil
		})
		took := time.Since(began)
		b.ReportMetric(slices.Concat(late...).at(0.99), "p99-ms(was<50)")
		b.ReportMetric(users*events/took.Seconds(), "events/s(was>200)")
		b.ReportMetric(float64(footprint()-before)/megabyte, "growth-MB(was<200)")
	}
}

// BenchmarkSteadyLoad: 100 users with ten events a second each, for five seconds: how much of
// the machine and of memory a steady load takes.
func BenchmarkSteadyLoad(b *testing.B) {
	const users, rate, seconds = 100, 10, 5
	n := newNode(b, switchboard.Options{})
	devices := n.crowd(b, users, users, users)
	for b.Loop() {
		used, began := cpu(b), time.Now()
		each(b, users+1, func(i int) error {
			if i < users {
				_, err := devices[i].arrivals(rate * seconds)
				return err
			}
			pace := time.NewTicker(time.Second / rate)
			defer pace.Stop()
			for k := range rate * seconds {
				<-pace.C
				for user := range users {
					if err := n.timed(switchboard.User(fmt.Sprintf("user-%d", user)), k); err != nil {
						return err
					}
				}
			}
			return nil
		})
		share := float64(cpu(b)-used) / float64(time.Since(began)) / float64(runtime.NumCPU())
		b.ReportMetric(100*share, "cpu-percent(was<80)")
		b.ReportMetric(float64(resident(b))/megabyte, "rss-MB(was<500)")
	}
}

// BenchmarkTenUsers: ten users connect, say something, and have an agent's answer with its
// five events; and a heartbeat of five.
func BenchmarkTenUsers(b *testing.B) {
	n := newNode(b, switchboard.Options{})
	n.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "support"}, work("nothing"))
	round := 0
	for b.Loop() {
		round++
		began := time.Now()
		each(b, 10, func(i int) error {
			d, err := n.connect(fmt.Sprintf("user-%d-%d", round, i))
			if err != nil {
				return err
			}
			defer d.drop()
			if err := d.say(`{"type":"user_message","message_id":"ask","payload":{"content":"hello"}}`); err != nil {
				return err
			}
			for {
				if env, err := d.read(); err != nil || env.Type == wire.AgentCompleted {
					return err
				}
			}
		})
		answered := time.Since(began)
		b.ReportMetric(answered.Seconds(), "10-users-s(was<2)")
		began = time.Now()
		each(b, 5, func(i int) error {
			d, err := n.connect(fmt.Sprintf("user-%d-%d", round, i))
			if err != nil {
				return err
			}
			defer d.drop()
			if err := d.say(`{"type":"ping","message_id":"beat"}`); err != nil {
				return err
			}
			_, err = nextOf(d, wire.Pong)
			return err
		})
		b.ReportMetric(time.Since(began).Seconds(), "heartbeat-of-5-s(was<1)")
		b.ReportMetric((answered + time.Since(began)).Seconds(), "combined-s(was<3)")
	}
}

// BenchmarkEightStreams: 1,200 messages over eight streams at once, until all have arrived.
func BenchmarkEightStreams(b *testing.B) {
	const streams, pieces = 8, 150
	n := newNode(b, switchboard.Options{})
	d := connect(b, n, "alice room:*:*")
	for i := range streams {
		must(b, d.say(fmt.Sprintf(`{"type":"subscribe","payload":{"rooms":["%d"]}}`, i)))
		_, err := nextOf(d, wire.Subscribed)
		must(b, err)
	}
	for b.Loop() {
		began := time.Now()
		each(b, streams+1, func(i int) error {
			if i == streams {
				_, err := d.arrivals(streams * pieces)
				return err
			}
			for k := range pieces {
				if err := n.timed(switchboard.Room(strconv.Itoa(i)), k); err != nil {
					return err
				}
			}
			return nil
		})
		b.ReportMetric(streams*pieces/time.Since(began).Seconds(), "messages/s(was>50)")
	}
}

// cpu is what this process has used, in all threads.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident is the memory of this process.
func resident(b *testing.B) int {
	b.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("no /proc here")
	}
	pages, err := strconv.Atoi(strings.Fields(string(data))[1])
	must(b, err)
	return pages * os.Getpagesize()
}
