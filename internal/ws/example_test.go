package ws_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/netra-systems/switchboard/internal/ws"
)

func ExampleDecoder() {
	key := [4]byte{1, 2, 3, 4}
	stream := ws.AppendMasked(nil, ws.OpText, false, key, []byte("hello, "))
	stream = ws.AppendMasked(stream, ws.OpPing, true, key, []byte("still there?"))
	stream = ws.AppendMasked(stream, ws.OpContinuation, true, key, []byte("world"))

	var d ws.Decoder
	for _, p := range [][]byte{stream[:5], stream[5:]} { // however it was cut
		for len(p) > 0 {
			m, n, err := d.Feed(p, ws.Limits{})
			if err != nil {
				fmt.Println(err)
				return
			}
			p = p[n:]
			if m.Op != ws.OpContinuation {
				fmt.Printf("%v %q\n", m.Op, m.Payload)
			}
		}
	}
	fmt.Println("between messages:", d.Idle())
	// Output:
	// ping "still there?"
	// text "hello, world"
	// between messages: true
}

func ExampleCloseError() {
	var d ws.Decoder
	_, _, err := d.Feed(ws.AppendFrame(nil, ws.OpText, []byte("not masked")), ws.Limits{})
	if ce, ok := errors.AsType[*ws.CloseError](err); ok {
		fmt.Println(ce.Code, ce.Reason)
		fmt.Printf("%x\n", ws.AppendClose(nil, ce.Code, ce.Reason)[:4])
	}
	// Output:
	// 1002 frame is not masked
	// 881503ea
}

// printer is a Sink that prints messages.
type printer struct{ done chan struct{} }

func (p printer) Message(tag uint64, op ws.Opcode, payload []byte) int {
	fmt.Printf("%d: %v %q\n", tag, op, payload)
	return 0
}
func (p printer) Ping(uint64, []byte) {}
func (p printer) Pong(uint64, []byte) {}
func (p printer) Writable(uint64)     {}
func (p printer) Closed(tag uint64, err error) {
	fmt.Printf("%d: %v\n", tag, err)
	close(p.done)
}

func ExampleGoroutineEngine() {
	sink := printer{done: make(chan struct{})}
	engine := ws.NewGoroutineEngine(sink, ws.Config{})
	client, server := ws.Pipe(1024)

	s, err := engine.Attach(server, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	engine.Start(s, 7)
	_, _ = client.Write(ws.AppendMasked(nil, ws.OpText, true, [4]byte{1, 2, 3, 4}, []byte("hi")))
	_, _ = client.Write(ws.AppendMasked(nil, ws.OpClose, true, [4]byte{1, 2, 3, 4}, []byte("\x03\xe8bye")))
	<-sink.done
	engine.Release(s)
	_ = engine.Close()
	// Output:
	// 7: text "hi"
	// 7: websocket closed by peer (1000): bye
}

func ExampleUpgrade() {
	engine := ws.NewGoroutineEngine(printer{}, ws.Config{})
	_ = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nc, buffered, err := ws.Upgrade(w, r, "")
		if he, ok := errors.AsType[*ws.HandshakeError](err); ok {
			for name := range he.Header {
				w.Header().Set(name, he.Header.Get(name))
			}
			http.Error(w, he.Reason, he.Status)
			return
		}
		if err != nil {
			return // the client is gone
		}
		if s, err := engine.Attach(nc, buffered); err == nil {
			engine.Start(s, 1)
		}
	})
}

func ExamplePipe() {
	var client, server net.Conn = ws.Pipe(16)
	_, _ = client.Write([]byte("fits")) // does not wait for a reader
	b := make([]byte, 16)
	n, _ := server.Read(b)
	fmt.Printf("%s from %v\n", b[:n], server.RemoteAddr())
	// Output: fits from 127.0.0.1:50000
}
