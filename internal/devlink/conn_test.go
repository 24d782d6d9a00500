package devlink

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

const name = "0123456789abcdef"

// newSet returns a set whose connections must all be closed when the test ends.
func newSet(t *testing.T) *Set {
	t.Helper()
	s := New()
	t.Cleanup(s.Wait)
	return s
}

// pipe returns both ends of a connection over a link: ours goes over it.
func pipe(t *testing.T, s *Set) (ours *conn, theirs net.Conn) {
	t.Helper()
	l, err := s.enter(name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.leave()
	a, b := net.Pipe()
	c := newConn(s, l, a)
	t.Cleanup(func() {
		_ = c.Close()
		_ = b.Close()
	})
	return c, b
}

// slow makes the link slow.
func slow(t *testing.T, s *Set, bytesPerSecond int, d time.Duration) {
	t.Helper()
	if _, err := s.Slow(name, bytesPerSecond, d); err != nil {
		t.Fatal(err)
	}
}

// about fails the test unless got is want, give or take a tenth.
func about(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got < want*9/10 || got > want*11/10 {
		t.Errorf("%s took %v, want about %v", what, got, want)
	}
}

func TestASlowLinkLetsThroughSoManyBytesASecondEachWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t)
		ours, theirs := pipe(t, s)
		slow(t, s, 1000, time.Minute)
		start := time.Now()
		var wrote time.Duration
		done := make(chan struct{})
		go func() {
			defer close(done)
			if n, err := ours.Write(make([]byte, 10_000)); n != 10_000 || err != nil {
				t.Errorf("got %d, %v from Write, want all", n, err)
			}
			wrote = time.Since(start)
		}()
		go io.Copy(io.Discard, theirs)         //nolint:errcheck // until it is closed
		go theirs.Write(make([]byte, 100_000)) //nolint:errcheck // the same
		if _, err := io.ReadFull(ours, make([]byte, 10_000)); err != nil {
			t.Error(err)
		}
		about(t, "reading 10,000 bytes at 1,000 a second", time.Since(start), 10*time.Second)
		<-done
		about(t, "writing as many", wrote, 10*time.Second)
	})
}

func TestConnectionsOfALinkShareIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t)
		start := time.Now()
		done := make(chan struct{}, 2)
		for range 2 {
			ours, theirs := pipe(t, s)
			slow(t, s, 1000, time.Minute)
			go io.Copy(io.Discard, theirs) //nolint:errcheck // until it is closed
			go func() {
				if _, err := ours.Write(make([]byte, 5000)); err != nil {
					t.Error(err)
				}
				done <- struct{}{}
			}()
		}
		<-done
		<-done
		about(t, "10,000 bytes over two connections", time.Since(start), 10*time.Second)
	})
}

func TestALinkIsFreeAgainAtOnceOrWhenTheTimeIsOver(t *testing.T) {
	for _, tt := range []struct {
		name string
		life time.Duration
		free bool // after 2 s
	}{
		{"ended early", time.Minute, true},
		{"over", 2 * time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSet(t)
				ours, theirs := pipe(t, s)
				slow(t, s, MinBytes, tt.life)
				start := time.Now()
				go func() {
					if _, err := io.ReadFull(theirs, make([]byte, 1<<20)); err != nil {
						t.Error(err)
					}
				}()
				if tt.free {
					time.AfterFunc(2*time.Second, func() { slow(t, s, 0, 0) })
				}
				if _, err := ours.Write(make([]byte, 1<<20)); err != nil {
					t.Error(err)
				}
				about(t, "the write", time.Since(start), 2*time.Second)
			})
		})
	}
}

// TestALongPauseEndsAtOnce: what came in one go while the link was still fast has to be paid
// for, which takes 20 s here.
func TestALongPauseEndsAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*Set, *conn) error
		want error
	}{
		{"the link is free", func(s *Set, _ *conn) error { _, err := s.Slow(name, 0, 0); return err }, nil},
		{"a deadline", func(_ *Set, c *conn) error { return c.SetReadDeadline(time.Now()) }, os.ErrDeadlineExceeded},
		{"close", func(_ *Set, c *conn) error { return c.Close() }, net.ErrClosed},
		{"a cut", func(s *Set, _ *conn) error { _, err := s.Cut(name, time.Minute); return err }, net.ErrClosed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSet(t)
				ours, theirs := pipe(t, s)
				go func() {
					time.Sleep(time.Second) // until somebody waits for what comes
					slow(t, s, 1000, time.Minute)
					_, _ = theirs.Write(make([]byte, 20_000))
					_, _ = theirs.Write(make([]byte, 1))
				}()
				if n, err := ours.Read(make([]byte, 20_000)); n != 20_000 || err != nil {
					t.Fatalf("got %d, %v, want all that came", n, err)
				}
				start := time.Now()
				time.AfterFunc(5*time.Second, func() {
					if err := tt.end(s, ours); err != nil {
						t.Error(err)
					}
				})
				if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if took := time.Since(start); took != 5*time.Second {
					t.Errorf("got it after %v, want 5 s", took)
				}
				_ = theirs.Close()
			})
		})
	}
}

func TestDeadlinesAndCloseEndThePauseBeforeAStep(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(c *conn, at time.Time)
		want error
	}{
		{"a deadline that was set before", func(c *conn, at time.Time) { _ = c.SetDeadline(at) }, os.ErrDeadlineExceeded},
		{"a deadline that is set meanwhile", func(c *conn, at time.Time) {
			time.AfterFunc(time.Until(at), func() {
				_ = c.SetReadDeadline(time.Now())
				_ = c.SetWriteDeadline(time.Now())
			})
		}, os.ErrDeadlineExceeded},
		{"close", func(c *conn, at time.Time) { time.AfterFunc(time.Until(at), func() { _ = c.Close() }) }, net.ErrClosed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSet(t)
				ours, theirs := pipe(t, s)
				slow(t, s, MinBytes, time.Minute)
				go io.Copy(io.Discard, theirs)       //nolint:errcheck // until it is closed
				go theirs.Write(make([]byte, 1<<20)) //nolint:errcheck // the same
				start := time.Now()
				tt.end(ours, start.Add(3*time.Second))
				failed := make(chan error, 2)
				go func() {
					n, err := ours.Write(make([]byte, 1<<20))
					if n < 2*MinBytes || n > 4*MinBytes {
						t.Errorf("got %d bytes written in 3 s, want about %d", n, 3*MinBytes)
					}
					failed <- err
				}()
				go func() {
					_, err := io.ReadFull(ours, make([]byte, 1<<20))
					failed <- err
				}()
				for range 2 {
					if err := <-failed; !errors.Is(err, tt.want) && !errors.Is(err, io.ErrClosedPipe) {
						t.Errorf("got %v, want %v", err, tt.want)
					}
				}
				about(t, "both", time.Since(start), 3*time.Second)
			})
		})
	}
}

func TestADeadlineLosesNothingThatWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t)
		ours, theirs := pipe(t, s)
		slow(t, s, MinBytes, time.Minute)
		go func() {
			for i := range 1000 {
				if _, err := theirs.Write([]byte{byte(i)}); err != nil {
					t.Error(err)
				}
			}
		}()
		var got []byte
		for len(got) < 1000 {
			b := make([]byte, 100)
			_ = ours.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			n, err := ours.Read(b)
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			got = append(got, b[:n]...)
		}
		for i, b := range got {
			if b != byte(i) {
				t.Fatalf("got byte %d at %d, want %d", b, i, byte(i))
			}
		}
	})
}
