package switchboard

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// readAgain is how long a read waits for a place, and when there may be one again.
const readAgain = time.Second

// getThread answers with a thread of the user who calls, or of a room whose past the user may
// read: the body of thread_snapshot, for pages that have no connection yet.
func (m *Manager) getThread(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := m.callContext(r)
	defer cancel()
	id, err := m.caller(ctx, r)
	if err != nil {
		m.refuseCall(w, r, err)
		return
	}
	leave, err := m.beginRead(ctx, id)
	if err != nil {
		m.refuseCall(w, r, calledBy(id, err))
		return
	}
	defer leave()
	t, err := m.askedThread(ctx, r, id)
	if err != nil {
		m.refuseCall(w, r, calledBy(id, err))
		return
	}
	writeJSON(w, http.StatusOK, t)
}

// beginRead lets a user read by a call, or refuses it: too much was read just now, or enterRead
// refuses it.
func (m *Manager) beginRead(ctx context.Context, id Identity) (leave func(), err error) {
	if wait, ok := m.door.pages.Holds(userID{id.Tenant, id.User}, 1, time.Now()); !ok {
		return nil, tooOften(whyPages, "this user has read too much", wait)
	}
	return m.enterRead(ctx, id)
}

// enterRead lets a large answer to a user be made, unless too many are under way and none of them ends
// within a moment. The caller calls leave when it was written, which takes as long as the client takes
// to read it.
func (m *Manager) enterRead(ctx context.Context, id Identity) (leave func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, readAgain)
	defer cancel()
	leave, ok := m.door.reads.Wait(ctx, userID{id.Tenant, id.User})
	if !ok {
		return nil, &refusal{why: whyReads, cause: &Error{
			Code: wire.CodeRateLimited, Message: "too many reads of this user are under way",
			Details: map[string]any{"limit": m.door.reads.Most(), "scope": "user", "retry_after_ms": readAgain.Milliseconds()},
		}}
	}
	return leave, nil
}

func (m *Manager) askedThread(ctx context.Context, r *http.Request, id Identity) (Thread, error) {
	q, err := threadQuery(r)
	if err != nil {
		return Thread{}, err
	}
	topic := wire.Topic{Tenant: id.Tenant, Kind: wire.KindUser, ID: id.User}
	if room := r.URL.Query().Get("room"); room != "" {
		topic = wire.Topic{Tenant: id.Tenant, Kind: wire.KindRoom, ID: room}
		if err := wire.CheckID(room); err != nil {
			return Thread{}, fieldError(wire.CodeInvalidMessage, "room", "room "+err.Error())
		}
		if err := m.mayReadPast(ctx, id, room); err != nil {
			return Thread{}, err
		}
	}
	head, err := m.headOf(ctx, topic)
	if err != nil {
		return Thread{}, err
	}
	t, seen, err := m.threadAt(ctx, topic, q.Thread, q, head, maxPageBytes)
	m.door.pages.Owe(userID{id.Tenant, id.User}, seen/recordsPerMessage, time.Now())
	return t, err
}

// mayReadPast refuses who may not follow a room or not read what was said there before.
func (m *Manager) mayReadPast(ctx context.Context, id Identity, room string) error {
	allowed := compilePermissions(id.Permissions)
	_, err := m.mayRead(ctx, id, allowed, room)
	if err == nil {
		err = m.authorize(ctx, id, allowed, ActHistory, room)
	}
	if errors.Is(err, ErrForbidden) {
		return roomError("room", room, "you may not read this room")
	}
	return err
}

func threadQuery(r *http.Request) (Query, error) {
	q := Query{Thread: r.PathValue("id")}
	if err := wire.CheckID(q.Thread); err != nil {
		return q, fieldError(wire.CodeInvalidMessage, "id", "the thread's id "+err.Error())
	}
	var err error
	if text := r.URL.Query().Get("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit == 0 {
			return q, fieldError(wire.CodeInvalidMessage, "limit", "limit must be 1 to "+strconv.Itoa(maxPage))
		}
	}
	if text := r.URL.Query().Get("before"); text != "" {
		if q.Before, err = wire.ParsePosition(text); err != nil {
			return q, fieldError(wire.CodeInvalidMessage, "before", "before "+err.Error())
		}
	}
	return q, nil
}
