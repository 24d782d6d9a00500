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

// whyHandshakes is the reason of a refusal.
const whyHandshakes = "handshakes"

// logAdmission is how often at most refusals of one kind are logged where operators see them.
const logAdmission = 10 * time.Second

// admission bounds how many handshakes are at work and how many begin in a second, before
// anything is done for them that costs much.
type admission struct {
	mu      sync.Mutex // guards the fields below
	common  entrance   // for everybody
	kept    entrance   // a quarter, for clients that were here and whose user has a run that lives
	filled  time.Time
	users   map[userID]int // who was let in by the kept entrance in this second, and how often
	second  time.Time      // when it began
	perUser int            // times in a second, at the kept entrance; 0: no bound
}

// entrance is a part of what there is. Nobody who comes by one takes from the other: a user with
// a live run cannot keep the others out.
type entrance struct {
	most, working int     // at work; most 0: no bound
	rate, tokens  float64 // in a second, and handshakes that may begin now; rate 0: no bound
	shut          bool    // there is too little to keep a part of it
}

func (a *admission) init(limits Limits) {
	kept, rate := limits.Handshakes/4, float64(limits.HandshakesPerSecond/4)
	a.common = entrance{most: limits.Handshakes - kept, rate: float64(limits.HandshakesPerSecond) - rate}
	a.kept = entrance{most: kept, rate: rate}
	a.kept.shut = limits.Handshakes > 0 && kept == 0 || limits.HandshakesPerSecond > 0 && rate == 0
	a.common.tokens, a.kept.tokens = a.common.rate, a.kept.rate
	a.filled, a.perUser = time.Now(), limits.ConnsPerUser
}

// enter lets a handshake begin; leave ends it.
func (a *admission) enter() (leave func(), ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fill(time.Now())
	return a.enterLocked(&a.common)
}

// enterFirst is enter by the kept entrance, which each user has a share of.
func (a *admission) enterFirst(user userID) (leave func(), ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	a.fill(now)
	if now.Sub(a.second) >= time.Second {
		a.users, a.second = make(map[userID]int), now
	}
	if a.perUser > 0 && a.users[user] >= a.perUser {
		return nil, false
	}
	if leave, ok = a.enterLocked(&a.kept); ok {
		a.users[user]++
	}
	return leave, ok
}

// fill adds what has become free. What the kept entrance has no use for goes to the common one.
// The caller holds a.mu.
func (a *admission) fill(now time.Time) {
	seconds := now.Sub(a.filled).Seconds()
	a.filled = now
	before := a.kept.tokens
	a.kept.tokens = min(a.kept.rate, before+a.kept.rate*seconds)
	more := (a.common.rate+a.kept.rate)*seconds - (a.kept.tokens - before)
	a.common.tokens = min(a.common.rate, a.common.tokens+more)
}

// full reports whether no handshake may begin.
func (e *entrance) full() bool {
	return e.shut || e.most > 0 && e.working >= e.most || e.rate > 0 && e.tokens < 1
}

func (a *admission) enterLocked(e *entrance) (leave func(), ok bool) {
	if e.full() {
		return nil, false
	}
	e.working++
	e.tokens--
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		e.working--
	}, true
}

// beginLogin admits a handshake, or the login of a call, or refuses it. Nothing was asked of anybody
// by then: neither the authenticator nor the broker. The caller calls leave at the end.
func (m *Manager) beginLogin(r *http.Request, offered []string) (leave func(), err error) {
	leave, ok := m.admission.enter()
	if !ok {
		if user, first := m.comesFirst(r, offered); first {
			if leave, ok = m.admission.enterFirst(user); ok {
				m.count.first.Add(1)
			}
		}
	}
	if ok {
		return leave, nil
	}
	if n := m.door.notices.add(whyHandshakes, time.Now()); n > 0 {
		m.log.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelWarn, "too many handshakes: clients are told to come back later",
			slog.Int("refused", n))
	}
	return nil, errOverloaded()
}

// leave ends what beginLogin has begun, once.
func (h *handshake) leave() {
	if h.left != nil {
		h.left()
		h.left = nil
	}
}

// comesFirst reports whose client it is if it has a session and its user a run that lives here.
// The session token cannot be forged and costs no more than to open it.
func (m *Manager) comesFirst(r *http.Request, offered []string) (user userID, first bool) {
	kind, token := credentialOf(r, offered)
	if kind != sessionCredential {
		return user, false
	}
	l, err := m.resume(token)
	if err != nil {
		return user, false
	}
	user = userID{l.identity.Tenant, l.identity.User}
	return user, m.runs.liveFor(user)
}

// liveFor reports whether a user has asked for a run that lives, or gets one.
func (o *ownedRuns) liveFor(user userID) bool {
	o.mu.Lock()
	list := slices.Collect(maps.Keys(o.users[user]))
	o.mu.Unlock()
	return slices.ContainsFunc(list, func(r *ownedRun) bool { return !r.gone() })
}

// errOverloaded asks each client to come back after a time of its own, so that those who came
// together do not come back together.
func errOverloaded() *refusal {
	after := time.Duration(retryAfter)*time.Second/2 + rand.N(4*retryAfter*time.Second) //nolint:gosec // who guesses it learns when another client comes back
	return &refusal{why: whyHandshakes, cause: &Error{
		Code: wire.CodeUnavailable, Message: "too many clients connect at once", Details: map[string]any{"retry_after_ms": int(after.Milliseconds())},
	}}
}
