package ws

import (
	"runtime"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/internal/yield"
)

// Goroutines that are ready are run one after the other: behind a few hundred floods everybody would
// wait until all were dealt with. So connections that tell much take turns, which begin when a
// processor has nothing else to do, and take a quarter of the processors' time at most.
const (
	// stretch is how many messages a connection may tell at once, and in a turn. A long one counts for
	// more, and so does one that takes long.
	stretch      = 16
	stretchBytes = 4 << 10
	stretchTime  = 16 * time.Microsecond

	// refill is how often a connection may tell a message more without a turn.
	refill = time.Millisecond
	// muchOwed is how many messages too many make of a connection one that has told much for a while,
	// and maxOwed how many are counted.
	muchOwed = 4 * stretch
	maxOwed  = 16 * stretch

	// turnTime is how long others wait for a turn that does not end, because a message in it waits for
	// something itself.
	turnTime = time.Millisecond
	// heavyTurn: every so many turns one is for those who have told much for a while, though there are
	// others.
	heavyTurn = 4
)

// units is what a message counts.
func units(size int, took time.Duration) uint32 {
	return uint32(1 + min(size/stretchBytes+int(took/stretchTime), stretch)) //nolint:gosec // it is 17 at most
}

// load is how much a connection has told.
type load struct {
	owes uint32 // until when it has told enough, in refills since the engine began
	told uint32 // of its stretch
}

// add counts a message and reports whether a turn is due, and whether much was told for a while.
func (l *load) add(now, n uint32) (due, heavy bool) {
	owed := l.owes - now
	if owed > maxOwed { // it is of the past
		owed = 0
	}
	owed = min(owed+min(n, stretch/2), maxOwed) // one message alone is not too much, whatever it waited for
	l.owes = now + owed
	if owed <= stretch {
		l.told = 0
		return false, false
	}
	if l.told += n; l.told < stretch {
		return false, false
	}
	l.told = 0
	return true, owed > muchOwed
}

// turn is the right to tell a stretch of messages before others.
type turn chan struct{}

// turns gives them out, of each class in the order in which they were asked for.
type turns struct {
	light, heavy chan turn // unbuffered
	closing      chan struct{}
	givers       sync.WaitGroup
}

// newTurns makes turns that are given out until close is called.
func newTurns() *turns {
	t := &turns{light: make(chan turn), heavy: make(chan turn), closing: make(chan struct{})}
	processors := runtime.GOMAXPROCS(0)
	rest := time.Duration(1) // of each second processor half of the time
	if processors == 1 {
		rest = 3
	}
	for range max(1, processors/2) {
		t.givers.Go(func() { t.give(rest) })
	}
	return t
}

// take waits for a turn, whose end the caller tells by closing it. There is none any more when t is
// being closed.
func (t *turns) take(heavy bool) turn {
	class := t.light
	if heavy {
		class = t.heavy
	}
	select {
	case given := <-class:
		return given
	case <-t.closing:
		return nil
	}
}

// give gives out turns one after the other, and rests for a multiple of what they take.
func (t *turns) give(rest time.Duration) {
	yielder := yield.New()
	defer yielder.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var taken time.Duration
	for n := 1; ; n++ {
		if taken >= turnTime { // a system waits no less than that
			timer.Reset(rest * taken)
			select {
			case <-timer.C:
			case <-t.closing:
				return
			}
			taken = 0
		}
		yielder.Yield()
		given := make(turn)
		if !t.hand(given, n%heavyTurn == 0) {
			return
		}
		began := time.Now()
		timer.Reset(turnTime)
		select {
		case <-given:
			taken += time.Since(began)
		case <-timer.C:
			taken += turnTime
		case <-t.closing:
			return
		}
	}
}

// hand gives a turn to who waits for one, once somebody does. It reports false when t is being closed.
func (t *turns) hand(given turn, heavy bool) bool {
	first, second := t.light, t.heavy
	if heavy {
		first, second = second, first
	}
	select {
	case first <- given:
		return true
	default:
	}
	select {
	case first <- given:
	case second <- given:
	case <-t.closing:
		return false
	}
	return true
}

// close lets everybody go on who waits, and ends what give began.
func (t *turns) close() {
	close(t.closing)
	t.givers.Wait()
}
