package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// batch publishes messages and returns their results.
func (n *node) batch(t *testing.T, messages ...string) []answer {
	t.Helper()
	var got struct{ Results []json.RawMessage }
	n.call(t, request{method: http.MethodPost, path: "/api/v1/publish/batch", body: `{"messages":[` + strings.Join(messages, ",") + `]}`}).decode(t, &got)
	if len(got.Results) != len(messages) {
		t.Fatalf("got %d results, want %d", len(got.Results), len(messages))
	}
	var all []answer
	for _, body := range got.Results {
		var head struct{ Status int }
		if err := json.Unmarshal(body, &head); err != nil {
			t.Fatal(err)
		}
		a := answer{status: http.StatusOK, body: body, header: http.Header{"Content-Type": {problemType}}}
		if head.Status != 0 {
			a.status = head.Status
		}
		all = append(all, a)
	}
	return all
}

func TestABatchPublishesInOrderAndAnswersEachMessage(t *testing.T) {
	n := start(t, config())
	alice := n.connect(t, "alice", "r")
	n.await(t, `{"room":"r"}`, 1)
	var messages []string
	for i := range 50 {
		messages = append(messages,
			fmt.Sprintf(`{"to":{"user":"alice"},"type":"x","message_id":"u%d","payload":{"n":%d}}`, i, i),
			fmt.Sprintf(`{"to":{"room":"r"},"type":"x","message_id":"r%d","payload":{"n":%d}}`, i, i))
	}
	messages = append(messages, messages[0])
	results := n.batch(t, messages...)
	last := map[string]uint64{}
	for i, result := range results[:100] {
		var got publishAnswer
		result.decode(t, &got)
		if got.Duplicate || got.Position == nil || got.Position.Offset <= last[got.Topic] || got.MessageID != fmt.Sprintf("%c%d", "ur"[i%2], i/2) {
			t.Errorf("message %d: got %s, want the next place in its topic", i, result.body)
			continue
		}
		last[got.Topic] = got.Position.Offset
	}
	var again publishAnswer
	if results[100].decode(t, &again); !again.Duplicate {
		t.Errorf("the first message again: got %s, want a duplicate", results[100].body)
	}
	next := map[string]int{}
	for range 100 {
		var p struct{ N int }
		msg := alice.next(t)
		if err := msg.Decode(&p); err != nil || p.N != next[msg.Topic] {
			t.Errorf("got message %d of %s, want %d", p.N, msg.Topic, next[msg.Topic])
		}
		next[msg.Topic]++
	}
}

func TestABadMessageInABatchConcernsNoOther(t *testing.T) {
	n := start(t, config())
	results := n.batch(t,
		`{"to":{"user":"alice"},"type":"x","message_id":"m1"}`,
		`{"to":{"user":"alice"}}`,
		`{"to":{"usr":"alice"},"type":"x"}`,
		`7`,
		`null`,
		`{"to":{"connection":"conn_none"},"type":"x"}`,
		`{"to":{"user":"alice"},"type":"agent_started"}`,
		`{"to":{"user":"alice"},"type":"x","message_id":"m2"}`,
	)
	for i, want := range []struct {
		status int
		code   wire.Code
		field  string
	}{
		{200, "", ""}, {422, wire.CodeInvalidMessage, "type"}, {422, wire.CodeInvalidMessage, "to.usr"}, {422, wire.CodeInvalidMessage, ""},
		{422, wire.CodeInvalidMessage, "to"}, {404, wire.CodeNotFound, ""}, {409, wire.CodeRunContract, "type"}, {200, "", ""},
	} {
		if want.status == http.StatusOK {
			var got publishAnswer
			if results[i].decode(t, &got); got.Position == nil {
				t.Errorf("message %d: got %s, want it published", i, results[i].body)
			}
			continue
		}
		p := results[i].problem(t)
		if field, _ := p.Details["field"].(string); p.Status != want.status || p.Code != want.code || field != want.field {
			t.Errorf("message %d: got %s, want %d %s field %q", i, results[i].body, want.status, want.code, want.field)
		}
	}
}

func TestBatchesAreBoundedAndStrict(t *testing.T) {
	n := start(t, config())
	const message = `{"to":{"user":"alice"},"type":"x"}`
	for _, tt := range []struct {
		name, body string
		status     int
		code       wire.Code
		field      string
	}{
		{"none", `{"messages":[]}`, 422, wire.CodeInvalidMessage, "messages"},
		{"no list", `{}`, 422, wire.CodeInvalidMessage, "messages"},
		{"an object", `{"messages":{}}`, 422, wire.CodeInvalidMessage, "messages"},
		{"1,001", `{"messages":[` + strings.Repeat(message+",", 1000) + message + `]}`, 422, wire.CodeInvalidMessage, "messages"},
		{"unknown member", `{"message":[],"messages":[` + message + `]}`, 422, wire.CodeInvalidMessage, "message"},
		{"duplicate key in a message", `{"messages":[{"to":{"user":"a"},"type":"x","type":"y"}]}`, 400, wire.CodeInvalidJSON, "messages.0.type"},
		{"broken", `{"messages":[`, 400, wire.CodeInvalidJSON, ""},
		{"over 1 MiB", `{"messages":[` + strings.Repeat(" ", maxBodyBytes) + message + `]}`, 413, wire.CodeTooLarge, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := n.call(t, request{method: http.MethodPost, path: "/api/v1/publish/batch", body: tt.body}).problem(t)
			if field, _ := p.Details["field"].(string); p.Status != tt.status || p.Code != tt.code || field != tt.field {
				t.Errorf("got %+v, want %d %s field %q", p, tt.status, tt.code, tt.field)
			}
		})
	}
	all := make([]string, 1000)
	for i := range all {
		all[i] = message
	}
	if got := n.batch(t, all...); got[999].status != http.StatusOK {
		t.Errorf("got %s for the last of 1,000, want it published", got[999].body)
	}
}

// losing is a driver of which a record is not known to be stored.
type losing struct {
	broker.Driver
	key broker.Key
}

func (l losing) Publish(ctx context.Context, r broker.Record) (broker.Published, error) {
	if r.Topic == l.key && strings.Contains(string(r.Data), `"lost"`) {
		return broker.Published{}, broker.ErrUnavailable
	}
	return l.Driver.Publish(ctx, r)
}

// TestNothingOvertakesAMessageThatMayBeMissing: whoever repeats what failed gets the order.
func TestNothingOvertakesAMessageThatMayBeMissing(t *testing.T) {
	memory := membroker.New(membroker.Options{})
	t.Cleanup(func() { memory.Close() })
	cfg := config()
	cfg.Broker = losing{memory, broker.KeyOf(wire.Topic{Kind: wire.KindUser, ID: "alice"})}
	n := start(t, cfg)
	results := n.batch(t,
		`{"to":{"user":"alice"},"type":"x"}`,
		`{"to":{"user":"alice"},"type":"x","message_id":"lost"}`,
		`{"to":{"user":"bob"},"type":"x"}`,
		`{"to":{"user":"alice"},"type":"x"}`,
		`{"to":{"all":true},"type":"x"}`,
	)
	for i, want := range []int{200, 503, 200, 503, 200} {
		if results[i].status != want {
			t.Errorf("message %d: got %s, want %d", i, results[i].body, want)
		}
	}
	if p := results[3].problem(t); p.Code != wire.CodeUnavailable || p.Details["retry_after_ms"] == nil {
		t.Errorf("got %+v, want UNAVAILABLE with the time to wait", p)
	}
}
