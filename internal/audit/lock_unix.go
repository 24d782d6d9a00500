//go:build !windows

package audit

import (
	"os"

	"golang.org/x/sys/unix"
)

// lock takes f for this process alone, or fails at once. It ends with the process.
func lock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
