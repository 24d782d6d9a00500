package respond

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// slow is an answer to a client that may stop reading.
type slow struct {
	*httptest.ResponseRecorder
	deadlines []time.Time
	fails     error // of writing
}

func (s *slow) SetWriteDeadline(at time.Time) error {
	s.deadlines = append(s.deadlines, at)
	return nil
}

func (s *slow) Write(b []byte) (int, error) {
	if s.fails != nil {
		return 0, s.fails
	}
	return s.ResponseRecorder.Write(b)
}

func TestALargeAnswerHasADeadlineBySizeThatEndsWithIt(t *testing.T) {
	const size = 1 << 20 // 16 s at 64 KiB/s
	w := &slow{ResponseRecorder: httptest.NewRecorder()}
	if err := Write(w, http.StatusOK, make([]byte, size), []byte("\n")); err != nil {
		t.Fatal(err)
	}
	last := len(w.deadlines) - 1
	if last < 1 || !w.deadlines[last].IsZero() {
		t.Fatalf("got deadlines %v, want some and then none", w.deadlines)
	}
	if left := time.Until(w.deadlines[last-1]); left > 27*time.Second || left < 20*time.Second {
		t.Errorf("got %v for %d bytes, want 26 s", left, size)
	}
	if w.Body.Len() != size+1 || w.Header().Get("Content-Length") != "1048577" || !w.Flushed {
		t.Errorf("got %d bytes and %v, want all", w.Body.Len(), w.Header())
	}
}

func TestASmallAnswerIsLeftToTheServerUnlessItIsSent(t *testing.T) {
	w := &slow{ResponseRecorder: httptest.NewRecorder()}
	if err := Write(w, http.StatusTeapot, []byte("short")); err != nil || len(w.deadlines) > 0 || w.Flushed || w.Code != http.StatusTeapot {
		t.Errorf("got %v, %d, deadlines %v, flushed %v, want none", err, w.Code, w.deadlines, w.Flushed)
	}
	w = &slow{ResponseRecorder: httptest.NewRecorder()}
	if err := Send(w, http.StatusOK, []byte("short")); err != nil || len(w.deadlines) == 0 || !w.Flushed {
		t.Errorf("sent: got %v, deadlines %v, flushed %v, want a deadline", err, w.deadlines, w.Flushed)
	}
}

func TestAnAnswerThatIsNotTakenIsAnError(t *testing.T) {
	w := &slow{ResponseRecorder: httptest.NewRecorder(), fails: io.ErrClosedPipe}
	if err := Write(w, http.StatusOK, make([]byte, small+1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v, want %v", err, io.ErrClosedPipe)
	}
	if last := w.deadlines[len(w.deadlines)-1]; last.IsZero() {
		t.Error("got no deadline at the end, want that of the answer: what is left of it must not wait")
	}
}

// bare is a writer that can do nothing besides.
type bare struct{ http.ResponseWriter }

// TestALargeAnswerComesWholeByEveryWay: also behind writers that know no deadlines.
func TestALargeAnswerComesWholeByEveryWay(t *testing.T) {
	text := strings.Repeat("0123456789", 100_000)
	for _, tt := range []struct {
		name       string
		http2, tls bool
		wrap       func(http.ResponseWriter) http.ResponseWriter
	}{
		{name: "HTTP/1"},
		{name: "HTTP/1 with TLS", tls: true},
		{name: "HTTP/2", http2: true, tls: true},
		{name: "bare", wrap: func(w http.ResponseWriter) http.ResponseWriter { return bare{w} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tt.wrap != nil {
					w = tt.wrap(w)
				}
				if err := Write(w, http.StatusOK, []byte(text), []byte("\n")); err != nil {
					t.Errorf("%s: got %v, want nil", r.Proto, err)
				}
			}))
			srv.EnableHTTP2 = tt.http2
			if tt.tls {
				srv.StartTLS()
			} else {
				srv.Start()
			}
			defer srv.Close()
			for range 2 { // on the same connection
				res, err := srv.Client().Get(srv.URL)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(res.Body)
				if err := errors.Join(err, res.Body.Close()); err != nil {
					t.Fatal(err)
				}
				if string(got) != text+"\n" || res.ContentLength != int64(len(text)+1) || (res.ProtoMajor == 2) != tt.http2 {
					t.Errorf("got %d bytes of %d by %s", len(got), res.ContentLength, res.Proto)
				}
			}
		})
	}
}
