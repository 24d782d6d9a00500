package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/audit"
	"github.com/netra-systems/switchboard/internal/respond"
	"github.com/netra-systems/switchboard/wire"
)

const (
	maxBodyBytes = 1 << 20          // of a request; larger is 413
	callTimeout  = 30 * time.Second // of one call of the API, its body included

	oldStatsPath = "/ws/stats" // beside those that clients may call, and not theirs
)

// Handler returns what a [Server] with cfg serves, outside of development, for a manager that the
// caller owns: for programs that have a listener of their own.
func Handler(m *switchboard.Manager, cfg Config) (http.Handler, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, switchboard.HeartbeatFor("production"))
	cfg.Drain = cmp.Or(cfg.Drain, 10*time.Second)
	return newHandler(m, cfg, nil, log)
}

// newHandler returns everything that the server serves. Without dev it is not in development.
func newHandler(m *switchboard.Manager, cfg Config, dev *development, log *slog.Logger) (http.Handler, error) {
	a, err := newAPI(m, cfg, log)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/api/", a)
	mux.Handle(oldStatsPath, a)
	var all http.Handler = mux
	clients := m.ClientAPI()
	if dev != nil {
		clients = dev.handler(clients)
		all = apart(clients, mux)
	}
	mux.Handle("/", clients)
	return withHeaders(withLog(log, m.AddressOf, withRecovery(log, all))), nil
}

// api is the HTTP API for back ends: a thin layer over the methods of the manager. All
// of it is immutable after newAPI.
type api struct {
	m         *switchboard.Manager
	keys      keyring
	heartbeat switchboard.Heartbeat
	drain     time.Duration
	log       *slog.Logger
	audit     *audit.Log     // nil: nothing is recorded
	mux       *http.ServeMux // behind the key
	guesses   guesses
	reads     reads
	huma      huma.API
	lasting   map[string]bool // calls by pattern that may take longer than callTimeout; they bound their parts
}

func newAPI(m *switchboard.Manager, cfg Config, log *slog.Logger) (*api, error) {
	a := &api{
		m: m, keys: cfg.APIKeys, heartbeat: cfg.Heartbeat, drain: cfg.Drain, log: log, audit: cfg.Audit,
		mux: http.NewServeMux(), lasting: make(map[string]bool),
	}
	a.reads.init(cfg.ReadsPerTenant)
	a.guesses.init(m.AddressOf, cfg.Limits.GuessesPerAddress)
	a.keys.warn(log, time.Now())
	a.huma = humago.New(a.mux, description(cfg.Version))
	a.huma.OpenAPI().Components.Schemas.RegisterTypeAlias(reflect.TypeFor[wire.Envelope](), reflect.TypeFor[message]())
	a.routes()

	doc := a.huma.OpenAPI()
	delete(doc.Components.Schemas.Map(), "ErrorModel") // huma's own, which nobody gets to see
	delete(doc.Components.Schemas.Map(), "ErrorDetail")
	spec, err := doc.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("description of the API: %w", err)
	}
	a.mux.HandleFunc("GET /api/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_ = respond.Write(w, http.StatusOK, spec) // a client that has left needs no answer
	})
	return a, nil
}

// routes registers every call. A new one needs a scope, a row in docs/protocol.md, and a
// method of the manager that does the work.
func (a *api) routes() {
	withBody(a, operation("publish", http.MethodPost, "/api/v1/publish", ScopePublish,
		"Publish a message to a user, a room, everybody or one connection"), a.publish)
	withBody(a, operation("publish-batch", http.MethodPost, "/api/v1/publish/batch", ScopePublish,
		"Publish some messages, each with an answer of its own"), a.publishBatch)
	withBody(a, operation("issue-ticket", http.MethodPost, "/api/v1/tickets", ScopeTickets,
		"Make a credential with which a user connects once"), a.issueTicket)
	register(a, operation("history", http.MethodGet, "/api/v1/history", ScopeRead,
		"Read the log of a topic"), a.history)
	register(a, operation("receipts", http.MethodGet, "/api/v1/receipts", ScopeRead,
		"See how far sessions have confirmed the log of a topic"), a.receipts)
	register(a, operation("user-presence", http.MethodGet, "/api/v1/presence/users/{user}", ScopeRead,
		"See whether a user is there, and on which devices"), a.userPresence)
	register(a, operation("room-presence", http.MethodGet, "/api/v1/presence/rooms/{room}", ScopeRead,
		"See who is in a room"), a.roomPresence)
	register(a, operation("list-connections", http.MethodGet, "/api/v1/connections", ScopeMonitor,
		"List live connections, or those that ended lately"), a.listConnections)
	register(a, operation("close-connection", http.MethodDelete, "/api/v1/connections/{id}", ScopeManage,
		"Close one connection"), a.closeConnection)
	register(a, operation("close-user-connections", http.MethodDelete, "/api/v1/users/{user}/connections", ScopeManage,
		"Close all connections of a user"), a.closeUser)
	withBody(a, operation("revoke", http.MethodPost, "/api/v1/revocations", ScopeManage,
		"Close the connections of a user, a session or a token, and refuse its credentials"), a.revoke)
	register(a, operation("list-revocations", http.MethodGet, "/api/v1/revocations", ScopeManage,
		"List what is revoked"), a.listRevocations)
	register(a, operation("restore", http.MethodDelete, "/api/v1/revocations/{id}", ScopeManage,
		"Take a revocation back"), a.restore)
	register(a, operation("room", http.MethodGet, "/api/v1/rooms/{room}", ScopeRead,
		"See what there is of a room"), a.room)
	register(a, operation("list-members", http.MethodGet, "/api/v1/rooms/{room}/members", ScopeRead,
		"List the members of a room"), a.listMembers)
	register(a, operation("add-member", http.MethodPut, "/api/v1/rooms/{room}/members/{user}", ScopeManage,
		"Make a user a member of a room, with the right to follow it"), a.addMember)
	register(a, operation("remove-member", http.MethodDelete, "/api/v1/rooms/{room}/members/{user}", ScopeManage,
		"End a membership: all devices of the user stop receiving the room"), a.removeMember)
	register(a, operation("list-nodes", http.MethodGet, "/api/v1/nodes", ScopeMonitor,
		"List the nodes, and how far they are drained"), a.listNodes)
	register(a, operation("drain-node", http.MethodPost, "/api/v1/nodes/{id}/drain", ScopeManage,
		"Move everybody away from a node"), a.drainNode)
	register(a, operation("stats", http.MethodGet, "/api/v1/stats", ScopeMonitor,
		"Read the counters of the answering node"), a.stats)
	register(a, operation("stats-of-old", http.MethodGet, oldStatsPath, ScopeMonitor,
		"Read the counters of the answering node, where the former system had them"), a.stats)
	register(a, operation("tenant", http.MethodGet, "/api/v1/tenant", ScopeMonitor,
		"Read the counters and the quota of a tenant on the answering node"), a.tenant)
	register(a, operation("audit", http.MethodGet, "/api/v1/audit", ScopeAudit,
		"Read the audit log of the answering node"), a.listAudit)
	a.runRoutes()
}

// description is the part of the OpenAPI document that no call adds.
func description(version string) huma.Config {
	format := huma.Format{Marshal: writeEncoded, Unmarshal: wire.Unmarshal}
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Switchboard", Version: version,
				Description: "Publish to users and rooms, run agents for them, and see who is connected.",
			},
			Components: &huma.Components{
				Schemas:         huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{"key": {Type: "http", Scheme: "bearer", Description: "An API key."}},
			},
			Security: []map[string][]string{{"key": {}}},
		},
		Formats:                      map[string]huma.Format{"application/json": format, "json": format},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{ownErrors, encode},
	}
}

// ownErrors replaces huma's error documents.
func ownErrors(_ huma.Context, _ string, v any) (any, error) {
	if m, ok := v.(*huma.ErrorModel); ok {
		return problemOfHuma(m), nil
	}
	return v, nil
}

// encoded is the body of an answer.
type encoded []byte

// pieces is the body of an answer that is written as it is encoded.
type pieces interface {
	writeTo(body io.Writer) error
}

// encode makes the body of an answer before its head is written, which says how long it is.
func encode(ctx huma.Context, _ string, v any) (any, error) {
	if _, ok := v.(pieces); ok {
		return v, nil
	}
	body, err := wire.Marshal(v)
	if err != nil {
		return nil, err
	}
	ctx.SetHeader("Content-Length", strconv.Itoa(len(body)+len(lineEnd)))
	return encoded(body), nil
}

const lineEnd = "\n"

// writeEncoded writes what encode has made. That the client did not take it is nobody's mistake.
func writeEncoded(to io.Writer, v any) error {
	w, ok := to.(http.ResponseWriter)
	if !ok {
		return fmt.Errorf("%T takes no answer", to)
	}
	switch v := v.(type) {
	case encoded:
		_ = respond.WriteBody(w, v, []byte(lineEnd))
	case pieces:
		body := respond.Begin(w)
		if v.writeTo(body) != nil || body.End() != nil {
			panic(http.ErrAbortHandler) // nothing else says that the answer is not whole
		}
	default:
		return fmt.Errorf("%T is not encoded", v)
	}
	return nil
}

// operation describes a call that keys with scope may make.
func operation(id, method, path string, scope Scope, summary string) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary,
		Description: fmt.Sprintf("Keys that are limited need the scope `%s`.", scope),
		Parameters: []*huma.Param{{
			Name: tenantHeader, In: "header", Schema: &huma.Schema{Type: huma.TypeString},
			Description: "The tenant concerned. Default: the key's only one, or the tenant without a name.",
		}},
		Middlewares: huma.Middlewares{requireScope(scope)},
	}
}

// requireScope lets only those through whose key has the scope.
func requireScope(scope Scope) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		if call := callerOf(ctx.Context()); call.key == nil || !call.key.may(scope) {
			r, w := humago.Unwrap(ctx)
			if call.api != nil {
				call.api.refused(r, call, ctx.Operation().OperationID, "scope", wire.CodeForbidden)
			}
			newProblem(http.StatusForbidden, wire.CodeForbidden, "the API key has no scope "+string(scope)).write(w)
			return
		}
		next(ctx)
	}
}

// register adds a call without a body. What fn returns as an error is told as a problem.
func register[I, O any](a *api, op huma.Operation, fn func(context.Context, *I) (*O, error)) {
	errorSchema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[problem](), true, "")
	if op.Responses == nil {
		op.Responses = make(map[string]*huma.Response)
	}
	op.Responses["default"] = &huma.Response{
		Description: "Refused", Content: map[string]*huma.MediaType{problemType: {Schema: errorSchema}},
	}
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := fn(ctx, in)
		if err != nil {
			return nil, a.refusal(ctx, op.OperationID, err)
		}
		return out, nil
	})
}

// refusal is what the caller is told of err; what it is not told is logged.
func (a *api) refusal(ctx context.Context, call string, err error) *problem {
	p, internal := problemOf(err)
	if internal && ctx.Err() == nil {
		a.log.LogAttrs(ctx, slog.LevelError, "api call failed", slog.String("call", call), slog.Any("err", err))
	}
	return p
}

// withBody adds a call whose body is a B in JSON. huma only describes it: it would decode
// leniently, and twice.
func withBody[B, O any](a *api, op huma.Operation, fn func(context.Context, *B) (*O, error)) {
	describeBody[B](a, &op)
	type input struct{ RawBody []byte }
	register(a, op, func(ctx context.Context, in *input) (*O, error) {
		body := new(B)
		if err := decode(in.RawBody, body); err != nil {
			return nil, err
		}
		return fn(ctx, body)
	})
	delete(op.RequestBody.Content, rawType)
}

// rawType is what huma takes raw bodies for when an operation is registered.
const rawType = "application/octet-stream"

// describeBody says that the body of a call is a B in JSON, which its handler decodes.
func describeBody[B any](a *api, op *huma.Operation) {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[B](), true, "")
	op.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
	op.SkipValidateBody = true
	op.MaxBodyBytes = maxBodyBytes + 1 // huma refuses what reaches the limit
	op.BodyReadTimeout = callTimeout
	op.Middlewares = append(op.Middlewares, requireJSON)
}

// requireJSON refuses bodies of another type. One that says nothing is taken for JSON.
func requireJSON(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	if !isJSON(r.Header) {
		newProblem(http.StatusUnsupportedMediaType, wire.CodeUnsupported, "the body must be application/json in UTF-8").write(w)
		return
	}
	if r.ContentLength > maxBodyBytes {
		tooLarge().write(w)
		return
	}
	next(ctx)
}

func isJSON(h http.Header) bool {
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return false
	}
	if h.Get("Content-Type") == "" {
		return true
	}
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset, named := params["charset"]
	return err == nil && kind == "application/json" && (!named || strings.EqualFold(charset, "utf-8"))
}

// caller is who made a call, how, and for which tenant.
type caller struct {
	key     *APIKey
	tenant  string
	request *http.Request // as it came, before its body was read
	api     *api
}

// callerKey is the key of the context's value.
type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// ServeHTTP lets nothing through without a key, not even the question what there is.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	body := &requestBody{ReadCloser: r.Body}
	defer body.leave(w, r.ContentLength)
	if wait, ok := a.guesses.may(r); !ok {
		a.tooManyGuesses(w, r, wait)
		return
	}
	key, err := a.keys.of(r)
	if err != nil {
		a.withoutKey(r, key, err).write(w)
		return
	}
	tenant, ok := key.tenant(r)
	if !ok {
		a.refused(r, caller{key: key, tenant: key.home()}, "", "tenant", wire.CodeForbidden)
		newProblem(http.StatusForbidden, wire.CodeForbidden, "the API key may not speak for this tenant").
			with("field", tenantHeader).write(w)
		return
	}
	_, pattern := a.mux.Handler(r)
	if leave, ok := a.reads.enter(r, tenant); ok {
		defer leave()
	} else {
		a.tooManyReads(w, r, tenant)
		return
	}
	ctx := context.WithValue(r.Context(), callerKey{}, caller{key: key, tenant: tenant, request: r, api: a})
	ctx = switchboard.WithActor(switchboard.WithTenant(ctx, tenant), key.Name)
	if !a.lasting[pattern] {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	r = r.WithContext(ctx) // a copy: the server wants to find its own body in r
	r.Body = body
	if pattern == "" {
		w = &plainRefusal{ResponseWriter: w}
	}
	a.mux.ServeHTTP(w, r)
}

// withoutKey refuses a call that shows no key that is good. Who shows one that has expired has not
// guessed it, so that is counted against no address; but it may be anybody by now.
func (a *api) withoutKey(r *http.Request, key *APIKey, err error) *problem {
	switch {
	case errors.Is(err, errKeyExpired):
		a.refused(r, caller{tenant: key.home()}, key.Name, "expired", wire.CodeAuthError)
	case errors.Is(err, errNoKey):
		a.refused(r, caller{}, "", "key", wire.CodeAuthError)
	default:
		a.guesses.add(r)
		a.refused(r, caller{}, "", "key", wire.CodeAuthError)
	}
	return newProblem(http.StatusUnauthorized, wire.CodeAuthError, err.Error())
}

// plainRefusal turns the text with which http.ServeMux refuses a path or a method into a
// problem.
type plainRefusal struct{ http.ResponseWriter }

func (p *plainRefusal) WriteHeader(status int) {
	switch status {
	case http.StatusMethodNotAllowed: // Allow is set
		newProblem(status, wire.CodeUnsupported, "this path has other methods").write(p.ResponseWriter)
	case http.StatusNotFound:
		newProblem(status, wire.CodeNotFound, "there is no such call").write(p.ResponseWriter)
	default:
		p.ResponseWriter.WriteHeader(status)
	}
}

func (p *plainRefusal) Write(b []byte) (int, error) { return len(b), nil }
