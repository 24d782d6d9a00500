package server

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// unread is an answer to a client that takes nothing until it is told to.
type unread struct {
	*httptest.ResponseRecorder
	writing chan<- struct{}
	goOn    <-chan struct{}
}

func (u *unread) Write(b []byte) (int, error) {
	u.writing <- struct{}{}
	<-u.goOn
	return u.ResponseRecorder.Write(b)
}

func TestReadsOfATenantUnderWayAreBoundedUntilTheirAnswersAreWritten(t *testing.T) {
	var log bytes.Buffer
	a := testAPI(t, APIKey{Name: "both", Hash: HashKey(testKey), Tenants: []string{"acme", "globex"}})
	a.reads.init(2)
	a.log = slog.New(slog.NewTextHandler(&log, nil))
	call := func(w http.ResponseWriter, method, tenant string) {
		r := httptest.NewRequest(method, "/api/v1/history?topic=user/alice", nil)
		r.Header.Set("Authorization", "Bearer "+testKey)
		r.Header.Set(tenantHeader, tenant)
		a.ServeHTTP(w, r)
	}
	try := func(method, tenant string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		call(w, method, tenant)
		return w
	}
	writing, goOn := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() { call(&unread{httptest.NewRecorder(), writing, goOn}, http.MethodGet, "acme") })
		<-writing
	}
	for range 2 {
		w := try(http.MethodGet, "acme")
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), string(wire.CodeRateLimited)) {
			t.Errorf("a third: got %d %s, want 429 after 1 s", w.Code, w.Body)
		}
	}
	if w := try(http.MethodGet, "globex"); w.Code != http.StatusOK {
		t.Errorf("another tenant: got %d %s, want 200", w.Code, w.Body)
	}
	if w := try(http.MethodPost, "acme"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("a call that does not read: got %d, want that it is looked at", w.Code)
	}
	go func() {
		for range writing { // each part
		}
	}()
	close(goOn)
	all.Wait()
	close(writing)
	if w := try(http.MethodGet, "acme"); w.Code != http.StatusOK {
		t.Errorf("when they were written: got %d %s, want 200", w.Code, w.Body)
	}
	if got := a.reads.total(); got != 2 {
		t.Errorf("got %d counted, want 2", got)
	}
	if got := strings.Count(log.String(), "back ends read too much at once"); got != 1 {
		t.Errorf("got %d lines in the log, want 1: %s", got, &log)
	}
}

// TestHistoryIsPagedByBytesToo: has_more says that a page is full, however many messages it has.
func TestHistoryIsPagedByBytesToo(t *testing.T) {
	n := start(t, config())
	const large = 9
	for i := range large {
		body := `{"to":{"user":"alice"},"type":"note","thread_id":"t1","message_id":"` + strconv.Itoa(i) + `","payload":{"text":"` + strings.Repeat("x", 900_000) + `"}}`
		if got := n.publish(t, body); got.status != http.StatusOK {
			t.Fatalf("got %d %s", got.status, got.body)
		}
	}
	for _, path := range []string{"/api/v1/history?topic=user/alice&limit=1000", "/api/v1/threads/t1?user=alice&limit=1000"} {
		seen, before := 0, ""
		for {
			var page struct {
				Messages []struct{ Offset uint64 }
				Head     switchboard.Position
				Position switchboard.Position
				HasMore  bool `json:"has_more"`
			}
			got := n.call(t, request{method: http.MethodGet, path: path + before})
			got.decode(t, &page)
			if len(got.body) > 5<<20 || len(page.Messages) == 0 {
				t.Fatalf("%s: got %d messages in %d bytes, want some in 4 MiB", path, len(page.Messages), len(got.body))
			}
			seen += len(page.Messages)
			if !page.HasMore {
				break
			}
			page.Head.Epoch += page.Position.Epoch // of the one that the answer has
			page.Head.Offset = page.Messages[0].Offset
			before = "&before=" + page.Head.String()
		}
		if seen != large {
			t.Errorf("%s: got %d messages in all pages, want %d", path, seen, large)
		}
	}
}

// TestATextIsWrittenAsItWouldBeInOnePiece: wherever it is cut.
func TestATextIsWrittenAsItWouldBeInOnePiece(t *testing.T) {
	odd := "a\"\\\n\t\x00\u2028<&>é€😀\ufffd"
	for _, text := range []string{
		"", odd, strings.Repeat("x", pieceBytes), strings.Repeat("x", pieceBytes-1) + "😀" + odd,
		strings.Repeat(odd, 3*pieceBytes/len(odd)), "xx" + strings.Repeat("😀", pieceBytes),
	} {
		answer := readTextOutputBody{Length: utf8.RuneCountInString(text), State: "open", Text: text}
		want, err := wire.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := answer.writeTo(&got); err != nil || got.String() != string(want)+"\n" {
			t.Errorf("got %v and %d bytes of a text of %d, want the same as in one piece", err, got.Len(), len(text))
		}
	}
}
