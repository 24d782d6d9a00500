package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/client"
)

// Presence is the scenario of a server process and client processes that die, each in its way,
// while somebody watches who is there.
type Presence struct {
	Heartbeat Heartbeat     // of the server; Interval, Timeout and OfflineAfter are set
	Each      int           // how many die in each way
	Sleep     time.Duration // of clients that sleep
	Freeze    time.Duration // of the server
	// Late is how long after something has happened who watches may be told: changes wait 100 ms
	// for others, and server, clients and watcher share a machine. 0: 1 s.
	Late     time.Duration
	Node     func(key string) []string        // runs a [Node] with this heartbeat
	Follower func(host, user string) []string // runs a [Follower]
	Out      io.Writer
}

const (
	presenceKey = "of-a-bench-on-this-machine"
	// comeBack is how long a client waits at most before it connects again for the first time.
	comeBack = 100 * time.Millisecond
	// nodeLives is how long others believe in a server that says nothing.
	nodeLives = 10 * time.Second
	// mostOfEach keeps what one address may connect in a minute.
	mostOfEach = 8
)

// fate is what becomes of some clients.
type fate struct {
	name        string
	formula     string        // of most
	least, most time.Duration // how long they are shown online; most 0: for good
	hole        bool          // they connect through it
	die         func(*presenceRun, *mortal) error
	mortals     []*mortal
}

// mortal is a client process.
type mortal struct {
	*process
	user    string
	answers *json.Decoder
	got     followed
	died    time.Time
	woke    time.Time // zero: it does not
}

// The places of fates that something is done with besides.
const (
	fateFrozen = iota // dies while the server is stopped
	fateSleep
	fateAlive
)

func (p Presence) late() time.Duration { return cmp.Or(p.Late, time.Second) }

// fates lists all of them.
func (p Presence) fates() []*fate {
	late, after := p.late(), p.Heartbeat.OfflineAfter
	found := p.Heartbeat.Timeout + p.Heartbeat.Interval/8
	kill := func(_ *presenceRun, m *mortal) error { return m.cmd.Process.Kill() }
	say := func(word string) func(*presenceRun, *mortal) error {
		return func(_ *presenceRun, m *mortal) error {
			_, err := fmt.Fprintln(m.stdin, word)
			return err
		}
	}
	lost := fmt.Sprintf("offline-after + %v", late)
	silent := "timeout + interval / 8 + " + lost
	return []*fate{
		fateFrozen: {
			name: fmt.Sprintf("kill -9 while the server is stopped for %v", p.Freeze), formula: "the stop + " + lost,
			least: after, most: p.Freeze + after + late, die: kill,
		},
		fateSleep: {
			name: fmt.Sprintf("SIGSTOP for %v", p.Sleep), formula: silent, least: after, most: found + after + late,
			die: func(_ *presenceRun, m *mortal) error { return m.freeze() },
		},
		fateAlive: {name: fmt.Sprintf("none, and the server is stopped for %v", p.Freeze), formula: "never told gone"},
		{name: "close with 1000", formula: late.String(), most: late, die: say(sayBye)},
		{name: "close with 1001, a closed tab", formula: lost, least: after, most: after + late, die: say(closeTab)},
		{name: "kill -9", formula: lost, least: after, most: after + late, die: kill},
		{name: "black hole", formula: silent, least: after, most: found + after + late, hole: true, die: func(r *presenceRun, _ *mortal) error {
			r.cut()
			return nil
		}},
	}
}

// Check returns what the scenario cannot work with.
func (p Presence) Check() error {
	h := p.Heartbeat
	switch shown := p.fates()[fateSleep].most; {
	case p.Each < 1 || p.Each > mostOfEach:
		return fmt.Errorf("of each kind there must be between 1 and %d", mostOfEach)
	case h.Interval <= 0 || h.Timeout <= 0 || h.OfflineAfter <= 0 || p.Late < 0:
		return errors.New("the heartbeat needs times above 0")
	case p.Freeze <= 0 || p.Freeze >= nodeLives:
		return fmt.Errorf("the server must be stopped for less than %v, its lease", nodeLives)
	case p.Sleep <= shown:
		return fmt.Errorf("clients must sleep for more than %v: until then they may be shown online", shown)
	}
	return nil
}

// presenceRun is one run of the scenario.
type presenceRun struct {
	Presence
	node      *process
	all       []*fate
	watch     watching
	cut       func() // the hole; more than once is once
	published int    // the last number; of the goroutine that publishes, until that has ended
	wrong     []string
}

// Run carries out the scenario and prints what came of it. The error is [ErrBroken] if somebody
// was shown online for longer than is allowed, or not for long enough, or has lost something.
func (p Presence) Run(ctx context.Context) error {
	if err := p.Check(); err != nil {
		return err
	}
	r := &presenceRun{Presence: p, all: p.fates()}
	var err error
	if r.node, err = startNode(ctx, p.Node(presenceKey), presenceKey); err != nil {
		return err
	}
	defer r.node.kill()
	ctx, cancel := context.WithCancel(ctx)
	host := strings.TrimPrefix(r.node.url, "http://")
	h, err := dig(ctx, host)
	if err != nil {
		cancel()
		return err
	}
	r.cut = sync.OnceFunc(func() { close(h.cut) })
	defer h.wg.Wait()
	defer cancel()
	c, err := client.Dial(ctx, client.Options{
		URL: r.node.url + "/ws", Rooms: []string{room}, Token: func(context.Context) (string, error) { return "watcher", nil },
	})
	if err != nil {
		return err
	}
	defer c.Close()
	h.wg.Go(func() { r.watch.read(ctx, c) })
	defer r.killAll()
	if err := r.connect(ctx, host, h.ln.Addr().String()); err != nil {
		return err
	}
	talking, stop := context.WithCancel(ctx)
	failed := make(chan error, 1)
	h.wg.Go(func() { failed <- r.publish(talking) })
	err = r.die(ctx)
	stop()
	if err := errors.Join(err, <-failed); err != nil {
		return err
	}
	r.ask(ctx)
	return r.report()
}

// connect starts the clients, over an interval of the heartbeat: so their pings are not at one time.
func (r *presenceRun) connect(ctx context.Context, host, hole string) error {
	began, n := time.Now(), 0
	for i := range r.Each {
		for j, f := range r.all {
			at := host
			if f.hole {
				at = hole
			}
			m := &mortal{user: fmt.Sprintf("user-%d-%d", j, i)}
			var err error
			if m.process, m.answers, err = startProcess(ctx, r.Follower(at, m.user)); err != nil {
				return err
			}
			f.mortals = append(f.mortals, m)
			if err := m.answers.Decode(&m.got); err != nil {
				return fmt.Errorf("a client did not start: %w: %s", err, m.said())
			}
			n++
			pause(ctx, time.Until(began.Add(r.Heartbeat.Interval*time.Duration(n)/time.Duration(r.Each*len(r.all)))))
		}
	}
	ok := r.until(ctx, nodeLives, func() bool { return r.watch.online() == n+1 })
	if !ok {
		return fmt.Errorf("%d are shown online, want %d", r.watch.online(), n+1)
	}
	return nil
}

// until waits for something that must happen within a time, and reports whether it did.
func (r *presenceRun) until(ctx context.Context, within time.Duration, happened func() bool) bool {
	for end := time.Now().Add(within); !happened(); {
		if time.Now().After(end) || !pause(ctx, 20*time.Millisecond) {
			return happened()
		}
	}
	return true
}

// publish publishes numbers to the room until ctx ends.
func (r *presenceRun) publish(ctx context.Context) error {
	for pause(ctx, publishPause) {
		body := fmt.Sprintf(`{"to":{"room":%q},"type":%q,"payload":{"n":%d}}`, room, numbered, r.published+1)
		if err := r.node.call(context.WithoutCancel(ctx), http.MethodPost, "/api/v1/publish", body, nil); err != nil {
			return err
		}
		r.published++
	}
	return nil
}

// die lets everybody meet their fate.
func (r *presenceRun) die(ctx context.Context) error {
	pause(ctx, 2*publishPause) // what they hear of is on its way
	if err := r.node.freeze(); err != nil {
		return err
	}
	err := r.end(r.all[fateFrozen])
	pause(ctx, r.Freeze)
	if err := errors.Join(err, r.node.thaw()); err != nil {
		return err
	}
	connected := len(r.all)*r.Each - r.Each + 1
	if !r.until(ctx, nodeLives, func() bool { return r.connected(ctx) == connected }) {
		return fmt.Errorf("%d are connected after the server was stopped, want %d", r.connected(ctx), connected)
	}
	began := time.Now()
	for i, f := range r.all {
		if i == fateFrozen || i == fateAlive {
			continue
		}
		if err := r.end(f); err != nil {
			return err
		}
	}
	pause(ctx, time.Until(began.Add(r.Sleep)))
	for _, m := range r.all[fateSleep].mortals {
		m.woke = time.Now()
		if err := m.thaw(); err != nil {
			return err
		}
	}
	r.until(ctx, comeBack+r.late(), func() bool {
		return r.watch.online() == 2*r.Each+1 // who sleeps no more, who lives, and the watcher
	})
	return ctx.Err()
}

// end ends some clients.
func (r *presenceRun) end(f *fate) error {
	for _, m := range f.mortals {
		m.died = time.Now()
		if err := f.die(r, m); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// connected is how many connections the server has; -1 if that is not known.
func (r *presenceRun) connected(ctx context.Context) int {
	var s struct {
		Active int `json:"active_connections"`
	}
	if r.node.call(ctx, http.MethodGet, "/api/v1/stats", "", &s) != nil {
		return -1
	}
	return s.Active
}

// ask lets who is there tell what they have got, until that is everything, or for some time.
func (r *presenceRun) ask(ctx context.Context) {
	for _, i := range []int{fateSleep, fateAlive} {
		for _, m := range r.all[i].mortals {
			r.until(ctx, nodeLives, func() bool {
				_, err := fmt.Fprintln(m.stdin, tellGot)
				if err == nil {
					err = m.answers.Decode(&m.got)
				}
				if err != nil {
					m.got.End = err.Error()
				}
				return m.got.Last >= r.published || m.got.End != ""
			})
		}
	}
}

func (r *presenceRun) killAll() {
	for _, f := range r.all {
		for _, m := range f.mortals {
			m.kill()
		}
	}
}
