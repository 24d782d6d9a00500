package yield_test

import (
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/internal/yield"
)

// pair is a connection of this machine with itself, on which what is written is there at once.
func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if client, err = net.Dial("unix", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server
}

// TestWhoYieldsComesBehindWhatCameInAndBehindWhoIsReady: on one processor, on which nobody else can
// run a goroutine meanwhile.
func TestWhoYieldsComesBehindWhatCameInAndBehindWhoIsReady(t *testing.T) {
	client, server := pair(t)
	var heard, ran atomic.Int64
	var others sync.WaitGroup
	defer others.Wait()
	others.Go(func() {
		for piece := make([]byte, 1); ; heard.Add(1) {
			if _, err := server.Read(piece); err != nil {
				return
			}
		}
	})
	defer client.Close()
	y := yield.New()
	defer y.Close()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const rounds, ready = 200, 10
	for round := range int64(rounds) {
		y.Yield() // the reader waits
		if _, err := client.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		for range ready {
			others.Go(func() { ran.Add(1) })
		}
		y.Yield()
		if heard.Load() != round+1 || ran.Load() != ready*(round+1) {
			t.Fatalf("round %d: got %d read and %d run, want %d and %d", round, heard.Load(), ran.Load(), round+1, ready*(round+1))
		}
	}
}

func TestWhoYieldsMakesProgressThoughOthersNeverRest(t *testing.T) {
	var others sync.WaitGroup
	var enough atomic.Bool
	for range 2 * runtime.GOMAXPROCS(0) {
		others.Go(func() {
			for !enough.Load() {
				runtime.Gosched()
			}
		})
	}
	y := yield.New()
	for range 3 {
		y.Yield()
	}
	enough.Store(true)
	others.Wait()
	y.Close()
	y.Close()
	y.Yield() // it does not wait for ever
}

func TestAPaceYieldsAfterEachSliceAndKnowsWhatWasSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := yield.NewPace(time.Millisecond)
		defer p.Close()
		time.Sleep(time.Hour)
		p.Begin()
		for range 25 {
			time.Sleep(100 * time.Microsecond)
			p.Step()
		}
		if got := p.Spent(); got != 2500*time.Microsecond {
			t.Errorf("got %v, want 2.5ms", got)
		}
		time.Sleep(time.Millisecond)
		if got := p.Spent(); got != time.Millisecond {
			t.Errorf("then got %v, want 1ms", got)
		}
	})
}

func TestAListenerAcceptsAllAndEnds(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln = yield.Listener(ln)
	const conns = 100
	var dialing sync.WaitGroup
	for range conns {
		dialing.Go(func() {
			if nc, err := net.Dial("tcp", ln.Addr().String()); err != nil {
				t.Error(err)
			} else {
				_ = nc.Close()
			}
		})
	}
	for range conns {
		nc, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.Close()
	}
	dialing.Wait()
	ended := make(chan error)
	go func() { _, err := ln.Accept(); ended <- err }()
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("a closed listener has accepted a connection")
	}
}

func BenchmarkYield(b *testing.B) {
	y := yield.New()
	defer y.Close()
	for b.Loop() {
		y.Yield()
	}
}
