// Package quota says how often, and how often at once, each of many may do something that costs
// others: a token bucket for each address, user or tenant, in a table that is bounded however many
// of them come, and a gate that counts what is under way.
package quota

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Table gives each key a bucket of its own. All methods may be called concurrently. A nil Table
// has no bound.
type Table[K comparable] struct {
	limit rate.Limit
	burst int
	most  int

	mu    sync.Mutex // guards the fields below
	of    map[K]*rate.Limiter
	rest  *rate.Limiter // of keys for which there is no room
	full  int           // size at which it is looked for buckets that say nothing
	swept time.Time     // when that was last done
}

// New makes a table in which each key may take burst at once and perMinute in the long run.
// At most most keys are told apart: those beyond share a bucket, so that many keys, which an
// attacker may make up, get no more than few, and those who are known keep theirs. It returns
// nil, no bound, if perMinute is not above 0.
func New[K comparable](perMinute float64, burst, most int) *Table[K] {
	if perMinute <= 0 {
		return nil
	}
	t := &Table[K]{limit: rate.Limit(perMinute / 60), burst: max(1, burst), most: max(1, most), of: make(map[K]*rate.Limiter)}
	t.rest = rate.NewLimiter(t.limit, t.burst)
	t.full = min(t.most, smallest)
	return t
}

const (
	// smallest is a number of buckets that need no attention.
	smallest = 1024
	// pause lies between two looks for buckets that say nothing: a full table costs no more than
	// one look a second, however many come.
	pause = time.Second
)

// Take takes n out of the bucket of key. If so much is not in it, nothing is taken, and wait says
// how long until it is; n above the burst is never there, and waits for a full bucket.
func (t *Table[K]) Take(key K, n int, now time.Time) (wait time.Duration, ok bool) {
	if t == nil {
		return 0, true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.bucket(key, now)
	if b.AllowN(now, n) {
		return 0, true
	}
	missing := float64(min(n, t.burst)) - b.TokensAt(now)
	return t.after(missing), false
}

// Owe takes n out of the bucket of key for what was done already, or all that is in it.
func (t *Table[K]) Owe(key K, n int, now time.Time) {
	if t == nil || n <= 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.bucket(key, now)
	b.AllowN(now, min(n, int(b.TokensAt(now))))
}

// Holds reports what [Table.Take] would, and takes nothing.
func (t *Table[K]) Holds(key K, n int, now time.Time) (wait time.Duration, ok bool) {
	if t == nil {
		return 0, true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.of[key]
	if b == nil && len(t.of) < t.most {
		return 0, n <= t.burst // its bucket would be a full one
	}
	if b == nil {
		b = t.rest
	}
	missing := float64(min(n, t.burst)) - b.TokensAt(now)
	if missing <= 0 {
		return 0, n <= t.burst
	}
	return t.after(missing), false
}

// after is how long so much takes to come into a bucket.
func (t *Table[K]) after(missing float64) time.Duration {
	return max(time.Millisecond, time.Duration(missing/float64(t.limit)*float64(time.Second)))
}

// bucket finds or makes the bucket of key. The caller holds t.mu.
func (t *Table[K]) bucket(key K, now time.Time) *rate.Limiter {
	if b := t.of[key]; b != nil {
		return b
	}
	if len(t.of) >= t.full && now.Sub(t.swept) >= pause {
		t.forget(now)
	}
	if len(t.of) >= t.most {
		return t.rest
	}
	b := rate.NewLimiter(t.limit, t.burst)
	t.of[key] = b
	return b
}

// forget removes buckets that are full again, which is as if they were not there. It is done
// each time that their number has doubled, or that there is no room. The caller holds t.mu.
func (t *Table[K]) forget(now time.Time) {
	for key, b := range t.of {
		if b.TokensAt(now) >= float64(t.burst) {
			delete(t.of, key)
		}
	}
	t.full, t.swept = min(t.most, max(smallest, 2*len(t.of))), now
}

// Len is how many keys are told apart now.
func (t *Table[K]) Len() int {
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.of)
}
