package switchboard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

const (
	// maxAppend is how much text, in bytes, goes to the broker at once.
	maxAppend = 64 << 10
	// maxOverlap is how far, in code points, an append may reach back so that any driver
	// compares it itself: not more than 64 KiB.
	maxOverlap = 64 << 10 / utf8.UTFMax
	// maxStreams is how many streams a run opens: each of its events tells the lengths of all.
	maxStreams = 128
)

// Stream is a growing text of a run, such as the tokens of an answer: an io.WriteCloser, so
// that io.Copy moves tokens. Its methods may be called concurrently.
type Stream struct {
	run  *Run
	name string
}

// Stream returns the text stream of that name, opened by its first write. A name has at most
// 63 bytes and no "/", and a run has at most 128 streams; else the first call is refused.
func (r *Run) Stream(name string) *Stream { return &Stream{run: r, name: name} }

// Write appends p, and returns once the log has it: watchers get it merged with what follows
// within some milliseconds. UTF-8 that a write splits waits for its rest; what is no UTF-8 is
// refused with [ErrInvalid]. While the broker is unavailable Write waits, for up to 10 s. After
// an error the count says what of p is in; more may be, which is the same if it is written
// again.
func (s *Stream) Write(p []byte) (n int, err error) {
	err = s.run.call(s.run.m.life, "write", nil, func(o *ownedRun) error {
		own, err := o.stream(s.name)
		if err != nil {
			return err
		}
		defer own.leave()
		done, err := own.write(o.ctx, p[n:])
		n += done
		return err
	})
	return n, err
}

// AppendAt appends text at a length in Unicode code points, -1 for the end, and returns the
// length afterwards. What is there already is skipped, so that a call can be repeated; what
// differs from it is [ErrConflict], and a start beyond the end is [ErrStreamOffset]. The
// length comes back in these cases too.
func (s *Stream) AppendAt(ctx context.Context, start int, text string) (length int, err error) {
	_, length, err = s.AppendNew(ctx, start, text)
	return length, err
}

// AppendNew is AppendAt, and tells where the text begins that was new: at length, if none was.
func (s *Stream) AppendNew(ctx context.Context, start int, text string) (from, length int, err error) {
	err = s.run.call(ctx, "append", nil, func(o *ownedRun) error {
		own, err := o.stream(s.name)
		if err != nil {
			return err
		}
		defer own.leave()
		from, length, err = own.append(ctx, start, text)
		return err
	})
	return from, length, err
}

// Close completes the stream: it does not grow any more, and nothing that was written is
// lost. The run's end does that too. Closing again, or a stream without a write, does nothing.
func (s *Stream) Close() error {
	return s.run.call(s.run.m.life, "close", nil, func(o *ownedRun) error {
		own, err := o.stream(s.name)
		if err != nil {
			return err
		}
		defer own.leave()
		return own.close(o.ctx)
	})
}

// Snapshot is the stream with its text now, also of a run that has ended. The error is
// [ErrNotFound] if there is none, or if its text is not kept any more.
func (s *Stream) Snapshot(ctx context.Context) (wire.Stream, error) {
	stream, err := s.run.m.readStream(ctx, &s.run.spec, s.name)
	if err != nil {
		return wire.Stream{}, fmt.Errorf("run %s: stream %s: %w", s.run.spec.ID, s.name, err)
	}
	return stream, nil
}

// ownedStream is a stream of a run that this node owns.
type ownedStream struct {
	run  *ownedRun
	name string
	key  broker.Key

	turn turn   // the right to append
	rest []byte // the begin of a code point whose end has not been written; for who has the turn
	// Where text that had no answer was to begin, -1: none. What comes next begins there, so that
	// it may be the same again. For who has the turn.
	doubt int

	// Guarded by run.mu, and but for users and length changed by who has the run's turn.
	users  int // calls under way
	length int
	opened bool   // stream_open is in the log
	sealed bool   // it takes no text any more, whatever its state
	folded bool   // the whole text is in stream_complete
	state  string // of wire.Stream
}

func newOwnedStream(r *ownedRun, name string) *ownedStream {
	return &ownedStream{
		run: r, name: name, key: broker.NameKey(runs.StreamID(r.spec.ID, name)), turn: newTurn(), doubt: -1, state: wire.StreamStateOpen,
	}
}

// stream returns a stream of the run, made if need be, for a call that leaves it after.
func (r *ownedRun) stream(name string) (*ownedStream, error) {
	if err := runs.CheckStreamName(name); err != nil {
		return nil, fieldError(wire.CodeInvalidMessage, "stream", "stream "+err.Error())
	}
	own := r.streamNamed(name, maxStreams)
	if own == nil {
		return nil, &Error{
			Code: wire.CodeRunContract, Message: "too many streams",
			Details: map[string]any{"field": "stream", "limit": maxStreams, "run_id": r.spec.ID},
		}
	}
	return own, nil
}

// streamNamed is stream without its checks; nil if there are limit others.
func (r *ownedRun) streamNamed(name string, limit int) *ownedStream {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.streams, func(s *ownedStream) bool { return s.name == name })
	if i < 0 {
		if i = len(r.streams); i >= limit {
			return nil
		}
		r.streams = append(r.streams, newOwnedStream(r, name))
	}
	r.streams[i].users++
	return r.streams[i]
}

// leave ends a call. A stream that nothing was written to is no stream of the run.
func (s *ownedStream) leave() {
	s.run.mu.Lock()
	defer s.run.mu.Unlock()
	if s.users--; s.users == 0 && !s.opened {
		s.run.streams = slices.DeleteFunc(s.run.streams, func(o *ownedStream) bool { return o == s })
	}
}

// now returns the stream's length and state.
func (s *ownedStream) now() (length int, opened bool, state string) {
	s.run.mu.Lock()
	defer s.run.mu.Unlock()
	return s.length, s.opened, s.state
}

// takes reports whether the stream takes text.
func (s *ownedStream) takes() bool {
	s.run.mu.Lock()
	defer s.run.mu.Unlock()
	return s.state == wire.StreamStateOpen && !s.sealed
}

// write appends bytes as they come, and returns how many of p are in, or wait for their rest.
func (s *ownedStream) write(ctx context.Context, p []byte) (int, error) {
	if err := s.turn.take(ctx); err != nil {
		return 0, s.run.orOver(err)
	}
	defer s.turn.give()
	text := append(s.rest[:len(s.rest):len(s.rest)], p...)
	whole := wholeRunes(text)
	if !utf8.Valid(text[:whole]) {
		return 0, fieldError(wire.CodeInvalidMessage, "text", "text must be valid UTF-8")
	}
	_, done, err := s.appendLocked(ctx, -1, string(text[:whole]))
	if err != nil {
		if done > 0 {
			done -= len(s.rest)
			s.rest = nil
		}
		return done, err
	}
	s.rest = append([]byte(nil), text[whole:]...)
	return len(p), nil
}

// wholeRunes is how much of b is before a code point that its end cuts off.
func wholeRunes(b []byte) int {
	for back := 1; back < utf8.UTFMax && back <= len(b); back++ {
		if c := b[len(b)-back:]; utf8.RuneStart(c[0]) {
			if !utf8.FullRune(c) {
				return len(b) - back
			}
			break
		}
	}
	return len(b)
}

func (s *ownedStream) append(ctx context.Context, start int, text string) (from, length int, err error) {
	if start < -1 {
		return 0, 0, fieldError(wire.CodeInvalidMessage, "start", "start must not be negative")
	}
	if !utf8.ValidString(text) {
		return 0, 0, fieldError(wire.CodeInvalidMessage, "text", "text must be valid UTF-8")
	}
	if err := s.turn.take(ctx); err != nil {
		return 0, 0, s.run.orOver(err)
	}
	defer s.turn.give()
	from, _, _ = s.now()
	length, _, err = s.appendLocked(ctx, start, text)
	return from, length, err
}

// appendLocked appends for who has the turn. done is how many bytes of text are in.
func (s *ownedStream) appendLocked(ctx context.Context, start int, text string) (length, done int, err error) {
	length, opened, _ := s.now()
	over := s.run.isEnding()
	switch {
	case over != nil:
		return length, 0, over
	case start > length:
		return length, 0, offsetError(length)
	case !s.takes():
		length, err = s.compare(ctx, start, text, length)
		return length, 0, err
	case !opened:
		if err := s.open(ctx); err != nil {
			return length, 0, err
		}
		length, _, _ = s.now()
	}
	if start < 0 {
		if start = length; s.doubt >= 0 {
			start = s.doubt
		}
	}
	if length-start > maxOverlap {
		if done, err = s.overlap(ctx, start, text, length); err != nil {
			return length, 0, err
		}
		start += utf8.RuneCountInString(text[:done])
	}
	for done < len(text) {
		piece := text[done : done+firstPiece(text[done:], maxAppend)]
		if length, err = s.send(ctx, start, piece); err != nil {
			if !refused(err) {
				s.doubt = start
			}
			return length, done, err
		}
		s.doubt = -1
		start += utf8.RuneCountInString(piece)
		done += len(piece)
	}
	return length, done, nil
}

// overlap is how many bytes of text are there already, from start on.
func (s *ownedStream) overlap(ctx context.Context, start int, text string, length int) (int, error) {
	there, _, err := s.run.m.driver.Read(ctx, s.run.key(), s.key, start, len(text)+utf8.UTFMax)
	if err != nil {
		return 0, s.run.orOver(err)
	}
	there = there[:min(len(there), len(text))]
	if !strings.HasPrefix(text, there) {
		return 0, differs(length)
	}
	return len(there), nil
}

// compare answers an append to a stream that is complete: it may repeat what is there.
func (s *ownedStream) compare(ctx context.Context, start int, text string, length int) (int, error) {
	if start < 0 && text == "" {
		return length, nil
	}
	if start < 0 || start+utf8.RuneCountInString(text) > length {
		return length, &Error{
			Code: wire.CodeRunContract, Message: "the stream is complete",
			Details: map[string]any{"field": "stream", "length": length, "run_id": s.run.spec.ID},
		}
	}
	there, _, err := s.run.m.driver.Read(ctx, s.run.key(), s.key, start, len(text)+utf8.UTFMax)
	switch {
	case errors.Is(err, broker.ErrNotFound):
		return length, fieldError(wire.CodeNotFound, "stream", "the text of the stream is not kept any more")
	case err != nil:
		return length, err
	case !strings.HasPrefix(there, text):
		return length, differs(length)
	}
	return length, nil
}

// firstPiece is how much of text to take at once, without cutting a code point.
func firstPiece(text string, limit int) int {
	if len(text) <= limit {
		return len(text)
	}
	for !utf8.RuneStart(text[limit]) {
		limit--
	}
	return limit
}

// open writes stream_open.
func (s *ownedStream) open(ctx context.Context) error {
	r := s.run
	ctx, cancel := r.within(ctx)
	defer cancel()
	if err := r.enter(ctx); err != nil {
		return r.orOver(err)
	}
	defer r.turn.give()
	if err := r.isEnding(); err != nil {
		return err
	}
	if _, opened, _ := s.now(); opened {
		return nil // by a call that had no answer
	}
	s.setOpened(true) // its length, 0, is told by the event itself
	_, err := r.write(ctx, event{
		typ: wire.StreamOpen, id: r.spec.eventID(string(wire.StreamOpen), s.name), payload: runs.StreamOpen(r.spec.ID, s.name),
	})
	if err != nil {
		s.setOpened(false)
	}
	return r.orOver(err)
}

func (s *ownedStream) setOpened(opened bool) {
	s.run.mu.Lock()
	defer s.run.mu.Unlock()
	s.opened = opened
}

// send hands text to the broker, again and again while that is unavailable.
func (s *ownedStream) send(ctx context.Context, start int, text string) (int, error) {
	r := s.run
	var length int
	err := r.m.retry(ctx, func() (err error) {
		length, err = r.m.driver.Append(ctx, r.key(), s.key, start, text, r.term)
		return err
	})
	switch {
	case err == nil:
		r.mu.Lock()
		s.length = max(s.length, length)
		r.mu.Unlock()
		return length, nil
	case errors.Is(err, broker.ErrHole):
		return length, offsetError(length)
	case errors.Is(err, broker.ErrConflict):
		return length, differs(length)
	case errors.Is(err, broker.ErrFull):
		return length, r.m.tenants.historyFull(r.spec.Tenant, time.Now())
	case !errors.Is(err, broker.ErrFenced):
		return length, r.orOver(err)
	}
	// The stream is sealed: by the end of the run, by its own, or by another owner.
	if err := r.turn.take(ctx); err != nil {
		return length, r.orOver(err)
	}
	defer r.turn.give()
	if err := r.isEnding(); err != nil {
		return length, err
	}
	if !s.takes() {
		length, _, _ = s.now()
		return s.compare(ctx, start, text, length)
	}
	return length, r.fenced(ctx)
}

func differs(length int) error {
	return &Error{Code: wire.CodeConflict, Message: "the text differs from what is there", Details: map[string]any{"length": length}}
}

func offsetError(length int) error {
	return &Error{Code: wire.CodeStreamOffset, Message: "start is beyond the end", Details: map[string]any{"length": length}}
}

// readStream is a stream as it is now.
func (m *Manager) readStream(ctx context.Context, spec *runSpec, name string) (wire.Stream, error) {
	if err := runs.CheckStreamName(name); err != nil {
		return wire.Stream{}, fieldError(wire.CodeInvalidMessage, "stream", "stream "+err.Error())
	}
	id := runs.StreamID(spec.ID, name)
	f, err := m.foldRun(ctx, spec)
	if err != nil {
		return wire.Stream{}, err
	}
	i := slices.IndexFunc(f.run.Streams, func(s wire.Stream) bool { return s.ID == id })
	if i < 0 {
		return wire.Stream{}, fieldError(wire.CodeNotFound, "stream", "no such stream")
	}
	stream := f.run.Streams[i]
	text, length, err := m.driver.Read(ctx, broker.KeyOf(spec.topic()), broker.NameKey(id), 0, math.MaxInt)
	switch {
	case err == nil && length >= stream.Length:
		stream.Text, stream.Length = text, length
	case err != nil && !errors.Is(err, broker.ErrNotFound):
		return stream, err
	case stream.Length > 0: // it was folded into the log
		var kept bool
		if stream.Text, kept = f.texts[id]; !kept {
			return stream, fieldError(wire.CodeNotFound, "stream", "the text of the stream is not kept any more")
		}
	}
	return stream, nil
}

// textDelay is how long the text of a run stays after the end for devices that come back in
// its middle. Then that of stream_complete is what is left.
const textDelay = 2 * time.Minute
