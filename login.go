package switchboard

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/session"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// maxCredential bounds a token in a subprotocol, in bytes of base64.
const maxCredential = 8 << 10

// login is who connects, and as which session.
type login struct {
	identity Identity
	session  hub.Session
	lineage  session.Lineage // the sessions that it came of by tickets
	shown    time.Time       // when the credential was, of which session tokens and tickets came
	resumed  bool            // by a session token
}

// credentialKind is where a credential came from.
type credentialKind uint8

const (
	noCredential credentialKind = iota
	tokenCredential
	sessionCredential
	ticketCredential
	badCredential // there is one that nobody could accept
)

// credentialOf finds what the client offers: the first kind that is present counts, so that one
// that is there and bad is refused and not looked past. Two of one kind are refused: somebody
// between might have looked at the other.
func credentialOf(r *http.Request, offered []string) (kind credentialKind, token string) {
	if token, there := ws.Bearer(r); there {
		switch {
		case token == "":
			return badCredential, ""
		case strings.HasPrefix(token, session.Prefix):
			return sessionCredential, token
		}
		return tokenCredential, token
	}
	if kind, coded := offeredCredential(offered); kind != noCredential {
		raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(coded, "="))
		if err != nil || len(raw) == 0 || len(coded) > maxCredential {
			return badCredential, ""
		}
		return kind, string(raw)
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	tickets := query["ticket"]
	switch {
	case err != nil && strings.Contains(r.URL.RawQuery, "ticket"): // what is one, others may read differently
		return badCredential, ""
	case len(tickets) == 0:
		return noCredential, ""
	case len(tickets) > 1 || tickets[0] == "" || len(tickets[0]) > maxCredential:
		return badCredential, ""
	default:
		return ticketCredential, tickets[0]
	}
}

// offeredCredential finds the one among subprotocols, in base64.
func offeredCredential(offered []string) (kind credentialKind, coded string) {
	for _, sub := range offered {
		one, rest := tokenCredential, ""
		var ok bool
		if rest, ok = strings.CutPrefix(sub, "token."); !ok {
			one = sessionCredential
			if rest, ok = strings.CutPrefix(sub, "session."); !ok {
				continue
			}
		}
		if kind != noCredential {
			return badCredential, ""
		}
		kind, coded = one, rest
	}
	return kind, coded
}

// authenticate finds out who connects. Its errors are refusals.
func (m *Manager) authenticate(ctx context.Context, r *http.Request, offered []string) (login, error) {
	kind, token := credentialOf(r, offered)
	refuse := func(err error) (login, error) {
		return login{}, &refusal{cause: credentialError(err, token), why: "credential"}
	}
	guess := guessable(kind, r)
	if guess {
		if err := m.mayGuess(m.addressOf(r)); err != nil {
			return login{}, err
		}
	}
	l := login{session: hub.NewSession(), shown: time.Now()}
	var err error
	switch kind {
	case badCredential:
		err = &Error{Code: wire.CodeAuthError, Message: "the credential is not valid"}
	case sessionCredential:
		l, err = m.resume(token)
	case ticketCredential:
		l, err = m.redeem(ctx, token)
	default:
		l.identity, err = m.identify(ctx, Credential{Token: token, Request: r})
	}
	if guess && err != nil && CodeOf(credentialError(err, token)) == wire.CodeAuthError {
		m.guessed(m.addressOf(r))
	}
	if err != nil {
		return refuse(err)
	}
	if err := m.checkRevoked(ctx, l); err != nil {
		err.user = wire.Topic{Tenant: l.identity.Tenant, Kind: wire.KindUser, ID: l.identity.User}
		return login{}, err
	}
	return l, nil
}

// resume opens a session token.
func (m *Manager) resume(token string) (login, error) {
	t, err := m.sealer.Open(token, time.Now())
	if err != nil {
		return login{}, &Error{Code: wire.CodeAuthError, Message: "the session token is not valid any more"}
	}
	l := login{identity: identityOf(t), session: t.Session, lineage: t.Lineage, shown: t.Shown, resumed: true}
	if l.shown.IsZero() { // sealed by a version that did not say so
		l.shown = time.Now()
	}
	return l, m.checkIdentity(l.identity, time.Now())
}

// identityOf is who a session token or a ticket was made for.
func identityOf(t session.Token) Identity {
	return Identity{
		Tenant: t.Tenant, User: t.User, Permissions: t.Permissions, Expires: t.Credential, Issued: t.Issued,
		TokenID: t.TokenID, SID: t.SID, Claims: t.Claims,
	}
}

// identify asks the authenticator and checks what it says.
func (m *Manager) identify(ctx context.Context, cred Credential) (id Identity, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = newPanicError(r)
		}
	}()
	id, err = m.opts.Auth(ctx, cred)
	if err != nil {
		return Identity{}, err
	}
	now := time.Now()
	if id.Issued.After(now) { // by a clock that is ahead, and yet before what is revoked from now on
		id.Issued = now
	}
	return id, m.checkIdentity(id, now)
}

// credentialError puts into words what an authenticator says without.
func credentialError(err error, token string) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: wire.CodeUnavailable, Message: "the credential could not be checked in time"}
	case !errors.Is(err, ErrUnauthenticated):
		return err
	case token == "":
		return &Error{Code: wire.CodeAuthError, Message: "no credential"}
	}
	return &Error{Code: wire.CodeAuthError, Message: "the token is not valid"}
}

// sessionInfo is what a client is told of its session, with a new token. There is no token
// if it would be too long to come back as a subprotocol, because of the permissions in it:
// such a client comes back with its credential.
func (m *Manager) sessionInfo(id hub.Session, l login, now time.Time) wire.SessionInfo {
	who := l.identity
	t := session.Token{
		Session: id, Lineage: l.lineage, Tenant: who.Tenant, User: who.User, Permissions: who.Permissions,
		TokenID: who.TokenID, SID: who.SID, Claims: who.Claims,
		Issued: who.Issued, Shown: l.shown, Credential: who.Expires, Expires: session.Expiry(who.Expires, l.shown, now),
	}
	text, err := m.sealer.Seal(t)
	if err != nil { // claims that are no JSON
		m.log.LogAttrs(m.life, slog.LevelError, "session token not sealed", slog.String("user", who.User), slog.Any("err", err))
	}
	if base64.RawURLEncoding.EncodedLen(len(text)) > maxCredential {
		m.log.LogAttrs(m.life, slog.LevelDebug, "session token too long", slog.String("user", who.User), slog.Int("bytes", len(text)))
		text = ""
	}
	return wire.SessionInfo{ID: id.String(), Token: text, ExpiresAt: wire.Seconds(t.Expires)}
}

// authVerb takes a new credential of the same user.
func authVerb(ctx context.Context, in *inbound) error {
	m := in.m
	sender, err := in.conn()
	if err != nil {
		return err
	}
	var req wire.AuthRequest
	if err := in.env.Decode(&req); err != nil {
		return err
	}
	l := login{shown: time.Now()}
	field := "token"
	at, _, _ := m.stateOf(in.c)
	if err := m.mayGuess(at.address); err != nil {
		return err
	}
	switch {
	case req.Ticket != "" && req.Token != "":
		return fieldError(wire.CodeInvalidMessage, "ticket", "ticket and token exclude each other")
	case req.Ticket != "":
		field = "ticket"
		if l, err = m.redeem(ctx, req.Ticket); errors.Is(err, ErrUnauthenticated) {
			err = fieldError(wire.CodeAuthError, field, visible(err).Message)
		}
	case req.Token != "":
		if l.identity, err = m.identify(ctx, Credential{Token: req.Token}); err != nil {
			err = credentialError(err, req.Token)
		}
	default:
		err = fieldError(wire.CodeAuthError, field, "no credential")
	}
	if err != nil {
		if CodeOf(err) == wire.CodeAuthError {
			m.guessed(at.address)
		}
		return err
	}
	id := l.identity
	if err := m.checkRevoked(ctx, l); err != nil {
		return err
	}
	if id.Tenant != sender.view.User.Tenant || id.User != sender.view.User.ID {
		return fieldError(wire.CodeAuthError, field, "the "+field+" is another user's")
	}
	if !m.refresh(sender, l) {
		return hubError(hub.ErrGone)
	}
	left := m.leaveForbidden(ctx, sender, id) // before the answer: what comes behind it is by the new credential
	m.answer(in.c, wire.AuthOK, in.env.ID, wire.AuthOKPayload{
		ExpiresAt: secondsOrZero(id.Expires), Permissions: id.Permissions,
		Session: m.sessionInfo(sender.view.Session, l, time.Now()),
	})
	return left
}

// refresh gives a connection the identity of its new credential. It is false if the connection has
// ended, or ends because the former one or the new one was revoked this moment.
func (m *Manager) refresh(c *Conn, l login) bool {
	id := l.identity
	number := m.permissions.put(id.Permissions)
	unused := number
	revoked := false
	there := m.changeState(c.handle, func(s *state) {
		if revoked = s.flags&flagRevoked != 0; revoked {
			return
		}
		unused, s.permissions = s.permissions, number
		s.expires, s.issued, s.shown = id.Expires, id.Issued, l.shown
		s.tokenID, s.sid, s.claims, s.lineage = id.TokenID, id.SID, id.Claims, l.lineage
		s.flags &^= flagWarned
		s.logins++
	})
	m.permissions.drop(unused)
	if !there || revoked {
		return false
	}
	m.watchCredential(c.handle)
	m.presence.post(presenceEvent{what: rightsChanged, conn: c.handle}) // who it may see there is
	return m.enforce(c.handle) == nil
}

// leaveForbidden stops the rooms that the former credential allowed to follow and the new
// one does not. What the application made the connection follow stays.
func (m *Manager) leaveForbidden(ctx context.Context, former *Conn, id Identity) error {
	allowed := compilePermissions(id.Permissions)
	var failed error
	for _, f := range m.hub.Following(former.handle) {
		room := f.Address.ID
		if f.Address.Kind != wire.KindRoom || m.authorize(ctx, former.identity, former.allowed, ActJoin, room) != nil {
			continue
		}
		lent, err := m.mayRead(ctx, id, allowed, room)
		if err == nil {
			m.hub.Amend(former.handle, f.Key, hub.Terms{Lent: lent, Fresh: !m.mayPast(ctx, id, allowed, room)})
			continue
		}
		// One of which it cannot be found out is left as well.
		frame, frameErr := answerFrame(wire.RoomLeft, "", wire.RoomLeftPayload{Room: room, Reason: wire.ReasonForbidden})
		m.hub.Leave(former.handle, f.Key, Position{}, frame)
		m.ceases(former.handle, former.view, f.Address)
		if !errors.Is(err, ErrForbidden) {
			failed = cmp.Or(failed, err)
		}
		failed = cmp.Or(failed, frameErr)
	}
	return failed
}

func secondsOrZero(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return wire.Seconds(t)
}
