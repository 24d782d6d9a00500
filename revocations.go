package switchboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// Revocation takes credentials back. It names exactly one of User, Session, TokenID and SID, in
// the tenant of the call's context, and concerns what was issued before NotBefore: tokens by
// their iat, tickets by when they were made, session tokens by the credential that began the
// session. What does not say when it was issued is concerned.
//
// A NotBefore in the future is a ban: until then no credential is good, and afterwards only those
// that were issued since.
type Revocation struct {
	ID                          string // made by [Access.Revoke]
	User, Session, TokenID, SID string
	NotBefore                   time.Time // credentials issued from then on are good; zero: now
	Until                       time.Time // when all of this ends; zero: never
	CancelRuns                  bool      // with User: also ends the runs that the user asked for before NotBefore
	Reason                      string    // for operators, at most 256 bytes
}

const (
	maxReason = 256
	// maxRevocations bounds how many a tenant has. A revocation is never forgotten to make room.
	maxRevocations = 131_072
)

// Revoke takes credentials back: within a second every connection that has one of them is closed
// with 4002, on every node, and from now on they are refused. The error is [ErrInvalid], and names
// the field, [ErrConflict] if the tenant has too many revocations, or the broker's.
func (a Access) Revoke(ctx context.Context, r Revocation) (id string, err error) {
	tenant, err := a.m.tenantOf(ctx)
	if err == nil {
		r, err = a.m.revoke(ctx, tenant, r)
	}
	if err != nil {
		return "", fmt.Errorf("revoke: %w", err)
	}
	return r.ID, nil
}

// Restore takes a revocation back. Who was refused because of it may come again. The error is
// [ErrNotFound] if there is none of that id.
func (a Access) Restore(ctx context.Context, id string) error {
	tenant, err := a.m.tenantOf(ctx)
	if err == nil {
		err = a.m.restore(ctx, tenant, id)
	}
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

// Revocations yields those that hold, in no order, as of some moment of the call. After an error
// nothing more comes.
func (a Access) Revocations(ctx context.Context) iter.Seq2[Revocation, error] {
	return func(yield func(Revocation, error) bool) {
		tenant, err := a.m.tenantOf(ctx)
		if err != nil {
			yield(Revocation{}, fmt.Errorf("revocations: %w", err))
			return
		}
		for change, err := range a.m.driver.Watch(ctx, revocationPrefix(tenant)) {
			switch {
			case err != nil:
				yield(Revocation{}, fmt.Errorf("revocations: %w", err))
				return
			case change.Synced:
				return
			case change.Deleted:
				continue
			}
			h, err := decodeRevocation(change.Value)
			if err != nil {
				yield(Revocation{}, fmt.Errorf("revocations: %w", err))
				return
			}
			if !yield(h.Revocation, nil) {
				return
			}
		}
	}
}

// revoke stores r, which every node hears of.
func (m *Manager) revoke(ctx context.Context, tenant string, r Revocation) (Revocation, error) {
	now := time.Now()
	if r.NotBefore.IsZero() {
		r.NotBefore = now
	}
	// Connections know to the millisecond when their credential was issued. Rounded up: what was
	// issued within this one is older.
	r.NotBefore = r.NotBefore.Add(time.Millisecond - 1).Truncate(time.Millisecond)
	if err := r.check(now); err != nil {
		return r, err
	}
	if r.ID == "" {
		r.ID = "rev_" + wire.NewID()
	}
	if m.revocations.count(tenant) >= maxRevocations {
		return r, fmt.Errorf("the tenant has %d revocations, and none is forgotten to make room: %w", maxRevocations, ErrConflict)
	}
	h := held{tenant, r}
	value, err := json.Marshal(h.stored())
	if err != nil {
		return r, fmt.Errorf("revocation: %w", err)
	}
	var ttl time.Duration
	if !r.Until.IsZero() {
		ttl = r.Until.Sub(now)
	}
	if _, err := m.driver.Put(ctx, revocationPrefix(tenant)+r.ID, value, broker.Any, ttl); err != nil {
		return r, fmt.Errorf("revocation: %w", err)
	}
	kind, name := r.names()
	m.audit(AuditEvent{Tenant: tenant, User: r.User, Action: AuditRevoke, Object: kind.String() + " " + name, Reason: r.Reason})
	// What is asked of this node next finds it; other nodes hear of it in a moment.
	m.revocations.put(revocationPrefix(tenant)+r.ID, h)
	m.revocations.sweep(h.user())
	return r, nil
}

func (m *Manager) restore(ctx context.Context, tenant, id string) error {
	key := revocationPrefix(tenant) + id
	if err := checkRevocationID(id); err != nil {
		return err
	}
	item, err := m.driver.Get(ctx, key)
	if err == nil {
		err = m.driver.Delete(ctx, key, item.Revision)
	}
	switch {
	case errors.Is(err, broker.ErrNotFound), errors.Is(err, broker.ErrConflict): // somebody was faster
		return &Error{Code: wire.CodeNotFound, Message: "there is no such revocation", Details: map[string]any{"field": "id"}}
	case err != nil:
		return fmt.Errorf("revocation: %w", err)
	}
	m.revocations.remove(key)
	m.audit(AuditEvent{Tenant: tenant, Action: AuditRestore, Object: id})
	return nil
}

// checkRevocationID refuses what Revoke could not have made: it becomes part of a key.
func checkRevocationID(id string) error {
	if wire.CheckID(id) != nil || !strings.HasPrefix(id, "rev_") || strings.Contains(id, "/") {
		return &Error{Code: wire.CodeNotFound, Message: "there is no such revocation", Details: map[string]any{"field": "id"}}
	}
	return nil
}

// check says what is wrong with r. NotBefore is set.
func (r *Revocation) check(now time.Time) error {
	named := 0
	for _, of := range []struct {
		field, value string
		most         int
	}{{"user", r.User, maxTokenID}, {"session", r.Session, maxTokenID}, {"token_id", r.TokenID, maxTokenID}, {"sid", r.SID, maxTokenID}} {
		if of.value == "" {
			continue
		}
		if named++; len(of.value) > of.most {
			return fieldError(wire.CodeInvalidMessage, of.field, fmt.Sprintf("%s must have at most %d bytes", of.field, of.most))
		}
	}
	_, session := hub.ParseSession(r.Session)
	switch {
	case named != 1:
		return fieldError(wire.CodeInvalidMessage, "user", "exactly one of user, session, token_id and sid must be given")
	case r.User != "" && wire.CheckID(r.User) != nil:
		return fieldError(wire.CodeInvalidMessage, "user", "user "+wire.CheckID(r.User).Error())
	case r.Session != "" && !session:
		return fieldError(wire.CodeInvalidMessage, "session", "session is not the id of a session")
	case !r.Until.IsZero() && !r.Until.After(now):
		return fieldError(wire.CodeInvalidMessage, "until", "until is over")
	case r.CancelRuns && r.User == "":
		return fieldError(wire.CodeInvalidMessage, "cancel_runs", "cancel_runs goes with user: runs belong to users")
	case len(r.Reason) > maxReason:
		return fieldError(wire.CodeInvalidMessage, "reason", fmt.Sprintf("reason must have at most %d bytes", maxReason))
	}
	return nil
}

// revocationKind is what a revocation names.
type revocationKind byte

const (
	byUser    revocationKind = 'u'
	bySession revocationKind = 's'
	byTokenID revocationKind = 't'
	bySID     revocationKind = 'i'
)

// String is the name of the field.
func (k revocationKind) String() string {
	switch k {
	case byUser:
		return "user"
	case bySession:
		return "session"
	case byTokenID:
		return "token_id"
	}
	return "sid"
}

func (r *Revocation) names() (revocationKind, string) {
	switch {
	case r.User != "":
		return byUser, r.User
	case r.Session != "":
		return bySession, r.Session
	case r.TokenID != "":
		return byTokenID, r.TokenID
	}
	return bySID, r.SID
}

// storedRevocation is the value in the store. Times are in milliseconds since 1970.
type storedRevocation struct {
	ID         string `json:"id"`
	Tenant     string `json:"tenant,omitempty"`
	User       string `json:"user,omitempty"`
	Session    string `json:"session,omitempty"`
	TokenID    string `json:"token_id,omitempty"`
	SID        string `json:"sid,omitempty"`
	NotBefore  int64  `json:"not_before"`
	Until      int64  `json:"until,omitempty"`
	CancelRuns bool   `json:"cancel_runs,omitempty"`
	Reason     string `json:"reason,omitempty"`
}

// held is a revocation and whose it is.
type held struct {
	tenant string
	Revocation
}

func (h *held) user() wire.Topic {
	if h.User == "" {
		return wire.Topic{}
	}
	return wire.Topic{Tenant: h.tenant, Kind: wire.KindUser, ID: h.User}
}

func (h *held) stored() storedRevocation {
	s := storedRevocation{
		ID: h.ID, Tenant: h.tenant, User: h.User, Session: h.Session, TokenID: h.TokenID, SID: h.SID,
		NotBefore: h.NotBefore.UnixMilli(), CancelRuns: h.CancelRuns, Reason: h.Reason,
	}
	if !h.Until.IsZero() {
		s.Until = h.Until.UnixMilli()
	}
	return s
}

func decodeRevocation(value []byte) (held, error) {
	var s storedRevocation
	if err := json.Unmarshal(value, &s); err != nil {
		return held{}, fmt.Errorf("revocation not readable: %w", err)
	}
	h := held{s.Tenant, Revocation{
		ID: s.ID, User: s.User, Session: s.Session, TokenID: s.TokenID, SID: s.SID,
		NotBefore: time.UnixMilli(s.NotBefore), CancelRuns: s.CancelRuns, Reason: s.Reason,
	}}
	if s.Until != 0 {
		h.Until = time.UnixMilli(s.Until)
	}
	if kind, name := h.names(); kind == bySID && name == "" {
		return held{}, errors.New("revocation not readable: it names nothing")
	}
	return h, nil
}

// revocationsStored begins the keys of all revocations.
const revocationsStored = "switchboard/revocation/"

// revocationPrefix begins the keys of a tenant's. The hash keeps one tenant's name from being
// the beginning of another's.
func revocationPrefix(tenant string) string {
	return revocationsStored + broker.KeyOf(wire.Topic{Tenant: tenant, Kind: wire.KindAll}).String() + "/"
}
