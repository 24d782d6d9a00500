package server

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// heapFloor is a heap that need not be collected yet, and mostGrowth how many times what is in
	// use one may be beneath it.
	heapFloor  = 256 << 20
	mostGrowth = 5

	heapLook = time.Second
	heapLive = "/gc/heap/live:bytes"
)

// CollectSeldom lets a heap that is small grow to several times of what is in use before it is
// collected, until stop is called, which waits. What a collection costs follows the number of
// connections, and how often there is one follows what clients send: a flood would have the
// stacks of everybody looked through many times a second, for a few megabytes. GOGC in the
// environment, and GOMEMLIMIT, count more. It is for the program that owns the process.
func CollectSeldom() (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	last := heapPercent(0)
	before := debug.SetGCPercent(last)
	var looking sync.WaitGroup
	looking.Go(func() {
		tick := time.NewTicker(heapLook)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			sample := []metrics.Sample{{Name: heapLive}}
			metrics.Read(sample)
			// Setting it stops the program for a moment, so not for every trifle.
			if now := heapPercent(sample[0].Value.Uint64()); now < last*9/10 || now > last*11/10 {
				last = now
				debug.SetGCPercent(now)
			}
		}
	})
	return func() {
		cancel()
		looking.Wait()
		debug.SetGCPercent(before)
	}
}

// heapPercent is what GOGC should be with so many bytes in use: 100 is that of Go, with which a
// heap doubles.
func heapPercent(live uint64) int {
	live = max(live, 1<<20)
	grown := max(2*live, min(mostGrowth*live, heapFloor))
	return int(100 * (grown - live) / live) //nolint:gosec // mostGrowth bounds it
}
