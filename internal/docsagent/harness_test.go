package docsagent_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/agent"
	"github.com/netra-systems/switchboard/internal/docsagent"
	"github.com/netra-systems/switchboard/wire"
)

// folder makes documents in a new folder.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		put(t, dir, name, text)
	}
	return dir
}

func put(t testing.TB, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func build(t testing.TB, opts docsagent.Options) *docsagent.Agent {
	t.Helper()
	a, err := docsagent.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// start returns a manager without connections, shut down when the test ends.
func start(t testing.TB) *switchboard.Manager {
	t.Helper()
	m, err := switchboard.New(switchboard.Options{Auth: byName})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := m.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return m
}

// byName takes a token for the user's name.
func byName(_ context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
	if cred.Token == "" {
		return switchboard.Identity{}, switchboard.ErrUnauthenticated
	}
	return switchboard.Identity{User: cred.Token}, nil
}

// A talk is a run that answered a question, as viewers saw it.
type talk struct {
	err    error // of the handler
	events []switchboard.Envelope
	text   string
	state  string // of the text
}

// begin starts a run for alice.
func begin(t testing.TB, m *switchboard.Manager) *switchboard.Run {
	t.Helper()
	run, err := m.Runs().Start(context.Background(), switchboard.RunOptions{Agent: "docs", To: switchboard.User("alice")})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// answer runs a to its end, as HandleRun does.
func answer(t testing.TB, m *switchboard.Manager, run *switchboard.Run, a *docsagent.Agent, question string) talk {
	t.Helper()
	payload, err := json.Marshal(map[string]string{"content": question})
	if err != nil {
		t.Fatal(err)
	}
	var got talk
	if got.err = a.Run(run.Context(), run, switchboard.Envelope{Type: wire.UserMessage, Payload: payload}); got.err != nil {
		_, _ = run.Fail(context.Background(), got.err) // which a stopped run refuses
	} else if _, err := run.Complete(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	page, err := m.History(context.Background(), switchboard.User("alice"), switchboard.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page.Messages {
		if e.RunID == run.ID() {
			got.events = append(got.events, e)
		}
	}
	if s, err := run.Stream(agent.StreamName).Snapshot(context.Background()); err == nil {
		got.text, got.state = s.Text, s.State
	}
	return got
}

// ask is answer, of a run that must complete.
func ask(t testing.TB, a *docsagent.Agent, question string) talk {
	t.Helper()
	m := start(t)
	got := answer(t, m, begin(t, m), a, question)
	if got.err != nil {
		t.Fatalf("%q: %v", question, got.err)
	}
	if got.state != wire.StreamStateComplete {
		t.Fatalf("%q: got a text that is %s, want complete", question, got.state)
	}
	return got
}

// types are those of the events.
func (g talk) types() (types []wire.MessageType) {
	for _, e := range g.events {
		types = append(types, e.Type)
	}
	return types
}

// thoughts are the texts of agent_thinking.
func (g talk) thoughts(t testing.TB) (texts []string) {
	t.Helper()
	for _, e := range g.events {
		if e.Type == wire.AgentThinking {
			texts = append(texts, decode[wire.AgentThinkingPayload](t, e.Payload).Reasoning)
		}
	}
	return texts
}

// A call is a tool call as viewers saw it.
type call struct {
	Tool               string
	Parameters, Result map[string]any
	Error              string
}

func (g talk) calls(t testing.TB) (calls []call) {
	t.Helper()
	for _, e := range g.events {
		switch e.Type {
		case wire.ToolExecuting:
			p := decode[wire.ToolExecutingPayload](t, e.Payload)
			calls = append(calls, call{Tool: p.Tool, Parameters: decode[map[string]any](t, p.Parameters)})
		case wire.ToolCompleted:
			p, last := decode[wire.ToolCompletedPayload](t, e.Payload), &calls[len(calls)-1]
			if p.Tool != last.Tool {
				t.Fatalf("got the end of %s, want that of %s", p.Tool, last.Tool)
			}
			last.Result, last.Error = decode[map[string]any](t, p.Result), p.Error
		}
	}
	return calls
}

func decode[T any](t testing.TB, raw json.RawMessage) (v T) {
	t.Helper()
	if len(raw) == 0 {
		return v
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("decode %s: %v", raw, err)
	}
	return v
}

// A quote is a block quote of an answer, and where it says that it is from.
type quote struct {
	text string
	file string
	line int
}

// quotes takes an answer apart.
func quotes(t testing.TB, text string) (all []quote) {
	t.Helper()
	var lines []string
	for scan := bufio.NewScanner(strings.NewReader(text)); scan.Scan(); {
		line := scan.Text()
		if quoted, ok := strings.CutPrefix(line, ">"); ok {
			lines = append(lines, strings.TrimPrefix(quoted, " "))
			continue
		}
		source, ok := strings.CutPrefix(line, "— ")
		if !ok {
			continue
		}
		file, number, _ := strings.Cut(source, ":")
		n, err := strconv.Atoi(number)
		if err != nil || len(lines) == 0 {
			t.Fatalf("got source %q behind %d quoted lines in:\n%s", line, len(lines), text)
		}
		all = append(all, quote{text: strings.Join(lines, "\n"), file: file, line: n})
		lines = nil
	}
	if len(lines) > 0 {
		t.Fatalf("got a quote without a source in:\n%s", text)
	}
	return all
}

// verbatim fails the test unless each quote is in fsys where it says.
func verbatim(t testing.TB, fsys fs.FS, all []quote) {
	t.Helper()
	for _, q := range all {
		content, err := fs.ReadFile(fsys, q.file)
		if err != nil {
			t.Error(err)
			continue
		}
		lines := strings.Split(strings.ReplaceAll(string(content), "\r\n", "\n"), "\n")
		want := strings.Split(q.text, "\n")
		if q.line < 1 || q.line-1+len(want) > len(lines) {
			t.Errorf("got a quote of %d lines from %s:%d, which has %d lines", len(want), q.file, q.line, len(lines))
			continue
		}
		if there := strings.Join(lines[q.line-1:q.line-1+len(want)], "\n"); there != q.text {
			t.Errorf("got quote %q from %s:%d, where there is %q", q.text, q.file, q.line, there)
		}
	}
}
