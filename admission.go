package switchboard

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// logAdmission is how often at most an overload is logged.
const logAdmission = 10 * time.Second

// admission bounds how many handshakes are at work and how many begin in a second, before
// anything is done for them that costs much. A part of both is kept for clients that were here
// and whose user has a run that lives.
type admission struct {
	most int     // at work; 0: no bound
	rate float64 // in a second; 0: no bound

	mu      sync.Mutex // guards the fields below
	working int
	tokens  float64 // handshakes that may begin now; it grows by rate
	filled  time.Time
	logged  time.Time
	refused int // since it was logged
}

func (a *admission) init(limits Limits) {
	a.most, a.rate = limits.Handshakes, float64(limits.HandshakesPerSecond)
	a.tokens, a.filled = a.rate, time.Now()
}

// enter lets a handshake begin. Without first it leaves a quarter of what there is to others.
func (a *admission) enter(first bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	a.tokens, a.filled = min(a.rate, a.tokens+a.rate*now.Sub(a.filled).Seconds()), now
	most, least := a.most, 1.0
	if !first {
		most, least = max(1, a.most-a.most/4), max(1, a.rate/4)
	}
	if a.most > 0 && a.working >= most || a.rate > 0 && a.tokens < least {
		return false
	}
	a.working++
	a.tokens--
	return true
}

func (a *admission) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.working--
}

// refuse counts a refusal and returns how many there were since that was logged, if it is to be
// logged now.
func (a *admission) refuse() (refused int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused++
	if now := time.Now(); now.Sub(a.logged) >= logAdmission {
		refused, a.refused, a.logged = a.refused, 0, now
	}
	return refused
}

// begin admits the handshake or refuses it. Nothing was asked of anybody by then: neither the
// authenticator nor the broker. The caller calls leave after nil.
func (h *handshake) begin() error {
	m := h.m
	if m.admission.enter(false) {
		return nil
	}
	if m.comesFirst(h.r, h.offered) && m.admission.enter(true) {
		m.count.first.Add(1)
		return nil
	}
	if n := m.admission.refuse(); n > 0 {
		m.log.LogAttrs(context.WithoutCancel(h.r.Context()), slog.LevelWarn, "too many handshakes: clients are told to come back later",
			slog.Int("refused", n))
	}
	return errOverloaded()
}

// comesFirst reports whether a client has a session and its user a run that lives here. The
// session token cannot be forged and costs no more than to open it.
func (m *Manager) comesFirst(r *http.Request, offered []string) bool {
	kind, token := credentialOf(r, offered)
	if kind != sessionCredential {
		return false
	}
	l, err := m.resume(token)
	return err == nil && m.runs.liveFor(l.identity.Tenant, l.identity.User)
}

// liveFor reports whether a user has asked for a run that lives, or gets one.
func (o *ownedRuns) liveFor(tenant, user string) bool {
	o.mu.Lock()
	list := slices.Collect(maps.Keys(o.users[userID{tenant, user}]))
	o.mu.Unlock()
	return slices.ContainsFunc(list, func(r *ownedRun) bool { return !r.gone() })
}

// errOverloaded asks each client to come back after a time of its own, so that those who came
// together do not come back together.
func errOverloaded() *refusal {
	after := time.Duration(retryAfter)*time.Second/2 + rand.N(4*retryAfter*time.Second)
	return &refusal{why: "handshakes", cause: &Error{
		Code: wire.CodeUnavailable, Message: "too many clients connect at once", Details: map[string]any{"retry_after_ms": int(after.Milliseconds())},
	}}
}
