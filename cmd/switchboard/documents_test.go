package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/netra-systems/switchboard/internal/pages"
)

// terminals makes one shell do what a reader does in several terminals. The server that a
// page starts with dev is there already; what runs until it is stopped runs in the background, and
// must still do so when the page has come to its end. The last argument of an example is its address.
const terminals = `set -euo pipefail
background=()
behind() { "$@" >>background.txt 2>&1 & background+=($!); }
switchboard() {
  case $1 in
  dev) ;;
  serve) behind "$program" "$@" --listen 127.0.0.1:0 ;;
  tail) behind "$program" "$@" ;;
  *) "$program" "$@" ;;
  esac
}
go() {
  case "$1 $2" in
  "run ./cmd/switchboard") switchboard "${@:3}" ;;
  "run ./examples/"*)
    local name=${2##*/}
    command go -C "$module" build -o "$PWD/$name" "$2"
    behind "./$name" "${@:3}"
    until curl -so "$name.txt" "http://${@: -1}"; do
      kill -0 "${background[-1]}" || finish
      sleep 0.02
    done
    ;;
  *) command go -C "$module" "$@" ;;
  esac
}
./test() { :; } # it runs this
finish() {
  for process in ${background[@]+"${background[@]}"}; do
    kill "$process" || { cat background.txt >&2; return 1; }
  done
  wait
}
`

// TestTheShellBlocksOfDocumentsWork runs those of each document, in one shell as a reader does,
// against a server with the agent of dev, and compares what they print with what the document
// says.
func TestTheShellBlocksOfDocumentsWork(t *testing.T) {
	all, err := pages.Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, page := range all {
		script := page.Script()
		if script.Text == "" {
			continue
		}
		ran++
		t.Run(page.File, func(t *testing.T) {
			t.Parallel()
			out, errs, err := carryOut(t, script)
			for _, problem := range script.Compare(out) {
				t.Error(problem)
			}
			if err != nil {
				t.Errorf("the shell ended with %v\n%s\n%s", err, out, errs)
			}
			if page.File == "docs/agents.md" && (!strings.Contains(out, "> ") || !regexp.MustCompile(`\w+\.md:\d+`).MatchString(out)) {
				t.Errorf("no answer quotes a passage with file and line:\n%s", out)
			}
		})
	}
	if ran < 3 {
		t.Errorf("%d documents have shell blocks, want more", ran)
	}
}

// carryOut runs a script in a folder of its own. The addresses and the key that documents have
// become those of this test.
func carryOut(t *testing.T, script pages.Script) (out, errs string, err error) {
	t.Helper()
	n := dev(t, "--words-per-second", "0")
	dir := t.TempDir()
	here := strings.NewReplacer("http://127.0.0.1:8080", n.URL, "127.0.0.1:8081", freeAddress(t), "SWITCHBOARD_API_KEY=…", "SWITCHBOARD_API_KEY="+n.Key)
	for name, text := range script.Files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(here.Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	module, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", terminals+here.Replace(script.Text)+"finish\n")
	// What the shell has started ends with it, however it ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	cmd.Env = environment("program="+binary, "module="+module, "SWITCHBOARD_URL="+n.URL, "SWITCHBOARD_API_KEY="+n.Key)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	_ = cmd.Cancel()
	return stdout.String(), stderr.String(), err
}

// freeAddress is one on which nothing listens at the moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func TestAScriptThatFailsIsSeen(t *testing.T) {
	for _, tt := range []struct{ name, code, want string }{
		{"a command that fails", "false", "0 of 1 blocks ended"},
		{"a terminal in which nothing runs any more", "go run ./cmd/switchboard tail --url http://127.0.0.1:1\nsleep 1", "exit status 1"},
		{"another output", "echo '{}'\n```\n```json\n{\"n\":1}", "x.md:1: got"},
		{"a refused call", `curl -s http://127.0.0.1:8080/api/v1/history`, "x.md:1: a call was refused"},
		{"nothing wrong", `curl -s http://127.0.0.1:8080/api/v1/history?topic=user/alice -H "Authorization: Bearer $SWITCHBOARD_API_KEY"`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			page, err := pages.Parse("x.md", []byte("```sh\n"+tt.code+"\n```\n"))
			if err != nil {
				t.Fatal(err)
			}
			script := page.Script()
			out, _, err := carryOut(t, script)
			problems := script.Compare(out)
			if err != nil {
				problems = append(problems, err.Error())
			}
			got := strings.Join(problems, "\n")
			if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
