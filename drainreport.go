package switchboard

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
)

// NodeState is what a node is ready for.
type NodeState string

// The states of a node.
const (
	NodeReady    NodeState = "ready"
	NodeDraining NodeState = "draining" // new clients are refused
	NodeDrained  NodeState = "drained"  // nobody is connected any more
)

// DrainReport says what became of everybody who was connected when a drain began. All of it
// is counted.
type DrainReport struct {
	Node  string
	State NodeState
	Began time.Time     // zero: it has not
	Took  time.Duration // so far
	// Told are connections that were told to come back elsewhere. Each ends as one of the
	// others: Moved when all that it was sent was written, Gone by itself, or Forced because
	// its socket did not take the rest in time.
	Told, Moved, Gone, Forced int
	// PeakCloses is how many ended within one second, at most, and PeakReturns how many were
	// asked to come back within one second, to a tenth of a second.
	PeakCloses, PeakReturns int
	// RunsFinished ended by themselves, RunsEnded with agent_death. The ends of RunsUntold could
	// not be written: the broker did not answer. All three are known when runs have ended.
	RunsFinished, RunsEnded, RunsUntold int
	// Written are the messages that were written to those connections over their lives, and
	// Left the places in the log behind the last one that was: what is there, their clients get
	// when they resume. Unanswered are answers and notices that were not written, server_shutdown
	// among them; clients ask again.
	Written, Left, Unanswered uint64
	// Lost are those of Left that the log does not have any more, and Unknown those of which
	// the log could not be asked, or has not been yet.
	Lost, Unknown uint64
}

// String is a block of lines for people.
func (r DrainReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "drain of %s: %s in %v\n", r.Node, r.State, r.Took.Round(time.Millisecond))
	fmt.Fprintf(&b, "  connections  %d told: %d moved, %d gone by themselves, %d closed by force\n", r.Told, r.Moved, r.Gone, r.Forced)
	fmt.Fprintf(&b, "  pace         at most %d closed and %d asked to come back in one second\n", r.PeakCloses, r.PeakReturns)
	fmt.Fprintf(&b, "  runs         %d finished, %d ended by the shutdown", r.RunsFinished, r.RunsEnded)
	if r.RunsUntold > 0 {
		fmt.Fprintf(&b, ", %d whose end could not be written", r.RunsUntold)
	}
	b.WriteByte('\n')
	fmt.Fprintf(&b, "  messages     %d written, %d left in the log to resume from, %d lost", r.Written, r.Left, r.Lost)
	if r.Unknown > 0 {
		fmt.Fprintf(&b, ", %d not known: the log has not answered", r.Unknown)
	}
	if r.Unanswered > 0 {
		fmt.Fprintf(&b, "; %d answers and notices not written", r.Unanswered)
	}
	b.WriteByte('\n')
	return b.String()
}

// attrs are for the log.
func (r DrainReport) attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("node", r.Node), slog.Duration("took", r.Took), slog.Int("told", r.Told), slog.Int("moved", r.Moved),
		slog.Int("gone", r.Gone), slog.Int("forced", r.Forced), slog.Int("peak_closes", r.PeakCloses), slog.Int("peak_returns", r.PeakReturns),
		slog.Int("runs_finished", r.RunsFinished), slog.Int("runs_ended", r.RunsEnded), slog.Int("runs_untold", r.RunsUntold), slog.Uint64("written", r.Written),
		slog.Uint64("left", r.Left), slog.Uint64("unanswered", r.Unanswered), slog.Uint64("lost", r.Lost), slog.Uint64("unknown", r.Unknown),
	}
}

// DrainReport says how far the drain of this node is. Before one has begun it has only Node
// and State.
func (m *Manager) DrainReport() DrainReport {
	d := &m.drain
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.report
	r.Node, r.State = m.opts.Node, d.state
	if r.State == NodeDraining {
		r.Took = time.Since(r.Began)
	}
	if !d.asked {
		r.Unknown = r.Left
	}
	return r
}

func (d *drain) begin(node string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state, d.report.Node, d.report.Began = NodeDraining, node, time.Now()
}

// answered adds to the report what is known when nobody is connected any more.
func (d *drain) answered(add func(*DrainReport)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	add(&d.report)
	d.asked = true
}

// finish completes the report.
func (d *drain) finish() DrainReport {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.report.Took = time.Since(d.report.Began)
	d.state, d.report.State = NodeDrained, NodeDrained
	return d.report
}

// tell takes note that c is told to come back then. It is false if c was told before.
func (d *drain) tell(c hub.Handle, back time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, told := d.told[c]; told {
		return false
	}
	d.told[c] = true
	d.report.Told++
	d.report.PeakReturns = d.after.add(back.Sub(d.report.Began))
	return true
}

// ended takes note of the end of a connection, if it was told.
func (d *drain) ended(c hub.Handle, end hub.End) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.told[c] {
		return
	}
	d.told[c] = false // it stays known, as one that was told
	r := &d.report
	switch {
	case end.Cut:
		r.Forced++
	case end.Remote:
		r.Gone++
	default:
		r.Moved++
	}
	r.PeakCloses = d.closes.add(time.Since(r.Began))
	r.Written += end.View.Sent
	r.Left += end.View.Behind
	r.Unanswered += uint64(end.Unwritten)
	for _, at := range end.Topics {
		if at.Behind > 0 {
			d.left = append(d.left, at)
		}
	}
}

// open counts those that were told and have not ended.
func (d *drain) open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.report.Told - d.report.Moved - d.report.Gone - d.report.Forced
}

func (d *drain) leftBehind() []hub.Cursor {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.left
}

// rate counts what happens, to find the second in which most does.
type rate struct {
	of   map[int64]int // by tenth of a second
	peak int
}

// add counts what happens at a time, and returns how much happens within one second at most.
func (r *rate) add(at time.Duration) int {
	const tenths = 10
	tenth := int64(at / (time.Second / tenths))
	if r.of == nil {
		r.of = make(map[int64]int)
	}
	r.of[tenth]++
	n := 0 // within the second that begins at from, which has the tenth
	for i := range int64(tenths) {
		n += r.of[tenth+i]
	}
	for from := tenth; ; from-- {
		r.peak = max(r.peak, n)
		if from == tenth-tenths+1 {
			return r.peak
		}
		n += r.of[from-1] - r.of[from-1+tenths]
	}
}
