package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// watching is what a client was told of who is in the room.
type watching struct {
	mu    sync.Mutex // guards the fields below
	users map[string]struct{}
	told  []sighting
	end   error
}

// sighting is that a user has come, or has gone.
type sighting struct {
	user string
	here bool
	at   time.Time
}

// read takes what c is told until ctx ends, or c.
func (w *watching) read(ctx context.Context, c *client.Client) {
	for env, err := range c.Messages(ctx) {
		w.mu.Lock()
		if err == nil {
			err = w.take(env, time.Now())
		}
		if err != nil {
			w.end = err
		}
		w.mu.Unlock()
	}
}

// take notes who has come and gone. The caller holds w.mu.
func (w *watching) take(env wire.Envelope, now time.Time) error {
	if w.users == nil {
		w.users = make(map[string]struct{})
	}
	note := func(user string, here bool) {
		if _, was := w.users[user]; was == here {
			return
		}
		if here {
			w.users[user] = struct{}{}
		} else {
			delete(w.users, user)
		}
		w.told = append(w.told, sighting{user, here, now})
	}
	switch {
	case env.Topic != "room/"+room:
	case env.Type == wire.PresenceState:
		var state wire.PresenceStatePayload
		if err := env.Decode(&state); err != nil {
			return err
		}
		for user := range w.users {
			if !slices.ContainsFunc(state.Users, func(p wire.Presence) bool { return p.UserID == user }) {
				note(user, false)
			}
		}
		for _, p := range state.Users {
			note(p.UserID, true)
		}
	case env.Type == wire.PresenceDiff:
		var diff wire.PresenceDiffPayload
		if err := env.Decode(&diff); err != nil {
			return err
		}
		for _, p := range diff.Joins {
			note(p.UserID, true)
		}
		for _, p := range diff.Leaves {
			note(p.UserID, false)
		}
	}
	return nil
}

// online is how many users are there.
func (w *watching) online() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.users)
}

// ended is why it ended; nil: it has not.
func (w *watching) ended() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.end
}

// of returns when a user has gone, and come, in order; the first time is that it came.
func (w *watching) of(user string) (changes []time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.told {
		if s.user == user {
			changes = append(changes, s.at)
		}
	}
	return changes
}

// report prints what came of it.
func (r *presenceRun) report() error {
	h := r.Heartbeat
	fmt.Fprintf(r.Out, "heartbeat every %v, timeout %v, offline after %v; %d of each\n",
		h.Interval, h.Timeout, h.OfflineAfter, r.Each)
	r.line("death", "shown online for at most", "bound", "worst")
	for i, f := range r.all {
		if i == fateAlive {
			r.alive(f)
			continue
		}
		worst := time.Duration(0)
		for _, m := range f.mortals {
			worst = max(worst, r.judge(f, m))
		}
		r.line(f.name, f.formula, rounded(f.most), rounded(worst))
	}
	r.returned(r.all[fateSleep])
	if err := r.watch.ended(); err != nil {
		r.blame("who watches: %v", err)
	}
	for _, wrong := range r.wrong {
		fmt.Fprintf(r.Out, "  %s\n", wrong)
	}
	if len(r.wrong) > 0 {
		return ErrBroken
	}
	return nil
}

func (r *presenceRun) line(death, formula, bound, worst string) {
	fmt.Fprintf(r.Out, "  %-42s %-48s %9s %9s\n", death, formula, bound, worst)
}

func (r *presenceRun) blame(format string, args ...any) {
	r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
}

// judge says for how long somebody who has died was shown online.
func (r *presenceRun) judge(f *fate, m *mortal) time.Duration {
	changes := r.watch.of(m.user)
	if len(changes) < 2 {
		r.blame("%s, %s: nobody was told", f.name, m.user)
		return 0
	}
	shown := changes[1].Sub(m.died)
	switch {
	case shown < f.least:
		r.blame("%s, %s: gone after %v, and must be there for %v", f.name, m.user, shown, f.least)
	case shown > f.most:
		r.blame("%s, %s: shown online for %v, and the bound is %v", f.name, m.user, shown, f.most)
	case len(changes) > 2 && m.woke.IsZero():
		r.blame("%s, %s: has come back", f.name, m.user)
	}
	return shown
}

// alive says whether who lived was shown online all the time, and has everything.
func (r *presenceRun) alive(f *fate) {
	worst := "never"
	for _, m := range f.mortals {
		if n := len(r.watch.of(m.user)); n != 1 {
			worst = "gone"
			r.blame("%s, %s: came or went %d times", f.name, m.user, n)
		}
		r.whole(f, m)
	}
	r.line(f.name, f.formula, "never", worst)
}

// returned says how long it took until who slept was shown online again, and whether they have
// everything.
func (r *presenceRun) returned(f *fate) {
	within := comeBack + r.late()
	worst := time.Duration(0)
	for _, m := range f.mortals {
		changes := r.watch.of(m.user)
		if len(changes) != 3 {
			r.blame("%s, %s: came or went %d times, not three", f.name, m.user, len(changes))
			continue
		}
		took := changes[2].Sub(m.woke)
		if worst = max(worst, took); took < 0 || took > within {
			r.blame("%s, %s: shown online %v after it woke", f.name, m.user, took)
		}
		r.whole(f, m)
	}
	r.line("  and back after SIGCONT", fmt.Sprintf("%v until it connects + %v", comeBack, r.late()), rounded(within), rounded(worst))
	fmt.Fprintf(r.Out, "  %d messages were published meanwhile; who slept and who lived was asked for them\n", r.published)
}

func (r *presenceRun) whole(f *fate, m *mortal) {
	if g := m.got; g.Last != r.published || g.Lost+g.Twice+g.Damaged > 0 || g.End != "" {
		r.blame("%s, %s: has %d of %d messages, %d lost, %d twice, %d damaged %s", f.name, m.user, g.Last, r.published, g.Lost, g.Twice, g.Damaged, g.End)
	}
}

func rounded(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }
