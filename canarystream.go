package switchboard

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// canaryStream is an event stream of a canary, whose client claims to have had what is another's. It
// stays until the end of the round, so that all that comes of it has come.
type canaryStream struct {
	header http.Header
	end    context.CancelFunc
	done   chan struct{} // closed behind its last use of what follows
	wrote  chan struct{} // capacity 1

	mu     sync.Mutex // guards the fields below
	status int
	body   []byte
}

// follow opens one, and waits for its first events: the welcome, and what the server has to say to
// the claim.
func (c *canary) follow(ctx context.Context, had wire.Restore) {
	if c.failed != nil {
		return
	}
	c.way = "event stream"
	r, err := c.streamRequest(ctx, had)
	if err != nil {
		c.failed = err
		return
	}
	ctx, end := context.WithCancel(ctx)
	s := &canaryStream{header: http.Header{}, end: end, done: make(chan struct{}), wrote: make(chan struct{}, 1)}
	c.heard = append(c.heard, s)
	go func() {
		defer close(s.done)
		c.m.ServeHTTP(s, r.WithContext(ctx))
	}()
	if !s.await(func(body []byte) bool { return bytes.Count(body, []byte("\n\n")) > 1 }) {
		c.failed = errNoAnswer
		return
	}
	c.m.count.canaryTries.Add(1)
}

func (c *canary) streamRequest(ctx context.Context, had wire.Restore) (*http.Request, error) {
	ticket, err := (&flock{m: c.m}).ticket(ctx, c.home)
	if err != nil {
		return nil, err
	}
	id, err := eventID(had)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, canaryURL+ticket, http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", eventStream)
	r.Header.Set(lastEventHeader, id)
	return r, nil
}

// await waits until found says so of all that has come.
func (s *canaryStream) await(found func(body []byte) bool) bool {
	timer := time.NewTimer(canaryAnswer)
	defer timer.Stop()
	for {
		s.mu.Lock()
		ok := s.status == http.StatusOK && found(s.body)
		s.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-s.wrote:
		case <-s.done:
			return false
		case <-timer.C:
			return false
		}
	}
}

// close ends the stream, and returns what came.
func (s *canaryStream) close() []byte {
	s.end()
	<-s.done
	return s.body
}

// Header implements [http.ResponseWriter].
func (s *canaryStream) Header() http.Header { return s.header }

// WriteHeader implements [http.ResponseWriter].
func (s *canaryStream) WriteHeader(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status == 0 {
		s.status = status
	}
}

func (s *canaryStream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.body = append(s.body, b...)
	select {
	case s.wrote <- struct{}{}:
	default:
	}
	return len(b), nil
}

// Flush and SetWriteDeadline are what [http.ResponseController] asks of an event stream.
func (s *canaryStream) Flush() {}

// SetWriteDeadline does nothing: what is written is kept at once.
func (s *canaryStream) SetWriteDeadline(time.Time) error { return nil }
