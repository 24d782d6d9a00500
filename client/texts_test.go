package client

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/netra-systems/switchboard/wire"
)

// streamer sends a text as a server does: from any length that the client has told, in any
// pieces.
type streamer struct {
	t     *rapid.T
	id    string
	whole []rune
	got   strings.Builder // what readers of messages were given
}

func (s *streamer) chunk(x *texts, from, to int) {
	payload, err := wire.Marshal(wire.StreamChunkPayload{StreamID: s.id, Start: from, Text: string(s.whole[from:to])})
	if err != nil {
		s.t.Fatal(err)
	}
	env := wire.Envelope{Type: wire.StreamChunk, Payload: payload}
	fresh, err := x.chunk(&env)
	if err != nil {
		s.t.Fatal(err)
	}
	if !fresh {
		return
	}
	var p wire.StreamChunkPayload
	if err := json.Unmarshal(env.Payload, &p); err != nil {
		s.t.Fatal(err)
	}
	if n := utf8.RuneCountInString(s.got.String()); p.Start != n {
		s.t.Fatalf("got a chunk that begins at %d, want %d", p.Start, n)
	}
	s.got.WriteString(p.Text)
}

// TestChunksJoinedAreTheText: whatever the cuts, repeats and reconnects.
func TestChunksJoinedAreTheText(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := &streamer{t: rt, id: "R/answer", whole: []rune(rapid.StringOfN(rapid.RuneFrom([]rune("aß🙂e\u0301 ")), 0, 200, -1).Draw(rt, "text"))}
		x := newTexts(nil)
		sent := 0
		for sent < len(s.whole) {
			from := rapid.IntRange(0, sent).Draw(rt, "from") // what is known comes again
			if rapid.Bool().Draw(rt, "in order") {
				from = x.lengths()[s.id] // as after a reconnect
			}
			to := rapid.IntRange(from, len(s.whole)).Draw(rt, "to")
			s.chunk(x, from, to)
			sent = max(sent, to)
		}
		if s.got.String() != string(s.whole) {
			rt.Fatalf("chunks: got %q, want %q", s.got.String(), string(s.whole))
		}
		c := &Client{texts: x}
		if got, done := c.Text(s.id); got != string(s.whole) || done {
			rt.Fatalf("Text: got %q, %v, want %q, false", got, done, string(s.whole))
		}
		payload, err := wire.Marshal(wire.StreamCompletePayload{StreamID: s.id, Length: len(s.whole), State: wire.StreamStateComplete, Text: string(s.whole)})
		if err != nil {
			rt.Fatal(err)
		}
		if err := x.complete(wire.Envelope{Type: wire.StreamComplete, Payload: payload}); err != nil {
			rt.Fatal(err)
		}
		if got, done := c.Text(s.id); got != string(s.whole) || !done || len(x.lengths()) != 0 {
			rt.Fatalf("Text at the end: got %q, %v, want %q, true", got, done, string(s.whole))
		}
		s.chunk(x, 0, len(s.whole)) // a late repetition
		if s.got.String() != string(s.whole) {
			rt.Fatal("text came again after its end")
		}
	})
}

func TestATextThatBeginsAtALengthIsCompletedAtTheEnd(t *testing.T) {
	x := newTexts(map[string]int{"R/answer": 5, "R/other": 0})
	c := &Client{texts: x}
	if got := x.lengths(); len(got) != 1 || got["R/answer"] != 5 {
		t.Errorf("got lengths %v, want 5 of R/answer", got)
	}
	env := wire.Envelope{Payload: json.RawMessage(`{"stream_id":"R/answer","start":3,"text":"lo wörld"}`)}
	if fresh, err := x.chunk(&env); err != nil || !fresh || string(env.Payload) != `{"stream_id":"R/answer","start":5,"text":" wörld"}` {
		t.Errorf("got %v, %v, %s", fresh, err, env.Payload)
	}
	if got, _ := c.Text("R/answer"); got != " wörld" {
		t.Errorf("got %q", got)
	}
	if err := x.complete(wire.Envelope{Payload: json.RawMessage(`{"stream_id":"R/answer","length":11,"state":"complete","text":"Hello wörld"}`)}); err != nil {
		t.Fatal(err)
	}
	if got, done := c.Text("R/answer"); got != "Hello wörld" || !done {
		t.Errorf("got %q, %v, want the whole text", got, done)
	}
}

func TestFinishedTextsAreBounded(t *testing.T) {
	x := newTexts(nil)
	c := &Client{texts: x}
	for i := range 3 * finishedTexts {
		payload := fmt.Sprintf(`{"stream_id":"R%d/answer","length":3,"state":"complete","text":"abc"}`, i)
		if err := x.complete(wire.Envelope{Payload: json.RawMessage(payload)}); err != nil {
			t.Fatal(err)
		}
	}
	if len(x.of) != finishedTexts || x.bytes != 3*finishedTexts {
		t.Errorf("got %d texts of %d bytes, want %d", len(x.of), x.bytes, finishedTexts)
	}
	if _, done := c.Text("R0/answer"); done {
		t.Error("the oldest text is still there")
	}
	if got, done := c.Text(fmt.Sprintf("R%d/answer", 3*finishedTexts-1)); got != "abc" || !done {
		t.Errorf("got %q, %v of the newest", got, done)
	}
}

func TestASnapshotBringsTextsForward(t *testing.T) {
	x := newTexts(nil)
	c := &Client{texts: x}
	env := wire.Envelope{Payload: json.RawMessage(`{"stream_id":"R/answer","start":0,"text":"Hel"}`)}
	if _, err := x.chunk(&env); err != nil {
		t.Fatal(err)
	}
	x.snapshot([]wire.Run{{ID: "R", Streams: []wire.Stream{
		{ID: "R/answer", State: wire.StreamStateOpen, Text: "Hello"}, {ID: "R/notes", State: wire.StreamStateComplete, Text: "done"},
	}}})
	if got, done := c.Text("R/answer"); got != "Hello" || done {
		t.Errorf("got %q, %v, want Hello", got, done)
	}
	if got, done := c.Text("R/notes"); got != "done" || !done {
		t.Errorf("got %q, %v, want done", got, done)
	}
	x.snapshot([]wire.Run{{ID: "R", Streams: []wire.Stream{{ID: "R/answer", State: wire.StreamStateOpen, Text: "He"}}}})
	if got := x.lengths()["R/answer"]; got != 5 {
		t.Errorf("an older snapshot: got length %d, want 5", got)
	}
}
