package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/internal/quota"
	"github.com/netra-systems/switchboard/wire"
)

const (
	usualGuesses = 10      // refused keys a minute and address
	guessers     = 1 << 14 // addresses that are told apart
	logGuesses   = 10 * time.Second
)

// guesses bounds how many wrong keys an address may show.
type guesses struct {
	addressOf func(*http.Request) netip.Addr
	wrong     *quota.Table[netip.Prefix]

	mu      sync.Mutex // guards the fields below
	refused int        // since that was logged
	logged  time.Time
}

// init sets the bound: 0 is the usual one, and below there is none.
func (g *guesses) init(addressOf func(*http.Request) netip.Addr, perMinute int) {
	if perMinute == 0 {
		perMinute = usualGuesses
	}
	g.addressOf, g.wrong = addressOf, quota.New[netip.Prefix](float64(perMinute), perMinute, guessers)
}

// may reports whether a key of the address that r comes from is looked at.
func (g *guesses) may(r *http.Request) (wait time.Duration, ok bool) {
	key, bound := quota.Address(g.addressOf(r))
	if !bound {
		return 0, true
	}
	return g.wrong.Holds(key, 1, time.Now())
}

// add counts a wrong key.
func (g *guesses) add(r *http.Request) {
	if key, bound := quota.Address(g.addressOf(r)); bound {
		g.wrong.Take(key, 1, time.Now())
	}
}

// count counts who is refused unseen, and returns how many there were, if it is to be logged now.
func (g *guesses) count(now time.Time) (refused int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused++
	if now.Sub(g.logged) >= logGuesses {
		refused, g.refused, g.logged = g.refused, 0, now
	}
	return refused
}

// tooManyGuesses refuses a call whose key is not looked at.
func (a *api) tooManyGuesses(w http.ResponseWriter, r *http.Request, wait time.Duration) {
	if n := a.guesses.count(time.Now()); n > 0 {
		a.log.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelWarn, "api keys are not looked at: too many of this address were wrong",
			slog.Int("refused", n), slog.String("address", a.guesses.addressOf(r).String()))
	}
	newProblem(http.StatusTooManyRequests, wire.CodeRateLimited, "too many keys from this address were refused").
		with(retryDetail, wait.Milliseconds()).write(w)
}
