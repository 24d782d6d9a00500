package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// fence is a code block of a document.
type fence struct{ language, code string }

func fences(t *testing.T, file string) []fence {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var found []fence
	for _, m := range regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		found = append(found, fence{m[1], m[2]})
	}
	return found
}

// TestTheShellBlocksOfAgentsWork runs them, in one shell as a reader does, against a server with
// the agent of dev. What a block prints is in the block of JSON behind it, … for anything.
func TestTheShellBlocksOfAgentsWork(t *testing.T) {
	dir := t.TempDir()
	const mark = "-- end of block"
	var script strings.Builder
	script.WriteString("set -euo pipefail\n")
	var expected []string
	blocks := fences(t, "../../docs/agents.md")
	for i, b := range blocks {
		switch b.language {
		case "sh":
			code := regexp.MustCompile(`(?m)^export SWITCHBOARD_\w+=.*\n`).ReplaceAllString(b.code, "")
			fmt.Fprintf(&script, "%s\necho; echo '%s'\n", code, mark)
			want := ""
			if i+1 < len(blocks) && blocks[i+1].language == "json" {
				want = blocks[i+1].code
			}
			expected = append(expected, want)
		case "python":
			name := regexp.MustCompile(`^# (\w+\.py)`).FindStringSubmatch(b.code)
			if name == nil {
				t.Fatalf("the Python block has no name:\n%s", b.code)
			}
			if err := os.WriteFile(filepath.Join(dir, name[1]), []byte(b.code), 0o600); err != nil {
				t.Fatal(err)
			}
		case "go", "json":
		default:
			t.Errorf("nobody runs blocks of %s", b.language)
		}
	}
	n := dev(t, "--words-per-second", "0")
	env := environment("SWITCHBOARD_URL="+n.URL, "SWITCHBOARD_API_KEY="+n.Key, "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script.String())
	cmd.WaitDelay = time.Second // for what the shell has started
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &out, &errs
	err := cmd.Run()
	parts := strings.Split(out.String(), mark+"\n")
	if err != nil || len(parts) != len(expected)+1 {
		t.Fatalf("the shell ended with %v after %d of %d blocks\n%s\n%s", err, len(parts)-1, len(expected), out.String(), errs.String())
	}
	for i, want := range expected {
		got := strings.TrimSpace(parts[i])
		if want == "" {
			continue
		}
		pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(want)), "…", "[^\n]*")
		pattern = strings.ReplaceAll(pattern, "\n", "\n*") // answers may end without a line break
		if !regexp.MustCompile("^" + pattern + "$").MatchString(got) {
			t.Errorf("block %d: got\n%s\nwant\n%s", i+1, got, want)
		}
	}
	if answer := out.String(); !strings.Contains(answer, "> ") || !regexp.MustCompile(`\w+\.md:\d+`).MatchString(answer) {
		t.Errorf("no answer quotes a passage with file and line:\n%s", answer)
	}
}
