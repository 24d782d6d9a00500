package switchboard

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// A probe of presence is two users that the manager makes up, as canaries are: one follows a room of
// their own and is cut off without a word, the other is told that it has gone. They are guests of the
// default tenant, or of one made up where that is refused, for as long as it takes, on this node alone.

const (
	// probeLate is how long after OfflineAfter who watches may be told.
	probeLate = time.Second
	// probeWait is how much longer is waited for it.
	probeWait = 10 * time.Second
	// probeTenant is theirs where there is no default tenant.
	probeTenant = "presence-probe"
)

// probes is what the probes of presence have found.
type probes struct {
	mu                sync.Mutex // guards the fields below
	done, late, wrong uint64
	last, worst       time.Duration
	told              bool // that the last one was late
}

// runProbes probes presence until ctx ends.
func (m *Manager) runProbes(ctx context.Context) {
	if m.opts.PresenceProbe == 0 {
		return
	}
	for sleep(ctx, m.opts.PresenceProbe) {
		if m.gate.shut() {
			return
		}
		took, err := m.probePresence(ctx)
		switch {
		case ctx.Err() != nil || m.gate.shut():
			return
		case err != nil:
			m.probes.failed()
			m.log.LogAttrs(ctx, slog.LevelWarn, "presence not probed", slog.Any("err", err))
		case m.probes.took(took, m.opts.Heartbeat.OfflineAfter+probeLate):
			m.log.LogAttrs(ctx, slog.LevelWarn, "who is gone is shown online for too long", slog.Duration("took", took),
				slog.Duration("bound", m.opts.Heartbeat.OfflineAfter+probeLate))
		}
	}
}

func (p *probes) failed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrong++
}

// took notes how long a probe took, and reports whether that is to be told: it is the first one that
// was late since one was not.
func (p *probes) took(d, bound time.Duration) (tell bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	p.last, p.worst = d, max(p.worst, d)
	late := d > bound
	if late {
		p.late++
	}
	tell = late && !p.told
	p.told = late
	return tell
}

// probePresence is how long somebody was shown online who was cut off.
func (m *Manager) probePresence(ctx context.Context) (time.Duration, error) {
	most := m.opts.Heartbeat.OfflineAfter + probeLate + probeWait
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, canaryKey{}, true), most+canaryRound)
	defer cancel()
	name := "probe-" + rand.Text()
	pair := &flock{m: m, room: name, lasts: most + 2*canaryRound}
	defer pair.leave()
	tenant := ""
	if m.opts.RequireTenant {
		tenant = probeTenant
	}
	for _, who := range []string{"-cut", "-watch"} {
		if err := pair.add(ctx, wire.Topic{Tenant: tenant, Kind: wire.KindUser, ID: name + who}); err != nil {
			return 0, fmt.Errorf("connect: %w", err)
		}
	}
	watch, cut := pair.first, pair.first.next
	for _, c := range []*canary{watch, cut} {
		if answer := c.ask(wire.Subscribe, map[string]any{"rooms": []string{name}}); answer.Type != wire.Subscribed {
			return 0, fmt.Errorf("subscribe: %w", errors.Join(errNoAnswer, c.failed))
		}
	}
	if !watch.await(func(_ string, env wire.Envelope, _ []byte) bool { return comes(env, cut.home.ID) }) {
		return 0, fmt.Errorf("come: %w", errNoAnswer)
	}
	died := time.Now()
	if err := cut.conn.Close(); err != nil {
		return 0, fmt.Errorf("cut: %w", err)
	}
	for time.Since(died) < most {
		// Who watches says that it is alive: it answers no pings.
		if _, err := watch.conn.Write(ws.AppendMasked(nil, ws.OpPong, true, [4]byte{1, 2, 3, 4}, nil)); err != nil {
			return 0, fmt.Errorf("watch: %w", err)
		}
		waited := time.Now()
		if watch.await(func(_ string, env wire.Envelope, _ []byte) bool { return goes(env, cut.home.ID) }) {
			break
		}
		switch {
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case time.Since(waited) < canaryAnswer: // nothing can come any more
			return 0, fmt.Errorf("watch: %w", errEnded)
		}
	}
	return time.Since(died), nil
}

// comes reports whether a message says that a user is there.
func comes(env wire.Envelope, user string) bool {
	is := func(p wire.Presence) bool { return p.UserID == user }
	switch env.Type {
	case wire.PresenceState:
		var state wire.PresenceStatePayload
		return env.Decode(&state) == nil && slices.ContainsFunc(state.Users, is)
	case wire.PresenceDiff:
		var diff wire.PresenceDiffPayload
		return env.Decode(&diff) == nil && slices.ContainsFunc(diff.Joins, is)
	}
	return false
}

// goes reports whether a message says that a user has gone.
func goes(env wire.Envelope, user string) bool {
	var diff wire.PresenceDiffPayload
	return env.Type == wire.PresenceDiff && env.Decode(&diff) == nil &&
		slices.ContainsFunc(diff.Leaves, func(p wire.Presence) bool { return p.UserID == user })
}
