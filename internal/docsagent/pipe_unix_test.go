//go:build unix

package docsagent_test

import (
	"testing"

	"golang.org/x/sys/unix"
)

// pipe makes a named pipe, which would be waited for if it were opened, and returns what is
// said of it.
func pipe(t *testing.T, path string) map[string]string {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"pipe.md": "not a file"}
}
