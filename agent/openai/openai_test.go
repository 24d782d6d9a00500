package openai_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/agent"
	"github.com/netra-systems/switchboard/agent/openai"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A server speaks as much of the protocol as there is in answer, on 127.0.0.1.
type server struct {
	*httptest.Server
	requests atomic.Int64
	last     atomic.Pointer[request]
}

// request is what a server was asked.
type request struct {
	Path, Key string
	Body      struct {
		Model      string           `json:"model"`
		Stream     bool             `json:"stream"`
		Messages   []map[string]any `json:"messages"`
		Tools      []map[string]any `json:"tools"`
		ToolChoice any              `json:"tool_choice"`
	}
}

func serve(t testing.TB, answer http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req := &request{Path: r.URL.Path, Key: r.Header.Get("Authorization")}
		if err := json.NewDecoder(r.Body).Decode(&req.Body); err != nil {
			t.Errorf("the body of the request: %v", err)
		}
		s.last.Store(req)
		s.requests.Add(1)
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// events answers with an event stream of these data.
func events(data ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, d := range data {
			fmt.Fprintf(w, "data: %s\n\n", d)
			w.(http.Flusher).Flush()
		}
	}
}

// delta is a chunk of an answer.
func delta(fields string) string {
	return `{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":` + fields + `,"finish_reason":null}]}`
}

func finish(reason string) string {
	return `{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"` + reason + `"}]}`
}

func model(t testing.TB, s *server, change func(*openai.Options)) agent.Model {
	t.Helper()
	opts := openai.Options{URL: s.URL + "/v1", Model: "m", Key: "sk-1", Client: s.Client()}
	if change != nil {
		change(&opts)
	}
	m, err := openai.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var question = agent.Request{Messages: []agent.Message{{Role: agent.RoleUser, Text: "Hi"}}}

// pieces keeps what is written, piece by piece.
type pieces []string

func (p *pieces) Write(b []byte) (int, error) {
	*p = append(*p, string(b))
	return len(b), nil
}

func TestTextComesTokenByToken(t *testing.T) {
	s := serve(t, events(
		delta(`{"role":"assistant","content":""}`), delta(`{"content":"Grü"}`), delta(`{"content":"ße, "}`), delta(`{"content":"🙂"}`), finish("stop"), "[DONE]"))
	var got pieces
	calls, err := model(t, s, nil)(t.Context(), question, &got)
	if err != nil || len(calls) != 0 {
		t.Fatalf("got calls %v, error %v, want neither", calls, err)
	}
	if diff := cmp.Diff(pieces{"Grü", "ße, ", "🙂"}, got); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

func TestARequestHasTheConversationAndTheTools(t *testing.T) {
	s := serve(t, events(delta(`{"content":"Done."}`), finish("stop"), "[DONE]"))
	req := agent.Request{
		Messages: []agent.Message{
			{Role: agent.RoleSystem, Text: "Be brief."},
			{Role: agent.RoleUser, Text: "Hi"},
			{Role: agent.RoleAssistant, Calls: []agent.Call{{ID: "a", Name: "search", Arguments: `{"query":"x"}`}}},
			{Role: agent.RoleTool, Text: `{"hits":[]}`, CallID: "a"},
		},
		Tools: []agent.Tool{
			{Name: "search", Description: "finds", Parameters: json.RawMessage(`{"type":"object","required":["query"]}`)},
			{Name: "list", Description: "lists"},
		},
		Final: true,
	}
	if _, err := model(t, s, nil)(t.Context(), req, io.Discard); err != nil {
		t.Fatal(err)
	}
	got := s.last.Load()
	if got.Path != "/v1/chat/completions" || got.Key != "Bearer sk-1" || got.Body.Model != "m" || !got.Body.Stream {
		t.Errorf("got path %q, key %q, model %q, stream %v", got.Path, got.Key, got.Body.Model, got.Body.Stream)
	}
	messages := []map[string]any{
		{"role": "system", "content": "Be brief."},
		{"role": "user", "content": "Hi"},
		{"role": "assistant", "tool_calls": []any{map[string]any{
			"id": "a", "type": "function", "function": map[string]any{"name": "search", "arguments": `{"query":"x"}`},
		}}},
		{"role": "tool", "tool_call_id": "a", "content": `{"hits":[]}`},
	}
	if diff := cmp.Diff(messages, got.Body.Messages); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	tools := []map[string]any{
		{"type": "function", "function": map[string]any{
			"name": "search", "description": "finds", "parameters": map[string]any{"type": "object", "required": []any{"query"}},
		}},
		{"type": "function", "function": map[string]any{
			"name": "list", "description": "lists", "parameters": map[string]any{"type": "object", "properties": map[string]any{}},
		}},
	}
	if diff := cmp.Diff(tools, got.Body.Tools); diff != "" {
		t.Errorf("tools (-want +got):\n%s", diff)
	}
	if got.Body.ToolChoice != "none" {
		t.Errorf("got tool_choice %v in the last round, want none", got.Body.ToolChoice)
	}
}

func TestWithoutAKeyNoneIsSentWhateverTheEnvironmentHas(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-from-elsewhere")
	t.Setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/")
	s := serve(t, events(delta(`{"content":"Done."}`), finish("stop"), "[DONE]"))
	if _, err := model(t, s, func(o *openai.Options) { o.Key = "" })(t.Context(), question, io.Discard); err != nil {
		t.Fatal(err)
	}
	if got := s.last.Load().Key; got != "" {
		t.Errorf("got Authorization %q, want none", got)
	}
}

func TestCallsAreJoinedFromTheirPieces(t *testing.T) {
	for _, tt := range []struct {
		name string
		data []string
		want []agent.Call
	}{
		{
			"two, interleaved",
			[]string{
				delta(`{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"search","arguments":""}}]}`),
				delta(`{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"read","arguments":"{\"file\""}}]}`),
				delta(`{"tool_calls":[{"index":0,"function":{"arguments":"{\"query\":"}}]}`),
				delta(`{"tool_calls":[{"index":1,"function":{"arguments":":\"a.md\"}"}},{"index":0,"function":{"arguments":"\"x\"}"}}]}`),
			},
			[]agent.Call{{ID: "a", Name: "search", Arguments: `{"query":"x"}`}, {ID: "b", Name: "read", Arguments: `{"file":"a.md"}`}},
		},
		{
			"a server that does not count",
			[]string{
				delta(`{"tool_calls":[{"id":"a","type":"function","function":{"name":"search","arguments":"{}"}}]}`),
				delta(`{"tool_calls":[{"id":"b","type":"function","function":{"name":"list","arguments":"{}"}}]}`),
			},
			[]agent.Call{{ID: "a", Name: "search", Arguments: `{}`}, {ID: "b", Name: "list", Arguments: `{}`}},
		},
		{
			"a server that names none",
			[]string{delta(`{"tool_calls":[{"index":0,"function":{"name":"list","arguments":"{}"}}]}`)},
			[]agent.Call{{ID: "call_0", Name: "list", Arguments: `{}`}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, events(append(tt.data, finish("tool_calls"), "[DONE]")...))
			got, err := model(t, s, nil)(t.Context(), question, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnAnswerThatIsNotWholeIsAnError(t *testing.T) {
	long := delta(`{"content":"` + strings.Repeat("x", 600<<10) + `"}`)
	many := make([]string, 65)
	for i := range many {
		many[i] = delta(fmt.Sprintf(`{"tool_calls":[{"index":%d,"id":"c%d","function":{"name":"t","arguments":"{}"}}]}`, i, i))
	}
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   error  // one of
		users  string // what they read
	}{
		{"the stream ends", events(delta(`{"content":"It is"}`)), openai.ErrEarlyEnd, "the model's answer broke off"},
		{"the stream ends with its sign", events(delta(`{"content":"It is"}`), "[DONE]"), openai.ErrEarlyEnd, "the model's answer broke off"},
		{"the connection breaks", breakOff, openai.ErrEarlyEnd, "the model's answer broke off"},
		{"it is cut", events(delta(`{"content":"It is"}`), finish("length"), "[DONE]"), openai.ErrCut, "the model's answer was cut at its limit"},
		{"it is filtered", events(finish("content_filter"), "[DONE]"), openai.ErrFiltered, "the model's server withheld the answer"},
		{"it is too long", events(long, long), openai.ErrTooLong, "the model wrote too much"},
		{"too many calls", events(many...), openai.ErrTooLong, "the model wrote too much"},
		{"too long arguments", events(delta(`{"tool_calls":[{"index":0,"function":{"name":"t","arguments":"` + strings.Repeat("x", 65<<10) + `"}}]}`)), openai.ErrTooLong, "the model wrote too much"},
		{"an error in the stream", events(delta(`{"content":"It is"}`), `{"error":{"message":"at sk-1: overloaded","type":"server_error"}}`), nil, "the model's server reported an error"},
		{"no JSON", events("It is"), nil, "the model's server sent what is no answer"},
		{"no stream", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"choices":[]}`) }, openai.ErrEarlyEnd, "the model's answer broke off"},
		{"a bad key", status(401), nil, "the model's server answered 401 Unauthorized"},
		{"no such model", status(404), nil, "the model's server answered 404 Not Found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, tt.answer)
			_, err := model(t, s, nil)(t.Context(), question, io.Discard)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Fatalf("got error %v, want %v", err, tt.want)
			}
			public, ok := errors.AsType[*switchboard.Error](err)
			if !ok || public.Message != tt.users {
				t.Errorf("users read %v, want %q", public, tt.users)
			}
			if strings.Contains(err.Error(), "sk-1") {
				t.Errorf("got error %v with the key in it", err)
			}
			if n := s.requests.Load(); n != 1 {
				t.Errorf("got %d requests, want 1", n)
			}
		})
	}
}

// breakOff begins an answer and cuts the connection.
func breakOff(w http.ResponseWriter, r *http.Request) {
	events(delta(`{"content":"It is"}`))(w, r)
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	if err := errors.Join(conn.(*net.TCPConn).SetLinger(0), conn.Close()); err != nil {
		panic(err)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		fmt.Fprint(w, `{"error":{"message":"no: sk-1","type":"invalid_request_error"}}`)
	}
}

func TestAServerThatIsBusyIsAskedAgain(t *testing.T) {
	var s *server
	s = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if s.requests.Load() < 3 {
			w.Header().Set("Retry-After-Ms", "1")
			status(503)(w, r)
			return
		}
		events(delta(`{"content":"Done."}`), finish("stop"), "[DONE]")(w, r)
	})
	var got bytes.Buffer
	if _, err := model(t, s, nil)(t.Context(), question, &got); err != nil || got.String() != "Done." {
		t.Errorf("got %q, error %v, want the answer of the third try", got.String(), err)
	}
	s.requests.Store(0)
	_, err := model(t, s, func(o *openai.Options) { o.Tries = 2 })(t.Context(), question, io.Discard)
	if n := s.requests.Load(); err == nil || n != 2 {
		t.Errorf("got %d requests and error %v, want 2 and the error of the last one", n, err)
	}
}

func TestAServerThatIsNotThereIsSaidToBe(t *testing.T) {
	s := serve(t, status(500))
	m := model(t, s, func(o *openai.Options) { o.Tries = 1 })
	s.Close()
	_, err := m(t.Context(), question, io.Discard)
	if public, ok := errors.AsType[*switchboard.Error](err); !ok || public.Message != "the model's server cannot be reached" {
		t.Errorf("got error %v, want one that users may read", err)
	}
}

func TestTheEndOfTheContextEndsTheAnswer(t *testing.T) {
	over := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		events(delta(`{"content":"It is"}`))(w, r)
		<-r.Context().Done()
		close(over)
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := model(t, s, nil)(ctx, question, writer(func(p []byte) (int, error) {
		cancel()
		return len(p), nil
	}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want that of the context", err)
	}
	select {
	case <-over:
	case <-time.After(5 * time.Second):
		t.Error("the server was not told within 5 s")
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestTheErrorOfTheRunEndsTheAnswer(t *testing.T) {
	s := serve(t, events(delta(`{"content":"It is"}`), delta(`{"content":"so"}`), finish("stop"), "[DONE]"))
	stopped := errors.New("stopped")
	_, err := model(t, s, nil)(t.Context(), question, writer(func([]byte) (int, error) { return 0, stopped }))
	if !errors.Is(err, stopped) {
		t.Errorf("got error %v, want that of the writer", err)
	}
}

func TestNewNamesWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts openai.Options
		want string
	}{
		{"no URL", openai.Options{Model: "m"}, `URL is ""`},
		{"no scheme", openai.Options{URL: "127.0.0.1:80/v1", Model: "m"}, "URL"},
		{"another scheme", openai.Options{URL: "ftp://h/v1", Model: "m"}, `URL is "ftp://h/v1"`},
		{"no model", openai.Options{URL: "http://h/v1"}, "Model is required"},
		{"negative tries", openai.Options{URL: "http://h/v1", Model: "m", Tries: -1}, "Tries is -1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := openai.New(tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q in it", err, tt.want)
			}
		})
	}
}

// FuzzStream answers with any bytes: there is an answer or an error, and no more text than
// there may be.
func FuzzStream(f *testing.F) {
	f.Add([]byte("data: " + delta(`{"content":"a"}`) + "\n\ndata: " + finish("stop") + "\n\ndata: [DONE]\n\n"))
	f.Add([]byte("data: " + delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"t","arguments":"{}"}}]}`) + "\n\ndata: " + finish("tool_calls") + "\n\n"))
	f.Add([]byte("data: " + delta(`{"tool_calls":[{"index":-1,"function":{}}]}`) + "\n\n"))
	f.Add([]byte("event: error\ndata: {\"error\":{}}\n\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := openai.New(openai.Options{URL: "http://127.0.0.1/v1", Model: "m", Tries: 1, Client: &http.Client{Transport: transport(body)}})
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		calls, err := m(t.Context(), question, &text)
		if err != nil && len(calls) > 0 {
			t.Errorf("got %d calls and error %v, want one of them", len(calls), err)
		}
		for _, c := range calls {
			if c.ID == "" {
				t.Error("got a call without an id")
			}
		}
		if text.Len() > 1<<20 || len(calls) > 64 {
			t.Errorf("got %d bytes and %d calls, want at most 1 MiB and 64", text.Len(), len(calls))
		}
	})
}

// transport answers each request with the same body.
type transport []byte

func (b transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Request: r,
		Body: io.NopCloser(bytes.NewReader(b)),
	}, nil
}
