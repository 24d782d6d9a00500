package switchboard

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// answerFrame is the frame of a server's own message. id is that of the message answered,
// "" if it answers none.
func answerFrame(typ wire.MessageType, id string, payload any) ([]byte, error) {
	body, err := wire.Marshal(payload)
	if err != nil {
		return nil, err
	}
	return encodeFrame(Envelope{Type: typ, ID: id, Timestamp: wire.Seconds(time.Now()), Payload: body})
}

// answer sends a server's own message to one connection that has asked. One that has ended needs none.
func (m *Manager) answer(c hub.Handle, typ wire.MessageType, id string, payload any) {
	if frame := m.ownFrame(typ, id, payload); frame != nil {
		_ = m.hub.Send(c, frame, false)
	}
}

// notify sends a server's own message to one connection that has not asked.
func (m *Manager) notify(c hub.Handle, typ wire.MessageType, payload any) {
	if frame := m.ownFrame(typ, "", payload); frame != nil {
		_ = m.hub.Tell(c, frame) // one on which too much waits ends, which is counted there
	}
}

// ownFrame is answerFrame, or nil, which the log tells.
func (m *Manager) ownFrame(typ wire.MessageType, id string, payload any) []byte {
	frame, err := answerFrame(typ, id, payload)
	if err != nil {
		m.log.LogAttrs(m.life, slog.LevelError, "message not encoded", slog.String("type", string(typ)), slog.Any("err", err))
		return nil
	}
	return frame
}

// gap tells of what a client will not get.
func (m *Manager) gap(c hub.Handle, gap wire.Gap) {
	m.count.gaps.Add(1)
	m.answer(c, wire.GapType, "", gap)
}

// ack confirms a message. One whose ack cannot be written is refused: its sender waits.
func (m *Manager) ack(c hub.Handle, id string, ack wire.Ack, received wire.MessageType) {
	frame, err := buildFrame(160+len(ack.Result), func(b []byte) ([]byte, error) {
		return wire.AppendAck(b, id, wire.Seconds(time.Now()), ack, received)
	})
	if err != nil { // the result that a handler gave it
		m.refuse(c, id, fmt.Errorf("encode the ack: %w", err))
		return
	}
	_ = m.hub.Send(c, frame, false)
}

// refuse answers a message with an error.
func (m *Manager) refuse(c hub.Handle, id string, err error) {
	told := m.told(c, id, err)
	frame, encodeErr := errorFrame(told)
	if encodeErr != nil {
		m.log.LogAttrs(m.life, slog.LevelError, "error not encoded", slog.Any("err", encodeErr))
		frame, _ = errorFrame(wire.ErrorMessage{Code: told.Code, Message: sentence(told.Code), MessageID: id, Timestamp: told.Timestamp})
	}
	_ = m.hub.Send(c, frame, false)
}

// told is what a client hears of a message that is refused. It is the one place where errors
// of messages are counted and logged.
func (m *Manager) told(c hub.Handle, id string, err error) wire.ErrorMessage {
	told := visible(err)
	m.count.errors.add(told.Code)
	m.hub.CountError(c)
	level := slog.LevelDebug
	if told.Code == wire.CodeInternal {
		level = slog.LevelError
	}
	if m.log.Enabled(m.life, level) {
		attrs := []slog.Attr{
			slog.String("conn_id", m.hub.ID(c)), slog.String("message_id", id),
			slog.String("code", string(told.Code)), slog.Any("err", loggable(err)),
		}
		if p, ok := errors.AsType[*panicError](err); ok {
			attrs = append(attrs, slog.String("stack", string(p.stack)))
		}
		m.log.LogAttrs(m.life, level, "message refused", attrs...)
	}
	return errorMessage(told, id)
}

func errorMessage(e *Error, id string) wire.ErrorMessage {
	return wire.ErrorMessage{
		Code: e.Code, Message: e.Message, Details: e.Details, Suggestions: e.Suggestions,
		MessageID: id, Timestamp: wire.Seconds(time.Now()),
	}
}

// errorFrame is the frame of an error_message.
func errorFrame(e wire.ErrorMessage) ([]byte, error) {
	return buildFrame(256, func(b []byte) ([]byte, error) { return wire.AppendError(b, e) })
}

// panicError is a panic, for the log only: clients hear nothing but INTERNAL.
type panicError struct {
	value any
	stack []byte
}

func newPanicError(value any) *panicError { return &panicError{value: value, stack: debug.Stack()} }

// Error tells what the code panicked with.
func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }
