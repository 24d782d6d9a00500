package client_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

func ExampleDial() {
	ctx := context.Background()
	server := echoServer()
	defer server.Close()
	c, err := client.Dial(ctx, client.Options{
		URL:   strings.Replace(server.URL, "http", "ws", 1) + "/ws",
		Token: func(context.Context) (string, error) { return "a JWT", nil },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	messages := c.Messages(ctx) // before sending, so that no answer is missed
	ack, err := c.Send(ctx, client.Message{Type: wire.Chat, Payload: map[string]string{"text": "Hi"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ack.Status, ack.Position)
	for msg, err := range messages {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(msg.Type, msg.Position(), string(msg.Payload))
		break
	}
	// Output:
	// ok e1:1
	// chat e1:1 {"text":"Hi"}
}

func ExampleClient_Text() {
	ctx := context.Background()
	server := writingServer()
	defer server.Close()
	c, err := client.Dial(ctx, client.Options{URL: server.URL + "/ws"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	for msg, err := range c.Messages(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		switch msg.Type {
		case wire.StreamChunk:
			var chunk wire.StreamChunkPayload
			if err := msg.Decode(&chunk); err != nil {
				fmt.Println(err)
				return
			}
			fmt.Printf("%d %q\n", chunk.Start, chunk.Text) // only what is new
		case wire.StreamComplete:
			fmt.Println(c.Text("r_1/answer"))
			return
		}
	}
	// Output:
	// 0 "Grüße"
	// 5 "! 🙂"
	// Grüße! 🙂 true
}

// writingServer writes a text, some of it twice.
func writingServer() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = conn.CloseNow() }()
		for _, frame := range []string{
			`{"type":"system_message","payload":{"event":"connection_established","topics":{"user/alice":"e1:0"}}}`,
			`{"type":"stream_chunk","topic":"user/alice","payload":{"stream_id":"r_1/answer","start":0,"text":"Grüße"}}`,
			`{"type":"stream_chunk","topic":"user/alice","payload":{"stream_id":"r_1/answer","start":3,"text":"ße! 🙂"}}`,
			`{"type":"stream_complete","topic":"user/alice","offset":1,"payload":{"stream_id":"r_1/answer","length":8,"state":"complete","text":"Grüße! 🙂"}}`,
		} {
			if err := conn.Write(r.Context(), websocket.MessageText, []byte(frame)); err != nil {
				return
			}
		}
		_, _, _ = conn.Read(r.Context()) // until the client leaves
	}))
}

// echoServer takes one message, appends it to the user's topic, and acknowledges it.
func echoServer() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = conn.CloseNow() }()
		write := func(frame []byte) { _ = conn.Write(r.Context(), websocket.MessageText, frame) }
		write([]byte(`{"type":"system_message","payload":{"event":"connection_established","topics":{"user/alice":"e1:0"}}}`))
		_, frame, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		msg, err := wire.Parse(frame)
		if err != nil {
			return
		}
		ack := wire.Ack{Status: wire.StatusOK, Position: wire.Position{Epoch: "e1", Offset: 1}}
		if frame, err = wire.AppendAck(nil, msg.ID, 1, ack, ""); err == nil {
			write(frame)
		}
		msg.Topic, msg.Offset = "user/alice", 1
		if frame, err = wire.Append(nil, msg); err == nil {
			write(frame)
		}
		_, _, _ = conn.Read(r.Context()) // until the client leaves
	}))
}

func TestClientsWorkOverRealSockets(t *testing.T) {
	cut := make(chan struct{})
	server := httptest.NewServer(handler(t, func(p *peer) {
		p.welcome("c1", "user/alice", "e1:0")
		p.expect("order", nil)
		p.cut()
		close(cut)
	}, func(p *peer) {
		p.welcome("c2", "user/alice", "e1:0")
		p.restore()
		p.ack(p.expect("order", nil), wire.Ack{Status: wire.StatusOK})
		p.untilClosed()
	}))
	defer server.Close()
	c, err := client.Dial(t.Context(), client.Options{URL: server.URL + "/ws"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ack, err := c.Send(t.Context(), client.Message{Type: "order"})
	if err != nil || ack.Status != wire.StatusOK {
		t.Errorf("got %+v, error %v, want ok", ack, err)
	}
	<-cut
}
