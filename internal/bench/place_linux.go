package bench

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// halves divides the processors that this process may use.
func halves() (first, second unix.CPUSet, err error) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return first, second, fmt.Errorf("find out the processors: %w", err)
	}
	if all.Count() < 2 {
		return first, second, errors.New("one processor cannot be divided")
	}
	for cpu, n := 0, 0; n < all.Count(); cpu++ {
		switch {
		case !all.IsSet(cpu):
			continue
		case n < all.Count()/2:
			first.Set(cpu)
		default:
			second.Set(cpu)
		}
		n++
	}
	return first, second, nil
}

// apart lets the process that start starts have half of the processors, and this one, with what it starts
// later, the other half for good.
func apart(start func() error) error {
	theirs, own, err := halves()
	if err != nil {
		return err
	}
	runtime.LockOSThread() // what is started inherits from the thread
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, &theirs); err != nil {
		return fmt.Errorf("choose processors: %w", err)
	}
	started := start()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return errors.Join(started, err)
	}
	for _, thread := range threads {
		if id, err := strconv.Atoi(thread.Name()); err == nil {
			_ = unix.SchedSetaffinity(id, &own) // it may have ended
		}
	}
	return started
}
