package switchboard

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/presence"
	"github.com/netra-systems/switchboard/wire"
)

const (
	// rightsAsked is how many questions of one tenant the application is asked at once who may watch:
	// others do not wait for those of a tenant that take their time.
	rightsAsked = 16
	// rightsAskedAll is how many it is asked at once of all tenants.
	rightsAskedAll = 256
	// rightsWait is how long it may take to answer. Then nobody may.
	rightsWait = 10 * time.Second
)

// rightAsk is a question to the application, whether a connection may watch a room. Who asks it writes
// logins and may, and nobody reads them before it is answered.
type rightAsk struct {
	conn   hub.Handle
	room   wire.Topic
	began  bool  // it is being asked
	logins uint8 // the credential by which it was asked
	may    bool
}

// rightAsks are the questions to the application, for which the keeper does not wait.
type rightAsks struct {
	tenants map[string]*tenantAsks // that have any
	turns   []string               // of those that may ask one, each once, in order
	running int
}

// tenantAsks are those of one tenant.
type tenantAsks struct {
	queue   []*rightAsk
	running int
	waits   bool // for its turn
}

// admit finds out who of the new followers may watch.
func (k *presenceKeeper) admit(key hub.Key, r *presenceRoom) {
	for _, c := range r.fresh {
		k.pace.Step()
		_, follows := k.m.hub.Cursor(c, key)
		s, _, ok := k.m.stateOf(c)
		switch {
		case !follows || !ok:
			delete(r.watchers, c)
			if q := r.rights[c]; q != nil && q.began {
				delete(r.rights, c) // nobody waits for the answer
			}
		case k.m.opts.Authorize == nil:
			k.settle(r, c, k.mayWatch(k.ctx, c, r.topic), s.logins)
		default:
			k.askRight(r, c)
		}
	}
	r.fresh = nil
	k.askRights()
	if r.view != nil && len(r.watchers) == 0 {
		r.endView()
	}
}

// askRight puts a question behind those of the tenant. One that has not begun is asked by what is then.
func (k *presenceKeeper) askRight(r *presenceRoom, c hub.Handle) {
	if q := r.rights[c]; q != nil && !q.began {
		return
	}
	if r.rights == nil {
		r.rights = make(map[hub.Handle]*rightAsk)
	}
	q := &rightAsk{conn: c, room: r.topic}
	r.rights[c] = q // an answer to a former one counts no more
	k.rights.add(q)
}

// askRights asks the application as much as it may be asked at once.
func (k *presenceKeeper) askRights() {
	for q := k.rights.next(); q != nil; q = k.rights.next() {
		if q.began = k.wanted(q); q.began {
			k.asks.Go(func() { k.answerRight(q) })
		} else {
			k.rights.ended(q)
		}
	}
}

// add puts a question behind those of its tenant.
func (a *rightAsks) add(q *rightAsk) {
	t := a.tenants[q.room.Tenant]
	if t == nil {
		if a.tenants == nil {
			a.tenants = make(map[string]*tenantAsks)
		}
		t = new(tenantAsks)
		a.tenants[q.room.Tenant] = t
	}
	t.queue = append(t.queue, q)
	a.queue(q.room.Tenant, t)
}

// next takes a question that may be asked now, one of each tenant in turn; nil: there is none.
func (a *rightAsks) next() *rightAsk {
	if len(a.turns) == 0 || a.running == rightsAskedAll {
		return nil
	}
	tenant := a.turns[0]
	if a.turns = a.turns[1:]; len(a.turns) == 0 {
		a.turns = nil
	}
	t := a.tenants[tenant]
	q := t.queue[0]
	t.queue[0] = nil
	t.queue = t.queue[1:]
	t.waits = false
	t.running++
	a.running++
	a.queue(tenant, t)
	return q
}

// ended makes room for another question.
func (a *rightAsks) ended(q *rightAsk) {
	t := a.tenants[q.room.Tenant]
	t.running--
	a.running--
	if a.queue(q.room.Tenant, t); t.running+len(t.queue) == 0 {
		delete(a.tenants, q.room.Tenant)
	}
}

// queue lets a tenant wait for its turn, if it may ask something.
func (a *rightAsks) queue(tenant string, t *tenantAsks) {
	if !t.waits && len(t.queue) > 0 && t.running < rightsAsked {
		t.waits = true
		a.turns = append(a.turns, tenant)
	}
}

// wanted reports whether somebody waits for the answer to a question that was not asked yet.
func (k *presenceKeeper) wanted(q *rightAsk) bool {
	key := hubKey(q.room)
	r := k.rooms[key]
	if r == nil || r.rights[q.conn] != q {
		return false
	}
	_, follows := k.m.hub.Cursor(q.conn, key)
	if !follows {
		delete(r.rights, q.conn)
	}
	return follows
}

// answerRight asks the application. The credential is read first: the answer is by that one, or by one that
// came since, and then another question is under way.
func (k *presenceKeeper) answerRight(q *rightAsk) {
	ctx, cancel := context.WithTimeout(k.ctx, rightsWait)
	defer cancel()
	if s, _, ok := k.m.stateOf(q.conn); ok {
		q.logins = s.logins
		q.may = k.mayWatch(ctx, q.conn, q.room) && ctx.Err() == nil
	}
	k.m.presence.post(presenceEvent{what: rightKnown, right: q})
}

// rightKnown takes the application's answer, if it is to the latest question and by the credential of now:
// of each other one a later question tells.
func (k *presenceKeeper) rightKnown(q *rightAsk) {
	k.rights.ended(q)
	k.askRights()
	key := hubKey(q.room)
	r := k.rooms[key]
	if r == nil || r.rights[q.conn] != q {
		return
	}
	delete(r.rights, q.conn)
	_, follows := k.m.hub.Cursor(q.conn, key)
	s, _, ok := k.m.stateOf(q.conn)
	if follows && ok && s.logins != q.logins {
		return // whoever exchanges the credential says so behind it, and it is asked again
	}
	k.settle(r, q.conn, q.may && follows && ok, q.logins)
	k.due[key] = struct{}{}
}

// settle lets a connection watch by the credential with a number, or not any more, and begins a view for
// the first.
func (k *presenceKeeper) settle(r *presenceRoom, c hub.Handle, may bool, logins uint8) {
	if !may {
		delete(r.watchers, c)
		return
	}
	if r.view == nil {
		r.view, r.watchers, r.asking = new(presence.View), make(map[hub.Handle]watcher), make(map[string]time.Time)
		r.view.Replace(selfNode, 0, slices.Collect(k.here(r.topic)))
		k.askRoom(r, k.m.nodes.others()...)
	}
	t := r.watchers[c]
	t.logins = logins
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
