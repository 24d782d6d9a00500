package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/wire"
)

// startRun starts a run for alice.
func (n *node) startRun(t *testing.T, id string) {
	t.Helper()
	got := n.post(t, "/api/v1/runs", fmt.Sprintf(`{"to":{"user":"alice"},"agent_name":"writer","run_id":%q}`, id))
	if got.status != http.StatusCreated {
		t.Fatalf("got %d with %s, want 201", got.status, got.body)
	}
}

func (n *node) post(t *testing.T, path, body string) answer {
	t.Helper()
	return n.call(t, request{method: http.MethodPost, path: path, body: body})
}

func (n *node) get(t *testing.T, path string) answer {
	t.Helper()
	return n.call(t, request{method: http.MethodGet, path: path})
}

// append appends text in one body.
func (n *node) append(t *testing.T, path, text string) answer {
	t.Helper()
	return n.call(t, request{method: http.MethodPost, path: path, body: text, header: http.Header{"Content-Type": {"text/plain"}}})
}

// upload is a call whose body is still open.
type upload struct {
	t        *testing.T
	body     *io.PipeWriter
	answered chan answer
}

// upload opens a body without a length. Its call ends with the test.
func (n *node) upload(t *testing.T, path string, header http.Header) *upload {
	t.Helper()
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.URL()+path, r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+testKey)
	req.Header.Set("Content-Type", "text/plain")
	maps.Copy(req.Header, header)
	u := &upload{t: t, body: w, answered: make(chan answer, 1)}
	go func() {
		defer close(u.answered)
		res, err := n.http.Do(req)
		if err != nil {
			return
		}
		defer res.Body.Close()
		if body, err := io.ReadAll(res.Body); err == nil {
			u.answered <- answer{status: res.StatusCode, header: res.Header, body: body, last: res.Close}
		}
	}()
	t.Cleanup(func() {
		w.CloseWithError(io.ErrClosedPipe)
		for range u.answered {
		}
	})
	return u
}

func (u *upload) write(text string) {
	u.t.Helper()
	if _, err := io.WriteString(u.body, text); err != nil {
		u.t.Fatal(err)
	}
}

// answer waits for the answer, which must come without an end of the body if there was none.
func (u *upload) answer() answer {
	u.t.Helper()
	select {
	case a, ok := <-u.answered:
		if !ok {
			u.t.Fatal("the call failed, want an answer")
		}
		return a
	case <-time.After(10 * time.Second):
		u.t.Fatal("got no answer for 10 s")
	}
	return answer{}
}

func (u *upload) end() answer {
	u.t.Helper()
	if err := u.body.Close(); err != nil {
		u.t.Fatal(err)
	}
	return u.answer()
}

// text reads stream chunks until they make up a text.
func (d *device) text(t *testing.T, have, want string) {
	t.Helper()
	for have != want {
		msg := d.next(t)
		if msg.Type != wire.StreamChunk {
			continue
		}
		var chunk wire.StreamChunkPayload
		if err := msg.Decode(&chunk); err != nil {
			t.Fatal(err)
		}
		if have += chunk.Text; !strings.HasPrefix(want, have) {
			t.Fatalf("got text %q, want %q", have, want)
		}
	}
}

func wantObject(t *testing.T, what string, got answer, status int, want string) {
	t.Helper()
	if got.status != status {
		t.Errorf("%s: got status %d with %s, want %d", what, got.status, got.body, status)
	}
	if diff := cmp.Diff(parseObject(t, []byte(want)), parseObject(t, got.body)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// wantProblem checks code and details of a refusal.
func wantProblem(t *testing.T, what string, got answer, status int, code wire.Code, details string) {
	t.Helper()
	p := got.problem(t)
	if p.Status != status || p.Code != code {
		t.Errorf("%s: got %d %s (%s), want %d %s", what, p.Status, p.Code, p.Detail, status, code)
	}
	want := map[string]any{}
	if err := json.Unmarshal([]byte(details), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, p.Details); diff != "" && len(want)+len(p.Details) > 0 {
		t.Errorf("%s: details (-want +got):\n%s", what, diff)
	}
}

func TestABodyIsSeenWhileItIsOpen(t *testing.T) {
	n := start(t, config())
	alice := n.connect(t, "alice")
	n.startRun(t, "R")
	u := n.upload(t, "/api/v1/runs/R/streams/answer?start=0&complete=true", nil)
	have := ""
	for _, piece := range []string{"Gr", "\xc3", "\xbc", "\xc3\x9fe ", "\xf0\x9f", "\x99\x82", "!"} {
		u.write(piece)
		whole := (have + piece)[:wholeRunes([]byte(have+piece))]
		alice.text(t, have[:wholeRunes([]byte(have))], whole)
		have += piece
	}
	wantObject(t, "text of the open stream", n.get(t, "/api/v1/runs/R/streams/answer"), 200, `{"length":8,"state":"open","text":"Grüße 🙂!"}`)
	wantObject(t, "answer", u.end(), 200, `{"start":0,"length":8,"run_state":"running"}`)
	wantObject(t, "text", n.get(t, "/api/v1/runs/R/streams/answer"), 200, `{"length":8,"state":"complete","text":"Grüße 🙂!"}`)
}

func TestAStopAnswersAnOpenBodyAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name, path, body string
		code             wire.Code
		details          string
	}{
		{"cancelled", "/cancel", `{"reason":"enough"}`, wire.CodeRunCancelled, `{"run_id":"R","run_state":"cancelled"}`},
		{"completed", "/complete", ``, wire.CodeRunEnded, `{"run_id":"R","run_state":"completed"}`},
		{"failed", "/fail", `{"error_message":"no"}`, wire.CodeRunEnded, `{"run_id":"R","run_state":"failed"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := start(t, config())
			alice := n.connect(t, "alice")
			n.startRun(t, "R")
			u := n.upload(t, "/api/v1/runs/R/streams/answer", nil)
			u.write("Dear ")
			alice.text(t, "", "Dear ")
			begin := time.Now()
			if got := n.post(t, "/api/v1/runs/R"+tt.path, tt.body); got.status != http.StatusOK {
				t.Fatalf("got %d with %s, want 200", got.status, got.body)
			}
			got := u.answer()
			if took := time.Since(begin); took > 100*time.Millisecond {
				t.Errorf("got the answer after %v, want it within 100 ms", took)
			}
			wantProblem(t, "open body", got, 409, tt.code, tt.details)
			if !got.last {
				t.Error("the connection is kept, want it closed behind the answer")
			}
			if text := n.get(t, "/api/v1/runs/R/streams/answer").object(t)["text"]; text != "Dear " {
				t.Errorf("got text %v, want what had come", text)
			}
		})
	}
}

func TestWhoIsRefusedNeedNotEndTheBodyToHearIt(t *testing.T) {
	n := start(t, config())
	n.startRun(t, "R")
	for _, tt := range []struct {
		name, path, piece string
		header            http.Header
		status            int
		code              wire.Code
		details           string
	}{
		{"no key", "/api/v1/runs/R/streams/answer", "", http.Header{"Authorization": {"Bearer no"}}, 401, wire.CodeAuthError, `{}`},
		{"no tenant", "/api/v1/runs/R/streams/answer", "", http.Header{tenantHeader: {"acme"}}, 403, wire.CodeForbidden, `{"field":"Switchboard-Tenant"}`},
		{"no such path", "/api/v1/runs/R/stream/answer", "", nil, 404, wire.CodeNotFound, `{}`},
		{"no such run", "/api/v1/runs/S/streams/answer", "", nil, 404, wire.CodeNotFound, `{"field":"run_id"}`},
		{"no text", "/api/v1/runs/R/streams/answer", "", http.Header{"Content-Type": {"image/png"}}, 415, wire.CodeUnsupported, `{}`},
		{"no number", "/api/v1/runs/R/streams/answer?start=x", "", nil, 422, wire.CodeInvalidMessage, `{"field":"start"}`},
		{"a hole", "/api/v1/runs/R/streams/answer?start=7", "late", nil, 409, wire.CodeStreamOffset, `{"length":0}`},
		{"no UTF-8", "/api/v1/runs/R/streams/answer", "\xff", nil, 422, wire.CodeInvalidMessage, `{"field":"body","length":0}`},
		{"no JSON call", "/api/v1/publish", "{}", nil, 415, wire.CodeUnsupported, `{}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := n.upload(t, tt.path, tt.header)
			if tt.piece != "" {
				u.write(tt.piece)
			}
			begin := time.Now()
			wantProblem(t, "open body", u.answer(), tt.status, tt.code, tt.details)
			if took := time.Since(begin); took > time.Second {
				t.Errorf("got the answer after %v, want it at once", took)
			}
		})
	}
	if got := n.get(t, "/api/v1/runs/R").object(t); got["run_state"] != "running" || len(got["streams"].([]any)) != 0 {
		t.Errorf("got %v, want a run without a trace of these calls", got)
	}
}

func TestTheConnectionIsKeptWhenTheBodyHasEnded(t *testing.T) {
	n := start(t, config())
	n.startRun(t, "R")
	for _, chunked := range []bool{false, true} {
		for path, status := range map[string]int{"?start=0": 200, "?start=9": 409} {
			got := n.call(t, request{
				method: http.MethodPost, path: "/api/v1/runs/R/streams/answer" + path, body: "Hello", chunked: chunked,
				header: http.Header{"Content-Type": {"text/plain"}},
			})
			if got.status != status || got.last && (!chunked || status == 200) {
				t.Errorf("chunked %v, %s: got %d, connection closed %v, want %d and a connection that is kept", chunked, path, got.status, got.last, status)
			}
		}
	}
}

func TestABodyWithALengthIsTakenWholeOrNotAtAll(t *testing.T) {
	n := start(t, config())
	n.startRun(t, "R")
	const path = "/api/v1/runs/R/streams/answer"
	long := strings.Repeat("ü", wholeBytes/2-1)
	wantProblem(t, "bad end", n.append(t, path, long+"\xff"), 422, wire.CodeInvalidMessage, `{"field":"body","length":0}`)
	wantProblem(t, "cut end", n.append(t, path, long+"\xc3"), 422, wire.CodeInvalidMessage, `{"field":"body","length":0}`)
	if got := n.get(t, "/api/v1/runs/R").object(t); len(got["streams"].([]any)) != 0 {
		t.Errorf("got %v, want no stream", got)
	}
	wantObject(t, "all of it", n.append(t, path, long), 200, fmt.Sprintf(`{"start":0,"length":%d,"run_state":"running"}`, wholeBytes/2-1))
	// More than a piece, cut within a code point.
	more := "x" + strings.Repeat("🙂", wholeBytes/2)
	wantObject(t, "more", n.append(t, "/api/v1/runs/R/streams/more", more), 200, fmt.Sprintf(`{"start":0,"length":%d,"run_state":"running"}`, wholeBytes/2+1))
	if got := n.get(t, "/api/v1/runs/R/streams/more").object(t)["text"]; got != more {
		t.Error("got another text than what was appended")
	}
}

func TestABodyMayHaveSixteenMebibytes(t *testing.T) {
	n := start(t, config())
	n.startRun(t, "R")
	const path = "/api/v1/runs/R/streams/"
	body := bytes.Repeat([]byte("12345678"), maxTextBytes/8)
	for _, chunked := range []bool{false, true} {
		whole := request{
			method: http.MethodPost, path: fmt.Sprintf("%swhole-%v", path, chunked), body: string(body), chunked: chunked,
			header: http.Header{"Content-Type": {"text/plain"}},
		}
		wantObject(t, "all that may be", n.call(t, whole), 200, fmt.Sprintf(`{"start":0,"length":%d,"run_state":"running"}`, maxTextBytes))
		whole.path, whole.body = fmt.Sprintf("%smore-%v", path, chunked), string(body)+"9"
		got := n.call(t, whole)
		p := got.problem(t)
		if p.Status != 413 || p.Code != wire.CodeTooLarge || p.Details["limit"] != float64(maxTextBytes) {
			t.Errorf("got %s, want 413 TOO_LARGE with the limit", got.body)
		}
		if length, told := p.Details["length"].(float64); told != chunked || chunked && (length == 0 || length > maxTextBytes) {
			t.Errorf("got length %v, want that of what was appended", p.Details["length"])
		}
	}
	if got := n.get(t, "/api/v1/runs/R").object(t)["run_state"]; got != "running" {
		t.Errorf("got %v, want a run that lives", got)
	}
}

func TestAnEmptyBodyOpensTheStream(t *testing.T) {
	n := start(t, config())
	n.startRun(t, "R")
	const path = "/api/v1/runs/R/streams/answer"
	wantProblem(t, "before", n.get(t, path), 404, wire.CodeNotFound, `{"field":"stream"}`)
	wantObject(t, "empty body", n.append(t, path, ""), 200, `{"start":0,"length":0,"run_state":"running"}`)
	wantObject(t, "open stream", n.get(t, path), 200, `{"length":0,"state":"open","text":""}`)
	wantObject(t, "the end", n.append(t, path+"?complete=true", ""), 200, `{"start":0,"length":0,"run_state":"running"}`)
	wantObject(t, "complete stream", n.get(t, path), 200, `{"length":0,"state":"complete","text":""}`)
	wantProblem(t, "more", n.append(t, path, "more"), 409, wire.CodeRunContract, `{"field":"stream","length":0,"run_id":"R"}`)
}

func TestAnAnswerSaysWhereTheNewTextOfAllPiecesBegins(t *testing.T) {
	n := start(t, config())
	alice := n.connect(t, "alice")
	n.startRun(t, "R")
	n.append(t, "/api/v1/runs/R/streams/answer?start=0", "Hello wörld")
	u := n.upload(t, "/api/v1/runs/R/streams/answer?start=3", nil)
	for _, piece := range []string{"lo", " wör", "ld, ho", "w are you"} {
		u.write(piece)
	}
	wantObject(t, "overlap, then new text", u.end(), 200, `{"start":11,"length":24,"run_state":"running"}`)
	u = n.upload(t, "/api/v1/runs/R/streams/answer?start=3", nil)
	u.write("lo ")
	u.write("wörld")
	wantObject(t, "overlap only", u.end(), 200, `{"start":24,"length":24,"run_state":"running"}`)
	alice.text(t, "", "Hello wörld, how are you")
}
