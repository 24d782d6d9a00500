package docsagent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/agent/openai"
	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/internal/docsagent"
	"github.com/netra-systems/switchboard/wire"
)

// A librarian is a server that speaks the protocol of OpenAI and answers like a model that
// uses the tools: it searches, reads the best hit, and quotes it.
func librarian(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req struct {
			Messages []struct{ Role, Content string }
			Tools    []struct{ Function struct{ Name string } }
		}
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			t.Error(err)
		}
		if len(req.Tools) != 3 || req.Messages[0].Role != "system" || !strings.Contains(req.Messages[0].Content, "Quote what answers the question verbatim") {
			t.Errorf("got %d tools and first message %v, want 3 and the instructions", len(req.Tools), req.Messages[0])
		}
		w.Header().Set("Content-Type", "text/event-stream")
		send := func(delta map[string]any, finish any) {
			data, err := json.Marshal(map[string]any{"id": "c", "choices": []any{map[string]any{"index": 0, "delta": delta, "finish_reason": finish}}})
			if err != nil {
				t.Error(err)
			}
			fmt.Fprintf(w, "data: %s\n\n", data)
		}
		call := func(name, args string) {
			send(map[string]any{"tool_calls": []any{map[string]any{"index": 0, "id": name + "-1", "type": "function", "function": map[string]string{"name": name}}}}, nil)
			for _, piece := range strings.SplitAfter(args, ",") {
				send(map[string]any{"tool_calls": []any{map[string]any{"index": 0, "function": map[string]string{"arguments": piece}}}}, nil)
			}
			send(map[string]any{}, "tool_calls")
		}
		last := req.Messages[len(req.Messages)-1].Content
		switch len(req.Messages) {
		case 2:
			call("search", `{"query":"parrot midnight","limit":1}`)
		case 4:
			var found struct {
				Hits []struct {
					File     string
					From, To int
				}
			}
			if err := json.Unmarshal([]byte(last), &found); err != nil || len(found.Hits) != 1 {
				t.Errorf("got %s, want one hit", last)
			}
			hit := found.Hits[0]
			call("read", fmt.Sprintf(`{"file":%q,"from":%d,"to":%d}`, hit.File, hit.From, hit.To))
		default:
			var read struct {
				File  string
				Lines []struct {
					Line int
					Text string
				}
			}
			if err := json.Unmarshal([]byte(last), &read); err != nil || len(read.Lines) == 0 {
				t.Errorf("got %s, want lines", last)
			}
			answer := fmt.Sprintf("No:\n\n> %s\n\n— %s:%d\n", read.Lines[0].Text, read.File, read.Lines[0].Line)
			for _, word := range strings.SplitAfter(answer, " ") {
				send(map[string]any{"content": word}, nil)
			}
			send(map[string]any{}, "stop")
		}
		fmt.Fprint(w, "data: [DONE]\n\n")
	}))
	t.Cleanup(srv.Close)
	return srv.URL + "/v1"
}

func TestAModelAnswersWithTheSameTools(t *testing.T) {
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	model, err := openai.New(openai.Options{URL: librarian(t), Model: "m", Client: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	dir := folder(t, house)
	got := ask(t, build(t, docsagent.Options{Dir: dir, Model: model}), "May I feed the parrot at one in the morning?")
	all := quotes(t, got.text)
	if len(all) != 1 || all[0] != (quote{"Nobody may feed the parrot after midnight.", "people/guests.txt", 9}) {
		t.Errorf("got %q, want a quote", got.text)
	}
	verbatim(t, os.DirFS(dir), all)
	var tools []string
	for _, c := range got.calls(t) {
		tools = append(tools, fmt.Sprintf("%s %v", c.Tool, c.Parameters))
	}
	if diff := cmp.Diff([]string{"search map[limit:1 query:parrot midnight]", "read map[file:people/guests.txt from:9 to:9]"}, tools); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// TestItAnswersUsersOverTheirSocket is the whole way: a device sends a message, and gets the
// events and the text of the run that answers it.
func TestItAnswersUsersOverTheirSocket(t *testing.T) {
	m := start(t)
	m.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "docs"}, build(t, docsagent.Options{Dir: folder(t, house)}).Run)
	srv := httptest.NewServer(m.ClientAPI())
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	phone, err := client.Dial(ctx, client.Options{URL: srv.URL + "/ws", Token: func(context.Context) (string, error) { return "alice", nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer phone.Close()
	messages := phone.Messages(ctx)
	if _, err := phone.Send(ctx, client.Message{Type: wire.UserMessage, Payload: map[string]string{"content": "Where is the boiler?"}}); err != nil {
		t.Fatal(err)
	}
	text := ""
	for msg := range messages {
		switch msg.Type {
		case wire.StreamComplete:
			text = decode[wire.StreamCompletePayload](t, msg.Payload).Text
		case wire.AgentCompleted:
			if all := quotes(t, text); len(all) == 0 || all[0] != (quote{"The boiler is in the cellar, behind the wine.", "heating.md", 3}) {
				t.Errorf("got %q, want a quote", text)
			}
			return
		case wire.AgentError:
			t.Fatalf("got %s", msg.Payload)
		}
	}
	t.Error("the messages ended before the run")
}
