package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is USER_HZ, which is the same on every Linux that Go runs on.
const ticksPerSecond = 100

// usedBy reads what the system knows of a process; of one that is gone that is nothing.
func usedBy(pid int) used {
	u := used{at: time.Now()}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u
	}
	// The name in parentheses may hold anything; user and system time are the 12th and 13th behind it.
	_, rest, _ := strings.Cut(string(stat), ") ")
	if fields := strings.Fields(rest); len(fields) > 12 {
		for _, field := range fields[11:13] {
			n, _ := strconv.Atoi(field)
			u.cpu += time.Duration(n) * time.Second / ticksPerSecond
		}
	}
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, _ := strconv.ParseInt(strings.Fields(kb)[0], 10, 64)
			u.peak = n << 10
		}
	}
	return u
}
