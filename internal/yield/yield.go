// Package yield lets goroutines that have much to do go behind all others.
//
// A processor runs goroutines that are ready one after the other, and asks the network only when
// none is left: while there always is one, who waits for a socket is looked after a hundred times a
// second. [runtime.Gosched] is no help: it comes before the network is asked.
package yield

import (
	"runtime"
	"time"
)

// pause is what a Yielder waits where it cannot do better.
const pause = time.Millisecond

// Yielder is what a goroutine yields with. One goroutine at a time uses it.
type Yielder struct{ wakeup }

// New makes a Yielder. It holds two descriptors until it is closed; where the system has none left,
// or no such thing, Yield only waits a millisecond.
func New() *Yielder {
	y := new(Yielder)
	y.open()
	return y
}

// Yield returns when a processor has nothing else to do: behind goroutines that were ready, and behind
// those for which something had come in from the network. It reports how long it took. Where there never
// is such a moment it takes some ten milliseconds and more: who yields makes progress.
func (y *Yielder) Yield() time.Duration {
	began := time.Now()
	if !y.wait() {
		<-time.After(pause)
		return time.Since(began)
	}
	// Others whose wait has ended with this one are ready now, in any order. Now and then who steps back
	// is taken first nevertheless, but not twice in a row.
	runtime.Gosched()
	runtime.Gosched()
	return time.Since(began)
}

// Close gives back what y holds. It may be called while y is used, and more than once.
func (y *Yielder) Close() { y.close() }
