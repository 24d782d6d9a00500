package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
)

// maxScan bounds what one call of Read looks at, in bytes of lines.
const maxScan = 4 << 20

// Page is a part of the log, oldest first.
type Page struct {
	Entries []Entry
	// Next is where to read on: everything up to it has been looked at.
	Next uint64
	// More says that there is something after Next already, perhaps nothing that was asked for.
	More bool
}

// Query is what is asked of a log.
type Query struct {
	// Tenant is whose events; "": those of the tenant without a name, and what is nobody's.
	Tenant string
	// Since is the sequence number after which they come.
	Since uint64
	// Limit is how many there may be.
	Limit int
	// Action and User limit them; "": to none.
	Action, User string
}

// Read returns what is asked for, of all that was recorded before the call. It looks at some
// megabytes at most, and may return fewer than there are; More says so. It opens no series of
// another tenant.
func (l *Log) Read(q Query) (Page, error) {
	if l == nil {
		return Page{Next: q.Since}, nil
	}
	tenant := Event{Tenant: q.Tenant}.bounded().Tenant
	return l.read(l.partsOf(tenant, q.Since), q.Since, q.Limit, newFilter(tenant, q))
}

// part is a series up to a sequence number.
type part struct {
	series string
	until  uint64
}

// partsOf is what has lines of a tenant after since.
func (l *Log) partsOf(tenant string, since uint64) []part {
	const all = math.MaxUint64
	own := seriesOf(tenant)
	l.mu.Lock()
	has := l.intakes[own] != nil
	l.mu.Unlock()
	parts := []part{{strangers, all}}
	if has {
		parts = append(parts, part{own, all})
	} else {
		parts = append(parts, part{others, all})
	}
	for _, series := range []string{actors, others} { // from when it had none of its own
		if until := l.legacy[series]; tenant != "" && since < until && (has || series != others) {
			parts = append(parts, part{series, until})
		}
	}
	return parts
}

// filter tells lines that are asked for.
type filter struct {
	with, without [][]byte // what a line has, and has not, if it is one: it is not decoded for nothing
	match         func(Entry) bool
}

func newFilter(tenant string, q Query) filter {
	f := filter{match: func(e Entry) bool {
		return e.Tenant == tenant && (q.Action == "" || q.Action == e.Action) && (q.User == "" || q.User == e.User)
	}}
	for _, m := range []struct{ name, value string }{{"tenant", tenant}, {"action", q.Action}, {"user", q.User}} {
		if m.value != "" {
			f.with = append(f.with, member(m.name, m.value))
		}
	}
	if tenant == "" {
		f.without = append(f.without, []byte(tenantBegin))
	}
	return f
}

// may reports whether line may be one that is asked for.
func (f filter) may(line []byte) bool {
	for _, text := range f.with {
		if !bytes.Contains(line, text) {
			return false
		}
	}
	for _, text := range f.without {
		if bytes.Contains(line, text) {
			return false
		}
	}
	return true
}

func (l *Log) read(parts []part, since uint64, limit int, f filter) (Page, error) {
	l.flush()
	l.mu.Lock()
	head := l.seq // what is written meanwhile may be there in one series and not yet in another
	l.mu.Unlock()
	page := Page{Next: max(since, head)}
	next, closeAll, err := l.from(parts, since, f)
	if err != nil {
		return Page{}, fmt.Errorf("audit: %w", err)
	}
	defer closeAll()
	scanned, last := 0, since
	for {
		e, err := next()
		switch {
		case errors.Is(err, io.EOF) || err == nil && e.Seq > head:
			return page, nil
		case err != nil:
			return Page{}, fmt.Errorf("audit: %w", err)
		}
		if e.wanted && len(page.Entries) == limit || scanned > maxScan {
			page.Next, page.More = last, true
			return page, nil
		} else if e.wanted {
			page.Entries = append(page.Entries, e.Entry)
		}
		scanned, last = scanned+e.size, e.Seq
	}
}

// found is an entry of a series. One that is not wanted may have nothing but its number.
type found struct {
	Entry
	size   int // of its line
	wanted bool
}

// source yields the entries of a series; io.EOF is the end.
type source func() (found, error)

// from merges series by sequence number.
func (l *Log) from(parts []part, since uint64, f filter) (merged source, closeAll func(), err error) {
	type head struct {
		source
		found
		err error
	}
	var files map[string][]file
	if l.dir != "" {
		if files, err = filesIn(l.dir); err != nil {
			return nil, nil, err
		}
	}
	var heads []*head
	var closers []func()
	for _, p := range parts {
		h := new(head)
		if l.dir == "" {
			h.source = l.ringSource(p.series, since, f)
		} else {
			s := &fileSource{files: files[p.series], since: since, until: p.until, filter: f}
			h.source = s.next
			closers = append(closers, s.close)
		}
		h.found, h.err = h.source()
		heads = append(heads, h)
	}
	closeAll = func() {
		for _, c := range closers {
			c()
		}
	}
	return func() (found, error) {
		first := heads[0]
		for _, h := range heads {
			if h.err != nil && !errors.Is(h.err, io.EOF) {
				return found{}, h.err
			}
			if first.err != nil || h.err == nil && h.Seq < first.Seq {
				first = h
			}
		}
		if first.err != nil {
			return found{}, first.err
		}
		e := first.found
		first.found, first.err = first.source()
		return e, nil
	}, closeAll, nil
}

func (l *Log) ringSource(series string, since uint64, f filter) source {
	l.mu.Lock()
	ring := lastOf(l.rings[series], mostEntries(series)) // no entry in it is ever changed
	l.mu.Unlock()
	return func() (found, error) {
		for len(ring) > 0 {
			e := ring[0]
			ring = ring[1:]
			if e.Seq > since {
				return found{Entry: e, wanted: f.match(e)}, nil
			}
		}
		return found{}, io.EOF
	}
}

// fileSource reads the files of a series.
type fileSource struct {
	files []file // that are still to be read
	since uint64
	until uint64
	filter
	in    *os.File
	lines *bufio.Reader
	at    string // path and line, for errors
	n     int
}

func (s *fileSource) close() {
	if s.in != nil {
		_ = s.in.Close() // it was only read
		s.in = nil
	}
}

// open begins the next file that has what is asked for. One that is gone has been removed as the
// oldest.
func (s *fileSource) open() error {
	for len(s.files) > 0 {
		f := s.files[0]
		s.files = s.files[1:]
		if len(s.files) > 0 && s.files[0].first <= s.since+1 {
			continue
		}
		in, err := os.Open(f.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		s.in, s.lines, s.at, s.n = in, bufio.NewReaderSize(in, maxLine), f.path, 0
		return nil
	}
	return io.EOF
}

func (s *fileSource) next() (found, error) {
	for {
		if s.in == nil {
			if err := s.open(); err != nil {
				return found{}, err
			}
		}
		line, err := s.lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) { // or a line that is being written
			s.close()
			continue
		}
		s.n++
		if err != nil {
			return found{}, fmt.Errorf("%s:%d: %w", s.at, s.n, err)
		}
		seq, ok := seqOf(line)
		switch {
		case ok && seq <= s.since:
			continue
		case ok && seq > s.until:
			s.close()
			s.files = nil
			return found{}, io.EOF
		case ok && !s.may(line):
			return found{Entry: Entry{Seq: seq}, size: len(line)}, nil
		}
		e, err := parseLine(line)
		if err != nil {
			return found{}, fmt.Errorf("%s:%d: %w", s.at, s.n, err)
		}
		return found{Entry: e, size: len(line), wanted: s.match(e)}, nil
	}
}
