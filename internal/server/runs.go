package server

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// producerLease is how long a run that was started by a call of the API lives without another
// one for it.
const producerLease = 30 * time.Second

// maxPolicySeconds bounds the times of a policy: a year.
const maxPolicySeconds = 365 * 24 * 60 * 60

// runRoutes registers the calls for runs, their texts and threads.
func (a *api) runRoutes() {
	start := operation("start-run", http.MethodPost, "/api/v1/runs", ScopePublish, "Start a run of an agent for a user or a room")
	start.DefaultStatus = http.StatusCreated
	schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[startRunAnswer](), true, "")
	start.Responses = map[string]*huma.Response{"200": {
		Description: "The same run was started before", Content: map[string]*huma.MediaType{"application/json": {Schema: schema}},
	}}
	withBody(a, start, a.startRun)
	register(a, operation("read-run", http.MethodGet, "/api/v1/runs/{run}", ScopeRead,
		"Read the state of a run"), a.readRun)
	withRunBody(a, operation("emit-event", http.MethodPost, "/api/v1/runs/{run}/events", ScopePublish,
		"Write an event of a run"), false, a.emitEvent)
	withRunBody(a, operation("complete-run", http.MethodPost, "/api/v1/runs/{run}/complete", ScopePublish,
		"End a run well"), true, a.completeRun)
	withRunBody(a, operation("fail-run", http.MethodPost, "/api/v1/runs/{run}/fail", ScopePublish,
		"End a run with an error that users read"), false, a.failRun)
	withRunBody(a, operation("cancel-run", http.MethodPost, "/api/v1/runs/{run}/cancel", ScopePublish,
		"Stop a run"), true, a.cancelRun)
	register(a, operation("keep-run", http.MethodPost, "/api/v1/runs/{run}/heartbeat", ScopePublish,
		"Keep a run alive without another call"), a.keepRun)
	a.streamRoutes()
	register(a, operation("read-thread", http.MethodGet, "/api/v1/threads/{id}", ScopeRead,
		"Read a conversation with its live runs"), a.readThread)
}

// withRunBody adds a call for one run whose body is a B in JSON; with optional it may be left
// out.
func withRunBody[B, O any](a *api, op huma.Operation, optional bool, fn func(context.Context, *switchboard.Run, *B) (*O, error)) {
	describeBody[B](a, &op)
	type input struct {
		Run     string `path:"run" doc:"A run_id"`
		RawBody []byte
	}
	register(a, op, func(ctx context.Context, in *input) (*O, error) {
		body := new(B)
		if !optional || len(in.RawBody) > 0 {
			if err := decode(in.RawBody, body); err != nil {
				return nil, err
			}
		}
		run, err := a.m.Runs().Attach(ctx, in.Run)
		if err != nil {
			return nil, err
		}
		return fn(ctx, run, body)
	})
	delete(op.RequestBody.Content, rawType)
	op.RequestBody.Required = !optional
}

// runAddress names the one place where a run is published. Exactly one member is there.
type runAddress struct {
	User *string `json:"user,omitempty" doc:"All devices of a user"`
	Room *string `json:"room,omitempty" doc:"All who follow a room"`
}

// target returns the address in the manager's words. Before the fields' names stands prefix
// in errors.
func (a runAddress) target(prefix string) (switchboard.Target, error) {
	field, id, to := prefix+"user", a.User, switchboard.User
	if a.Room != nil {
		field, id, to = prefix+"room", a.Room, switchboard.Room
	}
	if (a.User == nil) == (a.Room == nil) {
		return switchboard.Target{}, invalid("to", "must name one of user, room")
	}
	if err := wire.CheckID(*id); err != nil {
		return switchboard.Target{}, invalid(field, err.Error())
	}
	return to(*id), nil
}

// addressOf is the inverse.
func addressOf(to switchboard.Target) (a runAddress) {
	switch kind, id, _ := strings.Cut(to.String(), "/"); kind {
	case wire.KindRoom.String():
		a.Room = &id
	case wire.KindUser.String():
		a.User = &id
	}
	return a
}

type runPolicy struct {
	StopUnwatched *float64 `json:"stop_unwatched_seconds,omitempty" exclusiveMinimum:"0" maximum:"31536000" doc:"Stop the run so long after the last viewer has left; default: go on"`
	Max           *float64 `json:"max_seconds,omitempty" exclusiveMinimum:"0" maximum:"31536000" doc:"The run dies when it has taken so long; default: no limit"`
}

type startRunRequest struct {
	To        runAddress `json:"to" doc:"The only place that the run can reach"`
	User      string     `json:"user,omitempty" maxLength:"128" doc:"Who asked, and may always stop the run; default: the user of to"`
	Thread    string     `json:"thread_id,omitempty" maxLength:"128" doc:"The conversation; default: the default one"`
	Agent     string     `json:"agent_name" minLength:"1" maxLength:"128" doc:"Viewers see it"`
	ID        string     `json:"run_id,omitempty" maxLength:"64" doc:"Without /. The same id and fields are the same run; default: a new id"`
	InReplyTo string     `json:"in_reply_to,omitempty" maxLength:"128" doc:"The message_id that the run answers"`
	Policy    *runPolicy `json:"policy,omitempty"`
}

// options are the run that the request asks for.
func (r *startRunRequest) options() (switchboard.RunOptions, error) {
	opts := switchboard.RunOptions{
		Agent: r.Agent, Thread: r.Thread, User: r.User, ID: r.ID, InReplyTo: r.InReplyTo, Lease: producerLease,
	}
	var err error
	if opts.To, err = r.To.target("to."); err != nil || r.Policy == nil {
		return opts, err
	}
	if opts.Unwatched, err = seconds("policy.stop_unwatched_seconds", r.Policy.StopUnwatched); err != nil {
		return opts, err
	}
	opts.Max, err = seconds("policy.max_seconds", r.Policy.Max)
	return opts, err
}

// seconds reads a time that may be left out.
func seconds(field string, n *float64) (time.Duration, error) {
	switch {
	case n == nil:
		return 0, nil
	case !(*n > 0 && *n <= maxPolicySeconds):
		return 0, invalid(field, "must be more than 0 and at most 31536000")
	}
	return max(time.Duration(*n*float64(time.Second)), 1), nil
}

type startRunAnswer struct {
	ID       string         `json:"run_id"`
	Position *wire.Position `json:"position,omitempty" doc:"Of agent_started"`
}

type startRunOutput struct {
	Status int
	Body   startRunAnswer
}

func (a *api) startRun(ctx context.Context, r *startRunRequest) (*startRunOutput, error) {
	opts, err := r.options()
	if err != nil {
		return nil, err
	}
	run, err := a.m.Runs().Start(ctx, opts)
	if err != nil {
		return nil, err
	}
	out := &startRunOutput{Status: http.StatusOK, Body: startRunAnswer{ID: run.ID()}}
	pos, now := run.Started()
	if now {
		out.Status = http.StatusCreated
	}
	if pos.IsZero() { // another node is starting it
		info, err := run.Info(ctx)
		if err != nil {
			return nil, err
		}
		pos = info.Started
	}
	if !pos.IsZero() {
		out.Body.Position = &pos
	}
	return out, nil
}

// runAnswer says what became of a call for a run.
type runAnswer struct {
	Position wire.Position `json:"position" doc:"Of the event; of a heartbeat: of the run's latest one"`
	State    wire.RunState `json:"run_state" enum:"running,waiting,completed,failed,cancelled,dead"`
}

type runOutput struct{ Body runAnswer }

type eventRequest struct {
	Type      string `json:"type" minLength:"1" maxLength:"128" doc:"What begins and ends runs, streams and approvals has calls of its own"`
	Payload   object `json:"payload,omitempty"`
	MessageID string `json:"message_id,omitempty" maxLength:"128" doc:"The same id is written once; default: a new UUIDv7"`
	Agent     string `json:"agent_name,omitempty" maxLength:"128" doc:"Of a sub-agent; default: the run's"`
}

func (a *api) emitEvent(ctx context.Context, run *switchboard.Run, r *eventRequest) (*runOutput, error) {
	if r.Type == "" {
		return nil, invalid("type", "is missing")
	}
	for _, id := range []struct{ field, value string }{{"type", r.Type}, {"message_id", r.MessageID}, {"agent_name", r.Agent}} {
		if id.value == "" {
			continue
		}
		if err := wire.CheckID(id.value); err != nil {
			return nil, invalid(id.field, err.Error())
		}
	}
	msg := switchboard.Message{Type: wire.MessageType(r.Type), ID: r.MessageID, Agent: r.Agent}
	if r.Payload != nil {
		msg.Payload = json.RawMessage(r.Payload)
	}
	pos, err := run.Emit(ctx, msg)
	if err != nil {
		return nil, err
	}
	info, err := run.Info(ctx)
	if err != nil {
		return nil, err
	}
	return &runOutput{Body: runAnswer{Position: pos, State: info.State}}, nil
}

type completeRequest struct {
	Result json.RawMessage `json:"result,omitempty" doc:"Any value; it is never cut. Default: an empty object"`
}

func (a *api) completeRun(ctx context.Context, run *switchboard.Run, r *completeRequest) (*runOutput, error) {
	pos, err := run.Complete(ctx, r.Result)
	if err != nil {
		return nil, err
	}
	return &runOutput{Body: runAnswer{Position: pos, State: wire.RunCompleted}}, nil
}

type failRequest struct {
	Message     string `json:"error_message" minLength:"1" doc:"Users read it"`
	Type        string `json:"error_type,omitempty" maxLength:"128" doc:"A word for programs; default: unknown"`
	Recoverable bool   `json:"recoverable,omitempty" doc:"Trying again may help"`
}

func (a *api) failRun(ctx context.Context, run *switchboard.Run, r *failRequest) (*runOutput, error) {
	if r.Message == "" {
		return nil, invalid("error_message", "is missing")
	}
	if r.Type != "" {
		if err := wire.CheckID(r.Type); err != nil {
			return nil, invalid("error_type", err.Error())
		}
	}
	pos, err := run.Fail(ctx, &switchboard.Error{
		Code: wire.CodeInternal, Message: r.Message, Details: map[string]any{"error_type": r.Type, "recoverable": r.Recoverable},
	})
	if err != nil {
		return nil, err
	}
	return &runOutput{Body: runAnswer{Position: pos, State: wire.RunFailed}}, nil
}

type cancelRequest struct {
	Reason string `json:"reason,omitempty" doc:"Users read it; default: stopped by the application"`
}

func (a *api) cancelRun(ctx context.Context, run *switchboard.Run, r *cancelRequest) (*runOutput, error) {
	if r.Reason == "" {
		r.Reason = "stopped by the application"
	}
	pos, err := run.Cancel(ctx, r.Reason)
	if err != nil {
		return nil, err
	}
	return &runOutput{Body: runAnswer{Position: pos, State: wire.RunCancelled}}, nil
}

type runInput struct {
	Run string `path:"run" doc:"A run_id"`
}

func (a *api) keepRun(ctx context.Context, in *runInput) (*runOutput, error) {
	run, err := a.m.Runs().Attach(ctx, in.Run)
	if err != nil {
		return nil, err
	}
	_, release, err := run.Hold(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	info, err := run.Info(ctx)
	if err != nil {
		return nil, err
	}
	return &runOutput{Body: runAnswer{Position: info.Latest, State: info.State}}, nil
}

// runDocument is a run as the API shows it.
type runDocument struct {
	ID        string         `json:"run_id"`
	To        runAddress     `json:"to"`
	Thread    string         `json:"thread_id,omitempty" doc:"Absent: the default one"`
	Agent     string         `json:"agent_name"`
	User      string         `json:"user,omitempty" doc:"Who asked"`
	State     wire.RunState  `json:"run_state" enum:"running,waiting,completed,failed,cancelled,dead"`
	StartedAt float64        `json:"started_at" doc:"Seconds since 1970"`
	EndedAt   float64        `json:"ended_at,omitempty" doc:"Seconds since 1970; absent: it has not ended"`
	Position  *wire.Position `json:"position,omitempty" doc:"Of agent_started"`
	End       *wire.Position `json:"end_position,omitempty" doc:"Of the last event; absent: it has not ended"`
	Tools     []string       `json:"tools" nullable:"false" doc:"That are executing"`
	Streams   []runStream    `json:"streams" nullable:"false"`
	Node      string         `json:"node" doc:"That owns the run, or did when it ended"`
}

// runStream is a text stream of a run, without its text.
type runStream struct {
	ID     string `json:"stream_id"`
	Name   string `json:"name"`
	State  string `json:"state" enum:"open,complete,cancelled,failed"`
	Length int    `json:"length" doc:"Unicode code points"`
}

type readRunOutput struct{ Body runDocument }

func (a *api) readRun(ctx context.Context, in *runInput) (*readRunOutput, error) {
	run, err := a.m.Runs().Attach(ctx, in.Run)
	if err != nil {
		return nil, err
	}
	info, err := run.Info(ctx)
	if err != nil {
		return nil, err
	}
	doc := runDocument{
		ID: info.ID, To: addressOf(info.Target), Thread: info.ThreadID, Agent: info.AgentName, User: info.User,
		State: info.State, StartedAt: info.StartedAt, Tools: info.Tools, Node: info.Owner,
	}
	if !info.Ended.IsZero() {
		doc.EndedAt = wire.Seconds(info.Ended)
	}
	if !info.Started.IsZero() {
		doc.Position = &info.Started
	}
	if !info.End.IsZero() {
		doc.End = &info.End
	}
	for _, s := range info.Streams {
		doc.Streams = append(doc.Streams, runStream{ID: s.ID, Name: s.Name, State: s.State, Length: s.Length})
	}
	return &readRunOutput{Body: doc}, nil
}
