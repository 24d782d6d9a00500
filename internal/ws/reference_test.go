package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"unicode/utf8"
)

// heard is what a decoder made of a stream, in a form that can be compared.
type heard struct {
	Messages []heardMessage
	Code     uint16 // of the close error at the end; 0: none
	Remote   bool
	Idle     bool // without an error: whether the stream ended between messages
}

type heardMessage struct {
	Op      Opcode
	Payload string
}

func (h *heard) end(err error) {
	ce, _ := errors.AsType[*CloseError](err)
	h.Code, h.Remote = ce.Code, ce.Remote
}

// feed gives the stream to a Decoder in pieces that end at the cuts, which rise.
func feed(stream []byte, limits Limits, cuts ...int) heard {
	var h heard
	var d Decoder
	start := 0
	for _, end := range append(cuts, len(stream)) {
		// A copy with nothing behind it: the decoder must not reach beyond what it is given.
		p := bytes.Clone(stream[start:end:end])
		start = end
		for len(p) > 0 {
			m, n, err := d.Feed(p, limits)
			if err != nil {
				h.end(err)
				return h
			}
			p = p[n:]
			if m.Op == OpContinuation {
				break
			}
			h.Messages = append(h.Messages, heardMessage{m.Op, string(m.Payload)})
		}
	}
	h.Idle = d.Idle()
	return h
}

// reference is a decoder as one would write it with a reader that waits, straight from
// the RFC and without a thought to speed. The Decoder has to agree with it on every stream.
func reference(stream []byte, limits Limits) heard {
	var h heard
	r := bytes.NewReader(stream)
	var open Opcode
	var message []byte
	fragments := 0
	for {
		h.Idle = open == OpContinuation && r.Len() == 0
		op, fin, length, key, err := referenceHeader(r, limits, open, len(message))
		if err == io.ErrUnexpectedEOF || err == io.EOF {
			return h
		}
		if err != nil {
			h.end(err)
			return h
		}
		if op < OpClose {
			if fragments++; fragments > limits.fragments() {
				h.end(&CloseError{Code: 1008})
				return h
			}
		}
		payload := make([]byte, min(length, uint64(r.Len())))
		_, _ = io.ReadFull(r, payload)
		for i := range payload {
			payload[i] ^= key[i%4]
		}
		complete := uint64(len(payload)) == length
		if op >= OpClose {
			if !complete {
				return h
			}
			if op == OpClose {
				h.end(referenceClose(payload))
				return h
			}
			h.Messages = append(h.Messages, heardMessage{op, string(payload)})
			continue
		}
		if op != OpContinuation {
			open = op
		}
		message = append(message, payload...)
		if open == OpText && (hopeless(message) || complete && fin && !utf8.Valid(message)) {
			h.end(&CloseError{Code: 1007})
			return h
		}
		if !complete {
			return h
		}
		if fin {
			h.Messages = append(h.Messages, heardMessage{open, string(message)})
			open, message, fragments = OpContinuation, nil, 0
		}
	}
}

func referenceHeader(r io.Reader, limits Limits, open Opcode, have int) (op Opcode, fin bool, length uint64, key [4]byte, err error) {
	wrong := &CloseError{Code: 1002}
	var b [8]byte
	if _, err := io.ReadFull(r, b[:2]); err != nil {
		return 0, false, 0, key, err
	}
	op, fin, length = Opcode(b[0]&15), b[0] >= 128, uint64(b[1]&127)
	known := op <= OpBinary || op >= OpClose && op <= OpPong
	isControl := op >= OpClose
	switch {
	case b[0]&0x70 != 0, !known,
		isControl && !fin,
		op == OpContinuation && open == OpContinuation,
		(op == OpText || op == OpBinary) && open != OpContinuation:
		return 0, false, 0, key, wrong
	case op == OpBinary && !limits.Binary:
		return 0, false, 0, key, &CloseError{Code: 1003}
	case b[1] < 128, isControl && length > 125:
		return 0, false, 0, key, wrong
	}
	if length == 126 {
		if _, err := io.ReadFull(r, b[:2]); err != nil {
			return 0, false, 0, key, io.ErrUnexpectedEOF
		}
		if length = uint64(binary.BigEndian.Uint16(b[:])); length < 126 {
			return 0, false, 0, key, wrong
		}
	} else if length == 127 {
		if _, err := io.ReadFull(r, b[:8]); err != nil {
			return 0, false, 0, key, io.ErrUnexpectedEOF
		}
		if length = binary.BigEndian.Uint64(b[:]); length < 65536 || length >= 1<<63 {
			return 0, false, 0, key, wrong
		}
	}
	if !isControl && length+uint64(have) > uint64(limits.Message) {
		return 0, false, 0, key, &CloseError{Code: 1009}
	}
	_, err = io.ReadFull(r, key[:])
	return op, fin, length, key, err
}

func referenceClose(payload []byte) error {
	switch len(payload) {
	case 0:
		return &CloseError{Code: 1005, Remote: true}
	case 1:
		return &CloseError{Code: 1002}
	}
	code := uint16(payload[0])<<8 | uint16(payload[1])
	switch {
	case code < 1000, code >= 1004 && code <= 1006, code >= 1015 && code <= 2999, code > 4999:
		return &CloseError{Code: 1002}
	case !utf8.Valid(payload[2:]):
		return &CloseError{Code: 1007}
	}
	return &CloseError{Code: code, Remote: true}
}

// hopeless reports whether nothing that could follow makes b valid, by trying.
func hopeless(b []byte) bool {
	// Second bytes of every range that the standard distinguishes.
	next := []byte{0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF}
	tails := [][]byte{nil}
	for range 3 {
		for _, tail := range tails {
			if utf8.Valid(append(b[:len(b):len(b)], tail...)) {
				return false
			}
		}
		var longer [][]byte
		for _, tail := range tails {
			for _, c := range next {
				longer = append(longer, append(tail[:len(tail):len(tail)], c))
			}
		}
		tails = longer
	}
	for _, tail := range tails {
		if utf8.Valid(append(b[:len(b):len(b)], tail...)) {
			return false
		}
	}
	return true
}
