package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAKilledTailGoesOnWhereItWas(t *testing.T) {
	const before, missed = 10, 1000
	n := dev(t)
	stays, killed := start(t, "tail", "--url", n.as("alice")), start(t, "tail", "--url", n.as("alice"))
	n.awaitDevices(t, "alice", 2)

	send := runCommand(t, []string{"SWITCHBOARD_API_KEY=" + n.Key}, "", "send", "--url", n.URL, "--user", "alice", "hello", `{"n":1}`)
	if send.code != exitOK {
		t.Fatalf("got exit code %d and stderr %q from send, want %d", send.code, send.errors, exitOK)
	}
	for i := 2; i <= before; i++ {
		n.publish(t, "alice", "hello", i)
	}
	expect(t, stays, "hello", 1, before)
	last := expect(t, killed, "hello", 1, before)

	killed.kill()
	for i := before + 1; i <= before+missed; i++ {
		n.publish(t, "alice", "hello", i)
	}
	back := start(t, "tail", "--url", n.as("alice"), "--since", last.Topic+"="+last.Position)
	expect(t, stays, "hello", before+1, before+missed)
	expect(t, back, "hello", before+1, before+missed)

	n.publish(t, "alice", "hello", before+missed+1) // nothing comes again before what is new
	expect(t, stays, "hello", before+missed+1, before+missed+1)
	expect(t, back, "hello", before+missed+1, before+missed+1)
}

// expect reads the messages with these numbers, in this order, with nothing between, and
// returns the last one.
func expect(t *testing.T, p *process, typ string, from, to int) message {
	t.Helper()
	var last message
	for i := from; i <= to; i++ {
		last = p.next(t)
		if last.Type != typ || last.Payload.N != i || last.Topic == "" || !strings.Contains(last.Position, ":") {
			t.Fatalf("got %+v from %s, want %s number %d with its position", last, p.name, typ, i)
		}
	}
	return last
}

func TestSendAsTheApplicationPrintsTheAnswer(t *testing.T) {
	n := dev(t)
	got := runCommand(t, []string{"SWITCHBOARD_URL=" + n.URL}, `{"n":1}`, "send", "--api-key", n.Key, "--user", "alice", "--thread", "t1", "hello", "-")
	var answer struct {
		MessageID string `json:"message_id"`
		Topic     string
		Position  string
	}
	if err := json.Unmarshal([]byte(got.out), &answer); err != nil || got.code != exitOK {
		t.Fatalf("got exit code %d, stdout %q, stderr %q, want the answer", got.code, got.out, got.errors)
	}
	if answer.MessageID == "" || answer.Topic != "user/alice" || !strings.HasSuffix(answer.Position, ":1") || strings.Count(got.out, "\n") != 1 {
		t.Errorf("got %q, want one line with id, topic and position of the first message", got.out)
	}
}

func TestSendAsAUserPrintsTheAckAndReachesTheUsersDevices(t *testing.T) {
	n := dev(t)
	tail := start(t, "tail", "--url", n.as("alice"))
	n.awaitDevices(t, "alice", 1)
	// A key in the environment does not make it a publish: nobody is addressed.
	got := runCommand(t, []string{"SWITCHBOARD_API_KEY=" + n.Key}, "", "send", "--url", n.as("alice"), "--thread", "t1", "chat", `{"n":7}`)
	var ack struct{ Status, Position string }
	if err := json.Unmarshal([]byte(got.out), &ack); err != nil || got.code != exitOK {
		t.Fatalf("got exit code %d, stdout %q, stderr %q, want the ack", got.code, got.out, got.errors)
	}
	if m := tail.next(t); m.Type != "chat" || m.Payload.N != 7 || m.Position != ack.Position {
		t.Errorf("got %+v at the other device, want chat number 7 at %s", m, ack.Position)
	}
}

func TestAnExplicitTokenWinsOverAKeyInTheEnvironment(t *testing.T) {
	n := dev(t)
	got := runCommand(t, []string{"SWITCHBOARD_API_KEY=" + n.Key}, "", "send", "--url", n.URL, "--token", "wrong", "chat")
	if got.code != exitFailure || !strings.Contains(got.errors, "AUTH_ERROR") {
		t.Errorf("got exit code %d and stderr %q, want that the token is refused", got.code, got.errors)
	}
}

func TestTailFollowsRooms(t *testing.T) {
	n := dev(t)
	tail := start(t, "tail", "--url", n.as("alice"), "--room", "a", "--room", "b")
	n.awaitDevices(t, "alice", 1)
	for i, room := range []string{"b", "a"} {
		got := runCommand(t, nil, "", "send", "--url", n.URL, "--api-key", n.Key, "--room", room, "news", fmt.Sprintf(`{"n":%d}`, i))
		if got.code != exitOK {
			t.Fatalf("got exit code %d and stderr %q, want %d", got.code, got.errors, exitOK)
		}
		if m := tail.next(t); m.Topic != "room/"+room || m.Payload.N != i {
			t.Errorf("got %+v, want number %d of room/%s", m, i, room)
		}
	}
}

func TestCtrlCEndsTailWithZero(t *testing.T) {
	n := dev(t)
	tail := start(t, "tail", "--url", n.as("alice"))
	n.awaitDevices(t, "alice", 1)
	tail.interrupt(t)
	if code := tail.wait(t); code != exitOK || tail.errs.String() != "" {
		t.Errorf("got exit code %d and stderr %q, want %d and nothing", code, tail.errs.String(), exitOK)
	}
}

func TestABrokenPipeEndsTailQuietly(t *testing.T) {
	n := dev(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "tail", "--url", n.as("alice"))
	cmd.Env, cmd.Stdout = environment(), w
	var errs errorText
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	r.Close()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		select {
		case err := <-ended:
			if err != nil || errs.String() != "" {
				t.Errorf("got %v and stderr %q, want a quiet end", err, errs.String())
			}
			return
		default:
			n.publish(t, "alice", "hello", 1) // what cannot be printed, once tail is connected
		}
	}
	t.Errorf("tail has not ended after %v", patience)
}

func TestTailSurvivesARestartOfItsNetwork(t *testing.T) {
	n := dev(t)
	tail := start(t, "tail", "--url", n.as("alice"))
	n.awaitDevices(t, "alice", 1)
	n.publish(t, "alice", "hello", 1)
	expect(t, tail, "hello", 1, 1)
	// A stopped process answers no ping and reads nothing: to the server it is a device
	// that sleeps. What comes meanwhile waits.
	if err := tail.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for i := 2; i <= 500; i++ {
		n.publish(t, "alice", "hello", i)
	}
	if err := tail.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	expect(t, tail, "hello", 2, 500)
}

// nodeDir is where the WebSocket client of Node is.
const nodeDir = "../../clients/node-smoke"

func TestAClientInJavaScriptResumesItsSession(t *testing.T) {
	program, err := exec.LookPath("node")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("node is not installed")
	}
	if _, err := os.Stat(filepath.Join(nodeDir, "node_modules", "ws")); err != nil {
		cmd := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
		cmd.Dir = nodeDir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("npm ci: %v\n%s", err, out)
		}
	}
	n := dev(t)
	js := startCommand(t, exec.Command(program, filepath.Join(nodeDir, "resume.mjs"), strings.Replace(n.URL, "http", "ws", 1)+"/ws?user=alice"))
	say := func(order string) {
		t.Helper()
		if _, err := fmt.Fprintln(js.stdin, order); err != nil {
			t.Fatal(err)
		}
	}
	js.event(t, "welcome")
	n.publish(t, "alice", "hello", 1)
	if e := js.event(t, "message"); e.N != 1 {
		t.Errorf("got message %d, want 1", e.N)
	}
	say("cut")
	js.event(t, "closed")
	for i := 2; i <= 1001; i++ {
		n.publish(t, "alice", "hello", i)
	}
	say("resume")
	if e := js.event(t, "welcome"); !e.Held || e.Protocol != "switchboard.v1" {
		t.Errorf("got %+v, want a held connection that speaks switchboard.v1", e)
	}
	if e := js.event(t, "restored"); !e.Topics["user/alice"].Recovered {
		t.Errorf("got %+v, want user/alice recovered", e)
	}
	for i := 2; i <= 1001; i++ {
		if e := js.event(t, "message"); e.N != i {
			t.Fatalf("got message %d, want %d", e.N, i)
		}
	}
	n.publish(t, "alice", "hello", 1002)
	if e := js.event(t, "message"); e.N != 1002 {
		t.Errorf("got message %d, want 1002: nothing comes twice", e.N)
	}
	say("quit")
	if e := js.event(t, "closed"); e.Code != 1000 {
		t.Errorf("got close code %d, want 1000", e.Code)
	}
	if code := js.wait(t); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
}

// event is a line of resume.mjs.
type event struct {
	Event    string
	Held     bool
	Protocol string
	Code     int
	N        int
	Topics   map[string]struct{ Recovered bool }
}

// event reads the next line, which must be of that kind.
func (p *process) event(t *testing.T, kind string) event {
	t.Helper()
	line := p.line(t)
	var e event
	if err := json.Unmarshal([]byte(line), &e); err != nil || e.Event != kind {
		t.Fatalf("got %q, want a %s", line, kind)
	}
	return e
}

func TestTheLinesOfTheBannerWorkAsTheyAre(t *testing.T) {
	p := start(t, "dev", "--listen", "127.0.0.1:0", "--api-key", "it's $HOME", "--words-per-second", "0")
	var tails []*process
	var sends []string
	for len(sends) < 2 {
		switch line := strings.TrimSpace(p.line(t)); {
		case strings.Contains(line, " tail "):
			tails = append(tails, startCommand(t, exec.Command("sh", "-c", "exec "+line)))
		case strings.Contains(line, " send "):
			sends = append(sends, line)
		}
	}
	if len(tails) != 2 {
		t.Fatalf("got %d lines with tail, want 2", len(tails))
	}
	ask, hello := sends[0], sends[1]
	run := func(line string) {
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	for i := range tails { // until both are connected
		received := make(chan string, 1)
		go func() { received <- tails[i].line(t) }()
		for done := false; !done; {
			run(hello)
			select {
			case got := <-received:
				done = true
				if !strings.Contains(got, "Hello, Alice") {
					t.Errorf("got %s, want what was sent", got)
				}
			default:
			}
		}
	}
	run(ask)
	for _, tail := range tails {
		var a answer
		for !a.take(t, tail.line(t)) {
		}
		if !strings.Contains(a.text, "> ") || !strings.Contains(a.text, ".md:") || len(a.tools) == 0 {
			t.Errorf("got answer %q with tools %v, want quotes from files", a.text, a.tools)
		}
	}
}

// answer is what the lines of a tail tell of a run.
type answer struct {
	text    string
	tools   []string
	offsets []uint64
	stream  string
	last    string // position
}

// take adds a line, and reports whether the run has ended.
func (a *answer) take(t *testing.T, line string) (ended bool) {
	t.Helper()
	var m struct {
		Type     string
		Offset   uint64
		Position string
		Run      string `json:"run_id"`
		Payload  struct {
			Tool   string `json:"tool_name"`
			Stream string `json:"stream_id"`
			Start  int
			Text   string
		}
	}
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if a.last = cmp.Or(m.Position, a.last); m.Offset != 0 && m.Run != "" {
		a.offsets = append(a.offsets, m.Offset)
	}
	switch m.Type {
	case "stream_chunk":
		if have := len([]rune(a.text)); m.Payload.Start != have {
			t.Fatalf("got text from %d on, want from %d", m.Payload.Start, have)
		}
		a.text += m.Payload.Text
		a.stream = m.Payload.Stream
	case "tool_executing":
		a.tools = append(a.tools, m.Payload.Tool)
	case "agent_error", "agent_death", "agent_cancelled":
		t.Fatalf("the run did not complete: %s", line)
	}
	return m.Type == "agent_completed"
}

func TestAKilledTailGoesOnInTheMiddleOfAnAnswer(t *testing.T) {
	n := dev(t, "--words-per-second", "60")
	stays, killed := start(t, "tail", "--url", n.as("alice")), start(t, "tail", "--url", n.as("alice"))
	n.awaitDevices(t, "alice", 2)
	sent := runCommand(t, nil, "", "send", "--url", n.as("alice"), "--thread", "t1", "user_message", `{"content":"How does a client resume?"}`)
	if sent.code != exitOK || !strings.Contains(sent.out, `"run_id"`) {
		t.Fatalf("got exit code %d and %q from send, want an ack with a run", sent.code, sent.out)
	}
	var whole, parts answer
	for len(parts.text) < 200 {
		if parts.take(t, killed.line(t)) {
			t.Fatal("the answer has ended before its middle")
		}
	}
	killed.kill()
	for !whole.take(t, stays.line(t)) {
	}
	back := start(t, "tail", "--url", n.as("alice"),
		"--since", "user/alice="+parts.last, "--since", fmt.Sprintf("%s=%d", parts.stream, len([]rune(parts.text))))
	for !parts.take(t, back.line(t)) {
	}
	if parts.text != whole.text || fmt.Sprint(parts.offsets) != fmt.Sprint(whole.offsets) {
		t.Errorf("got %q at %v, want %q at %v", parts.text, parts.offsets, whole.text, whole.offsets)
	}
}
