package switchboard

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/netra-systems/switchboard/internal/respond"
	"github.com/netra-systems/switchboard/wire"
)

// ClientAPI serves all that clients may call, at the paths of docs/protocol.md: /ws and its
// alias /websocket, /events and /messages, /threads/{id}, /websocket/ticket, /ws/config,
// /ws/health, /ws/beacon, /healthz and /readyz. Mount it at "/", or behind http.StripPrefix.
func (m *Manager) ClientAPI() http.Handler {
	mux := http.NewServeMux()
	for path, methods := range m.clientRoutes() {
		if methods == nil {
			mux.Handle(path, m)
			continue
		}
		mux.Handle(path, m.route(methods))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, http.StatusNotFound, &Error{Code: wire.CodeNotFound, Message: "there is nothing at this path"})
	})
	return mux
}

// clientRoutes is what there is, by path; nil is a WebSocket. It is the only list, so that a test
// can try each of them without a credential.
func (m *Manager) clientRoutes() map[string]calls {
	return map[string]calls{
		"/ws":               nil,
		"/websocket":        nil,
		"/events":           {http.MethodGet: m.serveEvents},
		"/messages":         {http.MethodPost: m.postMessage},
		"/threads/{id}":     {http.MethodGet: m.getThread},
		"/websocket/ticket": {http.MethodPost: m.postTicket},
		"/ws/config":        {http.MethodGet: m.getConfig, http.MethodHead: m.getConfig},
		"/ws/health":        {http.MethodGet: m.getHealth, http.MethodHead: m.getHealth},
		"/healthz":          {http.MethodGet: m.getAlive, http.MethodHead: m.getAlive},
		"/readyz":           {http.MethodGet: m.getReady, http.MethodHead: m.getReady},
		"/ws/beacon":        {http.MethodGet: m.getBeacon, http.MethodHead: m.getBeacon},
	}
}

// calls are what can be called at one path, by method.
type calls map[string]http.HandlerFunc

// allowedHeaders are those that pages of other origins may send.
const allowedHeaders = "Authorization, Content-Type, Last-Event-ID, Switchboard-Connection"

// route serves one path. Pages of the origins that may connect may also read what it answers.
func (m *Manager) route(methods calls) http.Handler {
	allow := strings.Join(append(slices.Sorted(maps.Keys(methods)), http.MethodOptions), ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shared := m.share(w, r)
		serve, ok := methods[r.Method]
		switch {
		case ok:
			serve(w, r)
		case r.Method == http.MethodOptions:
			w.Header().Set("Allow", allow)
			if shared {
				w.Header().Set("Access-Control-Allow-Methods", allow)
				w.Header().Set("Access-Control-Allow-Headers", allowedHeaders)
				w.Header().Set("Access-Control-Max-Age", "600")
			}
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Allow", allow)
			writeProblem(w, http.StatusMethodNotAllowed, &Error{Code: wire.CodeUnsupported, Message: "this path has other methods"})
		}
	})
}

// share lets the page that asks read the answer, if there is one and its origin may connect.
func (m *Manager) share(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !m.originAllowed(r) {
		return false
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	w.Header().Set("Access-Control-Expose-Headers", "Retry-After")
	return true
}

// callContext is the context of what a call has to find out before it is carried out.
func (m *Manager) callContext(r *http.Request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(r.Context(), m.opts.Limits.Handshake)
	stop := context.AfterFunc(m.life, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// caller finds out who calls. A ticket is for connections.
func (m *Manager) caller(ctx context.Context, r *http.Request) (Identity, error) {
	l, err := m.callerLogin(ctx, r)
	return l.identity, err
}

// callerLogin finds out also what the caller shows.
func (m *Manager) callerLogin(ctx context.Context, r *http.Request) (login, error) {
	if err := m.checkOrigin(r); err != nil {
		return login{}, err
	}
	if err := checkHead(r); err != nil {
		return login{}, err
	}
	if kind, _ := credentialOf(r, nil); kind == ticketCredential {
		return login{}, &Error{Code: wire.CodeAuthError, Message: "a ticket opens a connection and is good for nothing else"}
	}
	known, err := m.enter(r, nil, m.door.calls, m.door.asks)
	if err != nil {
		return login{}, err
	}
	leave, err := m.beginLogin(r, nil)
	if err != nil {
		return login{}, err
	}
	defer leave()
	l, err := m.authenticate(ctx, r, nil)
	if err == nil && !known {
		err = m.enterUser(m.door.asks, l.identity)
	}
	return l, err
}

// httpError is a refusal whose status is not that of its code.
type httpError struct {
	told   *Error
	status int
}

func (e *httpError) Error() string { return e.told.Error() }

func (e *httpError) Unwrap() error { return e.told }

// readBody reads a body of JSON, of at most the size of a message. Afterwards the deadline of
// the server is off: it is for answers that come at once.
func (m *Manager) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if !isJSON(r.Header) {
		return nil, &httpError{
			&Error{Code: wire.CodeUnsupported, Message: "the body must be application/json in UTF-8"}, http.StatusUnsupportedMediaType,
		}
	}
	limit := m.opts.Limits.MessageBytes
	socket := http.NewResponseController(w)
	_ = socket.SetReadDeadline(time.Now().Add(m.opts.Limits.Frame)) // some writers cannot: then the server's holds
	_ = socket.SetWriteDeadline(time.Time{})
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limit)))
	if err == nil {
		return body, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, &Error{Code: wire.CodeTooLarge, Message: "the message is too large", Details: map[string]any{"limit": limit}}
	}
	return nil, &httpError{&Error{Code: wire.CodeTimeout, Message: "the body did not come"}, http.StatusRequestTimeout}
}

// isJSON reports whether a body is JSON in UTF-8, or does not say what it is.
func isJSON(h http.Header) bool {
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return false
	}
	if h.Get("Content-Type") == "" {
		return true
	}
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset, named := params["charset"]
	return err == nil && kind == "application/json" && (!named || strings.EqualFold(charset, "utf-8"))
}

// refuseCall answers a call that is not carried out.
func (m *Manager) refuseCall(w http.ResponseWriter, r *http.Request, err error) {
	told := visible(err)
	status := told.Code.HTTPStatus()
	if ref, ok := errors.AsType[*refusal](err); ok {
		m.count.callRefusals.add(ref.why)
		m.noticed(r, ref)
		status = ref.status()
	}
	if other, ok := errors.AsType[*httpError](err); ok {
		status = other.status
	}
	e := AuditEvent{Action: AuditCall, Address: m.addressOf(r), Object: r.Pattern, Code: told.Code}
	if by, ok := errors.AsType[*callError](err); ok {
		e.Tenant, e.User = by.user.Tenant, by.user.ID
	}
	if ref, ok := errors.AsType[*refusal](err); ok {
		e.Reason = ref.why
		if e.User == "" {
			e.Tenant, e.User = ref.user.Tenant, ref.user.ID
		}
	}
	if !isCanary(r.Context()) {
		m.audit(e)
	}
	level := slog.LevelDebug
	if told.Code == wire.CodeInternal {
		level = slog.LevelError
	}
	m.log.LogAttrs(context.WithoutCancel(r.Context()), level, "call refused", slog.String("path", r.URL.Path),
		slog.String("code", string(told.Code)), slog.String("address", e.Address.String()), slog.Any("err", loggable(err)))
	writeRefusal(w, status, told)
}

// writeJSON answers a call.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := wire.Marshal(v)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = respond.Write(w, status, body, []byte("\n")) // a client that has left needs no answer
}
