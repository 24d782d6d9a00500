package switchboard

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/presence"
	"github.com/netra-systems/switchboard/wire"
)

const (
	// rightsAsked is how many questions the application is asked at once who may watch.
	rightsAsked = 16
	// rightsWait is how long it may take to answer. Then nobody may.
	rightsWait = 10 * time.Second
)

// right is whether a connection may watch a room, by the credential with a number.
type right struct {
	may    bool
	logins uint8
}

// rightAsks are the questions to the application, for which the keeper does not wait.
type rightAsks struct {
	queue   []presenceEvent // rightKnown, without the answers
	running int
}

// admit finds out who of the new followers may watch.
func (k *presenceKeeper) admit(key hub.Key, r *presenceRoom, now time.Time) {
	for _, c := range r.fresh {
		k.pace.Step()
		_, follows := k.m.hub.Cursor(c, key)
		s, _, ok := k.m.stateOf(c)
		switch {
		case !follows || !ok:
			delete(r.watchers, c)
		case k.m.opts.Authorize == nil:
			k.settle(r, c, right{k.mayWatch(k.ctx, c, r.topic), s.logins}, now)
		default:
			k.rights.queue = append(k.rights.queue, presenceEvent{what: rightKnown, conn: c, topic: r.topic, right: right{logins: s.logins}})
		}
	}
	r.fresh = nil
	k.askRights()
	if r.view != nil && len(r.watchers) == 0 {
		r.view, r.watchers, r.asking, r.large = nil, nil, nil, false
	}
}

// askRights asks the application as much as it may be asked at once.
func (k *presenceKeeper) askRights() {
	a := &k.rights
	for ; len(a.queue) > 0 && a.running < rightsAsked; a.running++ {
		e := a.queue[0]
		a.queue = a.queue[1:]
		k.asks.Go(func() {
			ctx, cancel := context.WithTimeout(k.ctx, rightsWait)
			defer cancel()
			e.right.may = k.mayWatch(ctx, e.conn, e.topic)
			k.m.presence.post(e)
		})
	}
	if len(a.queue) == 0 {
		a.queue = nil
	}
}

// rightKnown takes the application's answer.
func (k *presenceKeeper) rightKnown(e presenceEvent) {
	k.rights.running--
	k.askRights()
	key := hubKey(e.topic)
	r := k.rooms[key]
	if r == nil {
		return
	}
	if _, follows := k.m.hub.Cursor(e.conn, key); !follows {
		e.right.may = false
	}
	k.settle(r, e.conn, e.right, time.Now())
	k.due[key] = struct{}{}
}

// settle lets a connection watch, or not any more, and begins a view for the first.
func (k *presenceKeeper) settle(r *presenceRoom, c hub.Handle, right right, now time.Time) {
	if !right.may {
		delete(r.watchers, c)
		return
	}
	if r.view == nil {
		r.view, r.began, r.watchers, r.asking = new(presence.View), now, make(map[hub.Handle]watcher), make(map[string]struct{})
		r.view.Replace(selfNode, 0, k.here(r.topic))
		k.askRoom(r, k.m.nodes.others()...)
	}
	t := r.watchers[c]
	t.logins = right.logins
	r.watchers[c] = t
}

// mayWatch asks whether a connection may see who is in a room.
func (k *presenceKeeper) mayWatch(ctx context.Context, c hub.Handle, room wire.Topic) bool {
	conn, ok := k.m.conn(c)
	if !ok {
		return false
	}
	err := k.m.authorize(WithTenant(ctx, room.Tenant), conn.identity, conn.allowed, ActPresence, room.ID)
	if err != nil && !errors.Is(err, ErrForbidden) {
		k.m.log.LogAttrs(ctx, slog.LevelWarn, "who may see who is in a room cannot be found out", slog.Any("err", err))
	}
	return err == nil || mutantWatch
}
