package switchboard_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// roomForTexts is how much text, in bytes, a thread brings along.
const roomForTexts = 256 << 10

// longText is text of n bytes or some more, of which no place is as another.
func longText(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "é漢🙂%d ", i)
	}
	return b.String()
}

// reader is what a device has of texts. It takes nothing that does not follow on what it has.
type reader struct {
	t     *testing.T
	texts map[string]string
	ended map[string]int // lengths
	over  bool
}

func newReader(t *testing.T) *reader {
	return &reader{t: t, texts: map[string]string{}, ended: map[string]int{}}
}

// open opens thread t1, and checks that its texts have no more than there is room for.
func (r *reader) open(c *device) wire.Thread {
	r.t.Helper()
	c.send(`{"type":"thread_open","message_id":"o","payload":{"thread_id":"t1"}}`)
	env := c.await(wire.ThreadSnapshot)
	if len(env.Payload) > roomForTexts+100<<10 {
		r.t.Errorf("got a snapshot of %d bytes", len(env.Payload))
	}
	thread := payload[wire.Thread](r.t, env)
	checkTexts(r.t, thread)
	for _, run := range thread.Runs {
		for _, s := range run.Streams {
			r.texts[s.ID] = s.Text
		}
	}
	return thread
}

func checkTexts(t *testing.T, thread wire.Thread) {
	t.Helper()
	sum := 0
	for _, run := range thread.Runs {
		for _, s := range run.Streams {
			sum += len(s.Text)
			if n := utf8.RuneCountInString(s.Text); !utf8.ValidString(s.Text) || s.Length != 0 && s.Length <= n {
				t.Errorf("%s: got %d of %d code points, ends with %q", s.ID, n, s.Length, s.Text[max(0, len(s.Text)-4):])
			}
		}
	}
	if sum > roomForTexts {
		t.Errorf("got %d bytes of text, want at most %d", sum, roomForTexts)
	}
}

// take takes a frame.
func (r *reader) take(env wire.Envelope) {
	r.t.Helper()
	switch env.Type {
	case wire.StreamChunk:
		p := payload[wire.StreamChunkPayload](r.t, env)
		if have := utf8.RuneCountInString(r.texts[p.StreamID]); p.Start != have {
			r.t.Fatalf("%s: got text from %d on, want from %d", p.StreamID, p.Start, have)
		}
		r.texts[p.StreamID] += p.Text
	case wire.StreamComplete:
		p := payload[wire.StreamCompletePayload](r.t, env)
		r.ended[p.StreamID] = p.Length
		if have := utf8.RuneCountInString(r.texts[p.StreamID]); p.Length != have {
			r.t.Errorf("%s: complete with %d code points, and %d have come", p.StreamID, p.Length, have)
		}
	case wire.AgentCompleted:
		r.over = true
	}
}

// until takes frames until the device has texts, whatever else comes.
func (r *reader) until(c *device, texts map[string]string) {
	r.t.Helper()
	for !maps.Equal(r.texts, texts) {
		b, err := c.raw(patience)
		if err != nil {
			r.t.Fatalf("got %v, with %v of %v code points", err, lengthsOfTexts(r.texts), lengthsOfTexts(texts))
		}
		env, err := wire.ParseAnswer(b)
		if err != nil {
			r.t.Fatal(err)
		}
		r.take(env)
	}
}

func lengthsOfTexts(texts map[string]string) (lengths []int) {
	for _, id := range slices.Sorted(maps.Keys(texts)) {
		lengths = append(lengths, utf8.RuneCountInString(texts[id]))
	}
	return lengths
}

// write appends text to a stream of a run.
func write(t *testing.T, run *switchboard.Run, stream, text string) {
	t.Helper()
	if _, err := io.WriteString(run.Stream(stream), text); err != nil {
		t.Fatal(err)
	}
}

// TestALongTextGoesOnBehindItsSnapshot: whatever becomes of the text once the snapshot is made.
func TestALongTextGoesOnBehindItsSnapshot(t *testing.T) {
	whole := longText(1 << 20)
	more := "and so on"
	for _, tt := range []struct {
		name   string
		before func(*testing.T, *switchboard.Run)
		after  func(*testing.T, *switchboard.Run)
		live   bool   // the device has had the text from the beginning
		text   string // in the end
	}{
		{name: "it stands", text: whole},
		{name: "it stands, and the device has all of it", live: true, text: whole},
		{name: "it grows", text: whole + more, after: func(t *testing.T, run *switchboard.Run) { write(t, run, "answer", more) }},
		{name: "an event comes", text: whole, after: func(t *testing.T, run *switchboard.Run) {
			if err := run.Progress(t.Context(), 50, "half"); err != nil {
				t.Error(err)
			}
		}},
		{name: "it ends", text: whole, after: func(t *testing.T, run *switchboard.Run) {
			if err := run.Stream("answer").Close(); err != nil {
				t.Error(err)
			}
		}},
		{name: "the run ends", text: whole + more, after: func(t *testing.T, run *switchboard.Run) {
			write(t, run, "answer", more)
			if _, err := run.Complete(t.Context(), nil); err != nil {
				t.Error(err)
			}
		}},
		{name: "it had ended", text: whole, before: func(t *testing.T, run *switchboard.Run) {
			if err := run.Stream("answer").Close(); err != nil {
				t.Error(err)
			}
		}},
		{name: "it had ended, and the run ends", text: whole, before: func(t *testing.T, run *switchboard.Run) {
			if err := run.Stream("answer").Close(); err != nil {
				t.Error(err)
			}
		}, after: func(t *testing.T, run *switchboard.Run) {
			if _, err := run.Complete(t.Context(), nil); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, switchboard.Options{})
				path := "/ws?thread=other"
				if tt.live {
					path = "/ws"
				}
				c := s.connect(t, request{token: "alice", path: path})
				run := started(t, s, switchboard.RunOptions{ID: "R", Thread: "t1"})
				write(t, run, "answer", whole)
				if tt.before != nil {
					tt.before(t, run)
				}
				if tt.live {
					newReader(t).until(c, map[string]string{"R/answer": whole})
				}
				time.Sleep(time.Minute)
				r := newReader(t)
				thread := r.open(c)
				if got := thread.Runs[0].Streams[0]; got.Length != utf8.RuneCountInString(whole) || len(got.Text) < roomForTexts-utf8.UTFMax {
					t.Errorf("got %d bytes of a text that has %d code points, want %d and %d", len(got.Text), got.Length, roomForTexts, utf8.RuneCountInString(whole))
				}
				if tt.after != nil {
					tt.after(t, run)
				}
				synctest.Wait()
				r.until(c, map[string]string{"R/answer": tt.text})
				if _, err := run.Complete(t.Context(), nil); err != nil && !r.over && tt.after == nil {
					t.Error(err)
				}
				for !r.over {
					r.take(c.next())
				}
				c.silent()
			})
		})
	}
}

// The room for text goes to what is newest, and what has none of it comes behind, in whole.
func TestTheNewestTextsComeWithTheirThread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		texts := map[string]string{}
		for i, id := range []string{"old", "mid", "new"} {
			run := started(t, s, switchboard.RunOptions{ID: id, Thread: "t1"})
			for _, name := range []string{"a", "b"} {
				text := longText(100<<10 + i)
				write(t, run, name, text)
				texts[id+"/"+name] = text
				time.Sleep(time.Second)
			}
			if id == "mid" {
				if err := run.Stream("b").Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		c := s.connect(t, request{token: "alice", path: "/ws?thread=other"})
		r := newReader(t)
		thread := r.open(c)
		whole := map[string]bool{}
		for _, run := range thread.Runs {
			for _, stream := range run.Streams {
				whole[stream.ID] = stream.Length == 0
			}
		}
		wantEqual(t, "those that are whole", whole, map[string]bool{
			"old/a": false, "old/b": false, "mid/a": false, "mid/b": false, "new/a": true, "new/b": true,
		})
		wantEqual(t, "order of the runs", thread.Runs[0].ID+" "+thread.Runs[1].ID+" "+thread.Runs[2].ID, "old mid new")
		r.until(c, texts)
		c.silent()
	})
}

// A device that loses its connection in the middle of what came behind a snapshot goes on there.
func TestALongTextGoesOnWhereADeviceLostIt(t *testing.T) {
	whole := longText(2 << 20)
	for _, tt := range []struct{ name, ends string }{
		{"it grows", ""}, {"it had ended", "stream before"}, {"it ends", "stream"}, {"the run ends", "run"},
		{"it had ended, and the run ends", "stream before, run"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, switchboard.Options{})
				run := started(t, s, switchboard.RunOptions{ID: "R", Thread: "t1"})
				write(t, run, "answer", whole)
				if strings.Contains(tt.ends, "stream before") {
					if err := run.Stream("answer").Close(); err != nil {
						t.Fatal(err)
					}
				}
				c := s.connect(t, request{token: "alice", path: "/ws?thread=other", buffer: 64 << 10})
				r := newReader(t)
				thread := r.open(c)
				r.take(c.expect(wire.StreamChunk))
				_ = c.conn.Close()
				synctest.Wait()
				if tt.ends == "stream" {
					if err := run.Stream("answer").Close(); err != nil {
						t.Fatal(err)
					}
				}
				if strings.Contains(tt.ends, "run") {
					if _, err := run.Complete(t.Context(), nil); err != nil {
						t.Fatal(err)
					}
				}
				have := utf8.RuneCountInString(r.texts["R/answer"])
				if n := utf8.RuneCountInString(whole); have >= n {
					t.Fatalf("got %d code points of %d, want less", have, n)
				}
				b := s.resume(t, c)
				b.send(`{"type":"session_restore","payload":%s}`, object(wire.Restore{
					Positions: map[string]wire.Position{"user/alice": thread.Position}, Streams: map[string]int{"R/answer": have},
				}))
				r.until(b, map[string]string{"R/answer": whole})
			})
		})
	}
}

// counting is a driver that counts the text, in bytes, that was read from it.
type counting struct {
	broker.Driver
	bytes atomic.Int64
}

func (d *counting) Read(ctx context.Context, topic, stream broker.Key, from, limit int) (string, int, error) {
	text, length, err := d.Driver.Read(ctx, topic, stream, from, limit)
	d.bytes.Add(int64(len(text)))
	return text, length, err
}

// Over HTTP nothing comes behind: the answer says how long the text is. No more of it is read than
// is told.
func TestALongTextIsReadInPartOverHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drive := membroker.New(membroker.Options{})
		t.Cleanup(func() { _ = drive.Close() })
		d := &counting{Driver: drive}
		s := newServer(t, switchboard.Options{Broker: d})
		run := started(t, s, switchboard.RunOptions{ID: "R", Thread: "t1"})
		whole := longText(8 << 20)
		write(t, run, "answer", whole)
		write(t, run, "short", "word")
		web := s.web(t)
		check := func(thread wire.Thread) {
			t.Helper()
			checkTexts(t, thread)
			streams := thread.Runs[0].Streams
			if streams[0].Length != utf8.RuneCountInString(whole) || !strings.HasPrefix(whole, streams[0].Text) || len(streams[0].Text) < roomForTexts-10 {
				t.Errorf("got %d bytes of a text of %d code points", len(streams[0].Text), streams[0].Length)
			}
			if streams[1].Length != 0 || streams[1].Text != "word" {
				t.Errorf("got %+v, want the whole text", streams[1])
			}
			if n := d.bytes.Swap(0); n > roomForTexts {
				t.Errorf("got %d bytes read, want at most %d", n, roomForTexts)
			}
		}
		d.bytes.Store(0)
		got := web.do(call{path: "/threads/t1", token: "alice"})
		if got.status != http.StatusOK {
			t.Fatalf("got %d %s", got.status, got.body)
		}
		if strings.Count(got.body, `"length"`) != 1 {
			t.Errorf("got a length of a text that is whole")
		}
		var thread wire.Thread
		if err := wire.Unmarshal([]byte(got.body), &thread); err != nil {
			t.Fatal(err)
		}
		check(thread)
		thread, err := s.Thread(t.Context(), switchboard.User("alice"), "t1", switchboard.Query{})
		if err != nil {
			t.Fatal(err)
		}
		check(thread)
	})
}

// Who opens long texts again and again waits for what that costs.
func TestOpeningLongTextsIsPaidFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		run := started(t, s, switchboard.RunOptions{ID: "R", Thread: "t1"})
		write(t, run, "answer", strings.Repeat("x", 4<<20)) // 64 messages
		c := s.connect(t, request{token: "alice", path: "/ws?thread=other"})
		opened := 0
		for range 4 {
			c.send(`{"type":"thread_open","message_id":"o","payload":{"thread_id":"t1"}}`)
			b, err := c.raw(patience)
			for err == nil && strings.HasPrefix(string(b), `{"type":"stream_chunk"`) {
				b, err = c.raw(patience)
			}
			if err != nil {
				t.Fatal(err)
			}
			if refusal, err := wire.ParseErrorMessage(b); err == nil && refusal.Code == wire.CodeRateLimited {
				break
			}
			opened++
		}
		wantEqual(t, "times that the thread was opened", opened, 2) // of 120 messages a minute
	})
}
