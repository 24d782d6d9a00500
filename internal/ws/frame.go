package ws

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Opcode is the type of a frame (RFC 6455 §5.2).
type Opcode uint8

// The opcodes of RFC 6455. OpContinuation is zero and never the type of a message.
const (
	OpContinuation Opcode = 0x0
	OpText         Opcode = 0x1
	OpBinary       Opcode = 0x2
	OpClose        Opcode = 0x8
	OpPing         Opcode = 0x9
	OpPong         Opcode = 0xA
)

// String names the opcode as the RFC does.
func (op Opcode) String() string {
	switch op {
	case OpContinuation:
		return "continuation"
	case OpText:
		return "text"
	case OpBinary:
		return "binary"
	case OpClose:
		return "close"
	case OpPing:
		return "ping"
	case OpPong:
		return "pong"
	}
	return fmt.Sprintf("opcode(%#x)", uint8(op))
}

func (op Opcode) control() bool { return op&0x8 != 0 }

// Close codes that the codec itself uses (RFC 6455 §7.4.1).
const (
	codeProtocol    = 1002
	codeUnsupported = 1003
	codeNoStatus    = 1005
	codeInvalid     = 1007
	codePolicy      = 1008
	codeTooBig      = 1009
)

const (
	finBit  = 0x80
	rsvBits = 0x70
	maskBit = 0x80

	maxControl = 125            // longest payload of a control frame
	maxReason  = maxControl - 2 // the code takes two
	maxHeader  = 2 + 8 + 4      // with a 64-bit length and a masking key
)

// CloseError says why reading a connection ended.
type CloseError struct {
	// Code is the close code: the peer's own if Remote (1005 if it gave none), else
	// the one to close the connection with.
	Code uint16

	// Reason is for people. If Remote it was chosen by the peer: valid UTF-8, at
	// most 123 bytes, otherwise not to be trusted.
	Reason string

	// Remote says that the peer sent a close frame, rather than broke a rule.
	Remote bool
}

func (e *CloseError) Error() string {
	who := "websocket protocol violation"
	if e.Remote {
		who = "websocket closed by peer"
	}
	if e.Reason == "" {
		return fmt.Sprintf("%s (%d)", who, e.Code)
	}
	return fmt.Sprintf("%s (%d): %s", who, e.Code, e.Reason)
}

// AppendFrame appends a whole unmasked message or control frame, as servers send
// them. The result is the same for every receiver, so it is built once and shared. Control
// frames carry at most 125 bytes, which is the caller's to keep.
func AppendFrame(dst []byte, op Opcode, payload []byte) []byte {
	return append(AppendHeader(dst, op, len(payload)), payload...)
}

// AppendHeader appends the header of an unmasked frame whose payload of length bytes
// the caller writes behind it. A header is at most 10 bytes.
func AppendHeader(dst []byte, op Opcode, length int) []byte {
	return appendHeader(dst, finBit|byte(op), 0, length)
}

// AppendMasked appends a frame as clients send it: masked with key, which must be
// unpredictable outside of tests (RFC 6455 §5.3). Without fin, frames of OpContinuation
// follow. The payload itself is not changed.
func AppendMasked(dst []byte, op Opcode, fin bool, key [4]byte, payload []byte) []byte {
	first := byte(op)
	if fin {
		first |= finBit
	}
	dst = appendHeader(dst, first, maskBit, len(payload))
	dst = append(dst, key[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	mask(dst[start:], binary.LittleEndian.Uint32(key[:]))
	return dst
}

// AppendClose appends an unmasked close frame. Code 0 makes it empty, without code
// or reason, and so does 1005, which says that there was none and is never sent. A reason
// over 123 bytes is cut at the end of a character; invalid UTF-8 in it is replaced, so that
// the frame is always valid if the code is.
func AppendClose(dst []byte, code uint16, reason string) []byte {
	if code == 0 || code == codeNoStatus {
		return AppendHeader(dst, OpClose, 0)
	}
	reason = strings.ToValidUTF8(reason, string(utf8.RuneError))
	if len(reason) > maxReason {
		end := maxReason
		for !utf8.RuneStart(reason[end]) {
			end--
		}
		reason = reason[:end]
	}
	dst = AppendHeader(dst, OpClose, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, code)
	return append(dst, reason...)
}

// Cut splits a frame as [AppendFrame] makes it from the front of b: what a reader of such
// frames in this process needs, who trusts them. Without ok the frame is not complete yet.
// Payload is a part of b.
func Cut(b []byte) (op Opcode, payload, rest []byte, ok bool) {
	if len(b) < 2 {
		return 0, nil, b, false
	}
	length, start, err := parseLength(b)
	if start == 0 || err != nil || uint64(len(b)-start) < length { //nolint:gosec // start is within b
		return 0, nil, b, false
	}
	end := start + int(length) //nolint:gosec // so much is there
	return Opcode(b[0] & 0x0F), b[start:end], b[end:], true
}

func appendHeader(dst []byte, first, masked byte, length int) []byte {
	switch {
	case length < 126:
		return append(dst, first, masked|byte(length)) //nolint:gosec // below 126
	case length <= 0xFFFF:
		dst = append(dst, first, masked|126)
		return binary.BigEndian.AppendUint16(dst, uint16(length))
	default:
		dst = append(dst, first, masked|127)
		return binary.BigEndian.AppendUint64(dst, uint64(length))
	}
}
