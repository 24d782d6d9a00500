package switchboard

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/netra-systems/switchboard/wire"
)

// getThread answers with a thread of the user who calls, or of a room whose past the user may
// read: the body of thread_snapshot, for pages that have no connection yet.
func (m *Manager) getThread(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := m.callContext(r)
	defer cancel()
	t, err := m.askedThread(ctx, r)
	if err != nil {
		m.refuseCall(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, t)
}

func (m *Manager) askedThread(ctx context.Context, r *http.Request) (t Thread, err error) {
	id, err := m.caller(ctx, r)
	if err != nil {
		return Thread{}, err
	}
	defer func() { err = calledBy(id, err) }()
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
	t, _, err = m.threadAt(ctx, topic, q.Thread, q, head, maxPageBytes)
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
