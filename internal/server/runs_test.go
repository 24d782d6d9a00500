package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/wire"
)

// log returns the types and payloads on alice's topic.
func (n *node) log(t *testing.T) (lines []string) {
	t.Helper()
	var page struct{ Messages []wire.Envelope }
	n.get(t, "/api/v1/history?topic=user/alice&limit=1000").decode(t, &page)
	for _, msg := range page.Messages {
		lines = append(lines, string(msg.Type)+" "+string(msg.Payload))
	}
	return lines
}

func TestARepeatedCallDoublesNothing(t *testing.T) {
	n := start(t, config())
	const run = `{"to":{"user":"alice"},"thread_id":"t1","agent_name":"writer","run_id":"R","user":"alice","policy":{"max_seconds":60.5}}`
	first := n.post(t, "/api/v1/runs", run)
	if first.status != http.StatusCreated {
		t.Fatalf("got %d with %s, want 201", first.status, first.body)
	}
	for _, call := range []struct{ path, body string }{
		{"", run},
		{"/R/events", `{"type":"tool_executing","payload":{"tool_name":"search"},"message_id":"m1"}`},
		{"/R/events", `{"type":"tool_completed","payload":{"tool_name":"search"},"message_id":"m2"}`},
		{"/R/events", `{"type":"my_own_type","payload":{"a":1},"message_id":"m3"}`},
		{"/R/heartbeat", ""},
	} {
		once := n.post(t, "/api/v1/runs"+call.path, call.body)
		again := n.post(t, "/api/v1/runs"+call.path, call.body)
		if once.status != http.StatusOK || again.status != http.StatusOK || string(once.body) != string(again.body) {
			t.Errorf("%s %s: got %d %s, then %d %s, want the same", call.path, call.body, once.status, once.body, again.status, again.body)
		}
	}
	const text = "/api/v1/runs/R/streams/answer"
	n.append(t, text+"?start=0", "Hello")
	wantObject(t, "append again", n.append(t, text+"?start=0", "Hello"), 200, `{"start":5,"length":5,"run_state":"running"}`)
	n.append(t, text+"?start=5&complete=true", "!")
	wantObject(t, "the end again", n.append(t, text+"?start=5&complete=true", "!"), 200, `{"start":6,"length":6,"run_state":"running"}`)
	if got := n.post(t, "/api/v1/runs/R/complete", `{}`); got.status != http.StatusOK {
		t.Errorf("got %d with %s, want 200", got.status, got.body)
	}
	const ended = `{"run_id":"R","run_state":"completed"}`
	for path, body := range map[string]string{
		"/complete": `{}`, "/fail": `{"error_message":"x"}`, "/cancel": `{}`, "/heartbeat": "",
		"/events": `{"type":"agent_thinking","payload":{"reasoning":"x"}}`,
	} {
		wantProblem(t, path+" behind the end", n.post(t, "/api/v1/runs/R"+path, body), 409, wire.CodeRunEnded, ended)
	}
	wantProblem(t, "text behind the end", n.append(t, text, "x"), 409, wire.CodeRunEnded, ended)
	again := n.post(t, "/api/v1/runs", run)
	if again.status != http.StatusOK || string(again.body) != string(first.body) {
		t.Errorf("the run again: got %d %s, want 200 %s", again.status, again.body, first.body)
	}
	var types []string
	for _, line := range n.log(t) {
		typ, _, _ := strings.Cut(line, " ")
		types = append(types, typ)
	}
	want := []string{"agent_started", "tool_executing", "tool_completed", "my_own_type", "stream_open", "stream_complete", "agent_completed"}
	if diff := cmp.Diff(want, types); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestTheSameRunHasTheSameFields(t *testing.T) {
	n := start(t, config())
	n.startRun(t, "R")
	for _, other := range []string{
		`{"to":{"user":"bob"},"agent_name":"writer","run_id":"R"}`,
		`{"to":{"room":"alice"},"agent_name":"writer","run_id":"R"}`,
		`{"to":{"user":"alice"},"agent_name":"reader","run_id":"R"}`,
		`{"to":{"user":"alice"},"agent_name":"writer","run_id":"R","thread_id":"t"}`,
		`{"to":{"user":"alice"},"agent_name":"writer","run_id":"R","user":"bob"}`,
		`{"to":{"user":"alice"},"agent_name":"writer","run_id":"R","in_reply_to":"m"}`,
		`{"to":{"user":"alice"},"agent_name":"writer","run_id":"R","policy":{"max_seconds":9}}`,
		`{"to":{"user":"alice"},"agent_name":"writer","run_id":"R","policy":{"stop_unwatched_seconds":9}}`,
	} {
		wantProblem(t, other, n.post(t, "/api/v1/runs", other), 409, wire.CodeConflict, `{"field":"run_id","run_id":"R"}`)
	}
	if got := n.log(t); len(got) != 1 {
		t.Errorf("got %v, want agent_started only", got)
	}
}

func TestBadCallsForRunsAreRefusedAndTheRunIsUnharmed(t *testing.T) {
	cfg := config()
	cfg.APIKeys[0].Tenants = []string{"", "acme"}
	n := start(t, cfg)
	n.startRun(t, "R")
	n.append(t, "/api/v1/runs/R/streams/answer", "Hello")
	n.startRun(t, "T")
	n.post(t, "/api/v1/runs/T/events", `{"type":"tool_executing","payload":{"tool_name":"search"}}`)
	before, doc := n.log(t), n.get(t, "/api/v1/runs/R").body
	long := strings.Repeat("x", 129)
	acme := http.Header{tenantHeader: {"acme"}}
	plain := http.Header{"Content-Type": {"text/plain"}}
	const runs, r, text = "/api/v1/runs", "/api/v1/runs/R", "/api/v1/runs/R/streams/answer"
	const thought = `{"type":"agent_thinking","payload":{"reasoning":"hm"}}`
	for _, tt := range []struct {
		name, path, body string
		header           http.Header
		status           int
		code             wire.Code
		details          string
	}{
		{"no body", runs, ``, nil, 400, wire.CodeInvalidJSON, `{}`},
		{"duplicate key", runs, `{"to":{"user":"a"},"agent_name":"w","agent_name":"v"}`, nil, 400, wire.CodeInvalidJSON, `{"field":"agent_name"}`},
		{"unknown member", runs, `{"to":{"user":"a"},"agent_name":"w","ttl":1}`, nil, 422, wire.CodeInvalidMessage, `{"field":"ttl"}`},
		{"unknown policy", runs, `{"to":{"user":"a"},"agent_name":"w","policy":{"max":1}}`, nil, 422, wire.CodeInvalidMessage, `{"field":"policy.max"}`},
		{"to all", runs, `{"to":{"all":true},"agent_name":"w"}`, nil, 422, wire.CodeInvalidMessage, `{"field":"to.all"}`},
		{"to nobody", runs, `{"agent_name":"w"}`, nil, 422, wire.CodeInvalidMessage, `{"field":"to"}`},
		{"to two", runs, `{"to":{"user":"a","room":"b"},"agent_name":"w"}`, nil, 422, wire.CodeInvalidMessage, `{"field":"to"}`},
		{"empty user", runs, `{"to":{"user":""},"agent_name":"w"}`, nil, 422, wire.CodeInvalidMessage, `{"field":"to.user"}`},
		{"long room", runs, `{"to":{"room":"` + long + `"},"agent_name":"w"}`, nil, 422, wire.CodeInvalidMessage, `{"field":"to.room"}`},
		{"no agent", runs, `{"to":{"user":"a"}}`, nil, 422, wire.CodeInvalidMessage, `{"field":"agent_name"}`},
		{"run id with a slash", runs, `{"to":{"user":"a"},"agent_name":"w","run_id":"a/b"}`, nil, 422, wire.CodeInvalidMessage, `{"field":"run_id"}`},
		{"long run id", runs, `{"to":{"user":"a"},"agent_name":"w","run_id":"` + long[:65] + `"}`, nil, 422, wire.CodeInvalidMessage, `{"field":"run_id"}`},
		{"long thread", runs, `{"to":{"user":"a"},"agent_name":"w","thread_id":"` + long + `"}`, nil, 422, wire.CodeInvalidMessage, `{"field":"thread_id"}`},
		{"long asker", runs, `{"to":{"room":"a"},"agent_name":"w","user":"` + long + `"}`, nil, 422, wire.CodeInvalidMessage, `{"field":"user"}`},
		{"long reply", runs, `{"to":{"user":"a"},"agent_name":"w","in_reply_to":"` + long + `"}`, nil, 422, wire.CodeInvalidMessage, `{"field":"in_reply_to"}`},
		{"no time", runs, `{"to":{"user":"a"},"agent_name":"w","policy":{"max_seconds":0}}`, nil, 422, wire.CodeInvalidMessage, `{"field":"policy.max_seconds"}`},
		{"negative time", runs, `{"to":{"user":"a"},"agent_name":"w","policy":{"stop_unwatched_seconds":-1}}`, nil, 422, wire.CodeInvalidMessage, `{"field":"policy.stop_unwatched_seconds"}`},
		{"endless time", runs, `{"to":{"user":"a"},"agent_name":"w","policy":{"max_seconds":1e300}}`, nil, 422, wire.CodeInvalidMessage, `{"field":"policy.max_seconds"}`},
		{"time as text", runs, `{"to":{"user":"a"},"agent_name":"w","policy":{"max_seconds":"9"}}`, nil, 422, wire.CodeInvalidMessage, `{"field":"policy.max_seconds"}`},
		{"a run as text", runs, `x`, plain, 415, wire.CodeUnsupported, `{}`},

		{"event of an unknown run", runs + "/S/events", thought, nil, 404, wire.CodeNotFound, `{"field":"run_id"}`},
		{"event of a run that cannot be", runs + "/a%2Fb/events", thought, nil, 404, wire.CodeNotFound, `{"field":"run_id"}`},
		{"event of another tenant's run", r + "/events", thought, acme, 404, wire.CodeNotFound, `{"field":"run_id"}`},
		{"event out of order", r + "/events", `{"type":"tool_completed","payload":{"tool_name":"mail"}}`, nil, 409, wire.CodeRunContract, `{"field":"payload.tool_name","run_id":"R"}`},
		{"event without what it needs", r + "/events", `{"type":"agent_thinking"}`, nil, 409, wire.CodeRunContract, `{"field":"payload.reasoning","run_id":"R"}`},
		{"the end as an event", r + "/events", `{"type":"agent_completed","payload":{}}`, nil, 409, wire.CodeRunContract, `{"field":"type","run_id":"R"}`},
		{"a stream as an event", r + "/events", `{"type":"stream_open","payload":{}}`, nil, 409, wire.CodeRunContract, `{"field":"type","run_id":"R"}`},
		{"a verb as an event", r + "/events", `{"type":"ping","payload":{}}`, nil, 409, wire.CodeRunContract, `{"field":"type","run_id":"R"}`},
		{"event without type", r + "/events", `{"payload":{}}`, nil, 422, wire.CodeInvalidMessage, `{"field":"type"}`},
		{"payload is a list", r + "/events", `{"type":"x","payload":[]}`, nil, 422, wire.CodeInvalidMessage, `{"field":"payload"}`},
		{"unknown member of an event", r + "/events", `{"type":"x","run_id":"R"}`, nil, 422, wire.CodeInvalidMessage, `{"field":"run_id"}`},
		{"long message id", r + "/events", `{"type":"x","message_id":"` + long + `"}`, nil, 422, wire.CodeInvalidMessage, `{"field":"message_id"}`},
		{"long agent", r + "/events", `{"type":"x","agent_name":"` + long + `"}`, nil, 422, wire.CodeInvalidMessage, `{"field":"agent_name"}`},
		{"long type", r + "/events", `{"type":"` + long + `"}`, nil, 422, wire.CodeInvalidMessage, `{"field":"type"}`},
		{"oversize event", r + "/events", `{"type":"x","payload":{"a":"` + strings.Repeat("x", maxBodyBytes) + `"}}`, nil, 413, wire.CodeTooLarge, `{"limit":1048576}`},
		{"event as text", r + "/events", `x`, plain, 415, wire.CodeUnsupported, `{}`},

		{"text of an unknown run", runs + "/S/streams/answer", "x", plain, 404, wire.CodeNotFound, `{"field":"run_id"}`},
		{"text of another tenant's run", text, "x", http.Header{tenantHeader: {"acme"}, "Content-Type": {"text/plain"}}, 404, wire.CodeNotFound, `{"field":"run_id"}`},
		{"a hole", text + "?start=6", "x", plain, 409, wire.CodeStreamOffset, `{"length":5}`},
		{"a hole without end", text + "?start=9223372036854775807", "x", plain, 409, wire.CodeStreamOffset, `{"length":5}`},
		{"other text", text + "?start=0", "Hallo", plain, 409, wire.CodeConflict, `{"length":5}`},
		{"other and more text", text + "?start=4", "a and more", plain, 409, wire.CodeConflict, `{"length":5}`},
		{"no UTF-8", text, "a\xffb", plain, 422, wire.CodeInvalidMessage, `{"field":"body","length":5}`},
		{"half a code point", text, "a\xc3", plain, 422, wire.CodeInvalidMessage, `{"field":"body","length":5}`},
		{"start is no number", text + "?start=one", "x", plain, 422, wire.CodeInvalidMessage, `{"field":"start"}`},
		{"start is negative", text + "?start=-1", "x", plain, 422, wire.CodeInvalidMessage, `{"field":"start"}`},
		{"start is a fraction", text + "?start=1.5", "x", plain, 422, wire.CodeInvalidMessage, `{"field":"start"}`},
		{"start is endless", text + "?start=9223372036854775808", "x", plain, 422, wire.CodeInvalidMessage, `{"field":"start"}`},
		{"start is empty", text + "?start=", "x", plain, 422, wire.CodeInvalidMessage, `{"field":"start"}`},
		{"start twice", text + "?start=5&start=6", "x", plain, 422, wire.CodeInvalidMessage, `{"field":"start"}`},
		{"unknown parameter", text + "?offset=5", "x", plain, 422, wire.CodeInvalidMessage, `{"field":"offset"}`},
		{"unknown format", text + "?format=xml", "x", plain, 422, wire.CodeInvalidMessage, `{"field":"format"}`},
		{"complete is no boolean", text + "?complete=perhaps", "x", plain, 422, wire.CodeInvalidMessage, `{"field":"complete"}`},
		{"text as JSON", text, `{}`, nil, 415, wire.CodeUnsupported, `{}`},
		{"text in Latin-1", text, "x", http.Header{"Content-Type": {"text/plain; charset=iso-8859-1"}}, 415, wire.CodeUnsupported, `{}`},
		{"compressed text", text, "x", http.Header{"Content-Type": {"text/plain"}, "Content-Encoding": {"gzip"}}, 415, wire.CodeUnsupported, `{}`},
		{"events without a format", text, "x", http.Header{"Content-Type": {"text/event-stream"}}, 415, wire.CodeUnsupported, `{}`},
		{"long name of a stream", runs + "/R/streams/" + long[:64], "x", plain, 422, wire.CodeInvalidMessage, `{"field":"stream"}`},
		{"slash in the name of a stream", runs + "/R/streams/a%2Fb", "x", plain, 422, wire.CodeInvalidMessage, `{"field":"stream"}`},

		{"end of an unknown run", runs + "/S/complete", `{}`, nil, 404, wire.CodeNotFound, `{"field":"run_id"}`},
		{"end of another tenant's run", r + "/complete", `{}`, acme, 404, wire.CodeNotFound, `{"field":"run_id"}`},
		{"stop of another tenant's run", r + "/cancel", `{}`, acme, 404, wire.CodeNotFound, `{"field":"run_id"}`},
		{"heartbeat of another tenant's run", r + "/heartbeat", ``, acme, 404, wire.CodeNotFound, `{"field":"run_id"}`},
		{"end while a tool is executing", runs + "/T/complete", `{}`, nil, 409, wire.CodeRunContract, `{"field":"type","run_id":"T"}`},
		{"unknown member of an end", r + "/complete", `{"results":1}`, nil, 422, wire.CodeInvalidMessage, `{"field":"results"}`},
		{"failure without words", r + "/fail", `{"error_type":"x"}`, nil, 422, wire.CodeInvalidMessage, `{"field":"error_message"}`},
		{"failure without a body", r + "/fail", ``, nil, 400, wire.CodeInvalidJSON, `{}`},
		{"long type of failure", r + "/fail", `{"error_message":"x","error_type":"` + long + `"}`, nil, 422, wire.CodeInvalidMessage, `{"field":"error_type"}`},
		{"recoverable is text", r + "/fail", `{"error_message":"x","recoverable":"yes"}`, nil, 422, wire.CodeInvalidMessage, `{"field":"recoverable"}`},
		{"reason is a number", r + "/cancel", `{"reason":1}`, nil, 422, wire.CodeInvalidMessage, `{"field":"reason"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := n.call(t, request{method: http.MethodPost, path: tt.path, body: tt.body, header: tt.header})
			wantProblem(t, tt.name, got, tt.status, tt.code, tt.details)
		})
	}
	for _, path := range []string{runs + "/S", runs + "/S/streams/answer", text + "s"} {
		if got := n.get(t, path); got.status != http.StatusNotFound {
			t.Errorf("%s: got %d, want 404", path, got.status)
		}
	}
	for _, path := range []string{r, text} {
		got := n.call(t, request{method: http.MethodGet, path: path, header: acme})
		wantProblem(t, path+" of another tenant", got, 404, wire.CodeNotFound, `{"field":"run_id"}`)
	}
	if diff := cmp.Diff(before, n.log(t)); diff != "" {
		t.Errorf("a refused call has left a trace (-before +after):\n%s", diff)
	}
	if got := n.get(t, r).body; string(got) != string(doc) {
		t.Errorf("got run %s, want %s", got, doc)
	}
	wantObject(t, "text afterwards", n.append(t, text+"?start=5", " again"), 200, `{"start":5,"length":11,"run_state":"running"}`)
}

func TestARunIsShownFromItsStartToItsEnd(t *testing.T) {
	n := start(t, config())
	begin := time.Now()
	started := n.post(t, "/api/v1/runs", `{"to":{"room":"r 1/ü"},"user":"alice","thread_id":"t1","agent_name":"writer","run_id":"R 1"}`).position(t)
	const run = "/api/v1/runs/R%201"
	n.post(t, run+"/events", `{"type":"tool_executing","payload":{"tool_name":"search"}}`)
	n.append(t, run+"/streams/answer", "Grüße")
	show := func() map[string]any {
		t.Helper()
		doc := n.get(t, run).object(t)
		at, _ := doc["started_at"].(float64)
		if since := time.UnixMilli(int64(at * 1000)).Sub(begin); since < -time.Second || since > time.Minute {
			t.Errorf("got started_at %v, want now", doc["started_at"])
		}
		if doc["node"] == "" {
			t.Error("got no node, want one")
		}
		delete(doc, "started_at")
		delete(doc, "node")
		return doc
	}
	want := parseObject(t, []byte(`{"run_id":"R 1","to":{"room":"r 1/ü"},"user":"alice","thread_id":"t1","agent_name":"writer","run_state":"running",
		"tools":["search"],"streams":[{"stream_id":"R 1/answer","name":"answer","state":"open","length":5}]}`))
	want["position"] = started
	if diff := cmp.Diff(want, show()); diff != "" {
		t.Errorf("running (-want +got):\n%s", diff)
	}
	end := n.post(t, run+"/fail", `{"error_message":"the shop is closed","error_type":"shop","recoverable":true}`)
	wantObject(t, "fail", end, 200, fmt.Sprintf(`{"position":%q,"run_state":"failed"}`, end.position(t)))
	got := show()
	if at, _ := got["ended_at"].(float64); time.Since(time.UnixMilli(int64(at*1000))).Abs() > time.Minute {
		t.Errorf("got ended_at %v, want now", got["ended_at"])
	}
	delete(got, "ended_at")
	want["run_state"], want["end_position"], want["tools"] = "failed", end.position(t), []any{}
	want["streams"].([]any)[0].(map[string]any)["state"] = "failed"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("failed (-want +got):\n%s", diff)
	}
}

func TestUsersReadWhyARunHasEnded(t *testing.T) {
	n := start(t, config())
	alice := n.connect(t, "alice")
	for _, tt := range []struct{ path, body, typ, payload string }{
		{
			"/fail", `{"error_message":"the shop is closed","error_type":"shop","recoverable":true}`, "agent_error",
			`{"status":"error","error_message":"the shop is closed","error_context":{"error_type":"shop","user_facing":true,"recoverable":true},"message":"writer encountered an issue processing your request"}`,
		},
		{
			"/fail", `{"error_message":"no"}`, "agent_error",
			`{"status":"error","error_message":"no","error_context":{"error_type":"unknown","user_facing":true},"message":"writer encountered an issue processing your request"}`,
		},
		{"/cancel", `{"reason":"wrong order"}`, "agent_cancelled", `{"status":"cancelled","reason":"wrong order"}`},
		{"/cancel", ``, "agent_cancelled", `{"status":"cancelled","reason":"stopped by the application"}`},
	} {
		id := fmt.Sprint("R", len(n.log(t)))
		n.startRun(t, id)
		alice.next(t)
		got := n.post(t, "/api/v1/runs/"+id+tt.path, tt.body)
		msg := alice.next(t)
		if string(msg.Type) != tt.typ || got.position(t) != msg.Position().String() {
			t.Errorf("%s: got %s at %s, want %s at %s", tt.path, msg.Type, msg.Position(), tt.typ, got.body)
		}
		if diff := cmp.Diff(parseObject(t, []byte(tt.payload)), parseObject(t, msg.Payload)); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", tt.path, tt.body, diff)
		}
	}
	for body, want := range map[string]string{`{"result":[1,"a"]}`: `[1,"a"]`, `{"result":null}`: `{}`, ``: `{}`} {
		id := fmt.Sprint("R", len(n.log(t)))
		n.startRun(t, id)
		alice.next(t)
		n.post(t, "/api/v1/runs/"+id+"/complete", body)
		var p struct{ Result json.RawMessage }
		if err := alice.next(t).Decode(&p); err != nil || string(p.Result) != want {
			t.Errorf("complete %s: got result %s, %v, want %s", body, p.Result, err, want)
		}
	}
}

func TestAHeartbeatTellsTheLatestEvent(t *testing.T) {
	n := start(t, config())
	n.startRun(t, "R")
	event := n.post(t, "/api/v1/runs/R/events", `{"type":"agent_thinking","payload":{"reasoning":"hm"}}`)
	n.publish(t, `{"to":{"user":"alice"},"type":"other"}`)
	wantObject(t, "heartbeat", n.post(t, "/api/v1/runs/R/heartbeat", ""), 200, fmt.Sprintf(`{"position":%q,"run_state":"running"}`, event.position(t)))
}

func TestAPolicyEndsARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := inMemory(t, config())
		for id, policy := range map[string]string{"long": `{"max_seconds":10}`, "unwatched": `{"stop_unwatched_seconds":2.5}`} {
			n.post(t, "/api/v1/runs", fmt.Sprintf(`{"to":{"user":"alice"},"agent_name":"w","run_id":%q,"policy":%s}`, id, policy))
		}
		for _, step := range []struct {
			after           time.Duration
			long, unwatched string
		}{{2 * time.Second, "running", "running"}, {2 * time.Second, "running", "cancelled"}, {7 * time.Second, "dead", "cancelled"}} {
			time.Sleep(step.after)
			if long, unwatched := n.runState(t, "long"), n.runState(t, "unwatched"); long != step.long || unwatched != step.unwatched {
				t.Errorf("got %s and %s, want %s and %s", long, unwatched, step.long, step.unwatched)
			}
		}
	})
}

func TestAThreadIsReadAsADeviceGetsIt(t *testing.T) {
	n := start(t, config())
	alice := n.connect(t, "alice")
	for i := range 3 {
		n.publish(t, fmt.Sprintf(`{"to":{"user":"alice"},"type":"note","payload":{"n":%d},"thread_id":"t 1"}`, i))
		n.publish(t, `{"to":{"user":"alice"},"type":"elsewhere","thread_id":"t2"}`)
	}
	n.post(t, "/api/v1/runs", `{"to":{"user":"alice"},"thread_id":"t 1","agent_name":"writer","run_id":"R"}`)
	n.append(t, "/api/v1/runs/R/streams/answer", "Grüße")
	var want map[string]any
	if err := alice.Do(t.Context(), wire.ThreadOpen, map[string]any{"thread_id": "t 1", "limit": 4}, &want); err != nil {
		t.Fatal(err)
	}
	got := n.get(t, "/api/v1/threads/t%201?user=alice&limit=4").object(t)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("thread (-snapshot +answer):\n%s", diff)
	}
	messages := got["messages"].([]any)
	run := got["runs"].([]any)[0].(map[string]any)
	if text := run["streams"].([]any)[0].(map[string]any)["text"]; len(messages) != 4 || got["has_more"] != true || text != "Grüße" {
		t.Errorf("got %d messages, more %v and text %v, want 4, more and the text", len(messages), got["has_more"], text)
	}
	first, position := messages[0].(map[string]any), got["position"].(string)
	epoch, _, _ := strings.Cut(position, ":")
	older := n.get(t, fmt.Sprintf("/api/v1/threads/t%%201?user=alice&before=%s:%v", epoch, first["offset"])).object(t)
	if len(older["messages"].([]any)) != 1 || len(older["runs"].([]any)) != 0 || older["has_more"] != false {
		t.Errorf("got %v before that, want one message and no runs", older)
	}
	if room := n.get(t, "/api/v1/threads/t%201?room=alice").object(t); len(room["messages"].([]any)) != 0 {
		t.Errorf("got %v in the room of that name, want nothing", room)
	}
	for query, field := range map[string]string{
		"": "user", "?user=a&room=b": "user", "?user=%07": "user", "?room=%07": "room", "?user=a&before=x": "before", "?user=a&limit=0": "limit", "?users=a": "users",
	} {
		wantProblem(t, query, n.get(t, "/api/v1/threads/t1"+query), 422, wire.CodeInvalidMessage, fmt.Sprintf(`{"field":%q}`, field))
	}
}
