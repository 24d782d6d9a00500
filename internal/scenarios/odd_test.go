package scenarios_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/internal/server"
	"github.com/netra-systems/switchboard/wire"
)

// odd is a payload that the former system was tried with, or had trouble with.
type odd struct {
	name string
	v    any // a Go value, as a program has it
}

func deep(levels int) any {
	var v any = "the bottom"
	for range levels {
		v = map[string]any{"next": v}
	}
	return v
}

// carried are payloads that JSON can carry.
func carried() []odd {
	list := make([]any, 1000)
	for i := range list {
		list[i] = i
	}
	large := make(map[string]any, 10_000)
	for i := range 10_000 {
		large[fmt.Sprintf("key-%d", i)] = map[string]any{"n": i, "text": "äöü"}
	}
	return []odd{
		{"null", nil},
		{"null inside", map[string]any{"nothing": nil, "list": []any{nil, nil}}},
		{"nested", deep(20)},
		{"emoji", map[string]any{"text": "🚀 👩‍👩‍👧‍👦 é e\u0301 \u0000 \u2028 </script>", "🔑": true}},
		{"a list of 1,000", map[string]any{"list": list}},
		{"an object of 10,000", large},
		{"numbers at the edge", map[string]any{
			"int": json.Number("9223372036854775807"), "more": json.Number("123456789012345678901234567890"),
			"small": math.SmallestNonzeroFloat64, "max": math.MaxFloat64, "zero": math.Copysign(0, -1),
		}},
		{"empty names and values", map[string]any{"": "", "list": []any{}, "object": map[string]any{}}},
		{"a structure of Go", note{From: "a program", N: 1}},
		{"raw JSON", json.RawMessage(`{ "a" : [ 1.0e2, "\u00e4" ] }`)},
	}
}

// refusedByJSON are values that JSON cannot carry, or that are no object.
func refusedByJSON() []odd {
	circle := map[string]any{}
	circle["self"] = circle
	type ring struct{ Next *ring }
	own := &ring{}
	own.Next = own
	return []odd{
		{"infinity", map[string]any{"x": math.Inf(1)}},
		{"minus infinity", map[string]any{"x": math.Inf(-1)}},
		{"not a number", map[string]any{"x": math.NaN()}},
		{"circular map", circle},
		{"circular structure", own},
		{"too deep", deep(40)},
		{"a function", map[string]any{"f": func() {}}},
		{"a channel", map[string]any{"c": make(chan int)}},
		{"invalid UTF-8", map[string]any{"x": "\xff"}},
		{"a list instead of an object", []int{1}},
		{"a text instead of an object", "text"},
		{"raw text that is no JSON", json.RawMessage(`{"x":NaN}`)},
		{"the same name twice", json.RawMessage(`{"x":1,"x":2}`)},
	}
}

// sameJSON compares what a value is in JSON with what arrived, number by number.
func sameJSON(v any, arrived json.RawMessage) error {
	if v == nil {
		if len(arrived) != 0 {
			return fmt.Errorf("got %s, want no payload", arrived)
		}
		return nil
	}
	sent, err := json.Marshal(v)
	if err != nil {
		return err
	}
	decode := func(b []byte) (v any, err error) {
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		err = d.Decode(&v)
		return v, err
	}
	want, err := decode(sent)
	if err != nil {
		return err
	}
	got, err := decode(arrived)
	if err != nil {
		return err
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("it has changed (-sent +arrived):\n%.2000s", diff)
	}
	return nil
}

// nextOf returns the next message of a type.
func nextOf(d *device, typ wire.MessageType) (wire.Envelope, error) {
	env, err := d.read()
	if err == nil && env.Type != typ {
		err = fmt.Errorf("got a %s: %.200s, want a %s", env.Type, env.Payload, typ)
	}
	return env, err
}

// TestSerialisation: what JSON can carry arrives as it was, whoever sends it by whatever way;
// what it cannot is refused by an error that says what is wrong, and nothing else happens.
func TestSerialisation(t *testing.T) {
	t.Parallel()
	n := newNode(t, switchboard.Options{Limits: switchboard.Limits{MessageBytes: 1 << 20}})
	n.Handle("say", func(ctx context.Context, _ *switchboard.Conn, msg switchboard.Envelope) error {
		_, err := n.Publish(ctx, switchboard.User("alice"), switchboard.Message{Type: "said", Payload: msg.Payload})
		return err
	})
	alice, bob := connect(t, n, "alice"), n.client(t, "bob", client.Options{})
	for _, tt := range carried() {
		t.Run(tt.name, func(t *testing.T) {
			_, err := n.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{Type: "said", Payload: tt.v})
			must(t, err)
			_, err = bob.Send(waiting(t), client.Message{Type: "say", Payload: tt.v})
			must(t, err)
			for _, sender := range []string{"the application", "a client"} {
				env, err := nextOf(alice, "said")
				must(t, err)
				if err := sameJSON(tt.v, env.Payload); err != nil {
					t.Errorf("from %s: %v", sender, err)
				}
			}
		})
	}
	for _, tt := range refusedByJSON() {
		t.Run(tt.name, func(t *testing.T) {
			_, err := n.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{Type: "said", Payload: tt.v})
			if code := switchboard.CodeOf(err); code != wire.CodeInvalidMessage && code != wire.CodeInvalidJSON {
				t.Errorf("got error %v with code %s from Publish, want one about the message", err, code)
			}
			if _, err := bob.Send(waiting(t), client.Message{Type: "say", Payload: tt.v}); err == nil {
				t.Error("got no error from Send")
			}
		})
	}
	must(t, n.end(t.Context(), switchboard.User("alice")))
	if _, err := nextOf(alice, endType); err != nil {
		t.Errorf("behind what was refused: %v", err)
	}
}

// TestOddFramesAreRefusedInWords: a client in another language can write what Go cannot. It
// hears what is wrong, and its connection goes on.
func TestOddFramesAreRefusedInWords(t *testing.T) {
	t.Parallel()
	n := newNode(t, switchboard.Options{})
	n.Handle("say", func(context.Context, *switchboard.Conn, switchboard.Envelope) error { return nil })
	d := connect(t, n, "alice")
	for _, tt := range []struct{ name, frame string }{
		{"infinity", `{"type":"say","message_id":"m","payload":{"x":Infinity}}`},
		{"not a number", `{"type":"say","message_id":"m","payload":{"x":NaN}}`},
		{"no object", `{"type":"say","message_id":"m","payload":[1]}`},
		{"half a pair of UTF-16", `{"type":"say","message_id":"m","payload":{"x":"\ud83d"}}`},
		{"the same name twice", `{"type":"say","message_id":"m","payload":{"x":1,"x":2}}`},
		{"too deep", `{"type":"say","message_id":"m","payload":{"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}}`},
		{"text", `hello`},
		{"nothing", ``},
		{"null", `null`},
		{"no type", `{"payload":{}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			must(t, d.say(tt.frame))
			text, err := d.text()
			must(t, err)
			told, err := wire.ParseErrorMessage(bytes.Clone(text))
			if err != nil || told.Message == "" || told.Code != wire.CodeInvalidJSON && told.Code != wire.CodeInvalidMessage {
				t.Fatalf("got %s (%v), want an error that says what is wrong", text, err)
			}
			must(t, d.say(`{"type":"say","message_id":"after `+tt.name+`","payload":{"ok":true}}`))
			if _, err := nextOf(d, wire.AckType); err != nil {
				t.Errorf("the next message: %v", err)
			}
		})
	}
}

const apiKey = "sk_scenario"

// serve runs the server of the binary, with its API for back ends.
func serve(t testing.TB) *server.Server {
	t.Helper()
	s, err := server.New(server.Config{
		Listen: "127.0.0.1:0", Auth: byName,
		APIKeys: []server.APIKey{{Name: "scenario", Hash: server.HashKey(apiKey)}},
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("got %v from Run, want nil", err)
		}
	})
	select {
	case <-s.Ready():
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	return s
}

// post calls the API of back ends.
func post(ctx context.Context, c *http.Client, url, body string) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// TestSerialisationOverHTTP: the same for a back end that publishes by HTTP.
func TestSerialisationOverHTTP(t *testing.T) {
	t.Parallel()
	s := serve(t)
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	back := &http.Client{Transport: transport}
	n := &node{addr: strings.TrimPrefix(s.URL(), "http://")}
	alice := connect(t, n, "alice")
	for _, tt := range carried() {
		payload, err := json.Marshal(tt.v)
		must(t, err)
		status, answer, err := post(waiting(t), back, s.URL()+"/api/v1/publish", `{"to":{"user":"alice"},"type":"said","payload":`+string(payload)+`}`)
		if err != nil || status != http.StatusOK {
			t.Errorf("%s: got %d %s, %v, want 200", tt.name, status, answer, err)
			continue
		}
		env, err := nextOf(alice, "said")
		if err == nil {
			err = sameJSON(tt.v, env.Payload)
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	for _, payload := range []string{`{"x":NaN}`, `{"x":Infinity}`, `[1]`, `{"x":1,"x":2}`, `{"x":"\ud83d"}`, strings.Repeat(`{"x":`, 40) + `1` + strings.Repeat(`}`, 40)} {
		status, answer, err := post(waiting(t), back, s.URL()+"/api/v1/publish", `{"to":{"user":"alice"},"type":"said","payload":`+payload+`}`)
		var problem struct{ Code, Detail string }
		if err == nil {
			err = json.Unmarshal(answer, &problem)
		}
		if err != nil || status < 400 || status >= 500 || problem.Code == "" || problem.Detail == "" {
			t.Errorf("%s: got %d %s, %v, want a problem that says what is wrong", payload, status, answer, err)
		}
	}
	if err := alice.leave(); err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("behind what was refused: %v", err)
	}
}
