package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/internal/brokerlink"
)

// ErrBroken says that a promise was not kept. What was measured is printed nevertheless.
var ErrBroken = errors.New("a promise was not kept")

// Drain is the scenario of two server processes, of which one is drained while everybody is
// connected to it and messages and a run's text are on their way.
type Drain struct {
	Connections int
	Program     func(socket, key string) []string // runs a [Node]
	Out         io.Writer
}

// drainKey lets the scenario call its own nodes.
const drainKey = "of-a-bench-on-this-machine"

// drainRun is one run of the scenario.
type drainRun struct {
	Drain
	a, b  *process
	fleet fleet

	inUser       map[string]int // the last number that was published; and below
	inRoom, text int
	published    int
	peak         atomic.Int64
}

// Run carries out the scenario and prints what came of it. The error is [ErrBroken] if
// something was lost, came twice or was damaged.
func (d Drain) Run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it is in the folder for temporary files
	ctx, cancel := context.WithCancel(ctx)
	var serving sync.WaitGroup
	defer serving.Wait()
	defer cancel()
	socket := filepath.Join(dir, "broker")
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return err
	}
	shared := membroker.New(membroker.Options{})
	defer shared.Close()
	serving.Go(func() { brokerlink.Serve(ctx, ln, func() broker.Driver { return shared.Node() }) })

	r := &drainRun{Drain: d, inUser: make(map[string]int)}
	r.fleet.text = answerText
	program := d.Program(socket, drainKey)
	if r.a, err = startNode(ctx, program, drainKey); err != nil {
		return err
	}
	defer r.a.stop()
	if r.b, err = startNode(ctx, program, drainKey); err != nil {
		return err
	}
	defer r.b.stop()
	defer r.fleet.close()
	r.choose(r.a)
	began := time.Now()
	if err := r.fleet.connect(ctx, d.Connections); err != nil {
		return err
	}
	fmt.Fprintf(d.Out, "%d clients connected to node A in %v\n", d.Connections, time.Since(began).Round(time.Millisecond))
	return r.drain(ctx)
}

func (r *drainRun) choose(p *process) {
	host := strings.TrimPrefix(p.url, "http://")
	r.fleet.at.Store(&host)
}

// nodes is the answer of GET /api/v1/nodes, as far as it is needed.
type nodes struct {
	Nodes []struct {
		Node  string
		State string
		Drain struct {
			Seconds                   float64
			Told, Moved, Gone, Forced int
			PeakCloses                int `json:"peak_closes_per_second"`
			PeakReturns               int `json:"peak_returns_per_second"`
			RunsFinished              int `json:"runs_finished"`
			RunsEnded                 int `json:"runs_ended"`
			RunsUntold                int `json:"runs_untold"`
			Written                   int `json:"messages_written"`
			Left                      int `json:"messages_left"`
			Lost                      int `json:"messages_lost"`
			Unknown                   int `json:"messages_unknown"`
		}
	}
}

// drain drains node A while something is published, and checks what came of it.
func (r *drainRun) drain(ctx context.Context) error {
	const run = `{"to":{"room":"` + room + `"},"agent_name":"writer","run_id":"r"}`
	if err := r.b.call(ctx, http.MethodPost, "/api/v1/runs", run, nil); err != nil {
		return err
	}
	publishing, stop := context.WithCancel(ctx)
	failed := make(chan error, 1)
	var work sync.WaitGroup
	work.Go(func() { failed <- r.publish(publishing) })
	work.Go(func() { r.watch(publishing) })
	defer work.Wait()
	defer stop()

	var n nodes
	if !pause(ctx, time.Second) { // something is on its way
		return ctx.Err()
	}
	err := r.a.call(ctx, http.MethodGet, "/api/v1/nodes", "", &n)
	if err == nil {
		err = r.a.call(ctx, http.MethodPost, "/api/v1/nodes/"+n.Nodes[0].Node+"/drain", "", nil)
	}
	for err == nil && n.Nodes[0].State != "drained" && pause(ctx, 100*time.Millisecond) {
		err = r.a.call(ctx, http.MethodGet, "/api/v1/nodes", "", &n)
	}
	if err != nil {
		return err
	}
	pause(ctx, 4*time.Second) // until the last have come back
	stop()
	if err := <-failed; err != nil {
		return err
	}
	if err := r.b.call(ctx, http.MethodPost, "/api/v1/runs/r/complete", "{}", nil); err != nil {
		return err
	}
	return r.report(ctx, &n)
}

// watch measures how many come to node B within a second, and sends clients there once node A
// is not ready any more.
func (r *drainRun) watch(ctx context.Context) {
	type sample struct {
		at    time.Time
		total int // accepted by B so far
	}
	var second []sample // of the last second, and the one before
	for pause(ctx, 100*time.Millisecond) {
		if !r.a.ready(ctx) && ctx.Err() == nil {
			r.choose(r.b)
		}
		var s struct {
			Total int `json:"total_connections"`
		}
		if r.b.call(ctx, http.MethodGet, "/api/v1/stats", "", &s) != nil {
			continue
		}
		now := sample{time.Now(), s.Total}
		second = append(second, now)
		for len(second) > 1 && now.at.Sub(second[1].at) >= time.Second {
			second = second[1:]
		}
		if d := now.at.Sub(second[0].at); d >= time.Second {
			r.peak.Store(max(r.peak.Load(), int64(float64(now.total-second[0].total)/d.Seconds())))
		}
	}
}

// publish publishes to users in turn, to the room and to the run's text until ctx ends.
func (r *drainRun) publish(ctx context.Context) error {
	users := (r.Connections + devices - 1) / devices
	for turn := 0; pause(ctx, 5*time.Millisecond); turn++ {
		user := fmt.Sprintf("user-%d", turn%users)
		if err := r.post(user, r.inUser[user]+1); err != nil {
			return err
		}
		r.inUser[user]++
		if turn%100 == 0 {
			if err := r.post("", r.inRoom+1); err != nil {
				return err
			}
			r.inRoom++
		}
		if turn%50 == 0 {
			const piece = 40
			path := fmt.Sprintf("/api/v1/runs/r/streams/answer?start=%d", r.text)
			if err := r.b.call(context.WithoutCancel(ctx), http.MethodPost, path, answerText(r.text, piece), nil); err != nil {
				return err
			}
			r.text += piece
		}
	}
	return nil
}

// post publishes a number to a user, or to the room. Half of it goes to the node that drains.
func (r *drainRun) post(user string, n int) error {
	to := `"user":"` + user + `"`
	if user == "" {
		to = `"room":"` + room + `"`
	}
	node := r.a
	if r.published%2 == 0 {
		node = r.b
	}
	r.published++
	return node.call(context.Background(), http.MethodPost, "/api/v1/publish",
		fmt.Sprintf(`{"to":{%s},"type":%q,"payload":{"n":%d}}`, to, numbered, n), nil)
}

// report prints what came of it.
func (r *drainRun) report(ctx context.Context, n *nodes) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	got := r.fleet.check(ctx, r.inUser, r.inRoom, r.text)
	d := n.Nodes[0].Drain
	w := r.Out
	fmt.Fprintf(w, "drain of node A in %.1f s\n", d.Seconds)
	fmt.Fprintf(w, "  connections  %d told, %d moved, %d gone by themselves, %d closed by force; at most %d closed in one second\n",
		d.Told, d.Moved, d.Gone, d.Forced, d.PeakCloses)
	fmt.Fprintf(w, "  node A says  %d messages written, %d left in the log to resume from, %d lost, %d not known; runs: %d finished, %d ended\n",
		d.Written, d.Left, d.Lost, d.Unknown, d.RunsFinished, d.RunsEnded)
	fmt.Fprintf(w, "  reconnects   at most %d in one second at node B, %d asked for\n", r.peak.Load(), d.PeakReturns)
	fmt.Fprintf(w, "  published    %d messages to users and a room, %d characters of a run's text\n", r.published, r.text)
	fmt.Fprintf(w, "  received     %d messages by %d clients\n", got.received, r.Connections)
	fmt.Fprintf(w, "  lost         %d\n  duplicated   %d\n  damaged      %d\n  clients that gave up  %d\n", got.lost, got.twice, got.damaged, got.ended)
	if got.lost+got.twice+got.damaged+got.ended+d.Lost+d.Unknown+d.RunsUntold > 0 || d.Told != r.Connections {
		return ErrBroken
	}
	return nil
}

// answerText is a part of the text that the run writes: what stands where is known.
func answerText(from, n int) string {
	b := make([]byte, n)
	for i := range b {
		at := from + i
		b[i] = 'a' + byte((at+at/26+at/701)%26)
	}
	return string(b)
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
