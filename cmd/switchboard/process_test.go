package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// binary is the program under test, built by TestMain before any test runs.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndTest(m)) }

func buildAndTest(m *testing.M) int {
	dir, err := os.MkdirTemp("", "switchboard-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it is in the folder for temporary files
	binary = filepath.Join(dir, "switchboard")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// process is a program that a test runs, line by line.
type process struct {
	*exec.Cmd
	name  string
	stdin io.WriteCloser
	out   chan string // the lines of stdout; closed at its end
	errs  errorText

	ended chan struct{} // closed once the process has been waited for
}

// errorText collects what a process writes to stderr.
type errorText struct {
	mu      sync.Mutex // guards the fields below
	text    bytes.Buffer
	changed chan struct{} // closed at the next write; nil: nobody waits for it
}

func (e *errorText) Write(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.changed != nil {
		close(e.changed)
		e.changed = nil
	}
	return e.text.Write(b)
}

// next returns what was written and a channel that is closed when there is more.
func (e *errorText) next() (text string, changed <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.changed == nil {
		e.changed = make(chan struct{})
	}
	return e.text.String(), e.changed
}

func (e *errorText) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.text.String()
}

// start runs the program under test with args. The process is killed when the test ends.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command(binary, args...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd, name: filepath.Base(cmd.Path) + " " + strings.Join(cmd.Args[1:], " "), out: make(chan string), ended: make(chan struct{})}
	cmd.Stderr = &p.errs
	if cmd.Env == nil {
		cmd.Env = environment()
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = in
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			p.out <- lines.Text()
		}
		close(p.out)
		cmd.Wait() //nolint:errcheck // the exit code is in ProcessState
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("stderr of %s:\n%s", p.name, p.errs.String())
		}
	})
	return p
}

// environment is that of the test without what would change the commands.
func environment(more ...string) []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SWITCHBOARD_") {
			env = append(env, e)
		}
	}
	return append(env, more...)
}

// line returns the next line of stdout.
func (p *process) line(t *testing.T) string {
	t.Helper()
	select {
	case line, ok := <-p.out:
		if !ok {
			t.Fatalf("%s ended, want another line; stderr: %s", p.name, p.errs.String())
		}
		return line
	case <-time.After(patience):
		t.Fatalf("%s printed nothing for %v, want a line; stderr: %s", p.name, patience, p.errs.String())
	}
	return ""
}

// says waits until the process has written text to stderr.
func (p *process) says(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		written, changed := p.errs.next()
		if strings.Contains(written, text) {
			return
		}
		select {
		case <-changed:
		case <-p.ended:
			t.Fatalf("%s ended, want %q; stderr: %s", p.name, text, p.errs.String())
		case <-deadline:
			t.Fatalf("%s did not say %q in %v; stderr: %s", p.name, text, patience, written)
		}
	}
}

// kill ends the process as kill -9 does, and waits until it is gone.
func (p *process) kill() {
	p.Process.Kill() //nolint:errcheck // it may have ended
	for range p.out {
	}
	<-p.ended
}

// wait returns the exit code, and -1 if a signal ended the process. Lines that are left are dropped.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case _, ok := <-p.out:
			if !ok {
				p.out = nil
			}
		case <-p.ended:
			p.out = make(chan string)
			close(p.out)
			return p.ProcessState.ExitCode()
		case <-deadline:
			t.Fatalf("%s did not end in %v", p.name, patience)
		}
	}
}

func (p *process) interrupt(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}

// result is what a command that ends by itself did.
type result struct {
	code        int
	out, errors string
}

// runCommand runs the program under test to its end.
func runCommand(t *testing.T, env []string, stdin string, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	cmd.Env = environment(env...)
	cmd.WaitDelay = patience
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
	}
	return result{code: cmd.ProcessState.ExitCode(), out: out.String(), errors: errs.String()}
}

// node is a server.
type node struct {
	*process
	URL string `json:"url"`
	PID int    `json:"pid"`
	Key string `json:"api_key"`
}

// dev starts a dev server on a free port and waits until it accepts.
func dev(t *testing.T, args ...string) *node {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ready.json")
	n := &node{process: start(t, append([]string{"dev", "--listen", "127.0.0.1:0", "--ready-file", file}, args...)...)}
	n.line(t) // the banner comes after the ready file
	n.read(t, file)
	go func() { // the rest of the banner
		for range n.out {
		}
	}()
	return n
}

// read reads the ready file.
func (n *node) read(t *testing.T, file string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, n); err != nil {
		t.Fatalf("ready file %s: %v", content, err)
	}
}

// as is the base URL for a user.
func (n *node) as(user string) string { return n.URL + "?user=" + user }

// published is the answer to a publish.
type published struct {
	Position  string
	Receivers struct{ Connections int }
}

// publish sends a message to a user through the API.
func (n *node) publish(t *testing.T, user, typ string, number int) published {
	t.Helper()
	body := fmt.Sprintf(`{"to":{"user":%q},"type":%q,"payload":{"n":%d}}`, user, typ, number)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.URL+"/api/v1/publish", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+n.Key)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("got %s with %s, %v, want 200", res.Status, answer, err)
	}
	var p published
	if err := json.Unmarshal(answer, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// awaitDevices publishes markers until one has reached so many connections of a user. A
// device may see some of them.
func (n *node) awaitDevices(t *testing.T, user string, devices int) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if n.publish(t, user, marker, 0).Receivers.Connections == devices {
			return
		}
	}
	t.Fatalf("%s has not got %d connections after %v", user, devices, patience)
}

// marker is a message type that only waits for devices.
const marker = "test_marker"

// message is a line that tail prints.
type message struct {
	Type     string
	Topic    string
	Position string
	Payload  struct{ N int }
}

// next returns the next message that is no marker.
func (p *process) next(t *testing.T) message {
	t.Helper()
	for {
		var m message
		line := p.line(t)
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%s printed %q, want JSON: %v", p.name, line, err)
		}
		if m.Type != marker {
			return m
		}
	}
}
