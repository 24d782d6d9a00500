package devlink

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// direction is which way bytes go.
type direction int

const (
	in direction = iota
	out
)

// link is the state of one link. Its connections refer to it; it knows none of them.
type link struct {
	mu       sync.Mutex         // guards the fields below
	life     context.Context    // ends at the next cut
	end      context.CancelFunc // of life
	cutUntil time.Time          // before that nothing comes through
	pace     *pace              // nil: as fast as the network is
	changed  chan struct{}      // closed when pace changes
	users    int                // handshakes and connections
	idle     time.Time          // when the last of them left
}

// pace is how fast a link is, for a while. It is immutable.
type pace struct {
	until    time.Time
	step     int              // bytes that go at once
	limiters [2]*rate.Limiter // by direction
}

func newLink() *link {
	l := &link{changed: make(chan struct{}), users: 1}
	l.life, l.end = context.WithCancel(context.Background())
	return l
}

// newPace divides a second into steps that are short enough to look like a steady flow.
func newPace(bytesPerSecond int, until time.Time) *pace {
	p := &pace{until: until, step: min(max(bytesPerSecond/stepsPerSecond, minStep), maxStep)}
	for i := range p.limiters {
		p.limiters[i] = rate.NewLimiter(rate.Limit(bytesPerSecond), p.step)
	}
	return p
}

// now returns the pace at a moment, nil if there is none, and a channel that is closed when
// that changes before p.until.
func (l *link) now(at time.Time) (p *pace, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pace != nil && !at.Before(l.pace.until) {
		l.pace = nil
	}
	return l.pace, l.changed
}

// slow gives the link a pace, or with nil takes it away.
func (l *link) slow(p *pace) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pace = p
	close(l.changed)
	l.changed = make(chan struct{})
}

// cut ends what there is and keeps out what comes before until.
func (l *link) cut(until time.Time) {
	l.mu.Lock()
	end := l.end
	l.life, l.end = context.WithCancel(context.Background())
	l.cutUntil = until
	l.mu.Unlock()
	end() // each connection resets itself
}

// join returns the life that a connection shares, and false while the link is cut.
func (l *link) join() (life context.Context, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.life, !time.Now().Before(l.cutUntil)
}

// enter and leave count who uses the link.
func (l *link) enter() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users++
}

func (l *link) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users--; l.users == 0 {
		l.idle = time.Now()
	}
}

// unused returns since when nobody uses the link (false: somebody does), and whether it is as
// if it were new.
func (l *link) unused(now time.Time) (since time.Time, plain, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.idle, !now.Before(l.cutUntil) && (l.pace == nil || !now.Before(l.pace.until)), l.users == 0
}
