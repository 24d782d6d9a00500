package ws

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// Limits is what a [Decoder] accepts.
type Limits struct {
	Message int  // bytes of a message over all its fragments; 0 means DefaultMessageBytes
	Binary  bool // accept binary messages; else close code 1003

	memory *memory // from which a message in pieces has its own
}

// fragments is how many frames a message may have. Libraries cut messages into pieces of 4 KiB
// and more; a message of single bytes, or of nothing, is an attack.
func (l Limits) fragments() int { return fewFragments + l.message()/leastFragment }

const (
	fewFragments  = 64
	leastFragment = 1 << 10
)

func (l Limits) message() int {
	if l.Message <= 0 {
		return DefaultMessageBytes
	}
	return l.Message
}

// Message is a complete message (OpText, OpBinary) or control frame (OpPing, OpPong).
// The zero value is none.
type Message struct {
	Op      Opcode
	Payload []byte

	lent bool // Payload is of the limits' memory
}

// Decoder takes apart what a client sends. It is a state machine over bytes: feed it
// any cut of the stream, the messages are the same. The zero value is ready. It takes one
// word, and memory behind it only while a message is incomplete; that memory follows the
// bytes that have arrived, never the length that a header announces.
//
// A Decoder is not safe for concurrent use.
type Decoder struct {
	part *partial // nil between messages
}

// partial is the state of an incomplete message.
type partial struct {
	head     [maxHeader]byte // a header of which a part has arrived
	headLen  uint8
	inFrame  bool   // the header is complete, payload is awaited
	open     Opcode // type of the fragmented message; OpContinuation: none
	frame    header // the frame in flight; its key is turned to the next byte
	left     int    // bytes of its payload still to come
	control  []byte // payload so far of a control frame in flight
	message  []byte // payload so far of the message in flight
	verified int    // so many bytes of message are whole valid characters
	frames   int    // of the message so far
}

// Idle reports whether the decoder is between messages, so that the stream may end
// or rest here. A fragmented message is incomplete until its last frame.
func (d *Decoder) Idle() bool { return d.part == nil }

// Feed takes bytes of p up to the end of the first complete message and returns it
// with the number of bytes taken; the caller goes on with p[n:]. A Message without Op means
// that all of p was taken and none is complete yet.
//
// The payload is unmasked within p, and an unfragmented message that lies completely
// in p is returned without copying: it is valid as long as p, or until the next call of
// Feed, and may be changed.
//
// The error is a [*CloseError]: a broken rule, or, with Remote, the peer's close frame.
// The decoder must not be fed after an error.
func (d *Decoder) Feed(p []byte, limits Limits) (m Message, n int, err error) {
	if d.part != nil {
		return d.resume(p, limits)
	}
	h, n, err := parseHeader(p, limits, OpContinuation, 0)
	if err != nil {
		return Message{}, 0, err
	}
	if n == 0 || !h.fin || h.length > len(p)-n {
		if len(p) == 0 {
			return Message{}, 0, nil
		}
		d.part = new(partial)
		return d.resume(p, limits)
	}
	payload := p[n : n+h.length]
	mask(payload, h.key)
	if h.op == OpText && !utf8.Valid(payload) {
		return Message{}, 0, errInvalidText()
	}
	m, err = finish(h.op, payload)
	return m, n + h.length, err
}

// resume is Feed with an incomplete message.
func (d *Decoder) resume(p []byte, limits Limits) (m Message, n int, err error) {
	f := d.part
	for {
		if !f.inFrame {
			if n == len(p) {
				return Message{}, n, nil
			}
			k, err := f.header(p[n:], limits)
			if err != nil {
				return Message{}, 0, err
			}
			if n += k; !f.inFrame {
				return Message{}, n, nil
			}
		}
		chunk := p[n:min(len(p), n+f.left)]
		f.frame.key = mask(chunk, f.frame.key)
		f.left -= len(chunk)
		n += len(chunk)
		payload, err := f.payload(chunk, limits.memory)
		if err != nil {
			return Message{}, 0, err
		}
		if f.left > 0 {
			return Message{}, n, nil
		}
		f.inFrame = false
		switch {
		case f.frame.op.control():
			f.control = nil
			if f.open == OpContinuation {
				d.part = nil
			}
			m, err = finish(f.frame.op, payload)
			return m, n, err
		case f.frame.fin:
			d.part = nil
			return Message{Op: f.frame.op, Payload: payload, lent: len(f.message) > 0}, n, nil
		}
		f.open = f.frame.op
	}
}

// header completes the header of the next frame with bytes of p and returns how
// many it took.
func (f *partial) header(p []byte, limits Limits) (int, error) {
	had := int(f.headLen)
	got := had + copy(f.head[had:], p)
	h, n, err := parseHeader(f.head[:got], limits, f.open, len(f.message))
	if err != nil {
		return 0, err
	}
	if n == 0 {
		f.headLen = uint8(got) //nolint:gosec // a header has 14 bytes at most
		return got - had, nil
	}
	if !h.op.control() {
		if f.frames++; f.frames > limits.fragments() {
			return 0, &CloseError{Code: codePolicy, Reason: "too many fragments"}
		}
	}
	if h.op == OpContinuation {
		h.op = f.open
	}
	f.frame, f.left, f.headLen, f.inFrame = h, h.length, 0, true
	return n - had, nil
}

// payload adds an unmasked chunk to the frame in flight and returns what its frame
// or message has so far. A chunk that is all there is to it is not copied.
func (f *partial) payload(chunk []byte, from *memory) ([]byte, error) {
	whole := len(chunk) == f.frame.length
	if f.frame.op.control() {
		if whole {
			return chunk, nil
		}
		f.control = append(f.control, chunk...)
		return f.control, nil
	}
	all := chunk
	if !whole || !f.frame.fin || f.open != OpContinuation {
		f.grow(len(chunk), from)
		f.message = append(f.message, chunk...)
		all = f.message
	}
	if f.frame.op != OpText {
		return all, nil
	}
	n, ok := validPrefix(all[f.verified:])
	f.verified += n
	complete := f.frame.fin && f.left == 0
	if !ok || complete && f.verified < len(all) {
		return nil, errInvalidText()
	}
	return all, nil
}

// grow makes room for n more bytes that have arrived. It takes at most twice of what is in
// use, and no more than the message where its end is known: then the second half of what is
// read in two pieces needs no room of its own.
func (f *partial) grow(n int, from *memory) {
	need := len(f.message) + n
	if need <= cap(f.message) {
		return
	}
	size := max(need, 2*cap(f.message), 64)
	if f.frame.fin {
		size = min(max(size, 2*need), need+f.left)
	}
	before := f.message
	f.message = append(from.get(size), before...)
	from.put(before)
}

// finish turns a complete control frame or message into what Feed returns.
func finish(op Opcode, payload []byte) (Message, error) {
	if op == OpClose {
		return Message{}, closeError(payload)
	}
	return Message{Op: op, Payload: payload}, nil
}

// header is a frame header that has passed all checks.
type header struct {
	op     Opcode
	fin    bool
	length int
	key    uint32 // its lowest byte masks the first byte of the payload
}

// parseHeader reads the header at the beginning of p and returns its length, or 0 if
// it is incomplete. It is judged in the order of its bytes and as soon as they are there, so
// that how the stream is cut does not change the verdict. open is the type of the
// fragmented message in progress, have its length so far.
func parseHeader(p []byte, limits Limits, open Opcode, have int) (h header, n int, err error) {
	if len(p) < 2 {
		return header{}, 0, nil
	}
	if err := checkFirst(p[0], limits, open); err != nil {
		return header{}, 0, err
	}
	h.op, h.fin = Opcode(p[0]&0x0F), p[0]&finBit != 0
	if p[1]&maskBit == 0 {
		return header{}, 0, violation("frame is not masked")
	}
	if h.op.control() && p[1]&^maskBit > maxControl {
		return header{}, 0, violation("control frame is too long")
	}
	length, n, err := parseLength(p)
	if n == 0 || err != nil {
		return header{}, 0, err
	}
	// Compared before it becomes an int.
	if !h.op.control() && length > uint64(max(0, limits.message()-have)) {
		return header{}, 0, &CloseError{Code: codeTooBig, Reason: "message is too long"}
	}
	if len(p) < n+4 {
		return header{}, 0, nil
	}
	h.length = int(length) //nolint:gosec // it was compared with the limit, or is that of a control frame
	h.key = binary.LittleEndian.Uint32(p[n:])
	return h, n + 4, nil
}

// checkFirst judges the first byte of a header.
func checkFirst(first byte, limits Limits, open Opcode) error {
	if first&rsvBits != 0 {
		return violation("reserved bits are set")
	}
	switch op := Opcode(first & 0x0F); op {
	case OpContinuation:
		if open == OpContinuation {
			return violation("continuation without a message")
		}
	case OpText, OpBinary:
		if open != OpContinuation {
			return violation("message within a fragmented message")
		}
		if op == OpBinary && !limits.Binary {
			return &CloseError{Code: codeUnsupported, Reason: "binary messages are not accepted"}
		}
	case OpClose, OpPing, OpPong:
		if first&finBit == 0 {
			return violation("fragmented control frame")
		}
	default:
		return violation("unknown opcode")
	}
	return nil
}

// parseLength reads the length of the payload. n is where it ends in p, or 0 if it is
// incomplete. RFC 6455 §5.2 wants its shortest form.
func parseLength(p []byte) (length uint64, n int, err error) {
	switch short := p[1] &^ maskBit; {
	case short < 126:
		return uint64(short), 2, nil
	case short == 126 && len(p) >= 4:
		length, n = uint64(binary.BigEndian.Uint16(p[2:])), 4
		if length < 126 {
			err = violation("length is not minimal")
		}
	case short == 127 && len(p) >= 10:
		length, n = binary.BigEndian.Uint64(p[2:]), 10
		if length <= math.MaxUint16 {
			err = violation("length is not minimal")
		} else if length > math.MaxInt64 {
			err = violation("length exceeds 63 bits")
		}
	}
	return length, n, err
}

// closeError reads the payload of the peer's close frame.
func closeError(payload []byte) error {
	if len(payload) == 0 {
		return &CloseError{Code: codeNoStatus, Remote: true}
	}
	if len(payload) == 1 {
		return violation("close frame with half a code")
	}
	code, reason := binary.BigEndian.Uint16(payload), payload[2:]
	if !validCode(code) {
		return violation("invalid close code")
	}
	if !utf8.Valid(reason) {
		return &CloseError{Code: codeInvalid, Reason: "close reason is not valid UTF-8"}
	}
	return &CloseError{Code: code, Reason: string(reason), Remote: true}
}

// validCode reports whether a peer may send the code: those that are registered for
// use on the wire, and the ranges of libraries and applications.
func validCode(code uint16) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
		return true
	}
	return false
}

func violation(reason string) error { return &CloseError{Code: codeProtocol, Reason: reason} }

func errInvalidText() error {
	return &CloseError{Code: codeInvalid, Reason: "text is not valid UTF-8"}
}
