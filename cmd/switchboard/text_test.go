package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// writer is a server whose agent answers each user_message with what the test says.
type writer struct {
	url  string      // as alice
	says chan string // closed: the answer ends
}

func startWriter(t *testing.T) *writer {
	t.Helper()
	w := &writer{says: make(chan string)}
	m, err := switchboard.New(switchboard.Options{Auth: func(_ context.Context, c switchboard.Credential) (switchboard.Identity, error) {
		return switchboard.Identity{User: c.Request.URL.Query().Get("user")}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	m.HandleRun("user_message", switchboard.RunOptions{Agent: "writer"}, func(ctx context.Context, run *switchboard.Run, _ switchboard.Envelope) error {
		out := run.Stream("answer")
		for {
			select {
			case text, more := <-w.says:
				if !more {
					return nil
				}
				if _, err := io.WriteString(out, text); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	srv := httptest.NewServer(m.ClientAPI())
	w.url = srv.URL + "?user=alice"
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := m.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		srv.Close()
	})
	return w
}

// say has the agent write a text and waits until it does.
func (w *writer) say(t *testing.T, text string) {
	t.Helper()
	select {
	case w.says <- text:
	case <-time.After(patience):
		t.Fatalf("the agent did not take %q in %v", text, patience)
	}
}

// reading is what a tail, or several after each other, have printed.
type reading struct {
	types    []string // of messages that are kept
	position string
	stream   string
	length   int
	text     string
}

// until reads the lines of p up to one that has what is wanted. A chunk must begin where
// the text ended.
func (r *reading) until(t *testing.T, p *process, wanted func() bool) {
	t.Helper()
	for !wanted() {
		line := p.line(t)
		var m struct {
			Type     string
			Position string
			Length   int
			Payload  wire.StreamChunkPayload
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%s printed %q, want JSON: %v", p.name, line, err)
		}
		switch {
		case m.Type == string(wire.StreamChunk):
			if m.Payload.Start != r.length || m.Length != r.length+utf8.RuneCountInString(m.Payload.Text) {
				t.Fatalf("got %s, want a chunk that begins at %d, with its length", line, r.length)
			}
			r.stream, r.length, r.text = m.Payload.StreamID, m.Length, r.text+m.Payload.Text
		case m.Position != "":
			r.types, r.position = append(r.types, m.Type), m.Position
		}
	}
}

func TestAKilledTailGoesOnInTheMiddleOfAText(t *testing.T) {
	w := startWriter(t)
	tail := start(t, "tail", "--url", w.url, "--thread", "t1", "--since", "user/alice=")
	sent := runCommand(t, nil, "", "send", "--url", w.url, "--thread", "t1", "user_message", `{"content":"Where is it?"}`)
	var ack struct {
		Status string
		Result struct {
			Run string `json:"run_id"`
		}
	}
	if err := json.Unmarshal([]byte(sent.out), &ack); err != nil || sent.code != exitOK || ack.Status != "ok" || ack.Result.Run == "" {
		t.Fatalf("got exit code %d, stdout %q, stderr %q, want the ack with the run's id", sent.code, sent.out, sent.errors)
	}
	var r reading
	var want strings.Builder
	say := func(n int) {
		for i := range n {
			text := fmt.Sprintf("Grüße %d! 🙂 e\u0301 ", i)
			want.WriteString(text)
			w.say(t, text)
		}
	}
	all := func() bool { return len(r.text) >= want.Len() }
	say(20)
	r.until(t, tail, all)
	for range 3 {
		tail.kill()
		say(20) // which nobody sees
		tail = start(t, "tail", "--url", w.url, "--thread", "t1", "--since", "user/alice="+r.position, "--since", fmt.Sprintf("%s=%d", r.stream, r.length))
		say(20)
		r.until(t, tail, all)
	}
	close(w.says)
	r.until(t, tail, func() bool { return r.types[len(r.types)-1] == string(wire.AgentCompleted) })
	if r.text != want.String() || r.stream != ack.Result.Run+"/answer" {
		t.Errorf("got %q of %s, want %q of %s/answer", r.text, r.stream, want.String(), ack.Result.Run)
	}
	if got, want := strings.Join(r.types, " "), "user_message agent_started stream_open stream_complete agent_completed"; got != want {
		t.Errorf("got messages %s, want %s", got, want)
	}
}
