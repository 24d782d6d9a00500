package devlink

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// serve runs a server that takes connections over at /?link=NAME, says hello and echoes.
func serve(t *testing.T, s *Set) (addr string) {
	t.Helper()
	echo := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		nc, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		_, _ = io.WriteString(nc, "hello\n")
		_, _ = io.Copy(nc, nc)
	})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		link := r.URL.Query().Get("link")
		if link == "" {
			echo(w, r)
		} else if err := s.Handle(link, w, r, echo); err != nil {
			http.Error(w, err.Error(), http.StatusTeapot)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// dial asks for a connection over a link.
func dial(t *testing.T, addr, link string) (net.Conn, *bufio.Reader) {
	t.Helper()
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintf(nc, "GET /?link=%s HTTP/1.1\r\nHost: x\r\n\r\n", link); err != nil {
		t.Fatal(err)
	}
	return nc, bufio.NewReader(nc)
}

func hello(t *testing.T, r *bufio.Reader) {
	t.Helper()
	if line, err := r.ReadString('\n'); line != "hello\n" || err != nil {
		t.Fatalf("got %q, %v, want hello", line, err)
	}
}

func wantReset(t *testing.T, r *bufio.Reader) {
	t.Helper()
	if b, err := r.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %q, %v, want a reset", b, err)
	}
}

func TestACutResetsTheConnectionsOfOneLinkAndNoOthers(t *testing.T) {
	s := newSet(t)
	addr := serve(t, s)
	const other = "fedcba9876543210"
	_, first := dial(t, addr, name)
	_, second := dial(t, addr, name)
	otherConn, third := dial(t, addr, other)
	plainConn, fourth := dial(t, addr, "")
	for _, r := range []*bufio.Reader{first, second, third, fourth} {
		hello(t, r)
	}
	if _, err := s.Cut(name, time.Minute); err != nil {
		t.Fatal(err)
	}
	wantReset(t, first)
	wantReset(t, second)
	_, late := dial(t, addr, name)
	wantReset(t, late)
	for nc, r := range map[net.Conn]*bufio.Reader{otherConn: third, plainConn: fourth} {
		if _, err := io.WriteString(nc, "still\n"); err != nil {
			t.Fatal(err)
		}
		if line, err := r.ReadString('\n'); line != "still\n" || err != nil {
			t.Errorf("got %q, %v, want what was sent", line, err)
		}
	}
	if _, err := s.Cut(name, 0); err != nil { // over at once
		t.Fatal(err)
	}
	_, again := dial(t, addr, name)
	hello(t, again)
}

func TestACutEndsAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t)
		ours, theirs := pipe(t, s)
		slow(t, s, MinBytes, time.Minute)
		go io.Copy(io.Discard, theirs) //nolint:errcheck // until it is closed
		time.AfterFunc(time.Second, func() { _, _ = s.Cut(name, time.Second) })
		start := time.Now()
		if _, err := ours.Write(make([]byte, 1<<20)); err == nil {
			t.Error("got no error from a write over a link that was cut")
		}
		about(t, "the write", time.Since(start), time.Second)
		s.Wait() // nobody has closed it
	})
}

func TestALinkIsForgottenWhenNobodyHasUsedItForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t)
		enter := func(i int) (*link, error) { return s.enter(fmt.Sprintf("%016d", i)) }
		var all []*link
		for i := range maxLinks {
			l, err := enter(i)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, l)
		}
		if _, err := enter(maxLinks); !errors.Is(err, ErrFull) {
			t.Errorf("got %v, want %v", err, ErrFull)
		}
		slowed := fmt.Sprintf("%016d", 1)
		if _, err := s.Slow(slowed, 1000, 2*keep); err != nil {
			t.Fatal(err)
		}
		for _, l := range all[1:] {
			l.leave()
			time.Sleep(time.Millisecond)
		}
		l, err := enter(maxLinks)
		if err != nil {
			t.Errorf("got %v, want room for one instead of one that nobody uses", err)
		}
		l.leave()
		if _, err := s.find(fmt.Sprintf("%016d", 2)); !errors.Is(err, ErrUnknown) || len(s.links) != maxLinks {
			t.Errorf("got %v and %d links, want that the one that has been unused for longest has gone, and no other", err, len(s.links))
		}
		time.Sleep(keep + time.Second)
		if _, err := enter(maxLinks + 1); err != nil {
			t.Errorf("got %v after a while, want room", err)
		}
		if n := len(s.links); n != 3 {
			t.Errorf("got %d links, want the one in use, the slow one and the new one", n)
		}
		if _, err := s.Cut(fmt.Sprintf("%016d", 5), time.Second); !errors.Is(err, ErrUnknown) {
			t.Errorf("got %v for a link that was forgotten, want %v", err, ErrUnknown)
		}
	})
}

func TestLinksThatNobodyUsesMakeRoomThoughTheyAreCutOrSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t)
		for i := range maxLinks {
			name := fmt.Sprintf("%016d", i)
			l, err := s.enter(name)
			if err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				_, err = s.Cut(name, MaxCut)
			} else {
				_, err = s.Slow(name, MinBytes, MaxSlow)
			}
			if err != nil {
				t.Fatal(err)
			}
			l.leave()
			time.Sleep(time.Millisecond)
		}
		if _, err := s.enter(name); err != nil {
			t.Errorf("got %v, want room for one instead of one that nobody uses", err)
		}
		if _, err := s.find(fmt.Sprintf("%016d", 0)); !errors.Is(err, ErrUnknown) || len(s.links) != maxLinks {
			t.Errorf("got %v and %d links, want that the one that has been unused for longest has gone, and no other", err, len(s.links))
		}
	})
}

func TestNamesAreHardToGuess(t *testing.T) {
	for _, bad := range []string{"short", "0123456789abcdeF", "0123456789abcde/", fmt.Sprintf("%065d", 0)} {
		if _, err := New().enter(bad); !errors.Is(err, ErrName) {
			t.Errorf("%s: got %v, want %v", bad, err, ErrName)
		}
	}
}

// hijackable is an answer whose connection can be taken over.
type hijackable struct {
	http.ResponseWriter
	conn net.Conn
}

func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.conn, nil, nil }

func TestWaitIsForWhoAnswersToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		nc, _ := net.Pipe()
		w := &hijackable{ResponseWriter: httptest.NewRecorder(), conn: nc}
		answered := make(chan struct{})
		go func() {
			err := s.Handle(name, w, httptest.NewRequest(http.MethodGet, "/", nil), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				taken, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				_ = taken.Close()
				<-answered
			}))
			if err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		waited := make(chan struct{})
		go func() {
			defer close(waited)
			s.Wait()
		}()
		synctest.Wait()
		select {
		case <-waited:
			t.Error("Wait has returned, though somebody still answers")
		default:
		}
		close(answered)
		<-waited
	})
}
