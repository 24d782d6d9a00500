package hub

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/wire"
)

// stream makes a stream of a topic, as its first event does.
func (r *rig) stream(a wire.Topic, id, thread string) *testText {
	s := &testText{Stream: Stream{ID: id, Run: "R", Thread: thread}, topic: a}
	s.Key = keyOf(wire.Topic{Kind: wire.KindRoom, ID: a.String() + a.Tenant + id})
	r.mu.Lock()
	r.texts[s.Key] = s
	r.mu.Unlock()
	r.event(s)
	return s
}

// mark is what an event says of s now.
func (s *testText) mark() Mark {
	return Mark{Stream: s.Stream, Length: uint64(len(s.text)), Ended: s.ended}
}

// event publishes an event of the run that writes s.
func (r *rig) event(s *testText) uint64 {
	l := r.log(s.topic)
	l.order.Lock()
	defer l.order.Unlock()
	r.mu.Lock()
	m := s.mark()
	r.mu.Unlock()
	return r.ingestMarked(s.topic, []Mark{m})
}

// write appends text; a lost one is in the log and is not delivered.
func (r *rig) write(s *testText, text string, lost bool) {
	l := r.log(s.topic)
	l.order.Lock()
	defer l.order.Unlock()
	r.mu.Lock()
	start := uint64(len(s.text))
	s.text = append(s.text, []rune(text)...)
	r.mu.Unlock()
	if !lost {
		r.hub.Text(keyOf(s.topic), s.Key, start, text)
	}
}

func (r *rig) finish(s *testText) uint64 {
	s.ended = true
	return r.event(s)
}

// openAfter opens a connection to which something is done before it begins.
func (r *rig) openAfter(u wire.Topic, do func(*client) error) *client {
	r.t.Helper()
	c, err := r.openHeld(u)
	if err == nil {
		err = do(c)
	}
	if err == nil {
		err = r.hub.Start(c.h, false)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// reader puts together what a connection was sent of streams.
type reader struct {
	t      testing.TB
	texts  map[string][]rune
	chunks []wire.StreamChunkPayload
	envs   []wire.Envelope
	// What came, in order: "text <id> <length>" or a frame of a topic.
	order []string
}

func (c *client) read(t testing.TB, begin map[string]int) *reader {
	t.Helper()
	r := &reader{t: t, texts: map[string][]rune{}}
	for id, n := range begin {
		r.texts[id] = []rune(strings.Repeat("?", n))
	}
	for _, f := range c.got.frames() {
		if !strings.HasPrefix(f, "{") {
			r.order = append(r.order, f)
			continue
		}
		env, err := wire.ParseAnswer([]byte(f))
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if env.Type == wire.GapType {
			r.order = append(r.order, "gap")
			continue
		}
		var p wire.StreamChunkPayload
		if err := json.Unmarshal(env.Payload, &p); err != nil || env.Type != wire.StreamChunk {
			t.Fatalf("got %s, want a chunk", f)
		}
		if p.Start != len(r.texts[p.StreamID]) {
			t.Fatalf("chunk of %s: got start %d, want %d", p.StreamID, p.Start, len(r.texts[p.StreamID]))
		}
		r.texts[p.StreamID] = append(r.texts[p.StreamID], []rune(p.Text)...)
		r.chunks, r.envs = append(r.chunks, p), append(r.envs, env)
		r.order = append(r.order, fmt.Sprintf("text %s %d", p.StreamID, len(r.texts[p.StreamID])))
	}
	return r
}

func (r *reader) want(id, text string) {
	r.t.Helper()
	if got := string(r.texts[id]); got != text {
		r.t.Errorf("text of %s: got %q, want %q", id, got, text)
	}
}

func TestFirstTextIsNotDelayedAndMoreOfItIsMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		alice := user("alice")
		c := r.open(alice)
		s := r.stream(alice, "R/answer", "t1")
		r.write(s, "Grü", false)
		c.read(t, nil).want("R/answer", "Grü")
		for range 10 {
			r.write(s, "🙂", false)
			time.Sleep(2 * time.Millisecond)
		}
		c.read(t, nil).want("R/answer", "Grü")
		time.Sleep(6 * time.Millisecond)
		synctest.Wait()
		got := c.read(t, nil)
		got.want("R/answer", "Grü"+strings.Repeat("🙂", 10))
		if n := len(got.chunks); n != 2 {
			t.Errorf("got %d chunks, want 2", n)
		}
		env := got.envs[1]
		if env.Topic != "user/alice" || env.RunID != "R" || env.ThreadID != "t1" || env.Offset != 0 || env.Timestamp == 0 {
			t.Errorf("chunk: got %+v", env)
		}
		time.Sleep(2 * textWindow)
		r.write(s, "!", false)
		c.read(t, nil).want("R/answer", "Grü"+strings.Repeat("🙂", 10)+"!")
	})
}

func TestTextComesBeforeTheEventThatFollowsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		alice := user("alice")
		c := r.open(alice)
		s := r.stream(alice, "R/answer", "")
		r.write(s, "one", false)
		r.write(s, " two", false) // waits for its window
		r.event(s)
		r.write(s, " three", false)
		r.finish(s)
		synctest.Wait()
		got := c.read(t, nil)
		want := []string{":user/alice e1 1", "text R/answer 3", "text R/answer 7", ":user/alice e1 2", "text R/answer 13", ":user/alice e1 3"}
		if strings.Join(got.order, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got.order, "\n"), strings.Join(want, "\n"))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := r.hub.streams.used(); n != 0 {
			t.Errorf("got %d streams, want none: it has ended", n)
		}
	})
}

func TestAJoinerGetsWhatIsThereAsOneChunkAndOnlyOfItsThreads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		alice := user("alice")
		first := r.open(alice)
		s, other := r.stream(alice, "R/answer", "t1"), r.stream(alice, "R/other", "t2")
		for range 500 {
			r.write(s, "0123456789", false)
			r.write(other, "abcdefghij", false)
			time.Sleep(10 * time.Millisecond)
		}
		all := r.open(alice)
		chosen := r.openAfter(alice, func(c *client) error { return r.hub.Watch(c.h, "t2") })
		resumed := r.openAfter(alice, func(c *client) error { return r.hub.SeekText(c.h, keyOf(alice), s.Key, 4990) })
		time.Sleep(time.Second)
		r.write(s, "end", false)
		r.write(other, "end", false)
		time.Sleep(time.Second)
		synctest.Wait()
		first.read(t, nil).want("R/answer", string(s.text))
		got := all.read(t, nil)
		got.want("R/answer", string(s.text))
		got.want("R/other", string(other.text))
		if n := len(got.chunks); n > 6 {
			t.Errorf("got %d chunks of two streams, want what was there, what waited for its window, and the end", n)
		}
		got = chosen.read(t, nil)
		got.want("R/answer", "")
		got.want("R/other", string(other.text))
		got = resumed.read(t, map[string]int{"R/answer": 4990})
		got.want("R/answer", strings.Repeat("?", 4990)+"0123456789end")
		if err := r.hub.SwitchThread(chosen.h, "t1"); err != nil {
			t.Fatal(err)
		}
		r.write(other, "more", false)
		synctest.Wait()
		got = chosen.read(t, nil)
		got.want("R/answer", string(s.text))
		got.want("R/other", "abcdefghij"+strings.Repeat("abcdefghij", 499)+"end")
	})
}

func TestATextOfMegabytesComesInChunksThatEndAtCodePoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		alice := user("alice")
		s := r.stream(alice, "R/answer", "")
		keep := r.follow(alice)
		defer r.hub.Release(keep)
		r.write(s, strings.Repeat("ß🙂", 300_000), false)
		c := r.open(alice)
		head, _ := r.hub.Head(keep)
		r.hub.AddStream(keyOf(alice), s.Stream, uint64(len(s.text)), head)
		time.Sleep(time.Second)
		synctest.Wait()
		got := c.read(t, nil)
		got.want("R/answer", string(s.text))
		for _, chunk := range got.chunks {
			if len(chunk.Text) > chunkBytes || !utf8.ValidString(chunk.Text) {
				t.Errorf("got a chunk of %d bytes", len(chunk.Text))
			}
		}
		if n := len(got.chunks); n > 8 {
			t.Errorf("got %d chunks of 1.8 MB, want 7 or 8", n)
		}
	})
}

func TestTooManyThreadsAreRefused(t *testing.T) {
	r := newRig(t, nil)
	c := r.open(user("alice"))
	for i := range MaxThreads {
		if err := r.hub.Watch(c.h, fmt.Sprint(i), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.hub.Watch(c.h, "one more"); err != ErrThreadLimit {
		t.Errorf("got %v, want ErrThreadLimit", err)
	}
	if err := r.hub.Unwatch(c.h, "0"); err != nil {
		t.Error(err)
	}
	if err := r.hub.Watch(c.h, "one more"); err != nil {
		t.Error(err)
	}
}

// textStress runs random producers of text and events, slow readers, joiners and resumers, and
// looks in silence whether everybody has every text, once, and no event before its text.
func textStress(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	r := newRig(t, func(c *Config, e *fakeEngine) {
		c.Workers = 1 + rng.IntN(3)
		c.WindowMessages = 1 + rng.IntN(8)
		e.room = 40 + rng.IntN(4000)
	})
	topics := []wire.Topic{user("a"), user("b"), room("r"), {Tenant: "acme", Kind: wire.KindUser, ID: "a"}}
	var clients []*client
	open := func() {
		c := r.open(topics[rng.IntN(2)])
		c.join(room("r"))
		clients = append(clients, c)
	}
	for range 4 {
		open()
	}
	var mu sync.Mutex
	var all []*testText
	lengths := map[string]map[uint64]int{} // topic, offset: of the stream, at the event
	note := func(s *testText, offset uint64) {
		mu.Lock()
		defer mu.Unlock()
		key := s.topic.Tenant + ":" + s.topic.String()
		if lengths[key] == nil {
			lengths[key] = map[uint64]int{}
		}
		lengths[key][offset] = len(s.text)
	}
	for round := range 5 {
		var wg sync.WaitGroup
		for i, topic := range topics {
			s := r.stream(topic, fmt.Sprintf("R%d/%d", i, round), "")
			note(s, r.log(topic).head)
			all = append(all, s)
			rng := rand.New(rand.NewPCG(seed, uint64(round*10+i)))
			wg.Go(func() {
				for range 60 {
					switch rng.IntN(8) {
					case 0:
						note(s, r.event(s))
					case 1:
						r.write(s, "lost ü", true)
					case 2:
						time.Sleep(time.Duration(rng.IntN(40)) * time.Millisecond)
					case 3:
						r.write(s, strings.Repeat("long🙂 ", 1+rng.IntN(300)), false)
					default:
						r.write(s, "token ", false)
					}
				}
				if rng.IntN(2) == 0 {
					note(s, r.finish(s))
				}
			})
		}
		open()
		for range 30 {
			time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
			if rng.IntN(4) == 0 {
				r.mu.Lock()
				r.textFails++
				r.mu.Unlock()
			}
			r.engine.drainAll()
		}
		wg.Wait()
	}
	for _, s := range all { // every stream says something once more, so that all who joined have heard of it
		if !s.ended {
			note(s, r.event(s))
		}
	}
	for range 100 {
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		r.engine.drainAll()
	}
	for i, c := range clients {
		checkTexts(t, i, c, all, lengths)
	}
}

// checkTexts compares what a connection was sent with the streams of its topics.
func checkTexts(t *testing.T, i int, c *client, all []*testText, lengths map[string]map[uint64]int) {
	t.Helper()
	got := c.read(t, nil)
	have := map[string]int{}
	current := map[string]string{} // topic: the stream whose events come
	for _, line := range got.order {
		var id string
		var n int
		if k, _ := fmt.Sscanf(line, "text %s %d", &id, &n); k == 2 {
			have[id] = n
			continue
		}
		topic, rest, _ := strings.Cut(line, " ")
		var offset uint64
		if _, err := fmt.Sscanf(rest, "e1 %d", &offset); err != nil {
			t.Fatalf("client %d: got %q", i, line)
		}
		want := lengths[topic][offset]
		if want == 0 {
			continue
		}
		found := false
		for _, s := range all {
			if s.topic.Tenant+":"+s.topic.String() == topic && have[s.ID] >= want {
				found = true
			}
		}
		if !found {
			t.Errorf("client %d: event %s came before the text that was %d long then (%v)", i, line, want, current)
		}
	}
	view, _ := c.r.hub.View(c.h)
	for _, s := range all {
		mine := s.topic == view.User || s.topic.Kind == wire.KindRoom && s.topic.Tenant == view.User.Tenant
		text := string(got.texts[s.ID])
		switch {
		case !mine && text != "":
			t.Errorf("client %d got text of %s", i, s.topic)
		case mine && !s.ended && text != string(s.text):
			t.Errorf("client %d, %s of %s: got %d code points, want %d", i, s.ID, s.topic, utf8.RuneCountInString(text), len(s.text))
		case mine && text != "" && text != string(s.text):
			t.Errorf("client %d, %s of %s has ended: got %d code points, want %d or none", i, s.ID, s.topic, utf8.RuneCountInString(text), len(s.text))
		}
	}
}

func TestTextsUnderStress(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { textStress(t, seed) })
		})
	}
}
