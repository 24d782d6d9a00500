// Package devlink makes the network bad on purpose, for a page that shows what a client does
// about it. A link is what clients of one name share, such as one page on one device; it can
// be cut, as if somebody had pulled the plug, and slowed down. Both happen to real TCP
// connections: the client and the server find out by themselves.
//
// Connections without a link are not touched at all.
package devlink

import (
	"errors"
	"net/http"
	"sync"
	"time"
)

// The bounds of what a link can be told.
const (
	MaxCut         = time.Minute
	MaxSlow        = 2 * time.Minute
	MinBytes       = 256 // per second
	MaxBytes       = 10 << 20
	minName        = 16
	maxName        = 64
	maxLinks       = 256
	keep           = time.Minute // that a link without connections is known
	minStep        = 16          // bytes
	maxStep        = 32 << 10
	stepsPerSecond = 20
)

// What is wrong with a name.
var (
	ErrUnknown = errors.New("no connection has used this link")
	ErrName    = errors.New("must be 16 to 64 of a to z and 0 to 9")
	ErrFull    = errors.New("there are too many links")
)

// Set is the links of a server, by name. A name is a secret of who made it up: nothing else
// keeps others from cutting the link. Make a Set with [New]; all methods may be called
// concurrently. It has no goroutine while nothing is cut.
type Set struct {
	mu    sync.Mutex // guards links
	links map[string]*link

	conns sync.WaitGroup // open ones, what is resetting them, and who answers
}

// New returns a set without links.
func New() *Set { return &Set{links: make(map[string]*link)} }

// Wait returns when no connection over a link is open any more, and no Handle runs.
func (s *Set) Wait() { s.conns.Wait() }

// Handle has next answer a request over the link of that name. If next takes the connection
// over, it is one of the link. While the link is cut the connection is reset instead. The
// error is [ErrName] or [ErrFull]; nothing has been answered then.
func (s *Set) Handle(name string, w http.ResponseWriter, r *http.Request, next http.Handler) error {
	l, err := s.enter(name)
	if err != nil {
		return err
	}
	defer l.leave()
	s.conns.Add(1) // a server that shuts down waits for who answers only until they hijack
	defer s.conns.Done()
	if _, ok := l.join(); !ok {
		unplug(w)
		return nil
	}
	next.ServeHTTP(&writer{ResponseWriter: w, set: s, link: l}, r)
	return nil
}

// Cut resets the connections of a link and those that are opened before d is over, and
// returns when that is. The error is [ErrUnknown].
func (s *Set) Cut(name string, d time.Duration) (until time.Time, err error) {
	l, err := s.find(name)
	if err != nil {
		return until, err
	}
	until = time.Now().Add(d)
	l.cut(until)
	return until, nil
}

// Slow lets through so many bytes a second, each way, over all connections of a link
// together, for d; 0 bytes ends that at once. It returns when the link is free again. The
// error is [ErrUnknown].
func (s *Set) Slow(name string, bytesPerSecond int, d time.Duration) (until time.Time, err error) {
	l, err := s.find(name)
	if err != nil {
		return until, err
	}
	now := time.Now()
	if bytesPerSecond == 0 {
		l.slow(nil)
		return now, nil
	}
	until = now.Add(d)
	l.slow(newPace(bytesPerSecond, until))
	return until, nil
}

func (s *Set) find(name string) (*link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.links[name]; l != nil {
		return l, nil
	}
	return nil, ErrUnknown
}

// enter returns a link, a new one if need be, which leave has to give back.
func (s *Set) enter(name string) (*link, error) {
	if !isName(name) {
		return nil, ErrName
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.links[name]; l != nil {
		l.enter()
		return l, nil
	}
	if !s.makeRoomLocked(time.Now()) {
		return nil, ErrFull
	}
	l := newLink()
	s.links[name] = l
	return l, nil
}

// makeRoomLocked forgets the links that nobody has used for a while and, if it must, the one
// that has been unused for longest, which is one that is cut or slow only if there is no other.
// Who is refused after its handshake has used one too, and could cut or slow as many as fit.
func (s *Set) makeRoomLocked(now time.Time) bool {
	oldest, when, plainest := "", now, false
	for name, l := range s.links {
		switch since, plain, ok := l.unused(now); {
		case !ok:
		case plain && now.Sub(since) > keep:
			delete(s.links, name)
		case oldest == "" || plain && !plainest || plain == plainest && since.Before(when):
			oldest, when, plainest = name, since, plain
		}
	}
	if len(s.links) >= maxLinks && oldest != "" {
		delete(s.links, oldest)
	}
	return len(s.links) < maxLinks
}

func isName(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return len(name) >= minName && len(name) <= maxName
}
