package audit

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// The bounds of a log whose Options say nothing.
const (
	usualFileBytes = 4 << 20
	actorFiles     = 16
	strangerFiles  = 4
	// ringEntries is what a log in memory keeps of a series.
	ringEntries = 4096
)

// pace is how often the log looks for what it has counted, and waits for the disk. What was
// written within the last one may be lost when the machine stops, and not when the process does.
const pace = time.Second

// Options say where a log is.
type Options struct {
	// Dir is its directory, which is made; "": the log is in memory, and ends with it.
	Dir string
	// FileBytes bounds a file (4 MiB). A series has at most 16 files, that of strangers 4.
	FileBytes int64
	// Failed is told, by the goroutine of the log, that something could not be written; nil:
	// nobody is. What is lost by that is also told by the log itself, when it can write again.
	Failed func(error)
}

// Log is a log of events. Make one with [Open], and Close it. All methods may be called
// concurrently. A nil Log records nothing and has nothing.
type Log struct {
	dir    string
	failed func(error)
	lock   *os.File // nil: in memory
	spend  budgets
	wake   chan struct{}      // capacity 1
	asked  chan chan struct{} // each is closed when all that came before is written
	stop   chan struct{}
	done   chan struct{} // closed when the goroutine has ended
	ended  sync.Once

	mu        sync.Mutex // guards the fields below
	closed    bool
	actors    intake
	strangers intake
	seq       uint64             // of the last line that readers may see
	rings     map[string][]Entry // of a log in memory; see lastOf

	chains   map[string]*chain // nil: in memory. The goroutine's, from here on
	next     uint64            // sequence number
	previous map[string]string // hash of the last line, in memory
	err      error             // of closing
}

// Open continues the log in o.Dir, or begins one. A last line that a crash has left half written
// is cut off, which is an event; anything else that does not verify is an error that names file
// and line, and stays as it is. Only one log at a time may have a directory.
func Open(o Options) (*Log, error) {
	l := &Log{
		dir: o.Dir, failed: o.Failed, spend: newBudgets(), wake: make(chan struct{}, 1), asked: make(chan chan struct{}),
		stop: make(chan struct{}), done: make(chan struct{}), next: 1,
	}
	if l.failed == nil {
		l.failed = func(error) {}
	}
	if l.dir == "" {
		l.rings, l.previous = make(map[string][]Entry), map[string]string{actors: begin, strangers: begin}
	} else if err := l.open(o); err != nil {
		return nil, fmt.Errorf("audit: %w", errors.Join(err, l.release()))
	}
	l.seq = l.next - 1
	go l.run()
	return l, nil
}

func (l *Log) open(o Options) error {
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
	l.chains = make(map[string]*chain)
	for _, series := range allSeries() {
		most := actorFiles
		if series == strangers {
			most = strangerFiles
		}
		c, last, cut, err := openChain(l.dir, series, cmp.Or(o.FileBytes, usualFileBytes), most)
		if err != nil {
			return err
		}
		l.chains[series] = c
		l.next = max(l.next, last+1)
		if cut {
			in := l.intakeOf(series)
			in.queue = append(in.queue, queued{Event: Event{Action: ActionCut}, at: time.Now(), lost: 1})
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

func (l *Log) intakeOf(series string) *intake {
	if series == strangers {
		return &l.strangers
	}
	return &l.actors
}

// Record takes an event. It does not wait for the disk. What is too much is counted, and the log
// says how much that was.
func (l *Log) Record(e Event) {
	if l == nil {
		return
	}
	e, now := e.bounded(), time.Now()
	l.mu.Lock()
	in := &l.actors
	if e.stranger() {
		in = &l.strangers
	}
	before := len(in.queue)
	if !l.closed {
		in.take(e, now, l.spend)
	}
	more := len(in.queue) > before
	l.mu.Unlock()
	if more {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
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
	l.actors.settle(now, l.spend, end)
	l.strangers.settle(now, l.spend, end)
}

func (l *Log) sync() {
	for _, series := range allSeries() {
		if c := l.chains[series]; c != nil {
			if err := c.sync(); err != nil {
				l.failed(fmt.Errorf("audit: %w", err))
			}
		}
	}
}

// write makes lines of what has come.
func (l *Log) write() {
	for _, series := range allSeries() {
		l.mu.Lock()
		in := l.intakeOf(series)
		queue := in.queue
		in.queue = nil
		l.mu.Unlock()
		if len(queue) == 0 {
			continue
		}
		entries := make([]Entry, len(queue))
		for i, q := range queue {
			entries[i] = Entry{Seq: l.next, Time: q.at.UTC(), Event: q.Event, Count: q.count, Lost: q.lost}
			l.next++
		}
		n, err := l.store(series, entries)
		if err == nil {
			continue
		}
		l.mu.Lock()
		for _, q := range queue[n:] {
			in.lost += max(1, uint64(max(0, q.count)), q.lost)
		}
		l.mu.Unlock()
		l.failed(fmt.Errorf("audit: %w", err))
	}
	l.mu.Lock()
	l.seq = l.next - 1
	l.mu.Unlock()
}

// store writes entries where the log is.
func (l *Log) store(series string, entries []Entry) (written int, err error) {
	if l.chains != nil {
		return l.chains[series].append(entries)
	}
	for i := range entries {
		entries[i].Prev = l.previous[series]
		if _, err := entries[i].line(nil); err != nil {
			return i, err
		}
		l.previous[series] = entries[i].Hash
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ring := append(l.rings[series], entries...)
	if len(ring) >= 2*ringEntries { // not for each that is too many: what stays is copied
		ring = slices.Clone(lastOf(ring))
	}
	l.rings[series] = ring
	return len(entries), nil
}

// lastOf is what a log in memory shows of a series.
func lastOf(ring []Entry) []Entry { return ring[max(0, len(ring)-ringEntries):] }
