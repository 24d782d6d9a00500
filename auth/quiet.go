package auth

import (
	"sync"
	"time"
)

// complainEvery is how often at most the same trouble is logged.
const complainEvery = 10 * time.Second

// quiet keeps a log short. Its zero value is ready; it may be used concurrently.
type quiet struct {
	mu   sync.Mutex // guards last
	last time.Time
}

// over reports whether it is time for another line.
func (q *quiet) over(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Sub(q.last) < complainEvery {
		return false
	}
	q.last = now
	return true
}
