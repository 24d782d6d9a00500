package switchboard_test

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
)

// tokenEvery is the time between two tokens, and tokenLen how long one is: the time at which it
// was written, in microseconds, and a space.
const (
	tokenEvery = 20 * time.Millisecond
	tokenLen   = 17
)

func token() string { return fmt.Sprintf("%016d ", time.Now().UnixMicro()) }

// tokenDelays is what the watchers of a stream of tokens have seen.
type tokenDelays struct {
	watchers int

	mu          sync.Mutex // guards the fields below
	frames      int
	begin, last time.Time
	first, all  []time.Duration // of the first token of each watcher; of all tokens
}

// read reads frames until the connection ends.
func (d *tokenDelays) read(r *bufio.Reader) {
	var frame []byte
	for first := true; ; {
		head := make([]byte, 4)
		if _, err := io.ReadFull(r, head[:2]); err != nil {
			return
		}
		n := int(head[1])
		if n == 126 {
			if _, err := io.ReadFull(r, head[2:]); err != nil {
				return
			}
			n = int(binary.BigEndian.Uint16(head[2:]))
		}
		frame = slices.Grow(frame[:0], n)[:n]
		if _, err := io.ReadFull(r, frame); err != nil {
			return
		}
		if _, text, ok := bytes.Cut(frame, []byte(`"text":"`)); ok && bytes.Contains(frame, []byte(`stream_chunk`)) {
			d.saw(text, first)
			first = false
		}
	}
}

func (d *tokenDelays) saw(text []byte, first bool) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.frames++; d.frames == 1 {
		d.begin = now
	}
	d.last = now
	for ; len(text) >= tokenLen && text[tokenLen-1] == ' '; text = text[tokenLen:] {
		micros, err := strconv.ParseInt(string(text[:tokenLen-1]), 10, 64)
		if err != nil {
			return
		}
		delay := now.Sub(time.UnixMicro(micros))
		if d.all = append(d.all, delay); first {
			d.first = append(d.first, delay)
			first = false
		}
	}
}

// print writes a line for the parent.
func (d *tokenDelays) print() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.all) == 0 {
		return
	}
	slices.Sort(d.all)
	slices.Sort(d.first)
	at := func(list []time.Duration, percent int) float64 {
		return float64(list[(len(list)-1)*percent/100].Microseconds()) / 1000
	}
	perSecond := (float64(d.frames)/float64(d.watchers) - 1) / cmp.Or(d.last.Sub(d.begin).Seconds(), 1)
	fmt.Println("tokens", len(d.all)/d.watchers, perSecond, at(d.all, 50), at(d.all, 99), at(d.first, 50), at(d.first, 99))
}

// BenchmarkTokens writes 50 tokens a second, which 1,000 connections watch over real sockets,
// in another process. It reports how many frames each gets, how long a token takes from before
// its append until the watcher has read it, and the same of the first one.
func BenchmarkTokens(b *testing.B) {
	const n = 1000
	m, address := benchServer(b)
	run, err := m.Runs().Start(b.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.Room("bench")})
	if err != nil {
		b.Fatal(err)
	}
	l := startLoad(b, address, n, "bench tokens")
	used, tick := cpu(), time.NewTicker(tokenEvery)
	defer tick.Stop()
	for b.Loop() {
		if _, err := run.Stream("answer").AppendAt(b.Context(), -1, token()); err != nil {
			b.Fatal(err)
		}
		<-tick.C
	}
	for range 5 { // the last text waits for the end of its window
		<-tick.C
	}
	b.ReportMetric(float64((cpu()-used).Microseconds())/float64(b.N)/n, "cpu-us/token/watcher")
	_ = l.in.Close()
	for l.out.Scan() {
		var tokens int
		var frames, p50, p99, first50, first99 float64
		if !strings.HasPrefix(l.out.Text(), "tokens ") {
			continue
		}
		if _, err := fmt.Sscanf(l.out.Text(), "tokens %d %g %g %g %g %g", &tokens, &frames, &p50, &p99, &first50, &first99); err != nil {
			b.Fatal(err)
		}
		if tokens != b.N {
			b.Errorf("watchers got %d tokens, want %d", tokens, b.N)
		}
		b.ReportMetric(frames, "frames/s/watcher")
		b.ReportMetric(p50, "p50-ms")
		b.ReportMetric(p99, "p99-ms")
		b.ReportMetric(first50, "first-p50-ms")
		b.ReportMetric(first99, "first-p99-ms")
	}
	if err := l.cmd.Wait(); err != nil {
		b.Error(err)
	}
}
