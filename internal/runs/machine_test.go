package runs_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

const run = "R"

// event is an event of run. The payload is JSON, or "" for none.
func event(typ wire.MessageType, payload string) wire.Envelope {
	e := wire.Envelope{Type: typ, RunID: run, ThreadID: "t1", AgentName: "support", Timestamp: 17}
	if payload != "" {
		e.Payload = json.RawMessage(payload)
	}
	return e
}

// started is a run with these events behind agent_started, each of which must be accepted.
func started(t testing.TB, events ...wire.Envelope) *runs.Machine {
	t.Helper()
	m := new(runs.Machine)
	for _, e := range append([]wire.Envelope{event(wire.AgentStarted, `{}`)}, events...) {
		if err := m.Check(e); err != nil {
			t.Fatalf("%s %s: %v", e.Type, e.Payload, err)
		}
		m.Apply(e)
	}
	return m
}

func TestWhatBreaksTheContractIsRefusedAndChangesNothing(t *testing.T) {
	search := event(wire.ToolExecuting, `{"tool_name":"search"}`)
	open := event(wire.StreamOpen, `{"stream_id":"R/answer","name":"answer","format":"text"}`)
	complete := event(wire.StreamComplete, `{"stream_id":"R/answer","length":3,"state":"complete"}`)
	ask := event(wire.ApprovalRequested, `{"approval_id":"a1"}`)
	other := event(wire.AgentThinking, `{"reasoning":"hm"}`)
	other.RunID = "S"
	tests := []struct {
		name        string
		before      []wire.Envelope
		event       wire.Envelope
		field, rule string
	}{
		{"a second start", nil, event(wire.AgentStarted, `{}`), "type", "agent_started comes only once"},
		{"an event of another run", nil, other, "run_id", "run_id is that of another run"},
		{"text as an event", nil, event(wire.StreamChunk, `{}`), "type", "text is appended to its stream and is no event"},
		{
			"a tool ends that never began", nil, event(wire.ToolCompleted, `{"tool_name":"mail","result":{}}`),
			"payload.tool_name", "tool_completed without tool_executing",
		},
		{
			"a tool ends twice", []wire.Envelope{search, event(wire.ToolCompleted, `{"tool_name":"search"}`)},
			event(wire.ToolCompleted, `{"tool_name":"search"}`), "payload.tool_name", "tool_completed without tool_executing",
		},
		{"a tool without a name", nil, event(wire.ToolExecuting, `{}`), "payload.tool_name", "payload.tool_name must not be empty"},
		{"a tool with no payload", nil, event(wire.ToolExecuting, ``), "payload.tool_name", "payload.tool_name must not be empty"},
		{"a tool with a number for a name", nil, event(wire.ToolExecuting, `{"tool_name":5}`), "payload.tool_name", "payload.tool_name must be a string"},
		{"a tool with an endless name", nil, event(wire.ToolExecuting, `{"tool_name":"`+strings.Repeat("x", 129)+`"}`), "payload.tool_name", "payload.tool_name must have at most 128 bytes"},
		{
			"a tool that took less than no time", []wire.Envelope{search},
			event(wire.ToolCompleted, `{"tool_name":"search","execution_time_ms":-1}`), "payload.execution_time_ms", "payload.execution_time_ms must not be negative",
		},
		{"the end while a tool executes", []wire.Envelope{search}, event(wire.AgentCompleted, `{}`), "type", `agent_completed while the tool "search" is executing`},
		{"a payload that is a list", nil, event(wire.AgentThinking, `[]`), "payload", "payload must be an object"},
		{"no thought", nil, event(wire.AgentThinking, `{"reasoning":""}`), "payload.reasoning", "payload.reasoning must not be empty"},
		{"a step before the first", nil, event(wire.AgentThinking, `{"reasoning":"x","step_number":-1}`), "payload.step_number", "payload.step_number must not be negative"},
		{"more than all", nil, event(wire.AgentThinking, `{"reasoning":"x","progress_percentage":100.1}`), "payload.progress_percentage", "payload.progress_percentage must be from 0 to 100"},
		{"less than nothing", nil, event(wire.ProgressUpdate, `{"progress_data":{"percentage":-0.1}}`), "payload.progress_data.percentage", "payload.progress_data.percentage must be from 0 to 100"},
		{"a percentage as text", nil, event(wire.ProgressUpdate, `{"progress_data":{"percentage":"50"}}`), "payload.progress_data.percentage", "payload.progress_data.percentage must be a number"},
		{"a negative number of steps", nil, event(wire.ProgressUpdate, `{"progress_data":{"total_steps":-1}}`), "payload.progress_data.total_steps", "payload.progress_data.total_steps must not be negative"},
		{"a negative rest", nil, event(wire.ProgressUpdate, `{"progress_data":{"estimated_remaining":-1}}`), "payload.progress_data.estimated_remaining", "payload.progress_data.estimated_remaining must not be negative"},
		{"a partial result that is no text", nil, event(wire.PartialResult, `{"content":{}}`), "payload.content", "payload.content must be a string"},
		{"a report with a negative duration", nil, event(wire.FinalReport, `{"total_duration_ms":-1}`), "payload.total_duration_ms", "payload.total_duration_ms must not be negative"},
		{"a sub-agent with a negative duration", nil, event(wire.SubagentCompleted, `{"duration_ms":-1}`), "payload.duration_ms", "payload.duration_ms must not be negative"},
		{"a level that is no text", nil, event(wire.AgentLog, `{"level":1}`), "payload.level", "payload.level must be a string"},
		{"a stream opens twice", []wire.Envelope{open}, open, "payload.stream_id", "stream_open of a stream that was opened before"},
		{"a stream opens again after its end", []wire.Envelope{open, complete}, open, "payload.stream_id", "stream_open of a stream that was opened before"},
		{"a stream of another run", nil, event(wire.StreamOpen, `{"stream_id":"S/answer","name":"answer"}`), "payload.stream_id", "payload.stream_id is not that of the run and the name"},
		{"a stream with a path for a name", nil, event(wire.StreamOpen, `{"stream_id":"R/a/b","name":"a/b"}`), "payload.name", `payload.name must not contain "/"`},
		{"a stream ends that never began", nil, complete, "payload.stream_id", "stream_complete of a stream that is not open"},
		{"a stream ends twice", []wire.Envelope{open, complete}, complete, "payload.stream_id", "stream_complete of a stream that is not open"},
		{
			"a stream ends open", []wire.Envelope{open}, event(wire.StreamComplete, `{"stream_id":"R/answer","state":"open"}`),
			"payload.state", "payload.state must be complete, cancelled or failed",
		},
		{
			"a negative length", []wire.Envelope{open}, event(wire.StreamComplete, `{"stream_id":"R/answer","state":"failed","length":-1}`),
			"payload.length", "payload.length must not be negative",
		},
		{"an approval without an id", nil, event(wire.ApprovalRequested, `{}`), "payload.approval_id", "payload.approval_id must not be empty"},
		{"an approval twice", []wire.Envelope{ask}, ask, "payload.approval_id", "approval_requested twice with the same id"},
		{"an answer to no question", nil, event(wire.ApprovalResolved, `{"approval_id":"a1","decision":"approved"}`), "payload.approval_id", "approval_resolved without approval_requested"},
		{
			"an answer that is none", []wire.Envelope{ask}, event(wire.ApprovalResolved, `{"approval_id":"a1","decision":"maybe"}`),
			"payload.decision", "payload.decision must be approved, rejected or expired",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := started(t, tt.before...)
			before := m.Snapshot()
			v, _ := errors.AsType[*runs.Violation](m.Check(tt.event))
			if v == nil || v.Field != tt.field || v.Rule != tt.rule {
				t.Errorf("got %+v, want %s: %s", v, tt.field, tt.rule)
			}
			if diff := cmp.Diff(m.Snapshot(), before); diff != "" {
				t.Errorf("the run has changed (-after +before):\n%s", diff)
			}
		})
	}
}

func TestARunBeginsWithItsStart(t *testing.T) {
	anonymous, nameless := event(wire.AgentStarted, `{}`), event(wire.AgentStarted, `{}`)
	anonymous.AgentName, nameless.RunID = "", "a/b"
	for _, tt := range []struct {
		event wire.Envelope
		want  runs.Violation
	}{
		{event(wire.AgentThinking, `{"reasoning":"hm"}`), runs.Violation{Field: "type", Rule: "agent_thinking before agent_started"}},
		{event(wire.AgentDeath, `{}`), runs.Violation{Field: "type", Rule: "agent_death before agent_started"}},
		{anonymous, runs.Violation{Field: "agent_name", Rule: "agent_name must not be empty"}},
		{nameless, runs.Violation{Field: "run_id", Rule: `run_id must not contain "/"`}},
	} {
		m := new(runs.Machine)
		err := m.Check(tt.event)
		if v, _ := errors.AsType[*runs.Violation](err); v == nil || *v != tt.want || err.Error() != tt.want.Rule {
			t.Errorf("%s: got %v, want %+v", tt.event.Type, err, tt.want)
		}
		if m.State() != "" {
			t.Errorf("%s: got state %q after a check, want none", tt.event.Type, m.State())
		}
	}
}

func TestNothingFollowsTheEnd(t *testing.T) {
	for typ, want := range map[wire.MessageType]wire.RunState{
		wire.AgentCompleted: wire.RunCompleted, wire.AgentError: wire.RunFailed,
		wire.AgentCancelled: wire.RunCancelled, wire.AgentDeath: wire.RunDead,
	} {
		m := started(t, event(typ, `{}`))
		if got := m.State(); got != want {
			t.Errorf("got state %s after %s, want %s", got, typ, want)
		}
		for info := range wire.Types() {
			e := event(info.Type, `{"tool_name":"x","reasoning":"x","stream_id":"R/a","name":"a"}`)
			if err := m.Check(e); !errors.Is(err, runs.ErrEnded) {
				t.Errorf("got %v for %s after %s, want ErrEnded", err, info.Type, typ)
			}
			m.Apply(e)
		}
		if run := m.Snapshot(); run.State != want || len(run.Tools)+len(run.Streams) > 0 {
			t.Errorf("got %+v after events that follow %s, want it unchanged", run, typ)
		}
	}
}

func TestARunMayFailOrBeStoppedInTheMiddleOfAnything(t *testing.T) {
	for typ, stream := range map[wire.MessageType]string{
		wire.AgentError: wire.StreamStateFailed, wire.AgentDeath: wire.StreamStateFailed, wire.AgentCancelled: wire.StreamStateCancelled,
	} {
		m := started(t,
			event(wire.ToolExecuting, `{"tool_name":"search"}`),
			event(wire.StreamOpen, `{"stream_id":"R/answer","name":"answer"}`),
			event(wire.ApprovalRequested, `{"approval_id":"a1"}`),
			event(typ, `{}`))
		got := m.Snapshot()
		if len(got.Tools)+len(got.Approvals) > 0 || got.Streams[0].State != stream {
			t.Errorf("got %+v after %s, want nothing in progress and a stream that is %s", got, typ, stream)
		}
	}
}

func TestTheSameToolMayExecuteSeveralTimesAtOnce(t *testing.T) {
	search, mail := event(wire.ToolExecuting, `{"tool_name":"search"}`), event(wire.ToolExecuting, `{"tool_name":"mail"}`)
	done := event(wire.ToolCompleted, `{"tool_name":"search"}`)
	m := started(t, search, mail, search)
	for _, want := range [][]string{{"search", "mail", "search"}, {"mail", "search"}, {"mail"}} {
		if diff := cmp.Diff(m.Snapshot().Tools, want); diff != "" {
			t.Errorf("tools (-got +want):\n%s", diff)
		}
		m.Apply(done)
	}
}

func TestARunWaitsWhileAnApprovalIsOpen(t *testing.T) {
	m := started(t)
	for _, step := range []struct {
		typ     wire.MessageType
		payload string
		want    wire.RunState
	}{
		{wire.ApprovalRequested, `{"approval_id":"a1","tool_name":"refund","expires_at":5}`, wire.RunWaiting},
		{wire.ApprovalRequested, `{"approval_id":"a2"}`, wire.RunWaiting},
		{wire.ApprovalResolved, `{"approval_id":"a1","decision":"approved"}`, wire.RunWaiting},
		{wire.AgentThinking, `{"reasoning":"meanwhile"}`, wire.RunWaiting},
		{wire.ApprovalResolved, `{"approval_id":"a2","decision":"expired"}`, wire.RunRunning},
	} {
		e := event(step.typ, step.payload)
		if err := m.Check(e); err != nil {
			t.Fatalf("%s: %v", step.payload, err)
		}
		if m.Apply(e); m.State() != step.want {
			t.Errorf("got %s after %s, want %s", m.State(), step.payload, step.want)
		}
	}
	if m.Steps() != 1 {
		t.Errorf("got %d steps, want 1", m.Steps())
	}
}

// TestTheRunsOfTheTranscriptsAreAccepted replays what the protocol shows, and looks at the
// run where the protocol shows it.
func TestTheRunsOfTheTranscriptsAreAccepted(t *testing.T) {
	for _, tt := range []struct {
		journey int
		end     wire.RunState
	}{{2, wire.RunCompleted}, {7, wire.RunCancelled}, {8, wire.RunCompleted}} {
		m := new(runs.Machine)
		for _, e := range transcript(t, tt.journey, "A") {
			if !e.Type.RunEvent() || e.Type == wire.StreamChunk {
				continue
			}
			if err := m.Check(e); err != nil {
				t.Errorf("journey %d, %s: %v", tt.journey, e.Type, err)
			}
			m.Apply(e)
			for _, s := range m.Snapshot().Streams {
				if s.Length != e.StreamLengths[s.ID] {
					t.Errorf("journey %d, %s: got length %d of %s, want %d", tt.journey, e.Type, s.Length, s.ID, e.StreamLengths[s.ID])
				}
			}
		}
		if m.State() != tt.end {
			t.Errorf("got journey %d %s, want %s", tt.journey, m.State(), tt.end)
		}
	}
}

func TestAFoldIsTheRunThatAThreadShows(t *testing.T) {
	for _, e := range transcript(t, 3, "B") {
		if e.Type != wire.ThreadSnapshot {
			continue
		}
		var thread wire.Thread
		if err := e.Decode(&thread); err != nil {
			t.Fatal(err)
		}
		m := new(runs.Machine)
		for _, e := range thread.Messages {
			m.Apply(e)
		}
		got, want := m.Snapshot(), thread.Runs[0]
		want.ThreadID, want.Streams[0].Name, want.Streams[0].Text = "t-orders", "answer", "" // the text is not in the log
		if diff := cmp.Diff(encoded(t, got), encoded(t, want)); diff != "" {
			t.Errorf("run (-got +want):\n%s", diff)
		}
		return
	}
	t.Fatal("got no thread_snapshot in journey 3")
}

func TestAFoldThatBeginsInTheMiddleKnowsWhatTheLogStillTells(t *testing.T) {
	m := new(runs.Machine)
	m.Apply(event("note", `{}`)) // a label that anybody may use
	if m.State() != "" {
		t.Errorf("got state %s after a message of an application, want none", m.State())
	}
	late := event(wire.ToolCompleted, `{"tool_name":"search"}`)
	late.StreamLengths = map[string]int{"R/b": 7, "R/a": 3}
	m.Apply(late)
	m.Apply(event(wire.AgentStarted, `{}`)) // too late to be true
	m.Apply(event(wire.StreamComplete, `{"stream_id":"R/a","length":4,"state":"complete"}`))
	other := event(wire.AgentCompleted, `{}`)
	other.RunID = "S"
	m.Apply(other)
	want := wire.Run{
		ID: run, ThreadID: "t1", AgentName: "support", State: wire.RunRunning,
		Streams: []wire.Stream{
			{ID: "R/a", Name: "a", State: wire.StreamStateComplete, Length: 4}, {ID: "R/b", Name: "b", State: wire.StreamStateOpen, Length: 7},
		},
	}
	if diff := cmp.Diff(m.Snapshot(), want); diff != "" {
		t.Errorf("run (-got +want):\n%s", diff)
	}
}

func TestWhatALogShouldNotHoldChangesNothing(t *testing.T) {
	m := started(t,
		event(wire.ToolExecuting, `{"tool_name":"search"}`),
		event(wire.StreamOpen, `{"stream_id":"R/a","name":"a"}`),
		event(wire.StreamOpen, `{"stream_id":"R/b","name":"b"}`),
		event(wire.StreamComplete, `{"stream_id":"R/b","length":3,"state":"complete"}`),
		event(wire.ApprovalRequested, `{"approval_id":"a1"}`))
	before := m.Snapshot()
	for _, e := range []wire.Envelope{
		event(wire.ToolExecuting, `{"tool_name":5}`),
		event(wire.ToolCompleted, `{"tool_name":"mail"}`),
		event(wire.StreamOpen, `{"stream_id":5}`),
		event(wire.StreamOpen, `{"stream_id":"R/b"}`),
		event(wire.StreamComplete, `[]`),
		event(wire.StreamComplete, `{"stream_id":"R/a","state":"open"}`),
		event(wire.StreamComplete, `{"stream_id":"R/b","length":9,"state":"failed"}`),
		event(wire.ApprovalRequested, `{"approval_id":"a1","prompt":"again"}`),
		event(wire.ApprovalResolved, `{"approval_id":5}`),
		event(wire.ApprovalResolved, `{"approval_id":"a2"}`),
	} {
		m.Apply(e)
		if diff := cmp.Diff(m.Snapshot(), before); diff != "" {
			t.Errorf("%s %s changed the run (-after +before):\n%s", e.Type, e.Payload, diff)
		}
	}
}

func TestASnapshotIsTheCallersToKeep(t *testing.T) {
	m := started(t, event(wire.ToolExecuting, `{"tool_name":"a"}`), event(wire.ToolExecuting, `{"tool_name":"b"}`))
	kept := m.Snapshot()
	m.Apply(event(wire.ToolCompleted, `{"tool_name":"a"}`))
	if diff := cmp.Diff(kept.Tools, []string{"a", "b"}); diff != "" {
		t.Errorf("tools (-got +want):\n%s", diff)
	}
}

func TestAPayloadThatIsNoJSONIsNotAQuestionOfTheContract(t *testing.T) {
	err := started(t).Check(event(wire.AgentThinking, `{"reasoning":"a","reasoning":"b"}`))
	parse, _ := errors.AsType[*wire.ParseError](err)
	if parse == nil || parse.Code != wire.CodeInvalidJSON || parse.Field != "payload.reasoning" {
		t.Errorf("got %+v, want INVALID_JSON at payload.reasoning", err)
	}
}

func TestProducersDoNotWriteWhatTheServerWrites(t *testing.T) {
	var got []wire.MessageType
	for info := range wire.Types() {
		if info.RunEvent && runs.Producible(info.Type) {
			got = append(got, info.Type)
		}
	}
	want := []wire.MessageType{
		wire.AgentThinking, wire.ToolExecuting, wire.ToolCompleted, wire.ProgressUpdate, wire.PartialResult,
		wire.FinalReport, wire.SubagentStarted, wire.SubagentCompleted, wire.AgentLog,
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("types (-got +want):\n%s", diff)
	}
	if !runs.Producible("order_found") || !runs.Producible(wire.AgentTyping) {
		t.Error("got false for a type of an application and agent_typing, want true")
	}
}

// drawEvent draws an event of few tools, streams and approvals, so that many fit.
func drawEvent(t *rapid.T) wire.Envelope {
	var types []wire.MessageType
	for info := range wire.Types() {
		if info.RunEvent {
			types = append(types, info.Type)
		}
	}
	name := rapid.SampledFrom([]string{"a", "b", ""})
	payload := map[string]any{
		"tool_name":   name.Draw(t, "tool"),
		"approval_id": name.Draw(t, "approval"),
		"reasoning":   name.Draw(t, "reasoning"),
		"state":       rapid.SampledFrom([]string{"complete", "cancelled", "failed", "open"}).Draw(t, "state"),
		"decision":    rapid.SampledFrom([]string{"approved", "pending"}).Draw(t, "decision"),
		"length":      rapid.IntRange(-1, 3).Draw(t, "length"),
	}
	stream := name.Draw(t, "stream")
	payload["name"], payload["stream_id"] = stream, "R/"+stream
	e := event(rapid.SampledFrom(append(types, "note")).Draw(t, "type"), "")
	if rapid.IntRange(0, 4).Draw(t, "end or not") > 0 {
		if _, ends := runs.EndState(e.Type); ends {
			e.Type = wire.ToolCompleted
		}
	}
	if rapid.IntRange(0, 9).Draw(t, "another run") == 0 {
		e.RunID = "S"
	}
	e.Payload, _ = wire.Marshal(payload)
	return e
}

// TestWhateverIsAcceptedKeepsThePromisesOfARun holds the machine against the log of what
// it accepted, counted by simpler means.
func TestWhateverIsAcceptedKeepsThePromisesOfARun(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		live := new(runs.Machine)
		var log []wire.Envelope
		count := map[string]int{} // of events by type, and by type and subject
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			e := drawEvent(t)
			if len(log) == 0 && rapid.Bool().Draw(t, "start") {
				e.Type = wire.AgentStarted
			}
			if live.Check(e) != nil {
				continue
			}
			live.Apply(e)
			log = append(log, e)
			var p struct {
				Tool     string `json:"tool_name"`
				Stream   string `json:"stream_id"`
				Approval string `json:"approval_id"`
			}
			if err := e.Decode(&p); err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{"", " tool " + p.Tool, " stream " + p.Stream, " approval " + p.Approval} {
				count[string(e.Type)+key]++
			}
			keepsPromises(t, live, log, count)
		}
		fold := new(runs.Machine)
		for _, e := range log {
			fold.Apply(e)
		}
		if diff := cmp.Diff(fold.Snapshot(), live.Snapshot()); diff != "" || fold.Steps() != live.Steps() {
			t.Fatalf("the fold of the log is not the run (-fold +live):\n%s", diff)
		}
	})
}

func keepsPromises(t *rapid.T, m *runs.Machine, log []wire.Envelope, count map[string]int) {
	got := m.Snapshot()
	if log[0].Type != wire.AgentStarted || count["agent_started"] != 1 {
		t.Fatalf("got a run that begins with %s", log[0].Type)
	}
	for i, e := range log {
		if _, ends := runs.EndState(e.Type); ends && i < len(log)-1 {
			t.Fatalf("got %s behind %s", log[i+1].Type, e.Type)
		}
		if e.RunID != got.ID {
			t.Fatal("got an event of another run")
		}
	}
	if state, ends := runs.EndState(log[len(log)-1].Type); got.State.Ended() != ends || ends && got.State != state {
		t.Fatalf("got state %s after %s", got.State, log[len(log)-1].Type)
	}
	if m.Steps() != count["agent_thinking"] {
		t.Fatalf("got %d steps, want %d", m.Steps(), count["agent_thinking"])
	}
	tools, waiting := map[string]int{}, 0
	for _, name := range got.Tools {
		tools[name]++
	}
	for _, name := range []string{"a", "b"} {
		open := count["tool_executing tool "+name] - count["tool_completed tool "+name]
		if open < 0 || open > 0 && got.State == wire.RunCompleted || !got.State.Ended() && open != tools[name] {
			t.Fatalf("got %d executing in state %s, want %d of %s", tools[name], got.State, open, name)
		}
		opened, closed := count["stream_open stream R/"+name], count["stream_complete stream R/"+name]
		i := slices.IndexFunc(got.Streams, func(s wire.Stream) bool { return s.Name == name })
		if opened > 1 || closed > opened || (i >= 0) != (opened == 1) {
			t.Fatalf("got stream %s opened %d and closed %d times", name, opened, closed)
		}
		if i >= 0 && (got.Streams[i].State == wire.StreamStateOpen) != (closed == 0 && !got.State.Ended()) {
			t.Fatalf("got stream %+v, closed %d times", got.Streams[i], closed)
		}
		asked := count["approval_requested approval "+name] - count["approval_resolved approval "+name]
		if asked < 0 || asked > 1 {
			t.Fatalf("got approval %s open %d times", name, asked)
		}
		waiting += asked
	}
	if !got.State.Ended() && (got.State == wire.RunWaiting) != (waiting > 0) {
		t.Fatalf("got state %s with %d approvals", got.State, waiting)
	}
}

// FuzzEventsOfARun takes whatever a producer may send into a run in the middle of its life.
func FuzzEventsOfARun(f *testing.F) {
	for _, journey := range []int{2, 7, 8} {
		for _, e := range transcript(f, journey, "A") {
			f.Add(string(e.Type), []byte(e.Payload))
		}
	}
	f.Add("tool_completed", []byte(`{"tool_name":"search","TOOL_NAME":"x"}`))
	f.Add("agent_thinking", []byte(`{"reasoning":null,"step_number":1e99}`))
	f.Fuzz(func(t *testing.T, typ string, payload []byte) {
		m := started(t,
			event(wire.ToolExecuting, `{"tool_name":"search"}`),
			event(wire.StreamOpen, `{"stream_id":"R/answer","name":"answer"}`),
			event(wire.ApprovalRequested, `{"approval_id":"a1"}`))
		before := m.Snapshot()
		e := event(wire.MessageType(typ), "")
		e.Payload = payload
		err := m.Check(e)
		if diff := cmp.Diff(m.Snapshot(), before); diff != "" {
			t.Fatalf("a check changed the run (-after +before):\n%s", diff)
		}
		if err != nil && err.Error() == "" {
			t.Fatal("got an error that says nothing")
		}
		m.Apply(e)
		if got := m.Snapshot(); got.ID != run || got.State == "" {
			t.Fatalf("got %+v", got)
		}
	})
}
