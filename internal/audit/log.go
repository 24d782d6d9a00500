package audit

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// The bounds of a log whose Options say nothing.
const (
	usualFileBytes = 4 << 20
	actorFiles     = 16 // also of others
	strangerFiles  = 4
	tenantFiles    = 8
	// maxTenants have series of their own. Files hold 2.2 GiB at most, all together.
	maxTenants = 64
	// What a log in memory keeps of a series.
	ringEntries, tenantEntries = 4096, 2048
)

// mostFiles is how many files a series has at most.
func mostFiles(series string) int {
	switch series {
	case strangers:
		return strangerFiles
	case actors, others:
		return actorFiles
	}
	return tenantFiles
}

// pace is how often the log looks for what it has counted, and waits for the disk. What was
// written within the last one may be lost when the machine stops, and not when the process does.
const pace = time.Second

// Options say where a log is.
type Options struct {
	// Dir is its directory, which is made; "": the log is in memory, and ends with it.
	Dir string
	// FileBytes bounds a file (4 MiB). A tenant has at most 8 files, strangers have 4, and the
	// tenant without a name 16, as have together those for which there is no series left.
	FileBytes int64
	// Failed is told, by the goroutine of the log, that something could not be written; nil:
	// nobody is. What is lost by that is also told by the log itself, when it can write again.
	Failed func(error)
	// Crowded is told, once and by the goroutine of the log, that there are more tenants than
	// series, of which there are so many: those that come later have one together. nil: nobody is.
	Crowded func(series int)
}

// Log is a log of events. Make one with [Open], and Close it. All methods may be called
// concurrently. A nil Log records nothing and has nothing.
type Log struct {
	dir       string
	fileBytes int64
	failed    func(error)
	crowded   func(int)
	lock      *os.File // nil: in memory
	spend     budgets
	own       *shares            // of tenants that have series of their own
	legacy    map[string]uint64  // by series, up to which line it has some of tenants that have series of their own
	wake      chan struct{}      // capacity 1
	asked     chan chan struct{} // each is closed when all that came before is written
	stop      chan struct{}
	done      chan struct{} // closed when the goroutine has ended
	ended     sync.Once

	mu      sync.Mutex // guards the fields below
	closed  bool
	intakes map[string]*intake // by series
	all     []*intake          // the same, in the order in which they are written
	tenants int                // how many have series of their own
	shared  uint64             // events of those that have none
	seq     uint64             // of the last line that readers may see
	rings   map[string][]Entry // of a log in memory; see lastOf

	told     bool              // that it is crowded. The goroutine's, from here on
	chains   map[string]*chain // nil: in memory
	next     uint64            // sequence number
	previous map[string]string // hash of the last line, in memory
	err      error             // of closing
}

// Open continues the log in o.Dir, or begins one. A last line that a crash has left half written
// is cut off, which is an event; anything else that does not verify is an error that names file
// and line, and stays as it is. Only one log at a time may have a directory.
func Open(o Options) (*Log, error) {
	l := &Log{
		dir: o.Dir, fileBytes: cmp.Or(o.FileBytes, usualFileBytes), failed: o.Failed, crowded: o.Crowded, spend: newBudgets(),
		wake: make(chan struct{}, 1), asked: make(chan chan struct{}), stop: make(chan struct{}), done: make(chan struct{}),
		intakes: make(map[string]*intake), next: 1,
	}
	if l.failed == nil {
		l.failed = func(error) {}
	}
	if l.crowded == nil {
		l.crowded = func(int) {}
	}
	lines := inMemory()
	if l.dir != "" {
		lines = onDisk()
	}
	l.own = newShares(lines)
	l.begin(actors, l.own)
	l.begin(strangers, nil)
	l.begin(others, newShares(lines.shared()))
	if l.dir == "" {
		l.rings, l.previous = make(map[string][]Entry), make(map[string]string)
	} else if err := l.open(); err != nil {
		return nil, fmt.Errorf("audit: %w", errors.Join(err, l.release()))
	}
	l.seq = l.next - 1
	go l.run()
	return l, nil
}

// begin adds a series. Its caller holds l.mu, or is alone.
func (l *Log) begin(series string, of *shares) *intake {
	in := &intake{series: series, shares: of}
	l.intakes[series], l.all = in, append(l.all, in)
	return in
}

func (l *Log) open() error {
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(l.dir, 0o700); err != nil { //nolint:gosec // a directory, which its owner enters
		return err
	}
	f, err := os.OpenFile(filepath.Join(l.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	l.lock = f
	if err := lock(f); err != nil {
		return fmt.Errorf("another process has %s open: %w", l.dir, err)
	}
	l.chains, l.legacy = make(map[string]*chain), make(map[string]uint64)
	files, err := filesIn(l.dir)
	if err != nil {
		return err
	}
	for _, series := range namesOf(files) {
		c, r, cut, err := openChain(l.dir, series, files[series], l.fileBytes, mostFiles(series))
		if err != nil {
			return err
		}
		l.chains[series], l.legacy[series] = c, r.tenants
		l.next = max(l.next, r.Last+1)
		in := l.intakes[series]
		if in == nil {
			in = l.begin(series, l.own)
			l.tenants++
		}
		if cut {
			in.queue = append(in.queue, queued{Event: Event{Action: ActionCut, Tenant: r.Tenant}, at: time.Now(), lost: 1})
		}
	}
	return nil
}

// release gives back the files.
func (l *Log) release() error {
	var all []error
	for _, c := range l.chains {
		all = append(all, c.close())
	}
	if l.lock != nil {
		all = append(all, l.lock.Close())
	}
	return errors.Join(all...)
}

// intakeOf is what an event comes into. Its caller holds l.mu.
func (l *Log) intakeOf(series string) *intake {
	in := l.intakes[series]
	switch {
	case in != nil:
		return in
	case l.tenants < maxTenants:
		l.tenants++
		return l.begin(series, l.own)
	}
	l.shared++
	return l.intakes[others]
}

// Record takes an event. It does not wait for the disk. What is too much is counted, and the log
// says how much that was.
func (l *Log) Record(e Event) {
	if l == nil {
		return
	}
	e, now := e.bounded(), time.Now()
	series := strangers
	if !e.stranger() {
		series = seriesOf(e.Tenant)
	}
	l.mu.Lock()
	more := false
	if !l.closed {
		in := l.intakeOf(series)
		before := len(in.queue)
		in.take(e, now, l.spend)
		more = len(in.queue) > before
	}
	l.mu.Unlock()
	if more {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// Stats are the counters of a log since it was opened.
type Stats struct {
	Tenants int    // that have a series of their own, now
	Shared  uint64 // events of other tenants, which have one together
	Lost    uint64 // events without a line, as lines tell
}

// Stats returns the counters.
func (l *Log) Stats() Stats {
	if l == nil {
		return Stats{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{Tenants: l.tenants, Shared: l.shared}
	for _, in := range l.all {
		s.Lost += in.missed
	}
	return s
}

// Close writes what came before it and gives back the directory. Events that come later are lost.
func (l *Log) Close() error {
	l.ended.Do(func() {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		close(l.stop)
	})
	<-l.done
	return l.err
}

// flush waits until what came before is written.
func (l *Log) flush() {
	written := make(chan struct{})
	select {
	case l.asked <- written:
		<-written
	case <-l.done:
	}
}

// run writes until Close.
func (l *Log) run() {
	defer close(l.done)
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-l.wake:
			l.write()
		case written := <-l.asked:
			l.write()
			close(written)
		case <-tick.C:
			l.settle(false)
			l.write()
			l.sync()
		case <-l.stop:
			l.settle(true)
			l.write()
			l.settle(true) // what has just been lost
			l.write()
			if l.err = l.release(); l.err != nil {
				l.err = fmt.Errorf("audit: %w", l.err)
			}
			return
		}
	}
}

func (l *Log) settle(end bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, in := range l.all {
		in.settle(now, l.spend, end)
	}
}

func (l *Log) sync() {
	for _, c := range l.chains {
		if err := c.sync(); err != nil {
			l.failed(fmt.Errorf("audit: %w", err))
		}
	}
}

// write makes lines of what has come.
func (l *Log) write() {
	type batch struct {
		in    *intake
		queue []queued
	}
	var batches []batch
	l.mu.Lock()
	for _, in := range l.all {
		if len(in.queue) > 0 {
			batches = append(batches, batch{in, in.queue})
			in.queue = nil
		}
	}
	crowded := l.shared > 0
	l.mu.Unlock()
	for _, b := range batches {
		entries := make([]Entry, len(b.queue))
		for i, q := range b.queue {
			entries[i] = Entry{Seq: l.next, Time: q.at.UTC(), Event: q.Event, Count: q.count, Lost: q.lost}
			l.next++
		}
		n, err := l.store(b.in.series, entries)
		if err == nil {
			continue
		}
		l.mu.Lock()
		for _, q := range b.queue[n:] {
			if q.of != nil {
				b.in.owe(q.Tenant, q.of)
			} else {
				b.in.lose(q.Event, max(1, uint64(max(0, q.count)), q.lost))
			}
		}
		l.mu.Unlock()
		l.failed(fmt.Errorf("audit: %w", err))
	}
	l.mu.Lock()
	l.seq = l.next - 1
	l.mu.Unlock()
	if crowded && !l.told {
		l.told = true
		l.crowded(maxTenants)
	}
}

// store writes entries where the log is.
func (l *Log) store(series string, entries []Entry) (written int, err error) {
	if l.chains != nil {
		c := l.chains[series]
		if c == nil { // Open has seen that there is none
			c = newChain(l.dir, series, l.fileBytes, mostFiles(series))
			l.chains[series] = c
		}
		return c.append(entries)
	}
	for i := range entries {
		entries[i].Prev = cmp.Or(l.previous[series], begin)
		if _, err := entries[i].line(nil); err != nil {
			return i, err
		}
		l.previous[series] = entries[i].Hash
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ring, most := append(l.rings[series], entries...), mostEntries(series)
	if len(ring) >= most+most/4 { // not for each that is too many: what stays is copied
		ring = slices.Clone(lastOf(ring, most))
	}
	l.rings[series] = ring
	return len(entries), nil
}

// mostEntries is how many lines a log in memory shows of a series.
func mostEntries(series string) int {
	if strings.HasPrefix(series, ofTenant) {
		return tenantEntries
	}
	return ringEntries
}

// lastOf is what a log in memory shows of a series.
func lastOf(ring []Entry, most int) []Entry { return ring[max(0, len(ring)-most):] }
