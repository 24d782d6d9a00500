package audit

import (
	"os"

	"golang.org/x/sys/windows"
)

// lock takes f for this process alone, or fails at once. It ends with the process.
func lock(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	return windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped))
}
