package switchboard

import (
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// headerRoom is the longest header of a WebSocket frame as servers send it.
const headerRoom = 10

// buildFrame makes a text frame of what body appends, in one piece: the payload is written
// behind room for the header, whose length is known only then.
func buildFrame(size int, body func([]byte) ([]byte, error)) ([]byte, error) {
	b, err := body(make([]byte, headerRoom, headerRoom+size))
	if err != nil {
		return nil, err
	}
	var room [headerRoom]byte
	header := ws.AppendHeader(room[:0], ws.OpText, len(b)-headerRoom)
	start := headerRoom - len(header)
	copy(b[start:], header)
	return b[start:], nil
}

// encodeFrame is the frame of one envelope.
func encodeFrame(env wire.Envelope) ([]byte, error) {
	size := 128 + len(env.Payload) + len(env.Trace)
	return buildFrame(size, func(b []byte) ([]byte, error) { return wire.Append(b, env) })
}

// placedFrame is the frame of a record's body at its place in a topic. It is built once on
// each node and shared by all receivers.
func placedFrame(topic wire.Topic, e broker.Entry, body []byte) []byte {
	size := len(body) + len(topic.ID) + 96
	frame, _ := buildFrame(size, func(b []byte) ([]byte, error) { // it cannot fail
		return wire.AppendPlaced(b, topic, e.Pos.Offset, e.At, body), nil
	})
	return frame
}
