package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/netra-systems/switchboard/internal/audit"
)

func TestAuditVerifyTellsWhatThereIsOrTheLineThatIsWrong(t *testing.T) {
	data := t.TempDir()
	if got := runCommand(t, nil, "", "audit", "verify"); got.code != exitUsage || !strings.Contains(got.errors, "--data") {
		t.Errorf("got %d and %q without a directory, want %d", got.code, got.errors, exitUsage)
	}
	if got := runCommand(t, nil, "", "audit", "verify", "--data", data); got.code != exitFailure {
		t.Errorf("got %d and %q where there is no log, want %d", got.code, got.errors, exitFailure)
	}
	l, err := audit.Open(audit.Options{Dir: filepath.Join(data, "audit")})
	if err != nil {
		t.Fatal(err)
	}
	l.Record(audit.Event{Action: "ticket", User: "carol", Actor: "shop"})
	l.Record(audit.Event{Action: "ticket", Tenant: "acme", User: "dora", Actor: "shop"})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^actors: 1 lines in 1 files, from \d to \d\n  before the first  0{64}\n  of the newest     [0-9a-f]{64}\nstrangers: no lines\n` +
		`tenant-[0-9a-f]{32} of "acme": 1 lines in 1 files, from \d to \d\n  before the first  0{64}\n  of the newest     [0-9a-f]{64}\n$`)
	if got := runCommand(t, nil, "", "audit", "verify", "--data", data); got.code != exitOK || !want.MatchString(got.out) {
		t.Errorf("got %d, %q and %q, want %s", got.code, got.out, got.errors, want)
	}
	files, err := filepath.Glob(filepath.Join(data, "audit", "actors-*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[0], []byte(strings.Replace(string(text), "carol", "david", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	got := runCommand(t, []string{"SWITCHBOARD_DATA=" + data}, "", "audit", "verify")
	if got.code != exitFailure || got.out != "" || !strings.Contains(got.errors, files[0]+":1:") {
		t.Errorf("got %d, %q and %q, want %d and the line", got.code, got.out, got.errors, exitFailure)
	}
}
