package audit

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, o Options) *Log {
	t.Helper()
	if o.Failed == nil {
		o.Failed = func(err error) { t.Errorf("not written: %v", err) }
	}
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func shut(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, l *Log) []Entry {
	t.Helper()
	var all []Entry
	for since := uint64(0); ; {
		page, err := l.read(everything(l), since, 1000, filter{match: func(Entry) bool { return true }})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Entries...)
		if since = page.Next; !page.More {
			return all
		}
	}
}

// everything is all that a log has.
func everything(l *Log) []part {
	l.mu.Lock()
	defer l.mu.Unlock()
	var parts []part
	for _, in := range l.all {
		parts = append(parts, part{in.series, math.MaxUint64})
	}
	return parts
}

func filesOf(dir, series string) ([]file, error) {
	all, err := filesIn(dir)
	return all[series], err
}

func did(n int) Event {
	return Event{Action: "ticket", User: fmt.Sprint("u", n), Actor: "shop", Object: `a "quoted" <ü>`}
}

func refused(address string) Event {
	return Event{Action: "connect", Address: netip.MustParseAddr(address), Reason: "credential", Code: "AUTH_ERROR"}
}

// written fills a directory with a log of three lines in one series and two in the other.
func written(t *testing.T, dir string) {
	t.Helper()
	l := open(t, Options{Dir: dir})
	for n := range 3 {
		l.Record(did(n))
	}
	l.Record(refused("192.0.2.1"))
	l.Record(refused("192.0.2.2"))
	shut(t, l)
}

// newest is the newest file of a series.
func newest(t *testing.T, dir, series string) string {
	t.Helper()
	files, err := filesOf(dir, series)
	if err != nil || len(files) == 0 {
		t.Fatalf("got %v, %v, want files", files, err)
	}
	return files[len(files)-1].path
}

func TestALogIsContinuedAndVerifies(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	written(t, dir)
	written(t, dir)
	l := open(t, Options{Dir: dir})
	all := read(t, l)
	var seqs []uint64
	for _, e := range all {
		seqs = append(seqs, e.Seq)
	}
	if len(all) != 10 || !slices.IsSorted(seqs) || all[0].Seq != 1 || all[9].Seq != 10 {
		t.Fatalf("got %v, want 10 entries in order", seqs)
	}
	reports, err := Verify(dir)
	if err != nil {
		t.Fatal(err)
	}
	if a, s := reports[0], reports[1]; a.Lines != 6 || s.Lines != 4 || a.Prev != begin || a.Last+s.Last < 11 || a.Hash != all[a.Last-1].Hash || s.Hash != all[s.Last-1].Hash {
		t.Errorf("got %+v, want 6 and 4 lines that end with the newest", reports)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, newest(t, dir, actors): 0o600, filepath.Join(dir, "lock"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("got mode %v of %s, want %v", info.Mode(), path, want)
		}
	}
}

func TestOneProcessHasADirectory(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("got %v, want that another process has it", err)
	}
	shut(t, l)
	open(t, Options{Dir: dir})
}

func TestTheOldestFilesGoAndWhatIsLeftVerifies(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir, FileBytes: 1000})
	for n := range 200 {
		l.Record(did(n))
		if n%7 == 0 {
			l.flush()
		}
	}
	shut(t, l)
	reports, err := Verify(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := reports[0]
	if r.Files != actorFiles || r.First == 1 || r.Last != 200 || r.Prev == begin {
		t.Errorf("got %+v, want %d files up to line 200", r, actorFiles)
	}
	for _, f := range must(filesOf(dir, actors)) {
		if info, err := os.Stat(f.path); err != nil || info.Size() > 1000 {
			t.Errorf("got %d bytes in %s, %v, want at most 1000", info.Size(), f.path, err)
		}
	}
	l = open(t, Options{Dir: dir, FileBytes: 1000})
	if all := read(t, l); len(all) != r.Lines || all[0].Seq != r.First {
		t.Errorf("got %d entries from %d, want %d from %d", len(all), all[0].Seq, r.Lines, r.First)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestALineThatACrashCutIsRecorded: after any number of its bytes.
func TestALineThatACrashCutIsRecorded(t *testing.T) {
	from := t.TempDir()
	written(t, from)
	whole := must(os.ReadFile(newest(t, from, actors)))
	last := strings.LastIndex(strings.TrimSuffix(string(whole), "\n"), "\n") + 1
	for size := last + 1; size < len(whole); size++ {
		dir := t.TempDir()
		if err := os.CopyFS(filepath.Join(dir, "a"), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(dir, "a")
		path := newest(t, dir, actors)
		if err := os.Truncate(path, int64(size)); err != nil {
			t.Fatal(err)
		}
		var torn *tornError
		if _, err := Verify(dir); !errors.As(err, &torn) || !strings.Contains(err.Error(), path+":3:") {
			t.Fatalf("got %v for %d bytes, want that line 3 of %s is not whole", err, size, path)
		}
		l := open(t, Options{Dir: dir})
		l.Record(did(9))
		all := read(t, l)
		shut(t, l)
		if cut := all[len(all)-2]; cut.Action != ActionCut || cut.Lost != 1 || all[len(all)-1].User != "u9" {
			t.Fatalf("got %+v, want the cut and a new line", all[len(all)-2:])
		}
		if _, err := Verify(dir); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFileWhoseOnlyLineACrashCutIsBegunAgain(t *testing.T) {
	dir := t.TempDir()
	written(t, dir)
	for _, size := range []int64{0, 1, 50} {
		path := filePath(dir, actors, 6)
		if err := os.WriteFile(path, []byte(strings.Repeat("{", int(size))), 0o600); err != nil {
			t.Fatal(err)
		}
		l := open(t, Options{Dir: dir})
		l.Record(did(1))
		shut(t, l)
		if _, err := Verify(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnyByteThatIsChangedIsFound: verification and opening name the line, and change nothing.
func TestAnyByteThatIsChangedIsFound(t *testing.T) {
	dir := t.TempDir()
	written(t, dir)
	for _, series := range []string{actors, strangers} {
		path := newest(t, dir, series)
		whole := must(os.ReadFile(path))
		for i := range whole {
			bad := slices.Clone(whole)
			bad[i] ^= 1
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			line := fmt.Sprintf("%s:%d:", path, 1+strings.Count(string(whole[:i]), "\n"))
			if _, err := Verify(dir); err == nil || !strings.Contains(err.Error(), line) {
				t.Fatalf("byte %d: got %v, want %s", i, err, line)
			}
			if i == len(whole)-1 {
				continue // the last newline: as after a crash
			}
			if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), line) {
				t.Fatalf("byte %d: got %v from Open, want %s", i, err, line)
			}
			if now := must(os.ReadFile(path)); !slices.Equal(now, bad) {
				t.Fatalf("byte %d: opening has changed the file", i)
			}
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLinesThatAreMissingOrMovedAreFound(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(lines []string) []string
		want string
	}{
		{"one removed", func(l []string) []string { return slices.Delete(l, 1, 2) }, ":2:"},
		{"the first removed", func(l []string) []string { return l[1:] }, ":1:"},
		{"two exchanged", func(l []string) []string { l[0], l[1] = l[1], l[0]; return l }, ":1:"},
		{"one twice", func(l []string) []string { return slices.Insert(l, 1, l[0]) }, ":2:"},
		{"an empty line", func(l []string) []string { return slices.Insert(l, 1, "\n") }, ":2:"},
		{"a long line", func(l []string) []string { return slices.Insert(l, 1, strings.Repeat("x", maxLine)+"\n") }, ":2:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			written(t, dir)
			path := newest(t, dir, actors)
			lines := strings.SplitAfter(strings.TrimSuffix(string(must(os.ReadFile(path))), "\n"), "\n")
			lines[2] += "\n"
			if err := os.WriteFile(path, []byte(strings.Join(tt.edit(lines), "")), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Verify(dir); err == nil || !strings.Contains(err.Error(), path+tt.want) {
				t.Errorf("got %v, want line %s", err, tt.want)
			}
		})
	}
}

func TestAFullDiskIsToldWhenThereIsRoomAgain(t *testing.T) {
	dir := t.TempDir()
	failures := 0
	l := open(t, Options{Dir: dir, Failed: func(error) { failures++ }})
	l.Record(did(1))
	l.flush()
	c := l.chains[actors]
	good := c.f
	c.f = must(os.Open(good.Name())) // which cannot be written
	l.Record(did(2))
	l.flush()
	_ = c.f.Close()
	c.f = good
	if _, err := good.WriteAt([]byte(`{"seq":2,"half`), c.size); err != nil { // as a full disk takes a part
		t.Fatal(err)
	}
	l.Record(did(3))
	shut(t, l)
	if _, err := Verify(dir); err != nil || failures != 1 {
		t.Errorf("got %v after %d failures, want a log that verifies and one", err, failures)
	}
	all := read(t, l)
	if len(all) != 3 || all[1].User != "u3" || all[2].Lost != 1 {
		t.Errorf("got %+v, want the third and that one is lost", all)
	}
}

func TestReadingGoesOnWhereItEnded(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		l := open(t, Options{Dir: dir, FileBytes: 3000})
		for n := range 100 {
			l.Record(did(n))
			l.Record(refused(fmt.Sprintf("192.0.%d.1", n)))
		}
		var got []string
		pages := 0
		for since := uint64(0); ; pages++ {
			page := must(l.read(everything(l), since, 7, filter{match: func(e Entry) bool { return e.Actor == "shop" }}))
			for _, e := range page.Entries {
				got = append(got, e.User)
			}
			if len(page.Entries) > 7 || page.More && page.Next <= since {
				t.Fatalf("got %+v after %d", page, since)
			}
			if since = page.Next; !page.More {
				break
			}
		}
		if len(got) != 100 || got[0] != "u0" || got[99] != "u99" || pages != 14 {
			t.Errorf("got %d entries on %d pages, want 100 on 15", len(got), pages+1)
		}
	}
}

func TestTextsOfAnyKindMakeLinesThatVerify(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	for _, text := range []string{strings.Repeat("\x01", 10_000), "\xff\xfe", "a\nb", `","hash":"`, "\u2028", strings.Repeat("ü", 128) + "x"} {
		e := Event{Action: text, Tenant: text, User: text, Actor: text, Connection: text, Object: text, Reason: text, Code: text}
		l.Record(e)
	}
	shut(t, l)
	lines := 0
	for _, r := range must(Verify(dir)) {
		lines += r.Lines
	}
	if lines != 6 {
		t.Errorf("got %d lines, want 6", lines)
	}
}

// TestTheCheckOfTheDocumentationAgrees runs the Python of docs/operations.md.
func TestTheCheckOfTheDocumentationAgrees(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3")
	}
	_, rest, _ := strings.Cut(string(must(os.ReadFile("../../docs/operations.md"))), "```python\n")
	script, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("docs/operations.md has no Python")
	}
	dir := t.TempDir()
	written(t, dir)
	check := func() (string, error) {
		out, err := exec.CommandContext(t.Context(), python, "-c", script, dir).CombinedOutput()
		return string(out), err
	}
	reports := must(Verify(dir))
	want := "actors " + reports[0].Hash + "\nstrangers " + reports[1].Hash + "\n"
	if out, err := check(); err != nil || out != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
	path := newest(t, dir, actors)
	text := strings.Replace(string(must(os.ReadFile(path))), `"u1"`, `"u2"`, 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := check(); err == nil || !strings.Contains(out, path+":2 was changed") {
		t.Errorf("got %q, %v, want that line 2 was changed", out, err)
	}
}

func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	l := must(Open(Options{Dir: dir}))
	l.Record(did(1))
	l.Record(did(2))
	if err := l.Close(); err != nil {
		f.Fatal(err)
	}
	whole := must(os.ReadFile(filePath(dir, actors, 1)))
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(whole[:len(whole)/2])
	f.Add(append(slices.Clone(whole), 0, 0, '\n'))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		path := filePath(dir, actors, 1)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(Options{Dir: dir})
		if err != nil {
			if now := must(os.ReadFile(path)); !slices.Equal(now, content) || !strings.Contains(err.Error(), path+":") {
				t.Fatalf("refused with %v and changed, or without its place", err)
			}
			return
		}
		l.Record(did(3))
		shut(t, l)
		if _, err := Verify(dir); err != nil {
			t.Fatalf("what was opened does not verify afterwards: %v", err)
		}
	})
}
