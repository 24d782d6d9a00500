package ws

import (
	"runtime"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/internal/yield"
)

// Goroutines that are ready are run one after the other: behind a few hundred floods everybody would
// wait until all were dealt with. So connections that tell much take turns, which begin when a
// processor has nothing else to do, and get a quarter of the processors' time at most, as long as no
// message takes more than turnTime.
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

// units is what a message counts: for itself, for its size, for the work of how many more it is known to be, and
// for how long it took. One that took very long has waited for something, as for a broker on another machine.
func units(size, more int, took time.Duration) uint32 {
	n := size/stretchBytes + more
	if took < turnTime {
		n += int(took / stretchTime)
	}
	return uint32(1 + min(n, stretch)) //nolint:gosec // it is 17 at most
}

// load is how much a connection has told.
type load struct {
	owes uint32 // until when it has told enough, in refills since the engine began
	told uint32 // of its stretch
}

// newLoad is that of a connection that has just come: as if it had told half of what it may. A flood of
// newcomers is one as well.
func newLoad(now uint32) load { return load{owes: now + stretch/2} }

// add counts a message and reports whether a turn is due, and whether much was told for a while.
func (l *load) add(now, n uint32) (due, heavy bool) {
	owed := l.owes - now
	if owed > maxOwed { // it is of the past
		owed = 0
	}
	owed = min(owed+min(n, stretch), maxOwed) // one message alone is not too much
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

// waited says how long was waited for a turn: meanwhile nothing was told, but nothing is forgotten either.
func (l *load) waited(n uint32) { l.owes += n }

// turn is the right to tell a stretch of messages before others. Who has it closes it at its end.
type turn chan struct{}

// turns gives them out.
type turns struct {
	closing chan struct{}
	asked   chan struct{} // capacity 1: somebody asks
	givers  sync.WaitGroup

	mu           sync.Mutex  // guards the fields below
	light, heavy []chan turn // who asks; capacity 1
	given        int         // so far
}

// noTurns makes turns that nobody gives out.
func noTurns() *turns { return &turns{closing: make(chan struct{}), asked: make(chan struct{}, 1)} }

// newTurns makes turns that are given out until close is called.
func newTurns() *turns {
	t := noTurns()
	processors := runtime.GOMAXPROCS(0) // as they are now
	rest := time.Duration(1)            // of each second processor half of the time
	if processors == 1 {
		rest = 3
	}
	for range max(1, processors/2) {
		t.givers.Go(func() { t.give(rest) })
	}
	return t
}

// take waits for a turn. There is none any more when t is being closed.
func (t *turns) take(heavy bool) turn {
	mine := make(chan turn, 1)
	t.mu.Lock()
	if heavy {
		t.heavy = append(t.heavy, mine)
	} else {
		t.light = append(t.light, mine)
	}
	t.mu.Unlock()
	t.wake()
	select {
	case given := <-mine:
		return given
	case <-t.closing:
		return nil
	}
}

func (t *turns) wake() {
	select {
	case t.asked <- struct{}{}:
	default:
	}
}

// next is whose turn it is. Those who began to tell much just now come first, in their order; one of four
// turns is for the others. Of those every second goes to who came last, which is who has just had one: so
// what floods want is over for one after the other, and not for all of them at the end.
func (t *turns) next() (asks chan turn, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.light)+len(t.heavy) == 0 {
		return nil, false
	}
	t.given++
	switch {
	case len(t.light) > 0 && (len(t.heavy) == 0 || t.given%heavyTurn != 0):
		asks, t.light[0] = t.light[0], nil
		t.light = t.light[1:]
	case t.given/heavyTurn%2 == 0:
		asks, t.heavy[0] = t.heavy[0], nil
		t.heavy = t.heavy[1:]
	default:
		last := len(t.heavy) - 1
		asks, t.heavy[last] = t.heavy[last], nil
		t.heavy = t.heavy[:last]
	}
	return asks, len(t.light)+len(t.heavy) > 0
}

// give gives out turns one after the other, and rests for a multiple of what they take.
func (t *turns) give(rest time.Duration) {
	yielder := yield.New()
	defer yielder.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var taken time.Duration
	for {
		select {
		case <-t.asked:
		case <-t.closing:
			return
		}
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
		asks, more := t.next()
		if more {
			t.wake()
		}
		if asks == nil { // another giver was first
			continue
		}
		given := make(turn)
		asks <- given // there is room
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

// close lets everybody go on who waits, and ends what give began.
func (t *turns) close() {
	close(t.closing)
	t.givers.Wait()
}
