package runs_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

func TestPayloadsAreThoseOfTheTranscripts(t *testing.T) {
	const took = 120*time.Millisecond + 500*time.Microsecond
	runID := transcript(t, 2, "A")[2].RunID
	for _, tt := range []struct {
		journey int
		typ     wire.MessageType
		payload any
	}{
		{2, wire.AgentStarted, runs.Started("support", "a-2")},
		{2, wire.AgentThinking, runs.Thinking("Looking up order 1042", 1, 10)},
		{2, wire.ToolExecuting, runs.ToolExecuting("support", "orders", json.RawMessage(`{"order":1042,"api_key":"sk-1"}`))},
		{2, wire.ToolCompleted, runs.ToolCompleted("support", "orders", json.RawMessage(`{"state":"shipped"}`), took)},
		{2, wire.StreamOpen, runs.StreamOpen(runID, "answer")},
		{2, wire.StreamComplete, runs.StreamComplete(runID, "answer", wire.StreamStateComplete, "Grüße! 🙂 Order 1042 left on Monday, due Thursday.", 49)},
		{2, wire.AgentCompleted, runs.Completed("support", nil, 900*time.Millisecond)},
		{7, wire.AgentStarted, runs.Started("writer", "")},
		{7, wire.StreamComplete, runs.StreamComplete("order-help-3", "answer", wire.StreamStateCancelled, "Dear customer, ", 15)},
		{7, wire.AgentCancelled, runs.Cancelled("wrong order", "alice")},
		{8, wire.AgentStarted, runs.Started("writer", "a-3")},
		{8, wire.AgentCompleted, runs.Completed("writer", json.RawMessage(`{"mood":"good"}`), 640*time.Millisecond)},
	} {
		got, err := runs.Redact(encoded(t, tt.payload)) // no harm where there is nothing to redact
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, e := range transcript(t, tt.journey, "A") {
			if found = e.Type == tt.typ; found {
				if diff := cmp.Diff(decoded(t, got), decoded(t, e.Payload), sameNumbers); diff != "" {
					t.Errorf("journey %d, %s (-got +want):\n%s", tt.journey, tt.typ, diff)
				}
				break
			}
		}
		if !found {
			t.Errorf("got no %s in journey %d", tt.typ, tt.journey)
		}
	}
}

// decoded is JSON for a comparison by value; numbers keep their digits.
func decoded(t testing.TB, b []byte) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return v
}

// sameNumbers lets 10 equal 10.0.
var sameNumbers = cmp.Comparer(func(a, b json.Number) bool {
	x, err1 := a.Float64()
	y, err2 := b.Float64()
	return err1 == nil && err2 == nil && x == y
})

func TestPayloadsSayWhatHappenedInWords(t *testing.T) {
	for _, tt := range []struct {
		name    string
		payload any
		want    string
	}{
		{
			"a tool without parameters", runs.ToolExecuting("A", "clock", nil),
			`{"tool_name":"clock","parameters":{},"status":"executing","message":"A is using clock"}`,
		},
		{
			"a tool that returned null", runs.ToolCompleted("A", "mail", json.RawMessage("null"), 0),
			`{"tool_name":"mail","result":{},"execution_time_ms":0,"status":"completed","message":"A completed mail"}`,
		},
		{
			"a tool that failed", runs.ToolFailed("A", "mail", "no route", 1500*time.Microsecond),
			`{"tool_name":"mail","error":"no route","execution_time_ms":1.5,"status":"failed","message":"A could not complete mail"}`,
		},
		{"a thought with no step or progress", runs.Thinking("hm", 0, 0), `{"status":"thinking","reasoning":"hm"}`},
		{
			"progress", runs.Progress("A", 50, ""),
			`{"status":"progress","progress_data":{"percentage":50},"message":"A is making progress"}`,
		},
		{"progress in words", runs.Progress("A", 0, "2 of 4"), `{"status":"progress","progress_data":{"percentage":0},"message":"2 of 4"}`},
		{
			"a failure", runs.Failed("A", "No such order", wire.ErrorContext{UserFacing: true}),
			`{"status":"error","error_message":"No such order","error_context":{"error_type":"unknown","user_facing":true},"message":"A encountered an issue processing your request"}`,
		},
		{
			"a failure that is known", runs.Failed("A", "x", wire.ErrorContext{Type: "timeout", Step: "search", Recoverable: true}),
			`{"status":"error","error_message":"x","error_context":{"error_type":"timeout","agent_step":"search","user_facing":false,"recoverable":true},"message":"A encountered an issue processing your request"}`,
		},
		{"a stop by nobody in particular", runs.Cancelled("budget", ""), `{"status":"cancelled","reason":"budget"}`},
		{
			"a text of 64 KiB", runs.StreamComplete("R", "a", "complete", strings.Repeat("x", 1<<16), 1<<16),
			`{"stream_id":"R/a","length":65536,"state":"complete","text":"` + strings.Repeat("x", 1<<16) + `"}`,
		},
		{"a longer text", runs.StreamComplete("R", "a", "complete", strings.Repeat("x", 1<<16+1), 1<<16+1), `{"stream_id":"R/a","length":65537,"state":"complete"}`},
		{
			"a timeout", runs.Death("A", wire.DeathTimeout),
			`{"status":"dead","death_cause":"timeout","message":"The A agent took too long to respond and has been stopped. Please try again.","recovery_action":"refresh_required"}`,
		},
		{
			"silence", runs.Death("A", wire.DeathNoHeartbeat),
			`{"status":"dead","death_cause":"no_heartbeat","message":"The A agent has stopped responding. Please try again.","recovery_action":"refresh_required"}`,
		},
		{
			"a lost node", runs.Death("A", wire.DeathNodeLost),
			`{"status":"dead","death_cause":"node_lost","message":"The server that ran the A agent was lost. Please try again.","recovery_action":"refresh_required"}`,
		},
		{
			"a shutdown", runs.Death("A", wire.DeathShutdown),
			`{"status":"dead","death_cause":"shutdown","message":"The A agent was stopped because its server is shutting down. Please try again.","recovery_action":"refresh_required"}`,
		},
		{
			"another death", runs.Death("A", "memory_limit"),
			`{"status":"dead","death_cause":"memory_limit","message":"The A agent encountered a critical error. Please refresh and try again.","recovery_action":"refresh_required"}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(encoded(t, tt.payload)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}
