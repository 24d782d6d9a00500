package bench

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// Hostile is the scenario of a server process with normal clients and, in a process of their
// own, hostile connections of fourteen kinds.
type Hostile struct {
	Connections int // that are hostile, at a time
	Clients     int // that are not
	Time        time.Duration
	Apart       bool                                                   // the server has half of the processors for itself
	Node        func(key string) []string                              // runs a [Node]
	Attack      func(host string, n int, lasts time.Duration) []string // runs an [Attack]
	Out         io.Writer
}

const (
	hostileKey     = "of-a-bench-on-this-machine"
	publishPause   = 500 * time.Millisecond // to each client
	busyPause      = 500 * time.Millisecond
	busyBytes      = 4 << 10
	latencyAllowed = 3 // times what it is without an attack
)

// hostileRun is one run of the scenario.
type hostileRun struct {
	Hostile
	node      *process
	fleet     fleet
	attackers used

	mu     sync.Mutex     // guards the fields below
	inUser map[string]int // the last number that was published
	echoes []time.Duration
	failed []error
}

// Run carries out the scenario and prints what came of it. The error is [ErrBroken] if a normal
// client lost something, or an attack was not ended as it must be. Times are only told.
func (h Hostile) Run(ctx context.Context) error {
	r := &hostileRun{Hostile: h, inUser: make(map[string]int)}
	r.fleet.text = answerText
	r.fleet.alone = true
	err := r.start(ctx)
	if r.node != nil {
		defer r.node.stop()
	}
	if err != nil {
		return err
	}
	host := strings.TrimPrefix(r.node.url, "http://")
	r.fleet.at.Store(&host)
	defer r.fleet.close()
	if err := r.fleet.connect(ctx, h.Clients); err != nil {
		return err
	}
	loading, stop := context.WithCancel(ctx)
	var load sync.WaitGroup
	defer load.Wait()
	defer stop()
	for i, m := range r.fleet.members {
		load.Go(func() { r.publish(loading, m.user, time.Duration(i)*publishPause/time.Duration(h.Clients)) })
	}
	load.Go(func() { r.talk(loading) })
	load.Go(func() { r.echo(loading) })

	pause(ctx, 2*time.Second) // connections and caches are warm
	r.latencies()
	before := usage(r.node)
	pause(ctx, min(h.Time, 20*time.Second))
	quiet := phase{r.latencies(), usage(r.node).since(before)}
	before = usage(r.node)
	attacked, err := r.attack(ctx, host)
	if err != nil {
		return err
	}
	loud := phase{r.latencies(), usage(r.node).since(before)}
	stop()
	load.Wait()
	return r.report(ctx, attacked, quiet, loud)
}

// start starts the server.
func (r *hostileRun) start(ctx context.Context) error {
	start := func() (err error) {
		r.node, err = startNode(ctx, r.Node(hostileKey), hostileKey)
		return err
	}
	if r.Apart {
		return apart(start)
	}
	return start()
}

// attack runs the attackers, from the first one on, for the time of the scenario behind the last.
func (r *hostileRun) attack(ctx context.Context, host string) ([]Attacked, error) {
	p, answers, err := startProcess(ctx, behind(r.Attack(host, r.Connections, r.Time)))
	if err != nil {
		return nil, err
	}
	defer p.stop()
	began := time.Now()
	var started struct{}
	if err := answers.Decode(&started); err != nil {
		return nil, fmt.Errorf("the attack did not begin: %w: %s", err, p.said())
	}
	fmt.Fprintf(r.Out, "%d hostile connections began within %v\n", r.Connections, time.Since(began).Round(time.Second/10))
	pause(ctx, r.Time)
	r.attackers = usage(p).since(used{at: began})
	_ = p.stdin.Close()
	var told []Attacked
	if err := answers.Decode(&told); err != nil {
		return nil, fmt.Errorf("the attack did not end: %w: %s", err, p.said())
	}
	return told, nil
}

// behind runs a program when nothing else wants to: what is measured is the server, and not that
// attackers have its processors. Elsewhere they would be on machines of their own.
func behind(program []string) []string {
	for _, first := range [][]string{{"chrt", "-i", "0"}, {"nice", "-n", "19"}} {
		if path, err := exec.LookPath(first[0]); err == nil {
			return slices.Concat([]string{path}, first[1:], program)
		}
	}
	return program
}

func (r *hostileRun) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, err)
}

// publish publishes to one of the normal clients until ctx ends, each time when it is due. A call
// that takes so long that the next is late makes that one late too, and is told as it was: to the
// client it is the time since the message was there to be published.
func (r *hostileRun) publish(ctx context.Context, user string, from time.Duration) {
	due := time.Now().Add(from)
	var done time.Time // the call before
	for n := 1; pause(ctx, time.Until(due)); n++ {
		at := time.Now()
		if done.After(due) {
			at = due
		}
		body := fmt.Sprintf(`{"to":{"user":%q},"type":%q,"payload":{"n":%d,"at":%d}}`, user, numbered, n, at.UnixNano())
		if err := r.node.call(context.WithoutCancel(ctx), http.MethodPost, "/api/v1/publish", body, nil); err != nil {
			r.fail(err)
			return
		}
		r.mu.Lock()
		r.inUser[user] = n
		r.mu.Unlock()
		done, due = time.Now(), due.Add(publishPause)
	}
}

// talk makes the busy room busy.
func (r *hostileRun) talk(ctx context.Context) {
	body := fmt.Sprintf(`{"to":{"room":%q},"type":"noise","payload":{"text":%q}}`, busyRoom, strings.Repeat("x", busyBytes))
	for pause(ctx, busyPause) {
		if err := r.node.call(context.WithoutCancel(ctx), http.MethodPost, "/api/v1/publish", body, nil); err != nil {
			r.fail(err)
			return
		}
	}
}

// echo lets each normal client say something every second, and notes how long its answer takes.
func (r *hostileRun) echo(ctx context.Context) {
	var saying sync.WaitGroup
	defer saying.Wait()
	for turn := 0; pause(ctx, time.Second/time.Duration(r.Clients)); turn++ {
		m := r.fleet.members[turn%r.Clients]
		saying.Go(func() {
			began := time.Now()
			if _, err := m.c.Send(context.WithoutCancel(ctx), client.Message{Type: wire.Chat}); err != nil {
				r.fail(fmt.Errorf("%s: %w", m.user, err))
				return
			}
			r.mu.Lock()
			r.echoes = append(r.echoes, time.Since(began))
			r.mu.Unlock()
		})
	}
}

// spread is how long something took.
type spread struct {
	n        int
	p50, p99 time.Duration
}

func spreadOf(all []time.Duration) spread {
	if len(all) == 0 {
		return spread{}
	}
	slices.Sort(all)
	return spread{len(all), all[len(all)/2], all[len(all)*99/100]}
}

func (s spread) String() string {
	return fmt.Sprintf("p50 %v, p99 %v (%d)", s.p50.Round(10*time.Microsecond), s.p99.Round(10*time.Microsecond), s.n)
}

// times are those of a phase.
type times struct{ published, echoed spread }

// phase is a part of a run, and what the server used in it.
type phase struct {
	times
	server used
}

// latencies are those since it was last asked.
func (r *hostileRun) latencies() times {
	var published []time.Duration
	for _, m := range r.fleet.members {
		m.mu.Lock()
		published = append(published, m.took...)
		m.took = nil
		m.mu.Unlock()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	echoed := r.echoes
	r.echoes = nil
	return times{spreadOf(published), spreadOf(echoed)}
}

// report prints what came of it.
func (r *hostileRun) report(ctx context.Context, attacked []Attacked, quiet, loud phase) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	w, broken := r.Out, false
	got := r.fleet.check(ctx, r.inUser, 0, 0)
	var s struct {
		Limited  uint64            `json:"frames_limited"`
		Flooded  uint64            `json:"connections_flooded"`
		Errors   map[string]uint64 `json:"errors_by_code"`
		Refusals map[string]uint64 `json:"refusals_by_reason"`
	}
	if err := r.node.call(ctx, http.MethodGet, "/api/v1/stats", "", &s); err != nil {
		return err
	}
	var conns, frames int64
	for _, a := range attacked {
		conns, frames = conns+a.Conns, frames+a.Frames
		var ends []string
		for _, end := range slices.Sorted(maps.Keys(a.Ends)) {
			ends = append(ends, fmt.Sprintf("%s × %d", end, a.Ends[end]))
		}
		fmt.Fprintf(w, "  %-27s %6d connections, %8d frames, %7.1f MB, there: %4d, ended: %s\n",
			a.Kind, a.Conns, a.Frames, float64(a.Bytes)/1e6, a.Pending, strings.Join(ends, ", "))
	}
	for i, k := range kinds() {
		if attacked[i].Missed {
			fmt.Fprintf(w, "  nobody was ended with %s for %s, %d are there\n", k.wants, k.name, attacked[i].Pending)
			// A flood that waits for its turns does no harm, if those that have had them are ended.
			broken = broken || !k.flood || attacked[i].Pending == 0 || s.Flooded == 0
		}
	}
	fmt.Fprintf(w, "refusals       %v, errors %v, %d frames beyond an allowance, %d connections closed for it\n", s.Refusals, s.Errors, s.Limited, s.Flooded)
	fmt.Fprintf(w, "attackers      %v, with %d connections and %d frames; they cost the server %v\n", r.attackers, conns, frames, loud.server.beyond(quiet.server))
	fmt.Fprintf(w, "without attack published %v, echoed %v, server %v\n", quiet.published, quiet.echoed, quiet.server)
	fmt.Fprintf(w, "under attack   published %v, echoed %v, server %v\n", loud.published, loud.echoed, loud.server)
	fmt.Fprintf(w, "ratio of p99   published %.1f, echoed %.1f; %d is allowed\n", ratio(loud.published, quiet.published), ratio(loud.echoed, quiet.echoed), latencyAllowed)
	fmt.Fprintf(w, "normal clients %d received, %d lost, %d duplicated, %d damaged, %d gave up, %d calls failed\n",
		got.received, got.lost, got.twice, got.damaged, got.ended, len(r.failed))
	for _, err := range r.failed[:min(3, len(r.failed))] {
		fmt.Fprintf(w, "  %v\n", err)
	}
	if broken || got.lost+got.twice+got.damaged+got.ended+len(r.failed) > 0 {
		return ErrBroken
	}
	return nil
}

func ratio(a, b spread) float64 { return float64(a.p99) / float64(max(1, b.p99)) }

// usage is what the process has used so far.
func usage(p *process) used { return usedBy(p.cmd.Process.Pid) }

// used is what a process has used.
type used struct {
	cpu  time.Duration
	peak int64 // bytes of memory, so far
	at   time.Time
}

func (u used) since(before used) used {
	return used{cpu: u.cpu - before.cpu, peak: u.peak, at: time.Time{}.Add(u.at.Sub(before.at))}
}

// beyond is the processor time that u has beyond the pace of another.
func (u used) beyond(pace used) time.Duration {
	share := float64(u.at.Sub(time.Time{})) / float64(max(1, pace.at.Sub(time.Time{})))
	return max(0, u.cpu-time.Duration(share*float64(pace.cpu))).Round(time.Second / 100)
}

func (u used) String() string {
	if u.peak == 0 {
		return "use is not known on this system"
	}
	return fmt.Sprintf("%.0f %% of a processor, at most %d MB", 100*u.cpu.Seconds()/u.at.Sub(time.Time{}).Seconds(), u.peak>>20)
}
