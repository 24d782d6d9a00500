package wire_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/wire"
)

func TestAppendRefusesWhatParseWould(t *testing.T) {
	long := strings.Repeat("x", 129)
	tests := []struct {
		name string
		env  wire.Envelope
	}{
		{"no type", wire.Envelope{}},
		{"a type of 129 bytes", wire.Envelope{Type: wire.MessageType(long)}},
		{"a control character in the message id", wire.Envelope{Type: "note", ID: "a\n"}},
		{"a thread id of 129 bytes", wire.Envelope{Type: "note", ThreadID: long}},
		{"a run id that is not UTF-8", wire.Envelope{Type: "note", RunID: "\xff"}},
		{"a user id that is not UTF-8", wire.Envelope{Type: "note", UserID: "\xff"}},
		{"a topic that is not UTF-8", wire.Envelope{Type: "note", Topic: "user/\xff"}},
		{"an agent name that is not UTF-8", wire.Envelope{Type: "note", AgentName: "\xff"}},
		{"a stream id that is not UTF-8", wire.Envelope{Type: "note", StreamLengths: map[string]int{"\xff": 1}}},
		{"a negative stream length", wire.Envelope{Type: "note", StreamLengths: map[string]int{"r/a": -1}}},
		{"a timestamp that is not a number", wire.Envelope{Type: "note", Timestamp: math.NaN()}},
		{"an infinite timestamp", wire.Envelope{Type: "note", Timestamp: math.Inf(-1)}},
		{"an empty payload", wire.Envelope{Type: "note", Payload: json.RawMessage("")}},
		{"a list as payload", wire.Envelope{Type: "note", Payload: json.RawMessage("[1]")}},
		{"null as payload", wire.Envelope{Type: "note", Payload: json.RawMessage("null")}},
		{"a broken payload", wire.Envelope{Type: "note", Payload: json.RawMessage(`{"a":}`)}},
		{"a payload that ends the envelope", wire.Envelope{Type: "note", Payload: json.RawMessage(`{}},{"type":"x"`)}},
		{"a duplicate key in the payload", wire.Envelope{Type: "note", Payload: json.RawMessage(`{"a":1,"a":2}`)}},
		{"a payload that is not UTF-8", wire.Envelope{Type: "note", Payload: json.RawMessage("{\"a\":\"\xff\"}")}},
		{"a payload of 32 levels", wire.Envelope{Type: "note", Payload: nested(32)}},
		{"a string as trace", wire.Envelope{Type: "note", Trace: json.RawMessage(`"x"`)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wire.Append([]byte("before"), tt.env)
			if err == nil || string(got) != "before" {
				t.Errorf("got %s, error %v, want what was there before and an error", got, err)
			}
		})
	}
}

// nested returns an object with that many levels.
func nested(levels int) json.RawMessage {
	return json.RawMessage(`{"a":` + strings.Repeat("[", levels-1) + strings.Repeat("]", levels-1) + "}")
}

func TestTimestampsHaveMillisecondsAndNoExponent(t *testing.T) {
	tests := []struct {
		seconds float64
		want    string
	}{
		{1764000000.046, "1764000000.046"},
		{1764000000.5, "1764000000.5"},
		{1764000000.0004, "1764000000"},
		{1764000000.9996, "1764000001"},
		{0.001, "0.001"},
		{-1.25, "-1.25"},
		{999999999999.999, "999999999999.999"},
		{1e15, "1000000000000000"},
		{1e21, "1000000000000000000000"},
		{1e306, "1" + strings.Repeat("0", 306)},
	}
	for _, tt := range tests {
		got, err := wire.Append(nil, wire.Envelope{Type: "note", Timestamp: tt.seconds})
		if want := `{"type":"note","timestamp":` + tt.want + `}`; err != nil || string(got) != want {
			t.Errorf("got %s, error %v, want %s", got, err, want)
		}
	}
	for _, none := range []float64{0, 0.0004, -0.0004, math.Copysign(0, -1)} {
		if got, err := wire.Append(nil, wire.Envelope{Type: "note", Timestamp: none}); err != nil || string(got) != `{"type":"note"}` {
			t.Errorf("got %s, error %v for %g, want no timestamp", got, err, none)
		}
	}
}

func TestAnEnvelopeOwnsItsBytes(t *testing.T) {
	frame := []byte(`{"type":"note","message_id":"m-1","payload":{"a":1},"trace":{"b":2}}`)
	got, err := wire.Parse(frame)
	if err != nil {
		t.Fatal(err)
	}
	for i := range frame {
		frame[i] = 'x'
	}
	want := wire.Envelope{
		Type: "note", ID: "m-1", Payload: json.RawMessage(`{"a":1}`), Trace: json.RawMessage(`{"b":2}`),
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("envelope after the frame was overwritten (-got +want):\n%s", diff)
	}
}

// TestAnswersMayHoldDeepEnvelopes is about a snapshot with a message of 32 levels, which
// its sender was allowed to send.
func TestAnswersMayHoldDeepEnvelopes(t *testing.T) {
	deep := wire.Envelope{Type: "note", Payload: nested(wire.MaxLevels - 1)}
	payload, err := wire.Marshal(wire.Thread{Messages: []wire.Envelope{deep}})
	if err != nil {
		t.Fatal(err)
	}
	frame := []byte(`{"type":"thread_snapshot","payload":` + string(payload) + `}`)
	if _, err := wire.Parse(frame); err == nil {
		t.Error("got no error from Parse, which is for clients' frames")
	}
	env, err := wire.ParseAnswer(frame)
	if err != nil {
		t.Fatalf("got error %v from ParseAnswer, want none", err)
	}
	var got wire.Thread
	if err := env.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got.Messages, []wire.Envelope{deep}); diff != "" {
		t.Errorf("messages (-got +want):\n%s", diff)
	}
}

func TestEnvelopesAreTheSameWithEncodingJSON(t *testing.T) {
	const frame = `{"type":"note","message_id":"m<1>","offset":7,"payload":{"a":1}}`
	var env wire.Envelope
	if err := json.Unmarshal([]byte(frame), &env); err != nil {
		t.Fatal(err)
	}
	if got, err := json.Marshal(map[string]any{"m": env}); err != nil ||
		string(got) != `{"m":{"type":"note","message_id":"m\u003c1\u003e","offset":7,"payload":{"a":1}}}` {
		t.Errorf("got %s, error %v, want the frame with the escapes of encoding/json", got, err)
	}
	before := env
	if err := json.Unmarshal([]byte(`{"type":"x","payload":[]}`), &env); err == nil {
		t.Error("got no error for a list as payload")
	}
	if diff := cmp.Diff(env, before); diff != "" {
		t.Errorf("envelope after an error (-got +want):\n%s", diff)
	}
}

func TestDecodeNamesTheFieldInTheWordsOfJSON(t *testing.T) {
	type item struct{ Price float64 }
	type form struct {
		Content string
		Limit   int `json:"limit"`
		Small   uint8
		Items   []item
		Flag    *bool
		When    time.Time
		Where   wire.Position
		Since   map[string]wire.Position
		Message *wire.Envelope
		Class   wire.Class
	}
	tests := []struct {
		name, payload, field, message string
	}{
		{"a number for a string", `{"content":1}`, "content", "content must be a string"},
		{"a string for a number", `{"limit":"x"}`, "limit", "limit must be a whole number"},
		{"a fraction", `{"limit":1.5}`, "limit", "limit has a value that does not fit"},
		{"too large", `{"small":256}`, "small", "small is out of range"},
		{"in a list", `{"items":[{"price":1},{"price":"2"}]}`, "items.1.price", "items.1.price must be a number"},
		{"an object for a list", `{"items":{}}`, "items", "items must be a list"},
		{"a string for an object", `{"items":["x"]}`, "items.0", "items.0 must be an object"},
		{"a number for a boolean", `{"flag":0}`, "flag", "flag must be true or false"},
		{"a bad value of another package's type", `{"when":"today"}`, "when", "when has a value that does not fit"},
		{"a bad position", `{"where":"x"}`, "where", `where must be "<epoch>:<offset>"`},
		{"a bad position in a map", `{"since":{"room/r1":"x"}}`, "since.room/r1", `since.room/r1 must be "<epoch>:<offset>"`},
		{"a bad class", `{"class":"x"}`, "class", `class must be "durable", "latest" or "volatile"`},
		{"a bad envelope", `{"message":{"type":"x","offset":-1}}`, "message.offset",
			"message: offset must be a whole number that is not negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := wire.Envelope{Type: "note", Payload: json.RawMessage(tt.payload)}.Decode(new(form))
			got, ok := errors.AsType[*wire.ParseError](err)
			if !ok {
				t.Fatalf("got error %v, want a ParseError", err)
			}
			want := &wire.ParseError{Code: wire.CodeInvalidMessage, Field: tt.field, Message: tt.message}
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("error (-got +want):\n%s", diff)
			}
		})
	}
}

func TestDecodeIsStrictAboutSyntaxAndLenientAboutNames(t *testing.T) {
	var v struct {
		Content string
		RunID   string `json:"run_id"`
	}
	if err := (wire.Envelope{Payload: json.RawMessage(`{"content":"a","RUN_ID":"r","other":1}`)}).Decode(&v); err != nil {
		t.Fatal(err)
	}
	if v.Content != "a" || v.RunID != "r" {
		t.Errorf("got %+v, want both fields", v)
	}
	for _, payload := range []string{`{"content":"a","content":"b"}`, `{"content":"a","Content":"b"}`, `{"x":1,"x":2}`} {
		err := wire.Envelope{Payload: json.RawMessage(payload)}.Decode(&v)
		if got, ok := errors.AsType[*wire.ParseError](err); !ok || got.Code != wire.CodeInvalidJSON {
			t.Errorf("got error %v for %s, want INVALID_JSON", err, payload)
		}
	}
	if err := (wire.Envelope{}).Decode(&v); err != nil {
		t.Errorf("got error %v for no payload, want none", err)
	}
	err := (wire.Envelope{}).Decode(v)
	if _, refused := errors.AsType[*wire.ParseError](err); err == nil || refused {
		t.Errorf("got error %v for a destination that is no pointer, want one that does not blame the client", err)
	}
	v.RunID = ""
	if err := (wire.Envelope{Payload: json.RawMessage(`{"runid":"r"}`)}).Decode(&v); err != nil || v.RunID != "" {
		t.Errorf("got %q, error %v, want runid to be another name than run_id", v.RunID, err)
	}
	if err := wire.Unmarshal(nested(33), new(any)); err == nil {
		t.Error("got no error for a body of 33 levels")
	}
}

func TestMarshalWritesWhatClientsCanIterate(t *testing.T) {
	v := struct {
		List  []string
		Map   map[string]int
		Zero  int `json:",omitempty"`
		HTML  string
		Delay time.Duration
	}{HTML: "<&>\u2028", Delay: time.Microsecond}
	got, err := wire.Marshal(v)
	if want := "{\"List\":[],\"Map\":{},\"HTML\":\"<&>\u2028\",\"Delay\":1000}"; err != nil || string(got) != want {
		t.Errorf("got %s, error %v, want %s", got, err, want)
	}
	sorted, err := wire.Marshal(map[string]int{"f": 1, "e": 1, "d": 1, "c": 1, "b": 1, "a": 1})
	if want := `{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}`; err != nil || string(sorted) != want {
		t.Errorf("got %s, error %v, want %s", sorted, err, want)
	}
	if got, err := wire.Marshal("\xff"); err == nil {
		t.Errorf("got %s for text that is not UTF-8, want an error", got)
	}
}

// TestANumberOfEncodingJSONStaysANumber: programs that keep the digits of numbers have them
// as json.Number.
func TestANumberOfEncodingJSONStaysANumber(t *testing.T) {
	type order struct {
		Price json.Number            `json:"price"`
		Quote json.Number            `json:"quote,string"`
		More  map[string]json.Number `json:"more"`
	}
	const digits = "123456789012345678901234567890"
	v := map[string]any{"order": order{Price: digits, Quote: "1", More: map[string]json.Number{"a": "1.50"}}, "list": []any{json.Number(digits)}}
	got, err := wire.Marshal(v)
	if want := `{"list":[` + digits + `],"order":{"price":` + digits + `,"quote":"1","more":{"a":1.50}}}`; err != nil || string(got) != want {
		t.Errorf("got %s, error %v, want %s", got, err, want)
	}
	if got, err := wire.Marshal(json.Number("1 2")); err == nil {
		t.Errorf("got %s for what is no number, want an error", got)
	}
	var o order
	if err := wire.Unmarshal([]byte(`{"price":`+digits+`,"quote":"1","more":{"a":1.50,"b":null}}`), &o); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(o, order{Price: digits, Quote: "1", More: map[string]json.Number{"a": "1.50", "b": ""}}); diff != "" {
		t.Errorf("decoded (-got +want):\n%s", diff)
	}
	err = wire.Unmarshal([]byte(`{"more":{"a":true}}`), &o)
	if got, ok := errors.AsType[*wire.ParseError](err); !ok || got.Message != "more.a must be a number" {
		t.Errorf("got error %v, want more.a must be a number", err)
	}
}

func TestAppendPlacedMakesTheFrameThatAppendWouldMake(t *testing.T) {
	body := []byte(`{"type":"note","message_id":"m-1","payload":{"n":1}}`)
	tests := []struct {
		topic  wire.Topic
		offset uint64
		at     time.Time
		want   string
	}{
		{wire.Topic{Tenant: "acme", Kind: wire.KindUser, ID: "alice"}, 42, time.UnixMilli(1764000000042),
			`{"topic":"user/alice","offset":42,"timestamp":1764000000.042,"type":"note","message_id":"m-1","payload":{"n":1}}`},
		{wire.Topic{Kind: wire.KindAll}, 0, time.Time{},
			`{"topic":"all","type":"note","message_id":"m-1","payload":{"n":1}}`},
		{wire.Topic{Kind: wire.KindRoom, ID: `a"b`}, 1<<64 - 1, time.Time{},
			`{"topic":"room/a\"b","offset":18446744073709551615,"type":"note","message_id":"m-1","payload":{"n":1}}`},
	}
	for _, tt := range tests {
		got := wire.AppendPlaced([]byte("#"), tt.topic, tt.offset, tt.at, body)
		if string(got) != "#"+tt.want {
			t.Errorf("got %s, want #%s", got, tt.want)
		}
		env, err := wire.Parse(got[1:])
		if err != nil || env.Topic != tt.topic.String() || env.Offset != tt.offset {
			t.Errorf("got %+v, error %v, want it placed", env, err)
		}
	}
	for _, body := range []string{"", "{}", "{ }", "[]", "x"} {
		if got := wire.AppendPlaced(nil, wire.Topic{Kind: wire.KindAll}, 1, time.Now(), []byte(body)); string(got) != body {
			t.Errorf("got %s for a body that is no envelope, want it unchanged", got)
		}
	}
}

func TestErrorsAndAcksRefuseWhatCannotBeRead(t *testing.T) {
	before := []byte("before")
	for _, e := range []wire.ErrorMessage{
		{Message: "\xff"},
		{MessageID: "\n"},
		{Suggestions: []string{"\xff"}},
		{Timestamp: math.NaN()},
		{Details: map[string]any{"x": make(chan int)}},
		{Details: map[string]any{"x": nested(31)}},
	} {
		if got, err := wire.AppendError(before, e); err == nil || string(got) != "before" {
			t.Errorf("got %s, error %v for %+v, want an error", got, err, e)
		}
	}
	for _, a := range []wire.Ack{
		{Result: json.RawMessage(`{"a":1,"a":2}`)},
		{Result: json.RawMessage(`x`)},
		{Result: nested(31)},
		{Position: wire.Position{Epoch: "a b", Offset: 1}},
	} {
		if got, err := wire.AppendAck(before, "m", 1, a, ""); err == nil || string(got) != "before" {
			t.Errorf("got %s, error %v for %+v, want an error", got, err, a)
		}
	}
	if got, err := wire.AppendAck(before, "\n", 1, wire.Ack{}, ""); err == nil || string(got) != "before" {
		t.Errorf("got %s, error %v for a bad id, want an error", got, err)
	}
	if got, err := wire.AppendError(nil, wire.ErrorMessage{}); err != nil || !strings.Contains(string(got), `"error_code":"INTERNAL"`) {
		t.Errorf("got %s, error %v for an empty code, want INTERNAL", got, err)
	}
}

func TestUnmarshalExactRefusesMembersThatNobodyKnows(t *testing.T) {
	type body struct {
		TTL  int                        `json:"ttl"`
		Deep struct{ A int }            `json:"deep"`
		List []struct{ B int }          `json:"list"`
		Map  map[string]struct{ C int } `json:"map"`
	}
	tests := []struct{ body, field string }{
		{`{"ttl":1,"deep":{"A":1},"list":[{"B":1}],"map":{"x":{"C":1}}}`, ""},
		{`{"tll":1}`, "tll"},
		{`{"TTL":1}`, "TTL"},
		{`{"deep":{"a":1}}`, "deep.a"},
		{`{"list":[{"B":1},{"x":1}]}`, "list.1.x"},
		{`{"map":{"x":{"D":1}}}`, "map.x.D"},
	}
	for _, test := range tests {
		err := wire.UnmarshalExact([]byte(test.body), new(body))
		if test.field == "" {
			if err != nil {
				t.Errorf("%s: got %v, want none", test.body, err)
			}
			continue
		}
		parse, ok := errors.AsType[*wire.ParseError](err)
		if !ok || parse.Code != wire.CodeInvalidMessage || parse.Field != test.field || parse.Message != test.field+" is not known" {
			t.Errorf("%s: got %+v, want field %q", test.body, err, test.field)
		}
	}
	if err := wire.UnmarshalExact(nested(33), new(any)); err == nil {
		t.Error("33 levels: got no error")
	}
}
