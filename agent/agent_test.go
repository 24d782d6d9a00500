package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/agent"
	"github.com/netra-systems/switchboard/wire"
)

// A round is what a model says when it is asked once.
type round struct {
	text  string
	calls []agent.Call
	err   error
}

// rounds is a model that says what it is told to, and keeps what it was asked.
func rounds(asked *[]agent.Request, all ...round) agent.Model {
	return func(_ context.Context, req agent.Request, out io.Writer) ([]agent.Call, error) {
		req.Messages = append([]agent.Message(nil), req.Messages...)
		*asked = append(*asked, req)
		now := all[min(len(*asked), len(all))-1]
		for _, word := range strings.SplitAfter(now.text, " ") {
			if _, err := io.WriteString(out, word); err != nil {
				return nil, err
			}
		}
		return now.calls, now.err
	}
}

// double is a tool that works.
func double() agent.Tool {
	type args struct{ N int }
	return agent.Tool{
		Name: "double", Description: "doubles n", Parameters: json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer"}}}`),
		Call: agent.Typed(func(_ context.Context, a args) (any, error) {
			if a.N > 1000 {
				return nil, errors.New("n is too large")
			}
			return map[string]int{"result": 2 * a.N}, nil
		}),
	}
}

func build(t testing.TB, opts agent.Options) *agent.Agent {
	t.Helper()
	a, err := agent.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAToolLoopIsShownWithItsRealParametersAndResults(t *testing.T) {
	var asked []agent.Request
	model := rounds(&asked,
		round{text: "Let me see.", calls: []agent.Call{{ID: "a", Name: "double", Arguments: `{"n":21}`}, {ID: "b", Name: "double", Arguments: `{"n":1001}`}}},
		round{text: "It is 42."})
	m := start(t)
	got := answer(t, m, begin(t, m), build(t, agent.Options{Model: model, Tools: []agent.Tool{double()}, System: "You count."}), "21 twice?")

	if got.err != nil {
		t.Fatal(got.err)
	}
	if got.text != "Let me see.\n\nIt is 42." || got.state != wire.StreamStateComplete {
		t.Errorf("got text %q (%s), want both rounds, an empty line between, complete", got.text, got.state)
	}
	want := []wire.MessageType{
		wire.AgentStarted, wire.StreamOpen, wire.ToolExecuting, wire.ToolCompleted, wire.ToolExecuting, wire.ToolCompleted,
		wire.StreamComplete, wire.AgentCompleted,
	}
	if diff := cmp.Diff(want, got.types()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	began := payload[wire.ToolExecutingPayload](t, got, wire.ToolExecuting, 0)
	ended := payload[wire.ToolCompletedPayload](t, got, wire.ToolCompleted, 0)
	if began.Tool != "double" || string(began.Parameters) != `{"n":21}` || string(ended.Result) != `{"result":42}` {
		t.Errorf("got %s(%s) = %s, want double({\"n\":21}) = {\"result\":42}", began.Tool, began.Parameters, ended.Result)
	}
	if failed := payload[wire.ToolCompletedPayload](t, got, wire.ToolCompleted, 1); failed.Error != "n is too large" {
		t.Errorf("got error %q, want that of the tool", failed.Error)
	}
	conversation := []agent.Message{
		{Role: agent.RoleSystem, Text: "You count."},
		{Role: agent.RoleUser, Text: "21 twice?"},
		{Role: agent.RoleAssistant, Text: "Let me see.", Calls: []agent.Call{{ID: "a", Name: "double", Arguments: `{"n":21}`}, {ID: "b", Name: "double", Arguments: `{"n":1001}`}}},
		{Role: agent.RoleTool, Text: `{"result":42}`, CallID: "a"},
		{Role: agent.RoleTool, Text: `{"error":"n is too large"}`, CallID: "b"},
	}
	if diff := cmp.Diff(conversation, asked[1].Messages); diff != "" {
		t.Errorf("the second round was asked (-want +got):\n%s", diff)
	}
}

func TestWhatAModelGetsWrongGoesBackToIt(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 31) + "1" + strings.Repeat("}", 31)
	for _, tt := range []struct {
		name string
		call agent.Call
		want string // in the error that the model is told
		tool bool   // an event shows the call
	}{
		{"an unknown tool", agent.Call{ID: "x", Name: "rm -rf", Arguments: `{}`}, `there is no tool \"rm -rf\"`, false},
		{"no JSON", agent.Call{ID: "x", Name: "double", Arguments: `{"n":`}, "the arguments", true},
		{"no object", agent.Call{ID: "x", Name: "double", Arguments: `[1]`}, "the arguments must be a JSON object", true},
		{"null", agent.Call{ID: "x", Name: "double", Arguments: `null`}, "the arguments must be a JSON object", true},
		{"two values", agent.Call{ID: "x", Name: "double", Arguments: `{"n":1},"m":{}`}, "the arguments", true},
		{"a key twice", agent.Call{ID: "x", Name: "double", Arguments: `{"n":1,"n":2}`}, "duplicate key", true},
		{"another type", agent.Call{ID: "x", Name: "double", Arguments: `{"n":"one"}`}, "n must be a whole number", true},
		{"too deep for an event", agent.Call{ID: "x", Name: "double", Arguments: deep}, "levels", true},
		{"bytes that are no text", agent.Call{ID: "x", Name: "double", Arguments: "{\"n\":\"\xff\"}"}, "the arguments", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked []agent.Request
			m := start(t)
			a := build(t, agent.Options{Model: rounds(&asked, round{calls: []agent.Call{tt.call}}, round{text: "Sorry."}), Tools: []agent.Tool{double()}})
			got := answer(t, m, begin(t, m), a, "?")
			if got.err != nil || got.text != "Sorry." {
				t.Fatalf("got %q and error %v, want an answer all the same", got.text, got.err)
			}
			told := asked[1].Messages[2]
			if told.CallID != "x" || !strings.HasPrefix(told.Text, `{"error":`) || !strings.Contains(told.Text, tt.want) {
				t.Errorf("the model was told %q, want an error with %q", told.Text, tt.want)
			}
			shown := false
			for _, typ := range got.types() {
				shown = shown || typ == wire.ToolCompleted
			}
			if shown != tt.tool {
				t.Errorf("got events %v, want a tool: %v", got.types(), tt.tool)
			}
			if !tt.tool {
				thought := payload[wire.AgentThinkingPayload](t, got, wire.AgentThinking, 0)
				if !strings.Contains(thought.Reasoning, "rm -rf") {
					t.Errorf("got thought %q, want the tool that does not exist", thought.Reasoning)
				}
			}
		})
	}
}

func TestToolsWithoutArgumentsNeedNone(t *testing.T) {
	var asked []agent.Request
	m := start(t)
	a := build(t, agent.Options{Model: rounds(&asked, round{calls: []agent.Call{{ID: "x", Name: "double"}}}, round{text: "0"}), Tools: []agent.Tool{double()}})
	answer(t, m, begin(t, m), a, "?")
	if told := asked[1].Messages[2].Text; told != `{"result":0}` {
		t.Errorf("the model was told %q, want the result", told)
	}
}

func TestRoundsAreBoundedAndTheLastOneMustAnswer(t *testing.T) {
	var asked []agent.Request
	again := round{calls: []agent.Call{{ID: "x", Name: "double", Arguments: `{"n":1}`}}}
	m := start(t)
	got := answer(t, m, begin(t, m), build(t, agent.Options{Model: rounds(&asked, again), Tools: []agent.Tool{double()}, Rounds: 3}), "?")
	if !errors.Is(got.err, agent.ErrRounds) {
		t.Errorf("got error %v, want ErrRounds", got.err)
	}
	var final []bool
	for _, req := range asked {
		final = append(final, req.Final)
	}
	if diff := cmp.Diff([]bool{false, false, true}, final); diff != "" {
		t.Errorf("Final by round (-want +got):\n%s", diff)
	}
	if failed := payload[wire.AgentErrorPayload](t, got, wire.AgentError, 0); failed.Error != "the model calls tools instead of answering" {
		t.Errorf("users read %q, want what the model does", failed.Error)
	}
}

func TestTooManyCallsAtOnceAreNotMade(t *testing.T) {
	var calls []agent.Call
	for i := range 40 {
		calls = append(calls, agent.Call{ID: fmt.Sprint(i), Name: "double", Arguments: `{"n":1}`})
	}
	var asked []agent.Request
	m := start(t)
	a := build(t, agent.Options{Model: rounds(&asked, round{calls: calls}, round{text: "Done."}), Tools: []agent.Tool{double()}})
	got := answer(t, m, begin(t, m), a, "?")
	made := 0
	for _, typ := range got.types() {
		if typ == wire.ToolExecuting {
			made++
		}
	}
	if made != 16 {
		t.Errorf("got %d calls, want 16", made)
	}
	if n := len(asked[1].Messages); n != 2+len(calls) {
		t.Errorf("got %d messages, want an answer to each of the 40 calls", n)
	}
}

func TestResultsThatDoNotFitAreErrorsOfTheTool(t *testing.T) {
	nested := any(1)
	for range 40 {
		nested = []any{nested}
	}
	for _, tt := range []struct {
		name   string
		result any
		want   string
	}{
		{"too large", strings.Repeat("x", 200<<10), "are allowed: ask for less"},
		{"no JSON", func() {}, "the result is no JSON"},
		{"too deep", nested, "levels"},
		{"no text", "\xff", "the result is no JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tool := agent.Tool{Name: "t", Description: "d", Call: func(context.Context, json.RawMessage) (any, error) { return tt.result, nil }}
			var asked []agent.Request
			m := start(t)
			a := build(t, agent.Options{Model: rounds(&asked, round{calls: []agent.Call{{ID: "x", Name: "t"}}}, round{text: "Done."}), Tools: []agent.Tool{tool}})
			got := answer(t, m, begin(t, m), a, "?")
			if got.err != nil {
				t.Fatal(got.err)
			}
			if told := asked[1].Messages[2].Text; !strings.Contains(told, tt.want) {
				t.Errorf("the model was told %q, want %q", told, tt.want)
			}
		})
	}
}

func TestAModelThatFailsLeavesItsTextAndSaysWhy(t *testing.T) {
	secret := errors.New("dial 10.0.0.7: refused")
	public := &switchboard.Error{Code: wire.CodeBackendUnavailable, Message: "the model is asleep"}
	for _, tt := range []struct {
		name string
		err  error
		want string // that users read
	}{
		{"in words for users", fmt.Errorf("%w: %w", public, secret), "the model is asleep"},
		{"in other words", secret, "the model failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked []agent.Request
			m := start(t)
			got := answer(t, m, begin(t, m), build(t, agent.Options{Model: rounds(&asked, round{text: "It is", err: tt.err})}), "?")
			if !errors.Is(got.err, secret) {
				t.Errorf("got error %v, want that of the model in it", got.err)
			}
			if got.text != "It is" || got.state != wire.StreamStateFailed {
				t.Errorf("got text %q (%s), want what was written, failed", got.text, got.state)
			}
			if failed := payload[wire.AgentErrorPayload](t, got, wire.AgentError, 0); failed.Error != tt.want {
				t.Errorf("users read %q, want %q", failed.Error, tt.want)
			}
		})
	}
}

func TestAnAnswerWithoutAWordIsAnError(t *testing.T) {
	var asked []agent.Request
	m := start(t)
	if got := answer(t, m, begin(t, m), build(t, agent.Options{Model: rounds(&asked, round{})}), "?"); !errors.Is(got.err, agent.ErrNoAnswer) {
		t.Errorf("got error %v, want ErrNoAnswer", got.err)
	}
}

func TestStopEndsTheModelAndTheToolsAndKeepsTheText(t *testing.T) {
	hang := agent.Tool{Name: "hang", Description: "waits", Call: func(ctx context.Context, _ json.RawMessage) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	talking := func(ctx context.Context, _ agent.Request, out io.Writer) ([]agent.Call, error) {
		for {
			if _, err := io.WriteString(out, "word "); err != nil {
				return nil, err
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done(): // and does not care
			}
		}
	}
	calling := func(_ context.Context, _ agent.Request, out io.Writer) ([]agent.Call, error) {
		_, err := io.WriteString(out, "word word word ")
		return []agent.Call{{ID: "x", Name: "hang"}}, err
	}
	for name, model := range map[string]agent.Model{"while it writes": talking, "while a tool works": calling} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := start(t)
				run := begin(t, m)
				time.AfterFunc(2500*time.Millisecond, func() {
					if _, err := run.Cancel(context.Background(), "enough"); err != nil {
						t.Error(err)
					}
				})
				began := time.Now()
				got := answer(t, m, run, build(t, agent.Options{Model: model, Tools: []agent.Tool{hang}}), "?")
				if !errors.Is(got.err, switchboard.ErrRunCancelled) && !errors.Is(got.err, context.Canceled) {
					t.Errorf("got error %v, want that of the stop", got.err)
				}
				if took := time.Since(began); took != 2500*time.Millisecond {
					t.Errorf("it ended after %v, want with the stop", took)
				}
				if got.text != "word word word " || got.state != wire.StreamStateCancelled {
					t.Errorf("got text %q (%s), want what was written, cancelled", got.text, got.state)
				}
			})
		})
	}
}

func TestNewNamesWhatIsWrong(t *testing.T) {
	model := rounds(new([]agent.Request))
	with := func(change func(*agent.Tool)) agent.Options {
		tool := double()
		change(&tool)
		return agent.Options{Model: model, Tools: []agent.Tool{double(), tool}}
	}
	for _, tt := range []struct {
		name string
		opts agent.Options
		want string
	}{
		{"no model", agent.Options{}, "Model is required"},
		{"negative rounds", agent.Options{Model: model, Rounds: -1}, "Rounds is -1"},
		{"a name of other signs", with(func(t *agent.Tool) { t.Name = "a b" }), `Tools[1]: Name is "a b"`},
		{"a name twice", with(func(*agent.Tool) {}), `Tools[1]: there are two tools "double"`},
		{"no description", with(func(t *agent.Tool) { t.Name, t.Description = "x", "" }), "Tools[1]: Description is required"},
		{"no call", with(func(t *agent.Tool) { t.Name, t.Call = "x", nil }), "Tools[1]: Call is required"},
		{"parameters that are no JSON", with(func(t *agent.Tool) { t.Name, t.Parameters = "x", json.RawMessage("{") }), "Tools[1]: Parameters"},
		{"parameters of another type", with(func(t *agent.Tool) { t.Name, t.Parameters = "x", json.RawMessage(`{"type":"array"}`) }), `Tools[1]: Parameters have type "array"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := agent.New(tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestAQuestionIsContentOrText(t *testing.T) {
	for _, tt := range []struct{ name, payload, want, refusal string }{
		{"content", `{"content":"a"}`, "a", ""},
		{"text", `{"text":"b"}`, "b", ""},
		{"content before text", `{"text":"b","content":"a"}`, "a", ""},
		{"neither", `{"message":"a"}`, "", "content must be a question"},
		{"blank", `{"content":" \n"}`, "", "content must be a question"},
		{"no text", `{"content":1}`, "", "content must be a string"},
		{"too long", `{"text":"` + strings.Repeat("x", 16<<10+1) + `"}`, "", "text has 16385 bytes, 16384 are allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := agent.Question(switchboard.Envelope{Payload: json.RawMessage(tt.payload)})
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.refusal == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.refusal) || switchboard.CodeOf(err) != wire.CodeInvalidMessage {
				t.Errorf("got error %v, want INVALID_MESSAGE with %q", err, tt.refusal)
			}
		})
	}
}
