package server

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/wire"
)

// completion is an answer as OpenAI's API streams it, shortened.
const completion = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1764000000,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Grüße"},"finish_reason":null}]}

: keep-alive

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" \ud83d\ude42\n"},"finish_reason":null}]}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]},"finish_reason":null}]}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"error":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}

data: [DONE]

`

// decodeAll decodes a body that comes in pieces.
func decodeAll(pieces ...string) (text string, err error) {
	d := new(openAIText)
	for _, piece := range pieces {
		more, err := d.decode([]byte(piece))
		if text += more; err != nil {
			return text, err
		}
	}
	return text, d.end()
}

func TestACompletionIsItsContent(t *testing.T) {
	const c = `data: {"choices":[{"delta":{"content":"x"}}]}`
	for _, tt := range []struct{ name, body, want string }{
		{"as OpenAI sends it", completion, "Grüße 🙂\n"},
		{"with CR LF", strings.ReplaceAll(completion, "\n", "\r\n"), "Grüße 🙂\n"},
		{"with CR", strings.ReplaceAll(completion, "\n", "\r"), "Grüße 🙂\n"},
		{"behind a byte order mark", "\ufeff" + completion, "Grüße 🙂\n"},
		{"without the last line's end", c + "\n\ndata: [DONE]", "x"},
		{"without the last empty line", c + "\n\ndata: [DONE]\n", "x"},
		{"without spaces", strings.ReplaceAll(c, "data: ", "data:") + "\n\ndata:[DONE]\n\n", "x"},
		{"over several lines", "data: {\"choices\":\ndata: [{\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n", "x"},
		{"with other fields", "id: 1\nretry: 5\nevent: message\n" + c + "\nfoo\n\ndata: [DONE]\n\n", "x"},
		{"with empty events", "data:\n\ndata: \n\n\n\n" + c + "\n\nevent: x\n\ndata: [DONE]\n\n", "x"},
		{"without content", "data: {\"choices\":[{\"delta\":{\"content\":null}}]}\n\ndata: {\"choices\":null}\n\ndata: {}\n\ndata: [DONE]\n\n", ""},
		{"with comments behind the end", c + "\n\ndata: [DONE]\n\n: bye\n\n", "x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := decodeAll(tt.body); err != nil || got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			if got, err := decodeAll(strings.Split(tt.body, "")...); err != nil || got != tt.want {
				t.Errorf("piece by piece: got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestWhatIsNoCompletionIsRefusedBehindItsText(t *testing.T) {
	const c = `data: {"choices":[{"delta":{"content":"x"}}]}` + "\n\n"
	for _, tt := range []struct{ name, body, text, field, detail string }{
		{"an error", c + `data: {"error":{"message":"overloaded","type":"server_error"}}` + "\n\n", "x", "error", "event 2 of the body is an error: overloaded"},
		{"an error as text", c + `data: {"error":"overloaded"}` + "\n\n", "x", "error", `event 2 of the body is an error: "overloaded"`},
		{"a long error", `data: {"error":{"message":"` + strings.Repeat("ü", 1000) + `"}}` + "\n\n", "", "error", "event 1 of the body is an error: " + strings.Repeat("ü", maxErrorText/2) + "…"},
		{"the end is missing", c, "x", "body", "body ended before [DONE]"},
		{"cut off", c + `data: {"choices":[{"del`, "x", "body", "body ended before [DONE]"},
		{"nothing", "", "", "body", "body ended before [DONE]"},
		{"an HTML page", "<html>\n\n</html>\n\n", "", "body", "body ended before [DONE]"},
		{"JSON without events", `{"choices":[]}`, "", "body", "body ended before [DONE]"},
		{"no JSON", c + c + "data: {\"choices\":\n\n", "xx", "body", "event 3 of the body is no chunk of a completion: the JSON ends too early"},
		{"no object", "data: [1]\n\n", "", "body", "event 1 of the body must be a JSON object or [DONE]"},
		{"content is a list", c + `data: {"choices":[{"delta":{"content":["y"]}}]}` + "\n\n", "x", "body", "event 2 of the body is no chunk of a completion: choices.0.delta.content must be a string"},
		{"a second choice", c + `data: {"choices":[{"index":1,"delta":{"content":"y"}}]}` + "\n\n", "x", "choices.index", "event 2 of the body is of another choice: ask for one only"},
		{"more behind the end", c + "data: [DONE]\n\n" + c, "x", "body", "event 2 of the body follows [DONE]"},
		{"half a surrogate pair", `data: {"choices":[{"delta":{"content":"\ud83d"}}]}` + "\n\n", "", "body", "event 1 of the body is no chunk of a completion: invalid JSON"},
		{"no UTF-8", "data: {\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}\n\n", "", "body", "event 1 of the body is no chunk of a completion: invalid JSON"},
		{"an endless line", c + "data: " + strings.Repeat("x", maxEventBytes), "x", "body", "event 2 of the body is longer than 1048576 bytes"},
		{"an endless event", c + strings.Repeat("data: "+strings.Repeat("x", 1000)+"\n", maxEventBytes/1000), "x", "body", "event 2 of the body is longer than 1048576 bytes"},
		{"empty data without end", strings.Repeat("data\n", maxEventBytes+1), "", "body", "event 1 of the body is longer than 1048576 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, err := decodeAll(tt.body)
			p, ok := errors.AsType[*problem](err)
			if !ok || p.Status != 422 || p.Code != wire.CodeInvalidMessage || p.Detail != tt.detail || p.Details["field"] != tt.field || text != tt.text {
				t.Errorf("got %q, %v, want %q, 422 INVALID_MESSAGE about %s: %s", text, err, tt.text, tt.field, tt.detail)
			}
		})
	}
}

func TestACompletionIsAppendedAsItArrives(t *testing.T) {
	n := start(t, config())
	alice := n.connect(t, "alice")
	n.startRun(t, "R")
	const path = "/api/v1/runs/R/streams/answer?format=openai&start=0&complete=true"
	u := n.upload(t, path, http.Header{"Content-Type": {"text/event-stream"}})
	first, rest, _ := strings.Cut(completion, ": keep-alive")
	u.write(first)
	alice.text(t, "", "Grüße")
	u.write(rest)
	wantObject(t, "answer", u.end(), 200, `{"start":0,"length":8,"run_state":"running"}`)
	wantObject(t, "text", n.get(t, "/api/v1/runs/R/streams/answer"), 200, `{"length":8,"state":"complete","text":"Grüße 🙂\n"}`)
	again := n.call(t, request{method: http.MethodPost, path: path, body: completion, header: http.Header{"Content-Type": {""}}})
	wantObject(t, "the same again", again, 200, `{"start":8,"length":8,"run_state":"running"}`)
}

func TestACompletionThatFailsLeavesWhatHasCome(t *testing.T) {
	n := start(t, config())
	n.startRun(t, "R")
	const path = "/api/v1/runs/R/streams/answer?format=openai"
	begin, _, _ := strings.Cut(completion, ": keep-alive")
	broken := begin + "data: {\"error\":{\"message\":\"overloaded\"}}\n\n"
	u := n.upload(t, path, nil)
	u.write(broken)
	wantProblem(t, "an error in an open body", u.answer(), 422, wire.CodeInvalidMessage, `{"field":"error","length":5}`)
	wantObject(t, "text", n.get(t, "/api/v1/runs/R/streams/answer"), 200, `{"length":5,"state":"open","text":"Grüße"}`)
	wantProblem(t, "the same with a length", n.append(t, path, broken), 422, wire.CodeInvalidMessage, `{"field":"error","length":5}`)
	u = n.upload(t, path+"&start=0", nil)
	u.write(begin)
	wantProblem(t, "an end too early", u.end(), 422, wire.CodeInvalidMessage, `{"field":"body","length":5}`)
	if got := n.runState(t, "R"); got != "running" {
		t.Errorf("got %s, want running", got)
	}
}

// FuzzOpenAIText holds that a body means the same however it is cut, and that its text is
// text.
func FuzzOpenAIText(f *testing.F) {
	for _, seed := range []string{
		completion, strings.ReplaceAll(completion, "\n", "\r\n"), "data: [DONE]", "data\n\n", "\ufeff:\r\r\n", "data: {\"error\":{}}\n\n",
		"data: {\"choices\":[{\"delta\":{\"content\":\"\\u0000\"}}]}\n\ndata: x\n\n", "data: {\ndata: }\n\ndata:[DONE]\r\r: \n",
	} {
		f.Add([]byte(seed), uint(7))
	}
	f.Fuzz(func(t *testing.T, body []byte, cut uint) {
		whole, bad := decodeAll(string(body))
		if !utf8.ValidString(whole) {
			t.Fatalf("got %q of %q, want UTF-8", whole, body)
		}
		if bad != nil {
			if p, internal := problemOf(bad); internal || p.Status != http.StatusUnprocessableEntity {
				t.Fatalf("got %v of %q, want 422", bad, body)
			}
		}
		var pieces []string
		for rest := string(body); rest != ""; {
			n := min(int(cut%13)+1, len(rest))
			pieces, rest, cut = append(pieces, rest[:n]), rest[n:], cut*31+7
		}
		text, err := decodeAll(pieces...)
		if text != whole || (err == nil) != (bad == nil) || err != nil && err.Error() != bad.Error() {
			t.Fatalf("got %q, %v of %q cut in %d pieces, want %q, %v", text, err, body, len(pieces), whole, bad)
		}
	})
}
