package server

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/internal/quota"
	"github.com/netra-systems/switchboard/wire"
)

const (
	usualReads = 16               // of a tenant, under way at once
	readsWait  = time.Second      // for a place among them
	logReads   = 10 * time.Second // between two that are logged
)

// reads bounds how many calls that read are under way for each tenant. Their answers are large,
// and stay in memory until they are written.
type reads struct {
	gate *quota.Gate[string]

	mu      sync.Mutex // guards the fields below
	refused uint64
	told    uint64    // refused, when that was logged
	logged  time.Time // last
}

// init sets the bound: 0 is the usual one, and below there is none.
func (l *reads) init(most int) {
	if most == 0 {
		most = usualReads
	}
	l.gate = quota.NewGate[string](most)
}

// enter lets a call in, if it does not read or there is a place, for which it may wait a moment. The
// caller calls leave when its answer was written.
func (l *reads) enter(r *http.Request, tenant string) (leave func(), ok bool) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return func() {}, true
	}
	ctx, cancel := context.WithTimeout(r.Context(), readsWait)
	defer cancel()
	return l.gate.Wait(ctx, tenant)
}

// count counts a call for which there was no place, and returns how many there were since the last
// was logged, if it is to be logged now.
func (l *reads) count(now time.Time) (refused uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused++
	if now.Sub(l.logged) < logReads {
		return 0
	}
	refused = l.refused - l.told
	l.told, l.logged = l.refused, now
	return refused
}

// total is how many calls found no place.
func (l *reads) total() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

// tooManyReads refuses a call that reads.
func (a *api) tooManyReads(w http.ResponseWriter, r *http.Request, tenant string) {
	if n := a.reads.count(time.Now()); n > 0 {
		a.log.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelWarn, "back ends read too much at once: what is beyond it is refused",
			slog.Uint64("refused", n), slog.String("tenant", tenant))
	}
	newProblem(http.StatusTooManyRequests, wire.CodeRateLimited, "too many reads of this tenant are under way").
		with("limit", a.reads.gate.Most()).with("scope", "tenant").write(w)
}
