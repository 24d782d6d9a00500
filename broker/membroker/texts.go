package membroker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/broker"
)

// texts finds the streams of a partition's topics.
type texts struct {
	slots   map[textID]uint32
	records slab[stream]
}

// textID names a stream: a slot and not two keys, which would be 12 bytes more.
type textID struct {
	topic uint32
	key   broker.Key
}

// stream is a growing text: UTF-8 in blocks that begin and end with whole code
// points. It has no pointers.
type stream struct {
	id         textID
	text       chain // a block's first is the length of the text before it
	prev, next uint32
	length     uint64 // code points
	bytes      uint64
	seal       uint64 // tokens below it are refused
	token      uint64 // of the last append
	kept       int64  // bytes, as the owner is charged for them
	open       bool   // it is written, and must not leave for want of room
}

// Append adds what is new in added to a stream and delivers it.
func (b *Broker) Append(ctx context.Context, key, name broker.Key, start int, added string, token uint64) (int, error) {
	if err := b.ready(ctx, "append"); err != nil {
		return 0, err
	}
	if start < -1 {
		return 0, fmt.Errorf("append: start %d", start)
	}
	if !utf8.ValidString(added) {
		return 0, errors.New("append: text is not valid UTF-8")
	}
	count := utf8.RuneCountInString(added)
	p := b.shared.of(key)
	p.mu.Lock()
	p.tick()
	length, of, err := p.appendText(key, name, start, added, count, token)
	batch := p.claim()
	p.mu.Unlock()
	if batch != nil {
		p.drain(batch)
	}
	b.shared.makeRoom(of)
	if err != nil {
		return length, fmt.Errorf("append: %w", err)
	}
	return length, nil
}

// appendText does all of Append that is one step, and returns who has more kept by it,
// or nil. p.mu is held.
func (p *partition) appendText(key, name broker.Key, start int, added string, count int, token uint64) (int, *owner, error) {
	slot := p.stream(key, name)
	if slot == 0 {
		if start > 0 {
			return 0, nil, broker.ErrHole
		}
		if !p.fits(p.find(key), int64(len(added))+streamBytes) {
			return 0, nil, broker.ErrFull
		}
		slot = p.newStream(key, name)
	}
	s := p.texts.records.at(slot)
	length := int(s.length)
	switch {
	case token < s.seal:
		return length, nil, broker.ErrFenced
	case start > length:
		return length, nil, broker.ErrHole
	case start < 0:
		start = length
	}
	if start < length {
		overlap := p.overlap(s, uint64(start), added)
		if overlap < 0 {
			return length, nil, broker.ErrConflict
		}
		if !mutantOverlap {
			added = added[overlap:]
		}
	}
	more := int64(len(added))
	if !s.open {
		more += s.kept
	}
	if added != "" && !p.fits(s.id.topic, more) {
		return length, nil, broker.ErrFull
	}
	s.token = token
	p.setOpen(slot, true)
	of := p.shares.at(p.records.at(s.id.topic).share).of
	if added == "" {
		return length, of, nil
	}
	p.extend(s, added, uint64(start+count))
	mask := p.mask(key)
	if p.shared.wanted(mask) && !p.chaos.hits(key, dropLive) {
		p.queue(delivery{mask: mask, entry: broker.Entry{Topic: key}, text: &text{name, length, added}})
	}
	return start + count, of, nil
}

// overlap returns how many bytes of added are in s already, from start on, or -1
// if they differ.
func (p *partition) overlap(s *stream, start uint64, added string) int {
	n := 0
	for r := p.pool.seek(&s.text, start, s.length); r != 0 && n < len(added); {
		b, mem := p.pool.at(r)
		old := mem[:b.used]
		if start > b.first {
			old = old[runes(old, start-b.first):]
		}
		same := min(len(old), len(added)-n)
		if string(old[:same]) != added[n:n+same] {
			return -1
		}
		n += same
		r = b.next
	}
	return n
}

// extend appends added to s, whose length becomes length.
func (p *partition) extend(s *stream, added string, length uint64) {
	s.bytes += uint64(len(added))
	at := s.length
	for added != "" {
		// What is left of a block is used if a code point fits.
		last := s.text.newest
		b, mem := p.pool.grow(&s.text, min(len(added), utf8.UTFMax), at)
		if s.text.newest != last {
			p.chargeText(s, p.pool.cost(s.text.newest))
		}
		room := mem[b.used:]
		piece := added[:whole(added, len(room))]
		b.used += uint32(copy(room, piece))
		at += uint64(utf8.RuneCountInString(piece))
		added = added[len(piece):]
	}
	s.length = length
}

// chargeText counts n bytes more for a text.
func (p *partition) chargeText(s *stream, n int64) {
	s.kept += n
	share := p.records.at(s.id.topic).share
	p.charge(share, n)
	if s.open {
		p.chargeOpen(share, n)
	}
}

// setOpen notes whether a text is being written. One that is not may leave, and is in
// the list of its owner with its first block, which may be empty.
func (p *partition) setOpen(slot uint32, open bool) {
	s := p.texts.records.at(slot)
	if s.open == open {
		return
	}
	share := p.records.at(s.id.topic).share
	if s.open = open; open {
		p.pull(share, s.text.oldest)
		p.chargeOpen(share, s.kept)
		return
	}
	p.chargeOpen(share, -s.kept)
	if s.text.oldest == 0 {
		p.pool.add(&s.text, 1)
		p.chargeText(s, p.pool.cost(s.text.oldest))
	}
	b, _ := p.pool.at(s.text.oldest)
	b.of = slot<<2 | ofText
	p.push(share, s.text.oldest)
}

// whole returns how much of s fits into n bytes without cutting a code point.
func whole(s string, n int) int {
	if n >= len(s) {
		return len(s)
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return n
}

// runes returns how many bytes the first n code points of text have.
func runes(text []byte, n uint64) (size int) {
	for ; n > 0 && size < len(text); n-- {
		if text[size] < utf8.RuneSelf {
			size++
			continue
		}
		_, width := utf8.DecodeRune(text[size:])
		size += width
	}
	return size
}

// Seal refuses lower tokens from now on.
func (b *Broker) Seal(ctx context.Context, key, name broker.Key, token uint64) (int, error) {
	if err := b.ready(ctx, "seal"); err != nil {
		return 0, err
	}
	p := b.shared.of(key)
	p.mu.Lock()
	p.tick()
	slot, appended := p.stream(key, name), true
	if slot == 0 {
		slot, appended = p.newStream(key, name), false
	}
	s := p.texts.records.at(slot)
	s.seal = max(s.seal, token)
	if !appended || s.token < s.seal {
		p.setOpen(slot, false)
	}
	length, of := int(s.length), p.shares.at(p.records.at(s.id.topic).share).of
	p.mu.Unlock()
	b.shared.makeRoom(of)
	return length, nil
}

// Read returns a stream's text from a length on, at most limit bytes.
func (b *Broker) Read(ctx context.Context, key, name broker.Key, from, limit int) (string, int, error) {
	if err := b.ready(ctx, "read"); err != nil {
		return "", 0, err
	}
	if from < 0 || limit < 0 {
		return "", 0, fmt.Errorf("read: from %d, limit %d", from, limit)
	}
	p := b.shared.of(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	slot := p.stream(key, name)
	if slot == 0 {
		return "", 0, fmt.Errorf("read: %w", broker.ErrNotFound)
	}
	s := p.texts.records.at(slot)
	if uint64(from) >= s.length {
		return "", int(s.length), nil
	}
	var out strings.Builder
	if from == 0 {
		out.Grow(min(int(s.bytes), limit))
	}
	for r := p.pool.seek(&s.text, uint64(from), s.length); r != 0 && out.Len() < limit; {
		b, mem := p.pool.at(r)
		old := mem[:b.used]
		if uint64(from) > b.first {
			old = old[runes(old, uint64(from)-b.first):]
		}
		if left := limit - out.Len(); left < len(old) {
			for left > 0 && !utf8.RuneStart(old[left]) {
				left--
			}
			out.Write(old[:left])
			break
		}
		out.Write(old)
		r = b.next
	}
	return out.String(), int(s.length), nil
}

// Remove forgets a stream.
func (b *Broker) Remove(ctx context.Context, key, name broker.Key) error {
	if err := b.ready(ctx, "remove"); err != nil {
		return err
	}
	p := b.shared.of(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	if topic := p.find(key); topic != 0 {
		if slot := p.texts.slots[textID{topic, name}]; slot != 0 {
			p.removeText(slot)
		}
	}
	return nil
}

// stream returns the slot of a topic's stream, 0 if there is none.
func (p *partition) stream(key, name broker.Key) uint32 {
	topic := p.find(key)
	if topic == 0 {
		return 0
	}
	return p.texts.slots[textID{topic, name}]
}

// newStream adds an empty stream to a topic. It is open.
func (p *partition) newStream(key, name broker.Key) uint32 {
	t, topic := p.record(key, broker.Key{})
	slot := p.texts.records.take()
	s := p.texts.records.at(slot)
	s.id = textID{topic, name}
	s.next = t.texts
	if s.next != 0 {
		p.texts.records.at(s.next).prev = slot
	}
	t.texts = slot
	p.texts.slots[s.id] = slot
	s.open = true
	p.chargeText(s, streamBytes)
	p.settle(t, topic)
	return slot
}

// removeText frees a stream.
func (p *partition) removeText(slot uint32) {
	s := p.texts.records.at(slot)
	t := p.records.at(s.id.topic)
	if !s.open {
		p.pull(t.share, s.text.oldest)
	}
	p.chargeText(s, -s.kept)
	for s.text.oldest != 0 {
		p.pool.drop(&s.text, s.text.oldest)
	}
	if s.prev != 0 {
		p.texts.records.at(s.prev).next = s.next
	} else {
		t.texts = s.next
	}
	if s.next != 0 {
		p.texts.records.at(s.next).prev = s.prev
	}
	p.settle(t, s.id.topic)
	delete(p.texts.slots, s.id)
	p.texts.records.put(slot)
}
