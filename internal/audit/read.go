package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
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

// Read returns up to limit entries after the sequence number since for which match holds, and all
// that was recorded before the call. It looks at some megabytes at most, and may return fewer
// than there are; More says so.
func (l *Log) Read(since uint64, limit int, match func(Entry) bool) (Page, error) {
	if l == nil {
		return Page{Next: since}, nil
	}
	l.flush()
	l.mu.Lock()
	head := l.seq // what is written meanwhile may be there in one series and not yet in the other
	l.mu.Unlock()
	page := Page{Next: max(since, head)}
	next, closeAll, err := l.from(since)
	if err != nil {
		return Page{}, fmt.Errorf("audit: %w", err)
	}
	defer closeAll()
	scanned, last := 0, since
	for {
		e, size, err := next()
		switch {
		case errors.Is(err, io.EOF) || err == nil && e.Seq > head:
			return page, nil
		case err != nil:
			return Page{}, fmt.Errorf("audit: %w", err)
		}
		if wanted := match(e); wanted && len(page.Entries) == limit || scanned > maxScan {
			page.Next, page.More = last, true
			return page, nil
		} else if wanted {
			page.Entries = append(page.Entries, e)
		}
		scanned, last = scanned+size, e.Seq
	}
}

// source yields the entries of a series, and their sizes; io.EOF is the end.
type source func() (Entry, int, error)

// from merges both series by sequence number.
func (l *Log) from(since uint64) (merged source, closeAll func(), err error) {
	type head struct {
		source
		entry Entry
		size  int
		err   error
	}
	var heads []*head
	var closers []func()
	closeAll = func() {
		for _, c := range closers {
			c()
		}
	}
	for _, series := range allSeries() {
		h := new(head)
		if l.dir == "" {
			h.source = l.ringSource(series, since)
		} else {
			files, err := filesOf(l.dir, series)
			if err != nil {
				closeAll()
				return nil, nil, err
			}
			s := &fileSource{files: files, since: since}
			h.source = s.next
			closers = append(closers, s.close)
		}
		h.entry, h.size, h.err = h.source()
		heads = append(heads, h)
	}
	return func() (Entry, int, error) {
		first := heads[0]
		for _, h := range heads {
			if h.err != nil && !errors.Is(h.err, io.EOF) {
				return Entry{}, 0, h.err
			}
			if first.err != nil || h.err == nil && h.entry.Seq < first.entry.Seq {
				first = h
			}
		}
		if first.err != nil {
			return Entry{}, 0, first.err
		}
		e, size := first.entry, first.size
		first.entry, first.size, first.err = first.source()
		return e, size, nil
	}, closeAll, nil
}

func (l *Log) ringSource(series string, since uint64) source {
	l.mu.Lock()
	ring := slices.Clone(lastOf(l.rings[series]))
	l.mu.Unlock()
	return func() (Entry, int, error) {
		for len(ring) > 0 {
			e := ring[0]
			ring = ring[1:]
			if e.Seq > since {
				return e, 0, nil
			}
		}
		return Entry{}, 0, io.EOF
	}
}

// fileSource reads the files of a series.
type fileSource struct {
	files []file // that are still to be read
	since uint64
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

func (s *fileSource) next() (Entry, int, error) {
	for {
		if s.in == nil {
			if err := s.open(); err != nil {
				return Entry{}, 0, err
			}
		}
		line, err := s.lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) { // or a line that is being written
			s.close()
			continue
		}
		s.n++
		if err != nil {
			return Entry{}, 0, fmt.Errorf("%s:%d: %w", s.at, s.n, err)
		}
		if seq, ok := seqOf(line); ok && seq <= s.since {
			continue
		}
		e, err := parseLine(line)
		if err != nil {
			return Entry{}, 0, fmt.Errorf("%s:%d: %w", s.at, s.n, err)
		}
		return e, len(line), nil
	}
}
