package server

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/internal/docsagent"
	"github.com/netra-systems/switchboard/wire"
)

// pageClient is a client as a page in development has it.
type pageClient struct {
	*client.Client
	messages chan wire.Envelope // closed at the end
}

// page connects alice as the page does, over a link if it has a name.
func (n *node) page(t *testing.T, name, link string) *pageClient {
	t.Helper()
	url := n.URL() + "/ws?user=alice"
	if link != "" {
		url += "&link=" + link
	}
	return connectPage(t, client.Options{URL: url, Device: name})
}

func connectPage(t *testing.T, opts client.Options) *pageClient {
	t.Helper()
	c, err := client.Dial(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	p := &pageClient{Client: c, messages: make(chan wire.Envelope, 10_000)}
	messages := c.Messages(context.Background())
	go func() {
		defer close(p.messages)
		for msg, err := range messages {
			if err != nil {
				return
			}
			p.messages <- msg
		}
	}()
	t.Cleanup(func() {
		c.Close()
		for range p.messages {
		}
	})
	return p
}

func (p *pageClient) next(t *testing.T) wire.Envelope {
	t.Helper()
	select {
	case msg, ok := <-p.messages:
		if !ok {
			t.Fatal("the client has ended")
		}
		return msg
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
	}
	panic("unreachable")
}

// ask asks for a passage.
func (p *pageClient) ask(t *testing.T, payload string) (wire.Ack, error) {
	t.Helper()
	return p.Send(t.Context(), client.Message{Type: docsagent.ReadPassage, Payload: json.RawMessage(payload)})
}

func wantRefusal(t *testing.T, err error, code wire.Code, field string) {
	t.Helper()
	told, ok := errors.AsType[*client.Error](err)
	if !ok || told.Code != code {
		t.Fatalf("got %v, want %s", err, code)
	}
	if diff := cmp.Diff(map[string]any{"field": field}, told.Details); diff != "" {
		t.Errorf("details (-want +got):\n%s", diff)
	}
}

// view is what a client has of a run.
type view struct {
	text   string
	chunks int
	events []wire.MessageType // without chunks
}

// take adds a message and reports whether the run has completed.
func (v *view) take(t *testing.T, msg wire.Envelope) (ended bool) {
	t.Helper()
	if msg.Type != wire.StreamChunk {
		if msg.RunID != "" {
			v.events = append(v.events, msg.Type)
		}
		return msg.Type == wire.AgentCompleted
	}
	var chunk wire.StreamChunkPayload
	if err := msg.Decode(&chunk); err != nil {
		t.Fatal(err)
	}
	if have := len([]rune(v.text)); chunk.Start != have {
		t.Fatalf("got text from %d on, want from %d", chunk.Start, have)
	}
	v.text += chunk.Text
	v.chunks++
	return false
}

// address is where the server listens, without the scheme.
func (n *node) address() string { return strings.TrimPrefix(n.URL(), "http://") }

// callAt is a GET at an address under another host's name, and returns the status.
func (n *node) callAt(t *testing.T, addr, host, path string) int {
	t.Helper()
	nc, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	return exchange(t, nc, "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n").StatusCode
}

// link tells a link something.
func (n *node) link(t *testing.T, body string) answer {
	t.Helper()
	return n.call(t, request{method: http.MethodPost, path: "/dev/link", body: body, header: http.Header{"Authorization": {""}}})
}
