package switchboard

import (
	"context"
	"errors"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

// close completes the stream, if it was opened.
func (s *ownedStream) close(ctx context.Context) error {
	if err := s.turn.take(ctx); err != nil {
		return s.run.orOver(err)
	}
	defer s.turn.give()
	if len(s.rest) > 0 {
		s.rest = nil
		return fieldError(wire.CodeInvalidMessage, "text", "text must be valid UTF-8: it ends within a code point")
	}
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
	return r.orOver(s.complete(ctx, wire.StreamStateComplete))
}

// complete seals the stream and writes stream_complete, if it is open. Who has the turn of the
// run calls it. Appends that are under way are in, or are refused.
func (s *ownedStream) complete(ctx context.Context, state string) error {
	r := s.run
	if _, opened, now := s.now(); !opened || now != wire.StreamStateOpen {
		return nil
	}
	set := func(to string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		s.sealed, s.state = true, to
	}
	set(wire.StreamStateOpen)
	var length int
	err := r.m.retry(ctx, func() (err error) {
		length, err = r.m.driver.Seal(ctx, r.key(), s.key, r.term+1)
		return err
	})
	if err != nil {
		return err
	}
	known, _, _ := s.now()
	length = max(length, known) // by an earlier try, after which the text has left
	text, err := r.m.finalText(ctx, r.key(), s.key, length)
	if err != nil {
		return err
	}
	set(state)
	r.mu.Lock()
	s.length, s.folded = length, text != "" || length == 0
	r.mu.Unlock()
	_, err = r.write(ctx, event{
		typ: wire.StreamComplete, id: s.completion(),
		payload: runs.StreamComplete(r.spec.ID, s.name, state, text, length),
	})
	if err != nil {
		set(wire.StreamStateOpen) // its completion may not be in the log
	}
	return err
}

// completion is the message id of stream_complete.
func (s *ownedStream) completion() string {
	return s.run.spec.eventID(string(wire.StreamComplete), s.name)
}

// finalText is the text that goes along with stream_complete: all of it, or none if it is long or
// has left for want of room.
func (m *Manager) finalText(ctx context.Context, topic, stream broker.Key, length int) (text string, err error) {
	if length == 0 || length > runs.MaxFinalText { // each code point has a byte at least
		return "", nil
	}
	there := 0
	err = m.retry(ctx, func() (err error) {
		text, there, err = m.driver.Read(ctx, topic, stream, 0, runs.MaxFinalText+utf8.UTFMax)
		return err
	})
	if errors.Is(err, broker.ErrNotFound) {
		return "", nil
	}
	if len(text) > runs.MaxFinalText || there != length {
		text = ""
	}
	return text, err
}
