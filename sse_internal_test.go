package switchboard

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// FuzzLastEventID holds that what a stranger says of its last event is refused with a code
// and a field, or read as what it will be said again.
func FuzzLastEventID(f *testing.F) {
	for _, body := range []string{
		`{}`, `{"positions":{"user/alice":"ep1:41","room/r1":"ep3:9","all":"a:0"},"streams":{"R/answer":1284},"replace":"conn_1"}`,
		`{"positions":{"user/alice":""}}`, `{"positions":null,"streams":null}`, `{"positions":{"":"a:1"}}`, `{"positions":{"all":"a:01"}}`,
		`{"streams":{"R/a":-1}}`, `{"streams":{"R/a":1e99}}`, `{"Positions":{}}`, `{"positions":{"all":"a:1","all":"a:2"}}`, `[]`, `null`, `{}{}`,
		`{"positions":{"room/` + strings.Repeat("x", 200) + `":"a:1"}}`, "{\"replace\":\"\xff\"}",
	} {
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(body)))
	}
	f.Add("e30=")
	f.Add("!")
	f.Fuzz(func(t *testing.T, id string) {
		r := httptest.NewRequest("GET", "/events", nil)
		r.Header.Set(lastEventHeader, id)
		had, err := lastEvent(r)
		if err != nil {
			ref, ok := errors.AsType[*refusal](err)
			if !ok || ref.told().Details["field"] != lastEventHeader || ref.status() != 400 && ref.status() != 422 {
				t.Fatalf("got %v for %q, want 400 or 422 that names the header", err, id)
			}
			return
		}
		if had == nil {
			if id != "" {
				t.Fatalf("%q was looked past", id)
			}
			return
		}
		track := wire.NewTrack(*had)
		again, err := eventID(track.Restore())
		if err != nil {
			t.Fatal(err)
		}
		back, err := parseEventID(again)
		if err != nil {
			t.Fatalf("%s, made of %s, is refused: %v", again, id, err)
		}
		had.Replace = ""
		if len(id) < maxEventID && len(had.Streams) < 256 {
			if diff := cmp.Diff(nilIfEmpty(*had), nilIfEmpty(back)); diff != "" {
				t.Errorf("read again (-first +again):\n%s", diff)
			}
		}
	})
}

func nilIfEmpty(r wire.Restore) wire.Restore {
	if len(r.Positions) == 0 {
		r.Positions = nil
	}
	if len(r.Streams) == 0 {
		r.Streams = nil
	}
	return r
}

func TestAnIDLeavesOutTextsBeforeItIsTooLong(t *testing.T) {
	for length, named := range map[int]int{1: 1, maxEventID: 0} {
		had := wire.Restore{
			Positions: map[string]wire.Position{"all": {Epoch: "a", Offset: 1}},
			Streams:   map[string]int{"R/" + strings.Repeat("x", length): 2},
		}
		id, err := eventID(had)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseEventID(id)
		if err != nil || len(got.Positions) != 1 || len(got.Streams) != named {
			t.Errorf("with a name of %d bytes: got %d positions, %d texts, %v, want %d texts", length, len(got.Positions), len(got.Streams), err, named)
		}
	}
}

// TestFramesMayComeInAnyPieces: the engine writes whole ones, which is its own affair.
func TestFramesMayComeInAnyPieces(t *testing.T) {
	var frames []byte
	frames = ws.AppendFrame(frames, ws.OpText, []byte(`{"type":"a"}`))
	frames = ws.AppendFrame(frames, ws.OpPing, nil)
	frames = ws.AppendFrame(frames, ws.OpText, []byte(`{"type":"b","payload":{"x":"`+strings.Repeat("x", 300)+`"}}`))
	frames = ws.AppendClose(frames, 4001, "over")
	want := ""
	for size := len(frames); size > 0; size-- {
		w := httptest.NewRecorder()
		s := newStream(w, http.NewResponseController(w), httptest.NewRequest("GET", "/events", nil))
		for rest := frames; len(rest) > 0; {
			n := min(size, len(rest))
			if k, err := s.Write(rest[:n]); k != n || err != nil {
				t.Fatalf("got %d, %v, want %d", k, err, n)
			}
			rest = rest[n:]
		}
		got := w.Body.String()
		if at := strings.Index(got, `"timestamp"`); at > 0 {
			got = got[:at]
		}
		if want == "" {
			want = got
		}
		if got != want || strings.Count(got, "\ndata: ") != 3 || strings.Count(got, ": ping\n\n") != 1 {
			t.Fatalf("in pieces of %d: got %q, want %q", size, got, want)
		}
		b := make([]byte, 100)
		var read []byte
		for range 2 {
			n, err := s.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			read = append(read, b[:n]...)
		}
		if wantRead := append(clientFrame(ws.OpPing, nil), clientFrame(ws.OpClose, []byte("\x0f\xa1over"))...); string(read) != string(wantRead) {
			t.Errorf("got %x to read, want %x", read, wantRead)
		}
		_ = s.Close()
		if _, err := s.Write(frames); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: got %v, want %v", err, net.ErrClosed)
		}
	}
}

func TestAStreamThatEndsBeforeItBeginsIsRefused(t *testing.T) {
	w := httptest.NewRecorder()
	s := newStream(w, http.NewResponseController(w), httptest.NewRequest("GET", "/events", nil))
	_ = s.Close()
	if ref := s.serve(t.Context()); ref == nil || ref.status() != http.StatusServiceUnavailable {
		t.Errorf("got %v, want 503: an EventSource does not come back after 200 without events", ref)
	}
	s = newStream(w, http.NewResponseController(w), httptest.NewRequest("GET", "/events", nil))
	if _, err := s.Write(ws.AppendFrame(nil, ws.OpText, []byte(`{"type":"note"}`))); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if ref := s.serve(t.Context()); ref != nil {
		t.Errorf("got %v after an event, want none", ref)
	}
}

func TestAConnectionThatHasEndedHasNoMailbox(t *testing.T) {
	m, err := New(Options{Auth: func(context.Context, Credential) (Identity, error) { return Identity{}, ErrUnauthenticated }})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Shutdown(t.Context()) //nolint:errcheck // there is nothing to wait for
	const gone hub.Handle = 1<<32 | 7
	m.mail.add(m, gone, newMailbox())
	if _, ok := m.mail.get(gone); ok {
		t.Error("its mailbox stays for good")
	}
}

// slowWriter takes nothing until it is told to.
type slowWriter struct {
	*httptest.ResponseRecorder
	free chan struct{}
}

func (w *slowWriter) Write(b []byte) (int, error) {
	<-w.free
	return w.ResponseRecorder.Write(b)
}

// TestAnAnswerWhoseSenderLeavesAtTheLastMomentIsAnEvent: the stream had set it aside for who
// has posted, behind an event that takes its time.
func TestAnAnswerWhoseSenderLeavesAtTheLastMomentIsAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{httptest.NewRecorder(), make(chan struct{})}
		s := newStream(w, http.NewResponseController(w), httptest.NewRequest("GET", "/events", nil))
		first, err := s.mail.post(Envelope{Type: "x", ID: "m"}, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		second, err := s.mail.post(Envelope{Type: "x", ID: "m"}, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		var frames []byte
		for _, body := range []string{`{"type":"note"}`, `{"type":"ack","message_id":"m","payload":{"n":1}}`, `{"type":"ack","message_id":"m","payload":{"n":2}}`} {
			frames = ws.AppendFrame(frames, ws.OpText, []byte(body))
		}
		done := make(chan error, 1)
		go func() {
			_, err := s.Write(frames)
			done <- err
		}()
		synctest.Wait()
		if !s.mail.drop(first) {
			t.Error("the first has been given an answer before the event was written")
		}
		close(w.free)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := string(<-second.answer); !strings.Contains(got, `"n":1`) {
			t.Errorf("got %s for the one who waits, want the first answer", got)
		}
		if got := w.Body.String(); strings.Count(got, "data: ") != 2 || !strings.Contains(got, `data: {"type":"ack","message_id":"m","payload":{"n":2}}`) {
			t.Errorf("got events %q, want the note and the second answer", got)
		}
	})
}
