package client

import (
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/wire"
)

// How much the client keeps of text streams that have ended: the newest ones.
const (
	finishedTexts     = 64
	finishedTextBytes = 8 << 20
)

// texts puts the text streams together that arrive in chunks, and knows their lengths. The
// goroutine that reads the connection writes; Text reads.
type texts struct {
	mu       sync.Mutex // guards the fields below
	of       map[string]*text
	finished []string // ids of streams that have ended, the oldest first
	bytes    int      // of finished ones
}

// text is one stream. Lengths are in code points.
type text struct {
	builder strings.Builder
	length  int
	missing int // what came before builder's beginning
	done    bool
}

func newTexts(lengths map[string]int) *texts {
	t := &texts{of: map[string]*text{}}
	for id, n := range lengths {
		if n > 0 {
			t.of[id] = &text{length: n, missing: n}
		}
	}
	return t
}

// get returns the text of a stream, made if need be. The caller holds t.mu.
func (t *texts) get(id string) *text {
	found := t.of[id]
	if found == nil {
		found = &text{}
		t.of[id] = found
	}
	return found
}

// chunk takes a stream_chunk and reports whether there is anything new in it. What the client
// has already is cut off.
func (t *texts) chunk(env *wire.Envelope) (fresh bool, err error) {
	var p wire.StreamChunkPayload
	if err := env.Decode(&p); err != nil {
		return false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	found := t.get(p.StreamID)
	if found.done || p.Start+utf8.RuneCountInString(p.Text) <= found.length {
		return false, nil
	}
	if p.Start > found.length {
		// A server sends this only to a client that has named a length that is not its own.
		*found = text{length: p.Start, missing: p.Start}
	}
	if p.Start < found.length {
		for range found.length - p.Start {
			_, size := utf8.DecodeRuneInString(p.Text)
			p.Text = p.Text[size:]
		}
		p.Start = found.length
		if env.Payload, err = wire.Marshal(p); err != nil {
			return false, err
		}
	}
	found.builder.WriteString(p.Text)
	found.length += utf8.RuneCountInString(p.Text)
	return true, nil
}

// complete takes a stream_complete, which has the whole text unless that is long.
func (t *texts) complete(env wire.Envelope) error {
	var p wire.StreamCompletePayload
	if err := env.Decode(&p); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set(p.StreamID, p.Text, p.Length, true)
	return nil
}

// snapshot takes the texts of a thread's live runs.
func (t *texts) snapshot(runs []wire.Run) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, run := range runs {
		for _, s := range run.Streams {
			t.set(s.ID, s.Text, utf8.RuneCountInString(s.Text), s.State != wire.StreamStateOpen)
		}
	}
}

// set takes a text from its beginning, if it is longer than what is there. The caller holds
// t.mu.
func (t *texts) set(id, whole string, length int, done bool) {
	found := t.get(id)
	if found.done {
		return
	}
	if whole != "" && (length > found.length || found.missing > 0) && utf8.RuneCountInString(whole) == length {
		found.builder.Reset()
		found.builder.WriteString(whole)
		found.length, found.missing = length, 0
	}
	if !done {
		return
	}
	found.done = true
	t.finished = append(t.finished, id)
	t.bytes += found.builder.Len()
	for len(t.finished) > finishedTexts || t.bytes > finishedTextBytes && len(t.finished) > 1 {
		oldest := t.finished[0]
		t.finished = t.finished[1:]
		t.bytes -= t.of[oldest].builder.Len()
		delete(t.of, oldest)
	}
}

// lengths are those of streams that may grow, to be told to a new connection.
func (t *texts) lengths() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lengths map[string]int
	for id, found := range t.of {
		if !found.done && found.length > 0 {
			if lengths == nil {
				lengths = map[string]int{}
			}
			lengths[id] = found.length
		}
	}
	return lengths
}

// Text returns what there is of a text stream, by the id that stream_open tells, and whether it
// is complete. Of streams that have ended the newest 64 are kept, at most 8 MiB. A stream of
// which [Options.Lengths] had a length begins there, until its end brings the whole text.
func (c *Client) Text(stream string) (text string, done bool) {
	c.texts.mu.Lock()
	defer c.texts.mu.Unlock()
	found := c.texts.of[stream]
	if found == nil {
		return "", false
	}
	return found.builder.String(), found.done
}
