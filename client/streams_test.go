package client_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// chunk sends a part of a text.
func (p *peer) chunk(stream string, start int, text string) {
	p.t.Helper()
	run, _, _ := strings.Cut(stream, "/")
	p.send(wire.Envelope{
		Type: wire.StreamChunk, Topic: "user/alice", RunID: run, Timestamp: 1,
		Payload: raw(wire.StreamChunkPayload{StreamID: stream, Start: start, Text: text}),
	})
}

func (p *peer) complete(stream string, offset uint64, length int, text string) {
	p.t.Helper()
	run, _, _ := strings.Cut(stream, "/")
	p.send(wire.Envelope{
		Type: wire.StreamComplete, ID: "end of " + stream, Topic: "user/alice", Offset: offset, RunID: run, Timestamp: 1,
		Payload: raw(wire.StreamCompletePayload{StreamID: stream, Length: length, State: wire.StreamStateComplete, Text: text}),
	})
}

// expectChunk returns the next message, which must be a chunk.
func (b inbox) expectChunk() wire.StreamChunkPayload {
	b.t.Helper()
	env := b.expect("")
	var p wire.StreamChunkPayload
	if err := env.Decode(&p); err != nil || env.Type != wire.StreamChunk {
		b.t.Fatalf("got %s %s, error %v, want a chunk", env.Type, env.Payload, err)
	}
	return p
}

func TestTextGoesOnWhereTheConnectionWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:40")
			p.chunk("Q/answer", 0, "over")
			p.complete("Q/answer", 41, 4, "over")
			p.chunk("R/answer", 0, "Grüße")
			p.chunk("R/answer", 5, "! 🙂")
			p.cut()
		}, func(p *peer) {
			p.welcome("c2", "user/alice", "e1:41")
			if got, want := p.restore().Streams, map[string]int{"R/answer": 8}; !cmp.Equal(got, want) {
				t.Errorf("got streams %v, want %v", got, want)
			}
			p.chunk("R/answer", 3, "ße! 🙂") // seen
			p.chunk("R/answer", 3, "ße! 🙂 there")
			p.complete("R/answer", 42, 14, "Grüße! 🙂 there")
			p.untilClosed()
		}))
		in := messages(t, c)
		in.expectChunk()
		in.expect("end of Q/answer")
		for _, want := range []wire.StreamChunkPayload{
			{StreamID: "R/answer", Start: 0, Text: "Grüße"}, {StreamID: "R/answer", Start: 5, Text: "! 🙂"}, {StreamID: "R/answer", Start: 8, Text: " there"},
		} {
			if got := in.expectChunk(); got != want {
				t.Errorf("got chunk %+v, want %+v", got, want)
			}
		}
		if got, want := in.expect("end of R/answer").Position(), position("e1:42"); got != want {
			t.Errorf("got the end at %v, want %v", got, want)
		}
		if text, done := c.Text("R/answer"); text != "Grüße! 🙂 there" || !done {
			t.Errorf("got text %q, done %t, want all of it", text, done)
		}
	})
}

func TestLengthsBeginWhereTheCallerSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := serve(t, func(p *peer) {
			if got, want := p.r.URL.RawQuery, "resume=1&thread=t-1&thread=t-2"; got != want {
				t.Errorf("got query %q, want %q", got, want)
			}
			p.welcomeWith(wire.Welcome{ConnectionID: "c1", Held: true}, "user/alice", "e1:9")
			want := wire.Restore{Positions: map[string]wire.Position{"user/alice": position("e1:9")}, Streams: map[string]int{"R/answer": 5}}
			if diff := cmp.Diff(p.restore(), want); diff != "" {
				t.Errorf("restore (-got +want):\n%s", diff)
			}
			p.chunk("R/answer", 5, " world")
			p.cut()
		}, func(p *peer) {
			p.welcome("c2", "user/alice", "e1:9")
			if got, want := p.restore().Streams, map[string]int{"R/answer": 11}; !cmp.Equal(got, want) {
				t.Errorf("got streams %v, want %v", got, want)
			}
			p.complete("R/answer", 10, 11, "Hello world")
			p.untilClosed()
		})
		opts.Threads = []string{"t-1", "t-2"}
		opts.Lengths = map[string]int{"R/answer": 5}
		c := dial(t, opts)
		in := messages(t, c)
		if got, want := in.expectChunk(), (wire.StreamChunkPayload{StreamID: "R/answer", Start: 5, Text: " world"}); got != want {
			t.Errorf("got chunk %+v, want %+v", got, want)
		}
		if text, done := c.Text("R/answer"); text != "" || done {
			t.Errorf("got text %q, done %t, want none: its beginning is not here", text, done)
		}
		in.expect("end of R/answer")
		if text, done := c.Text("R/answer"); text != "Hello world" || !done {
			t.Errorf("got text %q, done %t, want the whole", text, done)
		}
	})
}

// TestARestoreFitsIntoAMessage: a client that has missed the end of many streams still comes back.
func TestARestoreFitsIntoAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id := func(i int) string { return fmt.Sprintf("run-%d/answer", i) }
		const limit, streams = 1000, 200
		greet := func(p *peer, id string) {
			p.welcomeWith(wire.Welcome{ConnectionID: id, Config: wire.Config{MaxMessageSize: limit}}, "user/alice", "e1:0")
		}
		c := dial(t, serve(t, func(p *peer) {
			greet(p, "c1")
			for i := range streams {
				p.chunk(id(i), 0, "abc")
			}
			p.cut()
		}, func(p *peer) {
			greet(p, "c2")
			var r wire.Restore
			order := p.expect(wire.SessionRestore, &r)
			if n := len(order.Payload); n > limit || len(r.Streams) < 20 || r.Streams[id(streams-1)] != 3 || r.Positions["user/alice"] != position("e1:0") {
				t.Errorf("got %d bytes with %v and %d streams, want as many of the newest as fit", n, r.Positions, len(r.Streams))
			}
			p.answer(order, wire.SessionRestored, wire.Restored{})
			p.chunk(id(0), 0, "abc") // not told: it comes from its beginning
			p.chunk(id(0), 0, "abcd")
			p.untilClosed()
		}))
		in := messages(t, c)
		for range streams {
			in.expectChunk()
		}
		if got, want := in.expectChunk(), (wire.StreamChunkPayload{StreamID: id(0), Start: 3, Text: "d"}); got != want {
			t.Errorf("got chunk %+v, want %+v", got, want)
		}
	})
}

func TestASnapshotMovesNoPositionAndBringsTexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		snapshot := wire.Thread{
			Messages: []wire.Envelope{{Type: "note", ID: "n", Topic: "user/alice", Offset: 45, ThreadID: "t-1"}},
			Runs: []wire.Run{{ID: "R", AgentName: "a", State: wire.RunRunning, Streams: []wire.Stream{
				{ID: "R/answer", State: wire.StreamStateOpen, Text: "Grüße! 🙂"}, {ID: "R/plan", State: wire.StreamStateComplete, Text: "greet"},
			}}},
			Position: position("e1:45"),
		}
		open := func(p *peer, verb wire.MessageType, room string, thread wire.Thread) {
			var req wire.ThreadOpenRequest
			order := p.expect(verb, &req)
			topic := "user/alice"
			if room != "" {
				topic = "room/" + room
			}
			if req.Room != room {
				t.Errorf("got room %q, want %q", req.Room, room)
			}
			p.send(wire.Envelope{Type: wire.ThreadSnapshot, ID: order.ID, Topic: topic, ThreadID: req.ThreadID, Payload: raw(thread)})
		}
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:40")
			p.chunk("R/answer", 0, "Grüße") // before the thread is opened
			open(p, wire.ThreadOpen, "", snapshot)
			p.chunk("R/answer", 5, "! 🙂")
			p.chunk("R/answer", 8, " there")
			p.note("user/alice", 42) // of another thread; a client may not rely on what it has not seen
			p.note("user/alice", 46)
			snapshot.Position = position("e1:43") // from before
			open(p, wire.SwitchThread, "", snapshot)
			p.note("user/alice", 46) // seen
			p.note("user/alice", 47)
			open(p, wire.ThreadOpen, "desk", wire.Thread{Position: position("d1:7")})
			open(p, wire.ThreadOpen, "attic", wire.Thread{Position: position("a1:9")}) // an older page: it is not followed
			p.note("room/desk", 8)
			p.cut()
		}, func(p *peer) {
			if got, want := p.r.URL.Query()["thread"], []string{"t-2", "t-3"}; !slices.Equal(got, want) {
				t.Errorf("got threads %v, want %v", got, want)
			}
			p.welcome("c2", "user/alice", "e1:47")
			want := wire.Restore{
				Positions: map[string]wire.Position{"user/alice": position("e1:47"), "room/desk": position("d1:8")},
				Streams:   map[string]int{"R/answer": 14}, Replace: "c1",
			}
			if diff := cmp.Diff(p.restore(), want); diff != "" {
				t.Errorf("restore (-got +want):\n%s", diff)
			}
			p.note("user/alice", 48)
			p.untilClosed()
		}))
		in := messages(t, c)
		in.expectChunk()
		do := func(verb wire.MessageType, req wire.ThreadOpenRequest) (got wire.Thread) {
			if err := c.Do(t.Context(), verb, req, &got); err != nil {
				t.Fatal(err)
			}
			return got
		}
		got := do(wire.ThreadOpen, wire.ThreadOpenRequest{ThreadID: "t-1"})
		if len(got.Messages) != 1 || len(got.Runs) != 1 || got.Runs[0].Streams[0].Text != "Grüße! 🙂" {
			t.Errorf("got %+v, want the snapshot", got)
		}
		if text, done := c.Text("R/plan"); text != "greet" || !done {
			t.Errorf("got text %q, done %t, want that of the snapshot", text, done)
		}
		if got, want := in.expectChunk(), (wire.StreamChunkPayload{StreamID: "R/answer", Start: 8, Text: " there"}); got != want {
			t.Errorf("got chunk %+v, want %+v", got, want)
		}
		in.expect("user/alice-42")
		in.expect("user/alice-46")
		do(wire.SwitchThread, wire.ThreadOpenRequest{ThreadID: "t-2"}) // leaves t-1
		in.expect("user/alice-47")
		do(wire.ThreadOpen, wire.ThreadOpenRequest{ThreadID: "t-3", Room: "desk"})
		do(wire.ThreadOpen, wire.ThreadOpenRequest{ThreadID: "t-4", Room: "attic", Before: position("a1:5")})
		if got, want := in.expect("room/desk-8").Position(), position("d1:8"); got != want {
			t.Errorf("got position %v, want %v", got, want)
		}
		if text, _ := c.Text("R/answer"); text != "Grüße! 🙂 there" {
			t.Errorf("got text %q, want that of snapshot and chunks", text)
		}
		in.expect("user/alice-48")
	})
}

// TestTheDefaultThreadIsWatchedAfterALoss: a query cannot name it, so all threads are watched.
func TestTheDefaultThreadIsWatchedAfterALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			p.answer(p.expect(wire.ThreadOpen, nil), wire.ThreadSnapshot, wire.Thread{})
			p.cut()
		}, func(p *peer) {
			if got, ok := p.r.URL.Query()["thread"]; ok {
				t.Errorf("got threads %q, want all", got)
			}
			p.welcome("c2", "user/alice", "e1:0")
			p.restore()
			p.note("user/alice", 1)
			p.untilClosed()
		})
		opts.Threads = []string{"t-1"}
		c := dial(t, opts)
		in := messages(t, c)
		if err := c.Do(t.Context(), wire.ThreadOpen, wire.ThreadOpenRequest{}, nil); err != nil {
			t.Fatal(err)
		}
		in.expect("user/alice-1")
	})
}

func TestDoReturnsWhatWasStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopped := wire.StoppedRun{RunID: "R", Position: position("e1:66"), StreamLengths: map[string]int{"R/answer": 15}}
		want := []wire.Ack{
			{Status: wire.StatusOK, Runs: []wire.StoppedRun{stopped}},
			{Status: wire.StatusAlreadyEnded, Runs: []wire.StoppedRun{stopped}},
			{Status: wire.StatusNotFound, Runs: []wire.StoppedRun{}},
		}
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			for _, ack := range want {
				var req wire.StopAgentRequest
				order := p.expect(wire.StopAgent, &req)
				if req != (wire.StopAgentRequest{RunID: "R", Reason: "wrong order"}) {
					t.Errorf("got %+v, want the order", req)
				}
				p.ack(order, ack)
			}
			p.untilClosed()
		}))
		for _, want := range want {
			var got wire.Ack
			if err := c.Do(t.Context(), wire.StopAgent, wire.StopAgentRequest{RunID: "R", Reason: "wrong order"}, &got); err != nil {
				t.Fatal(err)
			}
			if got.MessageID == "" {
				t.Error("got no message id")
			}
			got.MessageID = ""
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("ack (-got +want):\n%s", diff)
			}
		}
	})
}

// journey is what happens to texts in one case of the property: processes that follow each
// other, each with connections that follow each other.
type journey struct {
	texts     map[string][]rune
	processes []processPlan
	whole     bool // stream_complete has the text
}

type processPlan struct {
	connections [][]step
	prints      int // chunks, before the process is killed; the last one prints all
}

// step is a chunk: it begins so many code points before the end of what was sent, and
// brings so many new ones.
type step struct {
	stream        string
	back, forward int
}

// streamIDs are the streams of a journey.
func streamIDs() []string { return []string{"R/answer", "R/notes"} }

func drawJourney(t *rapid.T) journey {
	j := journey{texts: map[string][]rune{}, whole: rapid.Bool().Draw(t, "whole")}
	// Code points of one to four bytes, in JSON one or two units of UTF-16; some join with
	// those before them.
	letters := rapid.RuneFrom([]rune("abß\u0301 🙂\u200d👩\U0001f3fd\n\"\\\u2028"))
	for _, id := range streamIDs() {
		j.texts[id] = []rune(rapid.StringOfN(letters, 1, 60, -1).Draw(t, id))
	}
	steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			stream: rapid.SampledFrom(streamIDs()).Draw(t, "stream"),
			back:   max(0, rapid.IntRange(-20, 20).Draw(t, "back")), forward: rapid.IntRange(0, 12).Draw(t, "forward"),
		}
	}), 0, 8)
	for range rapid.IntRange(1, 3).Draw(t, "processes") {
		j.processes = append(j.processes, processPlan{
			connections: rapid.SliceOfN(steps, 1, 3).Draw(t, "connections"), prints: rapid.IntRange(0, 12).Draw(t, "prints"),
		})
	}
	return j
}

// scripts are those of the connections of all processes, in their order. Texts begin where
// the client says that it is.
func (j journey) scripts() []script {
	var all []script
	for i, process := range j.processes {
		for k, steps := range process.connections {
			all = append(all, func(p *peer) {
				p.welcome(fmt.Sprintf("c%d-%d", i, k), "user/alice", "e1:0")
				sent := map[string]int{}
				if p.sessionToken() != "" || p.r.URL.Query().Get("resume") == "1" {
					sent = p.restore().Streams
				}
				at := map[string]int{}
				send := func(s step) {
					from, to := max(0, at[s.stream]-s.back), min(len(j.texts[s.stream]), at[s.stream]+s.forward)
					p.chunk(s.stream, from, string(j.texts[s.stream][from:to]))
					at[s.stream] = to
				}
				maps.Copy(at, sent)
				for _, s := range steps {
					send(s)
				}
				switch {
				case k < len(process.connections)-1:
					p.cut()
					return
				case i < len(j.processes)-1:
					p.note("user/alice", 1) // this process is killed
				default:
					for n, id := range streamIDs() {
						for at[id] < len(j.texts[id]) {
							send(step{id, 3, 7})
						}
						text := ""
						if j.whole {
							text = string(j.texts[id])
						}
						p.complete(id, uint64(n+1), len(j.texts[id]), text)
					}
				}
				p.untilClosed()
			})
		}
	}
	return all
}

// play runs a journey and returns the chunks joined, the lengths by their starts, and what
// Text says at the end.
func (j journey) play(t *testing.T) (joined map[string]string, wrongStarts []wire.StreamChunkPayload, texts map[string]string) {
	joined, texts = map[string]string{}, map[string]string{}
	opts := serve(t, j.scripts()...)
	for i, process := range j.processes {
		opts.Lengths = map[string]int{}
		for id, text := range joined {
			opts.Lengths[id] = utf8.RuneCountInString(text)
		}
		c, err := client.Dial(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		last := i == len(j.processes)-1
		chunks, ends := 0, 0
		for msg, err := range c.Messages(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			switch msg.Type {
			case wire.StreamChunk:
				var p wire.StreamChunkPayload
				if err := msg.Decode(&p); err != nil {
					t.Fatal(err)
				}
				if chunks++; chunks > process.prints && !last {
					continue // it was killed before it came to that
				}
				if p.Start != utf8.RuneCountInString(joined[p.StreamID]) {
					wrongStarts = append(wrongStarts, p)
				}
				joined[p.StreamID] += p.Text
			case wire.StreamComplete, "note":
				ends++
			}
			if ends == len(streamIDs()) || ends > 0 && !last {
				break
			}
		}
		for _, id := range streamIDs() {
			texts[id], _ = c.Text(id)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	return joined, wrongStarts, texts
}

// TestChunksJoinedAreTheText: whatever the cuts, repeats, overlaps, lost connections, and
// processes that are killed and go on with the lengths that they had.
func TestChunksJoinedAreTheText(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		j := drawJourney(rt)
		var joined, texts map[string]string
		var wrongStarts []wire.StreamChunkPayload
		synctest.Test(t, func(t *testing.T) { joined, wrongStarts, texts = j.play(t) })
		if len(wrongStarts) > 0 {
			rt.Errorf("got chunks %+v, want each to begin where the last one ended", wrongStarts)
		}
		for id, runes := range j.texts {
			if want := string(runes); joined[id] != want {
				rt.Errorf("got chunks %q of %s, want %q", joined[id], id, want)
			}
			switch text := texts[id]; {
			case (j.whole || len(j.processes) == 1) && text != string(runes):
				rt.Errorf("got text %q of %s, want %q", text, id, string(runes))
			case !strings.HasPrefix(string(runes), text):
				rt.Errorf("got text %q of %s, want the beginning of %q", text, id, string(runes))
			}
		}
	})
}
