package client

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/netra-systems/switchboard/wire"
)

const answer = "R/answer"

// chunk gives x a chunk and returns what readers get of it: where it begins and its text.
func chunk(t *testing.T, x *texts, id string, start int, text string) (from int, fresh string) {
	t.Helper()
	env := wire.Envelope{Type: wire.StreamChunk}
	var err error
	if env.Payload, err = wire.Marshal(wire.StreamChunkPayload{StreamID: id, Start: start, Text: text}); err != nil {
		t.Fatal(err)
	}
	yielded, err := x.chunk(&env)
	if err != nil {
		t.Fatal(err)
	}
	if !yielded {
		return 0, ""
	}
	var p wire.StreamChunkPayload
	if err := env.Decode(&p); err != nil {
		t.Fatal(err)
	}
	return p.Start, p.Text
}

func complete(t *testing.T, x *texts, id string, length int, text string) {
	t.Helper()
	payload, err := wire.Marshal(wire.StreamCompletePayload{StreamID: id, Length: length, State: wire.StreamStateComplete, Text: text})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.complete(wire.Envelope{Type: wire.StreamComplete, Payload: payload}); err != nil {
		t.Fatal(err)
	}
}

func wantText(t *testing.T, x *texts, id, want string, wantDone bool) {
	t.Helper()
	if got, done := (&Client{texts: x}).Text(id); got != want || done != wantDone {
		t.Errorf("got text %.40q of %s, done %t, want %.40q, %t", got, id, done, want, wantDone)
	}
}

func TestWhatIsKnownOfAChunkIsCutOff(t *testing.T) {
	x := newTexts(nil)
	for _, step := range []struct {
		name      string
		start     int
		text      string
		wantStart int
		want      string
	}{
		{"the beginning", 0, "Grüße", 0, "Grüße"},
		{"the same again", 0, "Grüße", 0, ""},
		{"a part of it", 1, "rüß", 0, ""},
		{"an overlap", 3, "ße! 🙂", 5, "! 🙂"},
		{"what is next, though it looks like a repetition", 8, "Gr", 8, "Gr"},
		{"all again and more", 0, "Grüße! 🙂Gr\u0301u", 10, "\u0301u"}, // the accent is a code point of its own
		{"nothing", 12, "", 0, ""},
		{"nothing, further on", 20, "", 0, ""},
	} {
		if start, text := chunk(t, x, answer, step.start, step.text); start != step.wantStart || text != step.want {
			t.Errorf("%s: got %q from %d, want %q from %d", step.name, text, start, step.want, step.wantStart)
		}
	}
	wantText(t, x, answer, "Grüße! 🙂Gr\u0301u", false)
	complete(t, x, answer, 12, "")
	wantText(t, x, answer, "Grüße! 🙂Gr\u0301u", true)
	if _, text := chunk(t, x, answer, 12, "late"); text != "" {
		t.Errorf("got %q behind the end, want nothing", text)
	}
}

func TestTextNeverHasAHole(t *testing.T) {
	x := newTexts(nil)
	chunk(t, x, answer, 0, "Hello")
	if start, text := chunk(t, x, answer, 8, "rld"); start != 8 || text != "rld" {
		t.Errorf("got %q from %d, want the chunk behind the hole as it is", text, start)
	}
	if _, text := chunk(t, x, answer, 5, " wo"); text != "" {
		t.Errorf("got %q, want nothing that comes before what was given", text)
	}
	if start, text := chunk(t, x, answer, 10, "d!"); start != 11 || text != "!" {
		t.Errorf("got %q from %d, want the end", text, start)
	}
	wantText(t, x, answer, "Hello", false)
	if got := x.lengths(openTexts)[answer]; got != 12 {
		t.Errorf("got length %d for the server, want 12: what was given must not come again", got)
	}
	complete(t, x, answer, 12, "Hello world!")
	wantText(t, x, answer, "Hello world!", true)
}

func TestATextThatBeganElsewhereIsWholeAtItsEnd(t *testing.T) {
	x := newTexts(map[string]int{answer: 5, "R/long": 5, "R/none": 0})
	if got := x.lengths(openTexts); len(got) != 2 || got[answer] != 5 || got["R/long"] != 5 {
		t.Errorf("got lengths %v, want 5 of two", got)
	}
	if start, text := chunk(t, x, answer, 3, "lo wörld"); start != 5 || text != " wörld" {
		t.Errorf("got %q from %d, want what comes after 5", text, start)
	}
	chunk(t, x, "R/long", 5, " wörld")
	wantText(t, x, answer, "", false)
	complete(t, x, answer, 11, "Hello wörld")
	complete(t, x, "R/long", 11, "") // too long for the message
	wantText(t, x, answer, "Hello wörld", true)
	wantText(t, x, "R/long", "", true)
}

func TestTheTextOfStreamCompleteCounts(t *testing.T) {
	for _, tt := range []struct {
		name, before string
		length       int
		text, want   string
	}{
		{"more than came in chunks", "Hel", 5, "Hello", "Hello"},
		{"other than came in chunks", "Hallo", 5, "Hello", "Hello"},
		{"an empty one", "", 0, "", ""},
		{"not one of another length", "Hello", 5, "Hel", "Hello"},
		{"none, and the last chunk is missing", "Hel", 5, "", "Hel"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := newTexts(nil)
			chunk(t, x, answer, 0, tt.before)
			complete(t, x, answer, tt.length, tt.text)
			wantText(t, x, answer, tt.want, true)
			if got := x.lengths(openTexts); len(got) != 0 {
				t.Errorf("got lengths %v for the server, want none: the stream has ended", got)
			}
		})
	}
}

func TestASnapshotBringsTextsForward(t *testing.T) {
	x := newTexts(map[string]int{"R/told": 3, "R/further": 9})
	chunk(t, x, answer, 0, "Hel")
	snapshot := func(id, state, text string) {
		x.snapshot([]wire.Run{{ID: "R", Streams: []wire.Stream{{ID: id, State: state, Text: text}}}})
	}
	snapshot(answer, wire.StreamStateOpen, "Hello")
	snapshot("R/told", wire.StreamStateOpen, "Hel")
	snapshot("R/further", wire.StreamStateOpen, "Hello")
	snapshot("R/notes", wire.StreamStateComplete, "done")
	wantText(t, x, answer, "Hello", false)
	wantText(t, x, "R/told", "Hel", false)
	wantText(t, x, "R/further", "", false) // what it lacks is between 5 and 9
	wantText(t, x, "R/notes", "done", true)
	if _, text := chunk(t, x, answer, 3, "lo"); text != "" {
		t.Errorf("got %q, want nothing of what the snapshot had", text)
	}
	if start, text := chunk(t, x, answer, 4, "o!"); start != 5 || text != "!" {
		t.Errorf("got %q from %d, want what comes behind the snapshot", text, start)
	}
	snapshot(answer, wire.StreamStateOpen, "He") // from before
	snapshot("R/notes", wire.StreamStateOpen, "do")
	wantText(t, x, answer, "Hello!", false)
	wantText(t, x, "R/notes", "done", true)
	if got := x.lengths(openTexts)["R/notes"]; got != 0 {
		t.Errorf("got length %d of a stream that has ended, want none", got)
	}
}

// What a snapshot had no room for comes in chunks behind it, whatever the client had, also of a
// text that has ended.
func TestTheBeginningOfALongTextGoesOnInChunks(t *testing.T) {
	for _, tt := range []struct {
		name string
		told map[string]int
		had  func(*texts)
	}{
		{"nothing is known", nil, func(*texts) {}},
		{"less", nil, func(x *texts) { chunk(t, x, answer, 0, "H") }},
		{"more", nil, func(x *texts) { chunk(t, x, answer, 0, "Hello") }},
		{"all of it", nil, func(x *texts) { chunk(t, x, answer, 0, "Hello 🙂!") }},
		{"with a hole", nil, func(x *texts) { chunk(t, x, answer, 0, "H"); chunk(t, x, answer, 4, "o 🙂!") }},
		{"a length", map[string]int{answer: 7}, func(*texts) {}},
	} {
		for _, state := range []string{wire.StreamStateOpen, wire.StreamStateCancelled} {
			t.Run(tt.name+", "+state, func(t *testing.T) {
				x := newTexts(tt.told)
				tt.had(x)
				x.snapshot([]wire.Run{{ID: "R", Streams: []wire.Stream{{ID: answer, State: state, Text: "Hel", Length: 8}}}})
				wantText(t, x, answer, "Hel", false)
				if got := x.lengths(openTexts)[answer]; got != 3 {
					t.Errorf("got length %d for the server, want that of the snapshot", got)
				}
				if start, text := chunk(t, x, answer, 3, "lo 🙂"); start != 3 || text != "lo 🙂" {
					t.Errorf("got %q from %d, want what comes behind the snapshot", text, start)
				}
				chunk(t, x, answer, 7, "!")
				wantText(t, x, answer, "Hello 🙂!", state != wire.StreamStateOpen)
			})
		}
	}
	x := newTexts(nil)
	complete(t, x, answer, 8, "Hello 🙂!")
	x.snapshot([]wire.Run{{ID: "R", Streams: []wire.Stream{{ID: answer, State: wire.StreamStateOpen, Text: "Hel", Length: 5}}}}) // from before
	wantText(t, x, answer, "Hello 🙂!", true)
}

func TestEndedTextsAreBoundedAndDoNotComeAgain(t *testing.T) {
	x := newTexts(nil)
	id := func(i int) string { return fmt.Sprintf("R%d/answer", i) }
	const total = 3 * endedTexts
	for i := range total {
		chunk(t, x, id(i), 0, "ab")
		complete(t, x, id(i), 3, "abc")
	}
	if len(x.ended) != endedTexts || x.endedBytes != 3*endedTexts {
		t.Errorf("got %d texts of %d bytes, want %d of %d", len(x.ended), x.endedBytes, endedTexts, 3*endedTexts)
	}
	wantText(t, x, id(total-1), "abc", true)
	wantText(t, x, id(0), "", true)
	if _, text := chunk(t, x, id(0), 0, "abc"); text != "" {
		t.Errorf("got %q after the caller went back, want nothing twice", text)
	}
	complete(t, x, id(0), 3, "abc")
	wantText(t, x, id(0), "abc", true)
	for i := range bareTexts + endedTexts {
		complete(t, x, id(total+i), 3, "abc")
	}
	if got, most := len(x.of), bareTexts+endedTexts; got != most {
		t.Errorf("got %d streams, want %d", got, most)
	}
	big := strings.Repeat("x", endedTextBytes/2+1)
	for i := range 3 {
		complete(t, x, id(-1-i), len(big), big)
	}
	if len(x.ended) != 1 || x.endedBytes != len(big) {
		t.Errorf("got %d texts of %d bytes, want the newest of %d", len(x.ended), x.endedBytes, len(big))
	}
}

func TestOpenTextsAreBoundedByWhichGrewLast(t *testing.T) {
	x := newTexts(nil)
	id := func(i int) string { return fmt.Sprintf("R%d/answer", i) }
	for i := range openTexts {
		chunk(t, x, id(i), 0, "ab")
	}
	chunk(t, x, id(0), 2, "c")
	chunk(t, x, id(openTexts), 0, "ab")
	wantText(t, x, id(0), "abc", false)
	wantText(t, x, id(1), "", false)
	lengths := x.lengths(openTexts)
	if _, told := lengths[id(1)]; len(lengths) != openTexts || told || lengths[id(0)] != 3 {
		t.Errorf("got %d lengths, of the oldest %t, of the first %d, want %d, false, 3", len(lengths), told, lengths[id(0)], openTexts)
	}
	if newest := x.lengths(2); len(newest) != 2 || newest[id(0)] != 3 || newest[id(openTexts)] != 2 {
		t.Errorf("got %v, want the two that grew last", newest)
	}
	// The server was not told of it and begins at its beginning.
	if start, text := chunk(t, x, id(1), 0, "abc"); start != 2 || text != "c" {
		t.Errorf("got %q from %d, want what is new", text, start)
	}
	wantText(t, x, id(1), "", false)
	complete(t, x, id(1), 3, "abc")
	wantText(t, x, id(1), "abc", true)
}

func TestABadPayloadOfAStreamIsAnError(t *testing.T) {
	x := newTexts(nil)
	for _, payload := range []string{`{"stream_id":"R/answer","start":-1,"text":"abc"}`, `{"stream_id":"R/answer","start":"0","text":"abc"}`} {
		env := wire.Envelope{Type: wire.StreamChunk, Payload: []byte(payload)}
		if _, err := x.chunk(&env); err == nil {
			t.Errorf("got no error for %s", payload)
		}
	}
	err := x.complete(wire.Envelope{Type: wire.StreamComplete, Payload: []byte(`{"length":"many"}`)})
	if _, ok := errors.AsType[*wire.ParseError](err); !ok {
		t.Errorf("got error %v, want a ParseError", err)
	}
	if len(x.of) != 0 {
		t.Errorf("got %d streams, want none", len(x.of))
	}
}
