package switchboard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// Subprotocols that clients offer.
const (
	subprotocol    = "switchboard.v1"
	subprotocolOld = "jwt-auth"
)

// handshake is one attempt to connect.
type handshake struct {
	m       *Manager
	w       http.ResponseWriter
	r       *http.Request
	offered []string // subprotocols
	chosen  string   // the one that the answer selects, "": none
	query   connectQuery
	stream  *stream       // nil: a WebSocket
	events  bool          // it will have one
	had     *wire.Restore // by Last-Event-ID; nil: none
	left    func()        // gives back its place; nil: it has none
	user    wire.Topic    // zero: nobody has been proved to be there yet
}

// connectQuery is what a client says about its connection in the URL.
type connectQuery struct {
	resume, appPings bool
	device           string
	threads          []string // whose text streams it wants; none: all
}

// ServeHTTP accepts a WebSocket, or an event stream (SSE) if the request asks for one, on
// whatever path it is mounted. It returns before a WebSocket ends, and when an event stream
// has. A client that may not connect gets a problem document or, if it offered subprotocols,
// the upgrade, one error_message and a close, because a browser cannot read the status.
func (m *Manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if asksForEvents(r) || r.Method == http.MethodOptions {
		m.route(calls{http.MethodGet: m.serveEvents}).ServeHTTP(w, r)
		return
	}
	h := &handshake{m: m, w: w, r: r, offered: ws.Subprotocols(r)}
	switch {
	case slices.Contains(h.offered, subprotocol):
		h.chosen = subprotocol
	case slices.Contains(h.offered, subprotocolOld):
		h.chosen = subprotocolOld
	}
	if !m.gate.enter() {
		h.refuse(errDraining())
		return
	}
	defer m.gate.leave()
	if err := ws.CheckUpgrade(r); err != nil {
		h.refuse(err)
		return
	}
	ctx, cancel := m.callContext(r)
	defer cancel()
	if err := h.accept(ctx); err != nil {
		h.refuse(err)
	}
}

// accept makes a WebSocket of the request. It returns an error only while the request can
// still be answered.
func (h *handshake) accept(ctx context.Context) error {
	defer h.leave()
	login, o, err := h.admit(ctx)
	if err != nil {
		return err
	}
	if o.Conn, o.Buffered, err = ws.Upgrade(h.w, h.r, h.chosen); err != nil {
		h.m.hub.Release(o.User)
		h.m.hub.Release(o.All)
		return h.notUpgraded(err)
	}
	h.open(ctx, login, o)
	return nil
}

// admit does what the order of checks demands: origin, rate of the address, total limit,
// admission, credential, rate and limit of the user, quota of the tenant. What it returns lacks a
// connection and holds references to two topics. The caller calls leave at the end.
func (h *handshake) admit(ctx context.Context) (login, hub.Opening, error) {
	m := h.m
	refuse := func(err error) (login, hub.Opening, error) { return login{}, hub.Opening{}, err }
	if err := m.checkOrigin(h.r); err != nil {
		return refuse(err)
	}
	if err := checkHead(h.r); err != nil {
		return refuse(err)
	}
	known, err := m.enter(h.r, h.offered, m.door.connects, m.door.arrivals)
	if err != nil {
		return refuse(err)
	}
	if limit := m.opts.Limits.Conns; limit > 0 && m.hub.Stats().Connections >= limit {
		return refuse(errFull())
	}
	if h.left, err = m.beginLogin(h.r, h.offered); err != nil {
		return refuse(err)
	}
	if h.chosen == subprotocolOld || h.chosen == "" && len(h.offered) > 0 {
		return refuse(&refusal{cause: unsupported("subprotocol", "the subprotocol must be "+subprotocol), why: "subprotocol"})
	}
	if h.query, err = parseConnect(h.r.URL.Query()); err != nil {
		return refuse(&refusal{cause: err, why: "query"})
	}
	if h.events {
		if h.had, err = lastEvent(h.r); err != nil {
			return refuse(err)
		}
	}
	login, err := m.authenticate(ctx, h.r, h.offered)
	if err != nil {
		return refuse(err)
	}
	user := wire.Topic{Tenant: login.identity.Tenant, Kind: wire.KindUser, ID: login.identity.User}
	h.user = user
	if !known {
		if err := m.enterUser(m.door.arrivals, login.identity); err != nil {
			return refuse(err)
		}
	}
	if m.gate.shut() { // the login took so long
		return refuse(errDraining())
	}
	if limit := m.opts.Limits.ConnsPerUser; limit > 0 && !isCanary(ctx) {
		if _, n, _ := m.hub.Lookup(hubKey(user)); n >= limit {
			return refuse(errUserFull())
		}
	}
	tenantConns, err := m.placesOf(ctx, user.Tenant)
	if err != nil {
		return refuse(err)
	}
	if tenantConns > 0 && m.tenantConns(user.Tenant) >= tenantConns {
		return refuse(m.tenantFull(user.Tenant))
	}
	userTopic, err := m.acquire(ctx, user)
	if err != nil {
		return refuse(&refusal{cause: err, why: "broker"})
	}
	allTopic, err := m.acquire(ctx, wire.Topic{Tenant: user.Tenant, Kind: wire.KindAll})
	if err != nil {
		m.hub.Release(userTopic.topic)
		return refuse(&refusal{cause: err, why: "broker"})
	}
	return login, hub.Opening{
		User: userTopic.topic, All: allTopic.topic, UserFrom: userTopic.head, AllFrom: allTopic.head, Session: login.session,
		TenantConns: tenantConns, Guest: isCanary(ctx),
	}, nil
}

// notUpgraded sorts the errors of an upgrade that was valid by itself: only a server that
// cannot give away its connections can still be answered.
func (h *handshake) notUpgraded(err error) error {
	if errors.Is(err, http.ErrNotSupported) {
		return &refusal{cause: fmt.Errorf("take over the connection: %w", err), why: "hijack"}
	}
	h.m.refused(h.r, &refusal{cause: err, why: "hijack", user: h.user})
	return nil
}

// open registers a connection, says welcome and lets it begin. From now on the client hears
// on the connection itself why there is none.
func (h *handshake) open(ctx context.Context, login login, o hub.Opening) {
	m := h.m
	s := state{
		expires: login.identity.Expires, issued: login.identity.Issued, shown: login.shown, tokenID: login.identity.TokenID, sid: login.identity.SID,
		lineage: login.lineage, claims: login.identity.Claims, address: h.m.addressOf(h.r), device: h.query.device,
		permissions: m.permissions.put(login.identity.Permissions),
	}
	if h.query.appPings {
		s.flags |= flagAppPings
		m.count.appPings.Add(1) // before the connection can end, which takes it back
	}
	if h.stream != nil {
		s.flags |= flagEvents
	}
	if login.resumed {
		s.flags |= flagResumed
	}
	o.Info = s.append(nil)
	c, err := m.hub.Open(o)
	if err != nil {
		m.permissions.drop(s.permissions)
		if h.query.appPings {
			m.count.appPings.Add(-1)
		}
		h.refuseOpen(o.Conn, login.identity.Tenant, err)
		return
	}
	if h.stream != nil {
		m.mail.add(m, c, h.stream.mail)
	}
	if !mutantRevoked && m.enforce(c) != nil { // revoked since the login
		m.revocations.refused.Add(1)
		ref := errRevoked()
		ref.user = h.user
		h.expel(c, ref)
		return
	}
	conn, ok := m.conn(c)
	if !ok {
		_ = m.hub.Start(c, true) // revoked this moment; or it has ended, and Closed has been told
		return
	}
	if err := m.connected(ctx, conn); err != nil {
		h.expel(c, &refusal{cause: err, why: "on_connect", user: h.user})
		return
	}
	if len(h.query.threads) > 0 {
		_ = m.hub.Watch(c, h.query.threads...) // bounded by parseConnect
	}
	held := login.resumed || h.query.resume
	if h.stream != nil {
		held = h.had != nil
	}
	m.welcome(conn, login, held)
	m.count.accepted.Add(1)
	m.tenants.account(login.identity.Tenant, time.Now()).accepted.Add(1)
	m.log.LogAttrs(ctx, slog.LevelDebug, "connection opened",
		slog.String("conn_id", conn.view.ID), slog.String("user", conn.view.User.ID), slog.String("tenant", conn.view.User.Tenant),
		slog.String("session", conn.Session()), slog.String("address", s.address.String()), slog.Bool("resumed", login.resumed))
	m.watchCredential(c)
	if held {
		m.hold(c)
	}
	if h.had != nil {
		m.read(c, h.stream.restore(*h.had)) // nothing else is read from it yet
	}
	_ = m.hub.Start(c, held) // a connection that has ended needs none
	m.presence.post(presenceEvent{what: connOpened, conn: c})
	if m.gate.shut() && m.tellAway(c, time.Now().Add(returnFirst)) {
		m.closeAway(c) // the drain has begun since, and perhaps looked for connections before
	}
}

// expel ends a connection that is registered and has not begun.
func (h *handshake) expel(c hub.Handle, ref *refusal) {
	m := h.m
	m.refused(h.r, ref)
	if h.stream != nil {
		h.stream.refuse(ref)
	} else if frame, err := errorFrame(errorMessage(ref.told(), "")); err == nil {
		_ = m.hub.Send(c, frame, false)
	}
	_ = m.hub.Close(c, ref.closeCode(), ref.told().Message, true)
	_ = m.hub.Start(c, true) // or nothing would be written
}

// connected asks the application.
func (m *Manager) connected(ctx context.Context, c *Conn) (err error) {
	if m.opts.OnConnect == nil || isCanary(ctx) {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = newPanicError(r)
		}
	}()
	return m.opts.OnConnect(WithTenant(ctx, c.view.User.Tenant), c)
}

// welcome sends the first message of a connection. Others may have found the connection and
// sent to it already: a room that another device has joined, or what OnConnect does.
func (m *Manager) welcome(c *Conn, login login, held bool) {
	now := time.Now()
	w := wire.Welcome{
		Event: wire.WelcomeEvent, ConnectionID: c.view.ID, UserID: c.view.User.ID, ServerTime: wire.Seconds(now),
		Config: wire.Config{
			HeartbeatInterval: m.opts.Heartbeat.Interval.Seconds(), MaxMessageSize: m.opts.Limits.MessageBytes,
		},
		Session: m.sessionInfo(c.view.Session, login, now),
		Held:    held,
		Topics:  make(map[string]Position),
	}
	for _, f := range m.hub.Following(c.handle) {
		w.Topics[f.Address.String()] = f.Pos
	}
	frame, err := answerFrame(wire.SystemMessage, "", w)
	if err != nil {
		m.log.LogAttrs(m.life, slog.LevelError, "welcome not encoded", slog.Any("err", err))
		return
	}
	_ = m.hub.Greet(c.handle, frame) // a connection that has ended needs none
}

// refuseOpen says no on a connection that was upgraded and then not registered, because
// others were faster or the manager is closing.
func (h *handshake) refuseOpen(nc net.Conn, tenant string, err error) {
	var ref *refusal
	switch {
	case errors.Is(err, hub.ErrUserLimit):
		ref = errUserFull()
	case errors.Is(err, hub.ErrTenantLimit):
		ref = h.m.tenantFull(tenant)
	case errors.Is(err, hub.ErrLimit):
		ref = errFull()
	case errors.Is(err, hub.ErrClosed):
		ref = errDraining()
	default:
		ref = &refusal{cause: err, why: "engine"}
	}
	ref.user = h.user
	h.m.refused(h.r, ref)
	h.leave() // a client that does not read the answer is nobody else's concern
	switch {
	case h.stream != nil:
		h.stream.refuse(ref)
		_ = nc.Close()
	case ref.why == "engine":
		_ = nc.Close() // unless the engine has done so
	case h.m.door.stay():
		farewell(nc, ref)
		h.m.door.goOn()
	default:
		_ = nc.Close()
	}
}

// farewell says why a connection ends that is not in the hub, and ends it. It waits a
// moment for the peer to read it: closing at once could reset the connection first.
func farewell(nc net.Conn, ref *refusal) {
	defer func() { _ = nc.Close() }()
	frame, err := errorFrame(errorMessage(ref.told(), ""))
	if err != nil {
		return
	}
	frame = ws.AppendClose(frame, uint16(ref.closeCode()), ref.told().Message)
	if nc.SetDeadline(time.Now().Add(time.Second)) != nil {
		return
	}
	if _, err := nc.Write(frame); err != nil {
		return
	}
	if half, ok := nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() != nil {
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(nc, 64<<10))
}

// parseConnect reads the query of a connection.
func parseConnect(q url.Values) (connectQuery, error) {
	c := connectQuery{resume: q.Get("resume") == "1", device: q.Get("device")}
	if c.device != "" && (wire.CheckID(c.device) != nil || len(c.device) > maxDevice) {
		return c, fieldError(wire.CodeInvalidMessage, "device", fmt.Sprintf("device must be a name of at most %d bytes", maxDevice))
	}
	switch q.Get("heartbeat") {
	case "", "protocol":
	case "app":
		c.appPings = true
	default:
		return c, fieldError(wire.CodeInvalidMessage, "heartbeat", `heartbeat must be "app" or "protocol"`)
	}
	if len(q["thread"]) > hub.MaxThreads {
		return c, fieldError(wire.CodeInvalidMessage, "thread", fmt.Sprintf("thread may be there %d times at most", hub.MaxThreads))
	}
	for _, thread := range q["thread"] {
		if err := wire.CheckID(thread); err != nil {
			return c, fieldError(wire.CodeInvalidMessage, "thread", "thread "+err.Error())
		}
		c.threads = append(c.threads, thread)
	}
	return c, nil
}
