package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Report is what is left of a series.
type Report struct {
	Series string
	// Tenant is whose the series is; "": that of none, or of the tenant without a name.
	Tenant string
	Files  int
	Lines  int
	// First and Last are the sequence numbers of the first and the last line; 0: there is none.
	First, Last uint64
	// Prev is what the first line says of the line before it: 64 zeros, or the hash of a line
	// that has been removed with its file.
	Prev string
	// Hash is that of the last line, which stands for all before it.
	Hash string

	tenants uint64 // number of the last line that is of a tenant with a name
	member  []byte // what lines of Tenant have
}

// tornError says that the last line of a series is not whole: a crash in the middle of a write,
// or a write that is under way.
type tornError struct {
	file file
	line int
	at   int64 // where it begins in the file
}

func (e *tornError) Error() string {
	return fmt.Sprintf("%s:%d: is not whole: it is being written, or a crash has cut it off", e.file.path, e.line)
}

// Verify checks all that is left of the log in dir: each line against its hash, and each against
// the line before it. The error names the file and the line. It changes nothing, and may be
// called while the log is written; then the last line may not be whole at that moment.
func Verify(dir string) ([]Report, error) {
	files, err := filesIn(dir)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	var all []Report
	for _, series := range namesOf(files) {
		r, err := verify(series, files[series])
		if err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
		all = append(all, r)
	}
	return all, nil
}

// verify checks a series. After a [tornError] the report tells of all lines before that one.
func verify(series string, files []file) (Report, error) {
	r := Report{Series: series, Files: len(files), Prev: begin, Hash: begin}
	for i, f := range files {
		if err := r.verifyFile(f, i == len(files)-1); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (r *Report) verifyFile(f file, newest bool) error {
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	lines := bufio.NewReaderSize(in, maxLine)
	var at int64
	for n := 1; ; n++ {
		wrong := func(why string) error { return fmt.Errorf("%s:%d: %s", f.path, n, why) }
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			if n == 1 && !newest {
				return wrong("is missing: the file is empty")
			}
			return nil
		case errors.Is(err, io.EOF) && newest:
			return &tornError{file: f, line: n, at: at}
		case errors.Is(err, io.EOF):
			return wrong("is not whole, and there are lines after it")
		case errors.Is(err, bufio.ErrBufferFull):
			return wrong("is too long for an event")
		case err != nil:
			return fmt.Errorf("%s: %w", f.path, err)
		}
		at += int64(len(line))
		e, err := parseLink(line)
		switch {
		case err != nil:
			return wrong(err.Error())
		case n == 1 && e.seq != f.first:
			return wrong(fmt.Sprintf("has the number %d, and the file is named after %d", e.seq, f.first))
		case r.Lines > 0 && e.seq <= r.Last:
			return wrong(fmt.Sprintf("has the number %d after %d", e.seq, r.Last))
		case r.Lines > 0 && e.prev != r.Hash:
			return wrong("does not follow the line before it: lines are missing, or were added")
		case r.Lines == 0:
			r.First, r.Prev = e.seq, e.prev
		}
		if err := r.verifyTenant(line, e.seq); err != nil {
			return wrong(err.Error())
		}
		r.Lines++
		r.Last, r.Hash = e.seq, e.hash
	}
}

// verifyTenant checks that a line is of the tenant whose series it is in.
func (r *Report) verifyTenant(line []byte, seq uint64) error {
	if !bytes.Contains(line, []byte(tenantBegin)) {
		return nil
	}
	r.tenants = seq
	if !strings.HasPrefix(r.Series, ofTenant) || r.Tenant != "" && bytes.Contains(line, r.member) {
		return nil
	}
	e, err := parseLine(line)
	switch {
	case err != nil:
		return err
	case seriesOf(e.Tenant) != r.Series:
		return errors.New("is another tenant's than the file")
	}
	r.Tenant, r.member = e.Tenant, member("tenant", e.Tenant)
	return nil
}

// chain writes a series. It belongs to one goroutine.
type chain struct {
	dir, series string
	fileBytes   int64
	maxFiles    int

	files []file
	f     *os.File // the newest; nil: the next line begins one
	size  int64    // of f, up to the end of its last whole line
	unfit bool     // f may have something behind size
	dirty bool     // f has lines that may not be on the disk
	prev  string
}

// newChain makes a series that has no files.
func newChain(dir, series string, fileBytes int64, maxFiles int) *chain {
	return &chain{dir: dir, series: series, fileBytes: fileBytes, maxFiles: maxFiles, prev: begin}
}

// openChain verifies what there is, cuts off a last line that is not whole, and says so.
func openChain(dir, series string, files []file, fileBytes int64, maxFiles int) (c *chain, r Report, cut bool, err error) {
	r, err = verify(series, files)
	var torn *tornError
	if cut = errors.As(err, &torn); cut {
		err = os.Truncate(torn.file.path, torn.at)
	}
	if err != nil {
		return nil, r, false, err
	}
	c = newChain(dir, series, fileBytes, maxFiles)
	c.files, c.prev = files, r.Hash
	if len(files) == 0 {
		return c, r, false, nil
	}
	newest := files[len(files)-1]
	info, err := os.Stat(newest.path)
	if err != nil {
		return nil, r, false, err
	}
	if info.Size() == 0 { // named after a line that was never written
		c.files = files[:len(files)-1]
		return c, r, cut, os.Remove(newest.path)
	}
	if c.f, err = os.OpenFile(newest.path, os.O_WRONLY, 0); err != nil {
		return nil, r, false, err
	}
	c.size = info.Size()
	return c, r, cut, nil
}

// append writes entries, each with the hash of the one before. It returns how many of them are
// written, and why the others are not.
func (c *chain) append(entries []Entry) (written int, err error) {
	var buf []byte
	prev, begun := c.prev, 0
	flush := func() error {
		if err := c.write(buf); err != nil {
			return err
		}
		buf, c.prev, written = buf[:0], prev, begun
		return nil
	}
	for i := range entries {
		if c.f != nil && c.size == 0 && len(buf) == 0 && c.files[len(c.files)-1].first != entries[i].Seq {
			if err := c.discard(); err != nil {
				return written, err
			}
		}
		entries[i].Prev = prev
		whole := len(buf)
		if buf, err = entries[i].line(buf); err != nil {
			return written, err
		}
		line := buf[whole:]
		if size := c.size + int64(whole); c.f == nil || size > 0 && size+int64(len(line)) > c.fileBytes {
			line = slices.Clone(line)
			buf = buf[:whole]
			if err := flush(); err != nil {
				return written, err
			}
			if err := c.rotate(entries[i].Seq); err != nil {
				return written, err
			}
			buf = append(buf, line...)
		}
		prev, begun = entries[i].Hash, i+1
	}
	err = flush()
	return written, err
}

// discard removes a newest file that has no line: it is named after one that was not written.
func (c *chain) discard() error {
	last := len(c.files) - 1
	if err := errors.Join(c.f.Close(), os.Remove(c.files[last].path)); err != nil {
		return err
	}
	c.f, c.files, c.unfit = nil, c.files[:last], false
	return nil
}

// write appends whole lines to the newest file.
func (c *chain) write(lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	if c.unfit { // by a write that failed
		if err := c.f.Truncate(c.size); err != nil {
			return err
		}
		c.unfit = false
	}
	if _, err := c.f.WriteAt(lines, c.size); err != nil {
		c.unfit = true
		return err
	}
	c.size += int64(len(lines))
	c.dirty = true
	return nil
}

// rotate begins a file with the line first, and removes the oldest if there are too many.
func (c *chain) rotate(first uint64) error {
	if err := c.sync(); err != nil {
		return err
	}
	next := file{path: filePath(c.dir, c.series, first), first: first}
	f, err := os.OpenFile(next.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if c.f != nil {
		_ = c.f.Close() // it is synced
	}
	c.f, c.size, c.unfit = f, 0, false
	c.files = append(c.files, next)
	for len(c.files) > c.maxFiles {
		if err := os.Remove(c.files[0].path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			break // it is tried again with the next file
		}
		c.files = c.files[1:]
	}
	return nil
}

// sync waits until what was written is on the disk.
func (c *chain) sync() error {
	if c.f == nil || !c.dirty {
		return nil
	}
	if err := c.f.Sync(); err != nil {
		return err
	}
	c.dirty = false
	return nil
}

func (c *chain) close() error {
	if c.f == nil {
		return nil
	}
	return errors.Join(c.sync(), c.f.Close())
}
