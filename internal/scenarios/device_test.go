package scenarios_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// device is one end of a WebSocket over TCP that hides nothing: it reads only when it is
// asked to, and does not come back. It answers pings while it reads, unless it is dead. One goroutine may read
// and another one write.
type device struct {
	conn    *net.TCPConn
	in      *bufio.Reader
	buf     []byte // of the frame that was read last
	welcome wire.Welcome
	dead    bool // it answers no ping

	mu sync.Mutex // one frame at a time is written
}

// handshake asks for a WebSocket and returns the answer, whatever it is.
func (n *node) handshake(token, subprotocol string) (*device, *http.Response, error) {
	conn, err := net.Dial("tcp", n.addr)
	if err != nil {
		return nil, nil, err
	}
	d := &device{conn: conn.(*net.TCPConn), in: bufio.NewReader(conn)}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return d, nil, err
	}
	if subprotocol != "" {
		subprotocol = "Sec-WebSocket-Protocol: " + subprotocol + "\r\n"
	}
	_, err = fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: scenario\r\nAuthorization: Bearer %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n%s\r\n", token, subprotocol)
	if err != nil {
		return d, nil, err
	}
	resp, err := http.ReadResponse(d.in, nil)
	return d, resp, err
}

// connect connects and reads the welcome.
func (n *node) connect(token string) (*device, error) {
	d, resp, err := n.handshake(token, "")
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(resp.Body)
		d.drop()
		return nil, fmt.Errorf("handshake: %s: %s", resp.Status, body)
	}
	return d, d.greeted()
}

func (d *device) greeted() error {
	env, err := d.read()
	if err != nil {
		return fmt.Errorf("the welcome: %w", err)
	}
	if env.Type != wire.SystemMessage {
		return fmt.Errorf("got a %s, want the welcome", env.Type)
	}
	return env.Decode(&d.welcome)
}

// connect connects a user until the test ends.
func connect(t testing.TB, n *node, token string) *device {
	t.Helper()
	d, err := n.connect(token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.drop)
	return d
}

// drop ends the connection without a word.
func (d *device) drop() { _ = d.conn.Close() }

// leave ends it in the polite way.
func (d *device) leave() error {
	defer d.drop()
	if err := d.write(ws.OpClose, binary.BigEndian.AppendUint16(nil, uint16(wire.CloseNormal))); err != nil {
		return err
	}
	if _, _, err := d.drain(); !errors.Is(err, errClosed{code: wire.CloseNormal}) {
		return fmt.Errorf("got %w, want a close with 1000", err)
	}
	return nil
}

// drain reads messages until the end, and tells how many there were.
func (d *device) drain() (count int, last []byte, err error) {
	for {
		text, err := d.text()
		if err != nil {
			return count, last, err
		}
		count, last = count+1, append(last[:0], text...)
	}
}

func (d *device) write(op ws.Opcode, payload []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := d.conn.Write(ws.AppendMasked(nil, op, true, [4]byte{1, 2, 3, 4}, payload))
	return err
}

// say sends a message as it is.
func (d *device) say(text string) error { return d.write(ws.OpText, []byte(text)) }

// errClosed is how the server closed a connection.
type errClosed struct {
	code wire.CloseCode
}

func (e errClosed) Error() string { return fmt.Sprintf("closed with %d", e.code) }

// text returns the next message, which is the device's until the next call. Who is in a room is left
// out: it is told when there is time for it. A close frame is an error.
func (d *device) text() ([]byte, error) {
	if err := d.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	for {
		op, payload, err := d.frame()
		if err != nil {
			return nil, err
		}
		switch op {
		case ws.OpPing:
			if d.dead {
				continue
			}
			if err := d.write(ws.OpPong, payload); err != nil {
				return nil, err
			}
		case ws.OpPong:
		case ws.OpClose:
			if len(payload) < 2 {
				return nil, errClosed{}
			}
			return nil, errClosed{code: wire.CloseCode(binary.BigEndian.Uint16(payload))}
		default:
			if !bytes.HasPrefix(payload, []byte(`{"type":"presence_`)) {
				return payload, nil
			}
		}
	}
}

func (d *device) frame() (ws.Opcode, []byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(d.in, head[:2]); err != nil {
		return 0, nil, err
	}
	op, size := ws.Opcode(head[0]&0xf), int(head[1])
	var err error
	switch size {
	case 126:
		_, err = io.ReadFull(d.in, head[:2])
		size = int(binary.BigEndian.Uint16(head[:]))
	case 127:
		_, err = io.ReadFull(d.in, head[:8])
		size = int(binary.BigEndian.Uint64(head[:]))
	}
	if err != nil {
		return 0, nil, err
	}
	if cap(d.buf) < size {
		d.buf = make([]byte, size)
	}
	d.buf = d.buf[:size]
	_, err = io.ReadFull(d.in, d.buf)
	return op, d.buf, err
}

func (d *device) read() (wire.Envelope, error) {
	text, err := d.text()
	if err != nil {
		return wire.Envelope{}, err
	}
	return wire.ParseAnswer(append([]byte(nil), text...))
}

// messages yields what comes; the last element has the error.
func (d *device) messages() iter.Seq2[wire.Envelope, error] {
	return func(yield func(wire.Envelope, error) bool) {
		for {
			if env, err := d.read(); !yield(env, err) || err != nil {
				return
			}
		}
	}
}
