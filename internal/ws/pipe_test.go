package ws

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestPipeBuffersAndThenWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(4)
		if n, err := a.Write([]byte("1234")); n != 4 || err != nil {
			t.Fatalf("got %d, %v, want 4 bytes in the buffer", n, err)
		}
		written := make(chan error)
		go func() {
			_, err := a.Write([]byte("56"))
			written <- err
		}()
		synctest.Wait()
		select {
		case <-written:
			t.Fatal("got a write into a full buffer, want it to wait")
		default:
		}
		got := make([]byte, 6)
		if _, err := io.ReadFull(b, got); err != nil || string(got) != "123456" {
			t.Errorf("got %q, %v, want 123456", got, err)
		}
		if err := <-written; err != nil {
			t.Errorf("got %v, want the write to go through", err)
		}
	})
}

func TestPipeDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(1)
		start := time.Now()
		if err := b.SetReadDeadline(start.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		_, err := b.Read(make([]byte, 1))
		if !errors.Is(err, os.ErrDeadlineExceeded) || !isTimeout(err) {
			t.Errorf("got %v, want a timeout", err)
		}
		if got := time.Since(start); got != time.Minute {
			t.Errorf("got the timeout after %v, want 1m", got)
		}
		if err := a.SetDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := a.Write([]byte("12")); n != 1 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %d, %v, want one byte and a timeout", n, err)
		}
		// A deadline that is over fails even what would not wait; a new one heals.
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want a timeout", err)
		}
		_ = b.SetReadDeadline(time.Time{})
		if n, err := b.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("got %d, %v, want the byte", n, err)
		}
	})
}

func TestPipeDeadlineInThePastWakesAReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := Pipe(1)
		failed := make(chan error)
		go func() {
			_, err := b.Read(make([]byte, 1))
			failed <- err
		}()
		synctest.Wait()
		_ = b.SetReadDeadline(time.Now())
		if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want a timeout", err)
		}
	})
}

func TestPipeDeadlineThatWasMovedDoesNotStrike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := Pipe(1)
		start := time.Now()
		_ = b.SetReadDeadline(start.Add(time.Second))
		_ = b.SetReadDeadline(start.Add(time.Hour))
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want a timeout", err)
		}
		if got := time.Since(start); got != time.Hour {
			t.Errorf("got the timeout after %v, want 1h", got)
		}
	})
}

func TestPipeEndsAsSocketsDo(t *testing.T) {
	tests := []struct {
		name string
		end  func(a, b *PipeConn)
		// What then happens on a, and on b, with two bytes on the way from a to b.
		aRead, aWrite, bRead, bWrite error
		arrives                      string // at b
	}{
		{"Close", func(a, _ *PipeConn) { _ = a.Close() }, net.ErrClosed, net.ErrClosed, io.EOF, syscall.EPIPE, "hi"},
		{"Close of the receiver", func(_, b *PipeConn) { _ = b.Close() }, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed, net.ErrClosed, ""},
		{"Close with bytes unread", func(a, b *PipeConn) { _, _ = b.Write([]byte("x")); _ = a.Close() },
			net.ErrClosed, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE, "hi"},
		{"CloseWrite", func(a, _ *PipeConn) { _ = a.CloseWrite() }, nil, syscall.EPIPE, io.EOF, nil, "hi"},
		{"CutAfter(0)", func(a, _ *PipeConn) { a.CutAfter(0) }, syscall.ECONNRESET, syscall.ECONNRESET, syscall.ECONNRESET, syscall.ECONNRESET, "hi"},
		{"CutAfter(3)", func(a, _ *PipeConn) { a.CutAfter(3); _, _ = a.Write([]byte("12345")) },
			syscall.ECONNRESET, syscall.ECONNRESET, syscall.ECONNRESET, syscall.ECONNRESET, "hi123"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := Pipe(64)
			_, _ = a.Write([]byte("hi"))
			tt.end(a, b)
			got, err := io.ReadAll(b)
			if string(got) != tt.arrives || !sameEnd(err, tt.bRead) {
				t.Errorf("got %q, %v at the peer, want %q, %v", got, err, tt.arrives, tt.bRead)
			}
			if _, err := b.Write([]byte("x")); !errors.Is(err, tt.bWrite) {
				t.Errorf("got %v from the peer's write, want %v", err, tt.bWrite)
			}
			if _, err := a.Write([]byte("x")); !errors.Is(err, tt.aWrite) {
				t.Errorf("got %v from the write, want %v", err, tt.aWrite)
			}
			if _, err := a.Read(make([]byte, 1)); !errors.Is(err, tt.aRead) {
				t.Errorf("got %v from the read, want %v", err, tt.aRead)
			}
		})
	}
}

// sameEnd compares what io.ReadAll returned, for which io.EOF is no error.
func sameEnd(got, want error) bool {
	if want == io.EOF {
		return got == nil
	}
	return errors.Is(got, want)
}

func TestPipeWakesWaitersWhenItEnds(t *testing.T) {
	ends := []struct {
		name string
		end  func(a, b *PipeConn)
	}{
		{"Close here", func(a, _ *PipeConn) { _ = a.Close() }},
		{"Close there", func(_, b *PipeConn) { _ = b.Close() }},
		{"CutAfter(0)", func(_, b *PipeConn) { b.CutAfter(0) }},
	}
	for _, tt := range ends {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := Pipe(1)
				failed := make(chan error, 2)
				go func() { _, err := a.Read(make([]byte, 1)); failed <- err }()
				go func() { _, err := a.Write(make([]byte, 9)); failed <- err }()
				synctest.Wait()
				tt.end(a, b)
				for range 2 {
					if err := <-failed; err == nil {
						t.Error("got no error, want one for each waiter")
					}
				}
			})
		})
	}
}

func TestPipeLooksLikeALoopbackConnection(t *testing.T) {
	client, server := Pipe(1)
	if client.LocalAddr().String() != server.RemoteAddr().String() || server.LocalAddr().String() != client.RemoteAddr().String() {
		t.Errorf("got %v-%v and %v-%v, want mirrored addresses", client.LocalAddr(), client.RemoteAddr(), server.LocalAddr(), server.RemoteAddr())
	}
	if host, _, err := net.SplitHostPort(server.RemoteAddr().String()); err != nil || !net.ParseIP(host).IsLoopback() {
		t.Errorf("got %v, %v, want a loopback address", server.RemoteAddr(), err)
	}
}

func TestPipeCarriesEveryByteInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := Pipe(rapid.IntRange(0, 50).Draw(t, "size"))
		want := rapid.SliceOfN(rapid.Byte(), 0, 500).Draw(t, "data")
		steps := rapid.SliceOfN(rapid.IntRange(1, 60), 1, 20).Draw(t, "writes")
		done := make(chan error, 1)
		go func() {
			rest := want
			for i := 0; len(rest) > 0; i++ {
				n := min(len(rest), steps[i%len(steps)])
				if _, err := a.Write(rest[:n]); err != nil {
					done <- err
					return
				}
				rest = rest[n:]
			}
			done <- a.Close()
		}()
		got, err := io.ReadAll(b)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("got %x, %v, want %x", got, err, want)
		}
		if err := <-done; err != nil {
			t.Errorf("got %v from the writer, want none", err)
		}
	})
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}
