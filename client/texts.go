package client

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/wire"
)

// What the client keeps of text streams. Where there are more, those that changed last stay.
const (
	openTexts = 1024 // that may grow, with their texts; a server is told of as many at most
	// endedTexts and endedTextBytes bound the texts that have ended. The newest one is kept
	// whatever its size.
	endedTexts     = 64
	endedTextBytes = 8 << 20
	// bareTexts is of how many others the length is known, so that text that comes again,
	// because the caller has gone back to an earlier position, is not given twice.
	bareTexts = 4096
)

// texts puts the text streams together that arrive in chunks. The goroutine that reads the
// connection writes; Text reads.
type texts struct {
	mu sync.Mutex // guards the fields below and what text says
	of map[string]*text
	// Each text is on one of these, the one that changed last at the end.
	open, ended, bare shelf
	endedBytes        int // the sum over ended
}

type shelf []*text

// text is one stream.
type text struct {
	id     string
	length int             // up to which readers of messages have it, in code points
	begin  strings.Builder // the text from its beginning, without holes
	short  bool            // what follows begin is not here, so that it cannot grow
	done   bool            // the stream has ended
	whole  int             // it has, and is so long: what a snapshot had no room for comes in chunks; 0: no

	on    *shelf
	bytes int // what it counts in endedBytes
}

func newTexts(lengths map[string]int) *texts {
	t := &texts{of: map[string]*text{}}
	for id, n := range lengths {
		if n > 0 {
			s := t.get(id)
			s.length, s.short = n, true
			t.put(s, &t.open)
		}
	}
	return t
}

// get returns the text of a stream, which the caller puts on a shelf if it is new. The
// caller holds t.mu, as for all methods that are not said to take it.
func (t *texts) get(id string) *text {
	s := t.of[id]
	if s == nil {
		s = &text{id: id}
		t.of[id] = s
	}
	return s
}

// put moves s to the end of a shelf, and forgets what is too much then.
func (t *texts) put(s *text, to *shelf) {
	if s.on != nil {
		i := slices.Index(*s.on, s)
		*s.on = slices.Delete(*s.on, i, i+1)
		t.endedBytes -= s.bytes
	}
	*to = append(*to, s)
	s.on, s.bytes = to, 0
	switch to {
	case &t.open:
		if len(t.open) > openTexts {
			t.strip(t.open[0])
		}
	case &t.ended:
		s.bytes = s.begin.Len()
		t.endedBytes += s.bytes
		for len(t.ended) > endedTexts || t.endedBytes > endedTextBytes && len(t.ended) > 1 {
			t.strip(t.ended[0])
		}
	case &t.bare:
		if len(t.bare) > bareTexts {
			delete(t.of, t.bare[0].id)
			t.bare = slices.Delete(t.bare, 0, 1)
		}
	}
}

// strip drops a text; its length stays.
func (t *texts) strip(s *text) {
	s.begin.Reset()
	s.short = true
	t.put(s, &t.bare)
}

// chunk takes a stream_chunk and reports whether there is anything new in it. What the
// client has is cut off. It takes t.mu.
//
// A chunk that begins beyond what the client has is new: hiding it would not bring back
// what is missing. The text does not take it, and waits for the whole.
func (t *texts) chunk(env *wire.Envelope) (fresh bool, err error) {
	var p wire.StreamChunkPayload
	if err := env.Decode(&p); err != nil {
		return false, err
	}
	if p.Start < 0 {
		return false, errors.New("start is negative")
	}
	if p.Text == "" {
		return false, nil
	}
	end := p.Start + utf8.RuneCountInString(p.Text)
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.get(p.StreamID)
	if s.done || end <= s.length {
		return false, nil
	}
	switch {
	case p.Start > s.length:
		s.short = true
	case p.Start < s.length:
		p.Text = skipRunes(p.Text, s.length-p.Start)
		p.Start = s.length
		if env.Payload, err = wire.Marshal(p); err != nil {
			return false, err
		}
	}
	if !s.short {
		s.begin.WriteString(p.Text)
	}
	s.length = end
	t.put(s, &t.open)
	t.reached(s)
	return true, nil
}

// skipRunes returns s without its first n code points.
func skipRunes(s string, n int) string {
	for at := range s {
		if n == 0 {
			return s[at:]
		}
		n--
	}
	return ""
}

// complete takes a stream_complete, which has the whole text unless that is long. It takes t.mu.
func (t *texts) complete(env wire.Envelope) error {
	var p wire.StreamCompletePayload
	if err := env.Decode(&p); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end(p.StreamID, p.Text, p.Length)
	return nil
}

// reached ends a text that a snapshot had the beginning of, once it is there.
func (t *texts) reached(s *text) {
	if s.whole > 0 && s.length >= s.whole {
		s.done, s.whole = true, 0
		t.put(s, &t.ended)
	}
}

// snapshot takes the texts of a thread's live runs. It takes t.mu.
func (t *texts) snapshot(runs []wire.Run) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, run := range runs {
		for _, s := range run.Streams {
			switch length, ended := utf8.RuneCountInString(s.Text), s.State != wire.StreamStateOpen; {
			case s.Length > length:
				t.restart(s.ID, s.Text, length, s.Length, ended)
			case ended:
				t.end(s.ID, s.Text, length)
			default:
				t.advance(s.ID, s.Text, length)
			}
		}
	}
}

// advance brings an open stream up to a text from its beginning.
func (t *texts) advance(id, whole string, length int) {
	s := t.get(id)
	if s.done {
		return // the snapshot is older
	}
	if length > s.length || s.short && length == s.length {
		s.take(whole, length)
	}
	t.put(s, &t.open)
}

// restart makes what the client has of a stream the beginning of a text that a snapshot had no
// room for: the rest comes in chunks, whatever of it was here. The text may have ended.
func (t *texts) restart(id, begin string, length, whole int, ended bool) {
	s := t.get(id)
	if s.done && !ended {
		return // the snapshot is older
	}
	s.take(begin, length)
	s.done, s.whole = false, 0
	if ended {
		s.whole = whole
	}
	t.put(s, &t.open)
}

// end ends a stream at a length. A text of that length is what counts, whatever came in
// chunks, since the log keeps it; without one, the chunks were all.
func (t *texts) end(id, whole string, length int) {
	s := t.get(id)
	switch {
	case utf8.RuneCountInString(whole) == length:
		s.take(whole, length)
	case s.length != length:
		s.length, s.short = length, true
	}
	s.done, s.whole = true, 0
	t.put(s, &t.ended)
}

// take makes s a text from its beginning.
func (s *text) take(whole string, length int) {
	s.begin.Reset()
	s.begin.WriteString(whole)
	s.length, s.short = length, false
}

// lengths are those of streams that may grow, at most so many, to be told to a new
// connection. Of others the text comes from its beginning, and is cut off here. It takes t.mu.
func (t *texts) lengths(most int) map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	lengths := map[string]int{}
	for _, s := range slices.Backward(t.open) {
		if s.length > 0 && len(lengths) < most {
			lengths[s.id] = s.length
		}
	}
	return lengths
}

// Text returns the text of a stream as far as the client has it, by the id that stream_open
// tells, and whether the stream has ended. It is always the beginning of the text, without
// holes: of a stream that began at one of [Options.Lengths] it is empty, until a
// thread_snapshot or the stream_complete brings the whole, which the latter does of texts up
// to 64 KiB. Where a thread_snapshot has the beginning of a long text only, that is the text, and
// grows by the chunks that come behind it. Of streams that have ended, the texts of the newest 64
// are kept, at most 8 MiB.
func (c *Client) Text(stream string) (text string, done bool) {
	c.texts.mu.Lock()
	defer c.texts.mu.Unlock()
	s := c.texts.of[stream]
	if s == nil {
		return "", false
	}
	return s.begin.String(), s.done
}
