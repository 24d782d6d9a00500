package switchboard_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	peer "github.com/coder/websocket"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/ws"
)

// The load comes from a child process, so that what is measured here is the
// server alone. The child is this test binary: with loadEnv set it does what
// is said there and nothing else.
const loadEnv = "SWITCHBOARD_BENCH_LOAD"

// TestLoadProcess is the child: it opens connections, joins a room if told so,
// prints "ready", and counts text frames until its input ends.
func TestLoadProcess(t *testing.T) {
	spec := os.Getenv(loadEnv)
	if spec == "" {
		return // the parent's own run: nothing to load
	}
	fields := strings.Fields(spec) // address, connections, room ("-": none), and "tokens" to look at their delay
	n, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	counts := make(chan int, 1024)
	delays := tokenDelays{watchers: n}
	var wg sync.WaitGroup
	conns := make([]io.Closer, n)
	gate := make(chan struct{}, 64)
	for i := range n {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			nc, err := net.Dial("tcp", fields[0])
			if err != nil {
				t.Error(err)
				return
			}
			conns[i] = nc
			r := bufio.NewReaderSize(nc, 512)
			if err := upgrade(nc, r, i, fields[2]); err != nil {
				t.Error(err)
				return
			}
			if len(fields) > 3 {
				go delays.read(r)
			} else {
				go countFrames(r, counts)
			}
		})
	}
	wg.Wait()
	fmt.Println("ready")
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(done)
	}()
	for total := 0; ; {
		select {
		case k := <-counts:
			if total += k; total >= n {
				fmt.Println("delivered", total/n)
				total %= n
			}
		case <-done:
			delays.print()
			for _, c := range conns {
				_ = c.Close()
			}
			return
		}
	}
}

// upgrade does the handshake and waits for the welcome, and for the answer to
// a subscription.
func upgrade(nc net.Conn, r *bufio.Reader, i int, room string) error {
	_, err := fmt.Fprintf(nc, "GET /ws?user=user-%d HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", i)
	if err != nil {
		return err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("status %s", resp.Status)
	}
	if room == "-" {
		return skipFrame(r)
	}
	if err := skipFrame(r); err != nil {
		return err
	}
	body := fmt.Sprintf(`{"type":"subscribe","payload":{"rooms":[%q]}}`, room)
	if _, err := nc.Write(ws.AppendMasked(nil, ws.OpText, true, [4]byte{1, 2, 3, 4}, []byte(body))); err != nil {
		return err
	}
	return skipFrame(r)
}

func skipFrame(r *bufio.Reader) error {
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return err
	}
	n := int(head[1])
	if n == 126 {
		if _, err := io.ReadFull(r, head); err != nil {
			return err
		}
		n = int(head[0])<<8 | int(head[1])
	}
	_, err := r.Discard(n)
	return err
}

func countFrames(r *bufio.Reader, counts chan<- int) {
	for skipFrame(r) == nil {
		counts <- 1
	}
}

// load runs the child.
type load struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startLoad(b *testing.B, address string, conns int, room string) *load {
	b.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestLoadProcess$", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", loadEnv, address, conns, room))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	l := &load{cmd, in, bufio.NewScanner(out)}
	l.await(b, "ready")
	return l
}

func (l *load) await(b *testing.B, word string) {
	b.Helper()
	for l.out.Scan() {
		if strings.HasPrefix(l.out.Text(), word) {
			return
		}
	}
	b.Fatalf("the load process ended without %q", word)
}

func (l *load) stop(b *testing.B) {
	_ = l.in.Close()
	for l.out.Scan() {
		continue
	}
	if err := l.cmd.Wait(); err != nil {
		b.Error(err)
	}
}

// byQuery takes the user from the URL.
func byQuery(_ context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
	return switchboard.Identity{User: cred.Request.URL.Query().Get("user"), Permissions: []string{"room:*:*"}}, nil
}

func benchServer(b *testing.B) (*switchboard.Manager, string) {
	b.Helper()
	m, err := switchboard.New(switchboard.Options{
		Auth:      byQuery,
		Heartbeat: switchboard.Heartbeat{Interval: time.Hour, Timeout: 3 * time.Hour},
		Limits:    switchboard.Limits{Handshakes: -1, HandshakesPerSecond: -1}, // the load connects as fast as it can
	})
	if err != nil {
		b.Fatal(err)
	}
	srv := httptest.NewServer(m.ClientAPI())
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = m.Shutdown(ctx)
		srv.Close()
	})
	return m, srv.Listener.Addr().String()
}

func rss(b *testing.B) int {
	b.Helper()
	runtime.GC()
	runtime.GC()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("no /proc here")
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			return kb << 10
		}
	}
	return 0
}

func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkIdle opens authenticated connections, each its own user, session
// and topic, over real sockets, and reports what one costs the server.
func BenchmarkIdle(b *testing.B) {
	const n = 10_000
	_, address := benchServer(b)
	for b.Loop() {
		before, used := rss(b), cpu()
		l := startLoad(b, address, n, "-")
		b.ReportMetric(float64((cpu()-used).Microseconds())/n, "cpu-us/accept")
		b.ReportMetric(float64(rss(b)-before)/n, "rss-B/conn")
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/n, "heap-B/conn")
		b.ReportMetric(float64(m.StackInuse)/n, "stack-B/conn")
		sample := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}}
		metrics.Read(sample)
		start := sample[0].Value.Float64()
		for range 5 {
			runtime.GC()
		}
		metrics.Read(sample)
		b.ReportMetric((sample[0].Value.Float64()-start)/5*1e3, "gc-cpu-ms")
		l.stop(b)
	}
}

// BenchmarkFanout sends 256 bytes to 1,000 connections: by a loop of plain
// writes of one prebuilt frame (the limit), by Manager.Publish to a room, and
// by a loop over connections of a usual library.
func BenchmarkFanout(b *testing.B) {
	const n = 1000
	payload, err := json.Marshal(map[string]string{"text": strings.Repeat("x", 100)})
	if err != nil {
		b.Fatal(err)
	}
	run := func(b *testing.B, address, room string, send func()) {
		l := startLoad(b, address, n, room)
		used := cpu()
		for b.Loop() {
			send()
			l.await(b, "delivered")
		}
		b.ReportMetric(float64((cpu()-used).Nanoseconds())/1e3/float64(b.N)/n, "cpu-us/delivery")
		l.stop(b)
	}
	b.Run("limit", func(b *testing.B) {
		var mu sync.Mutex
		var conns []net.Conn
		frame := ws.AppendFrame(nil, ws.OpText, make([]byte, 256))
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			nc, _, err := ws.Upgrade(w, r, "")
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, nc)
			mu.Unlock()
			_, _ = nc.Write(frame) // in place of the welcome
		}))
		defer srv.Close()
		run(b, srv.Listener.Addr().String(), "-", func() {
			for _, nc := range conns {
				_, _ = nc.Write(frame)
			}
		})
	})
	b.Run("switchboard", func(b *testing.B) {
		m, address := benchServer(b)
		run(b, address, "bench", func() {
			if _, err := m.Publish(context.Background(), switchboard.Room("bench"), switchboard.Message{Type: "bench", Payload: json.RawMessage(payload)}); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("peer", func(b *testing.B) {
		var mu sync.Mutex
		var conns []*peer.Conn
		body := make([]byte, 256)
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := peer.Accept(w, r, nil)
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			_ = c.Write(r.Context(), peer.MessageText, body)
			_, _, _ = c.Read(context.Background()) // until the load ends
		}))
		defer srv.Close()
		run(b, srv.Listener.Addr().String(), "-", func() {
			for _, c := range conns {
				_ = c.Write(context.Background(), peer.MessageText, body)
			}
		})
	})
}
