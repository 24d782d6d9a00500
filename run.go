package switchboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

// RunOptions starts a run. Agent is required; To is, except in HandleRun.
type RunOptions struct {
	Agent     string        // its name, which viewers see
	To        Target        // a user or a room: the only place that the run can reach
	Thread    string        // the conversation; "": the topic's default thread
	User      string        // who asked, and may always stop it; "": the user of To
	ID        string        // at most 64 bytes, without "/"; "": made up. The same ID and fields give the same run
	InReplyTo string        // id of the message that the run answers
	Lease     time.Duration // 0: held by this process while ctx lives; else each call renews it
	Unwatched time.Duration // stop so long after the last viewer on this node has left; 0: go on
	Max       time.Duration // total limit; 0: none
}

// RunHandler is an agent. Nil completes the run; an error or a panic fails it, with the text
// of an [*Error] for the user. ctx ends when the run is stopped, on any device, and does not
// end with the sender's connection. msg is the message that started it.
type RunHandler func(ctx context.Context, run *Run, msg Envelope) error

// Run is one execution of an agent. Methods may be called concurrently. Once it has ended they
// return [ErrRunCancelled] or [ErrRunEnded]; an event out of order is [ErrRunContract] and
// changes nothing. In a RunHandler the first error may be ignored: the handler's end reports it.
//
// A run writes to the one topic that it was started for and can reach nothing else.
type Run struct {
	m    *Manager
	spec runSpec
	held *ownedRun // the run as this node owned it when r was made; nil: it did not
	new  bool      // agent_started was written for r
}

// ID names the run.
func (r *Run) ID() string { return r.spec.ID }

// Context ends with the run, if this process holds it; its cause is then [ErrRunCancelled] or
// [ErrRunEnded]. Of a run that was started with a Lease it may never end: ask its calls.
func (r *Run) Context() context.Context {
	if r.held != nil {
		return r.held.ctx
	}
	return r.m.life
}

// Started is the place of agent_started, if it is known, and whether it was written for this
// Run: not if the run was there before.
func (r *Run) Started() (pos Position, now bool) { return r.spec.Started, r.new }

// own returns the run as owned by this node. One with a lease, or one that is to be ended
// whoever holds it, is taken over from another node.
func (r *Run) own(ctx context.Context, end *ending) (*ownedRun, error) {
	if r.held == nil || (r.spec.Lease > 0 || end != nil) && r.held.taken() {
		return r.m.ownRun(ctx, r.spec, end)
	}
	return r.held, r.held.isOver()
}

// ownerTries bounds how often a call follows a run that moves between nodes.
const ownerTries = 4

// call does something with the run as owned by this node. It counts as a sign of life. What is
// refused because the run has moved to another node is done again, from here. With end the run
// may be held by another process, and is to be ended.
func (r *Run) call(ctx context.Context, what string, end *ending, do func(*ownedRun) error) error {
	var err error
	for range ownerTries {
		var owned *ownedRun
		if owned, err = r.own(ctx, end); err != nil {
			break
		}
		done := owned.alive()
		err = do(owned)
		done()
		if err == nil {
			return nil
		}
		if r.spec.Lease == 0 && end == nil || !owned.taken() {
			break
		}
	}
	return fmt.Errorf("run %s: %s: %w", r.spec.ID, what, err)
}

// Hold is a call of the producer that lasts until release: the lease does not run out before.
// Released at once it is a sign of life. held ends with ctx and with the run, whose end is
// then its cause; it is [ErrConflict] if another node has taken the run over.
func (r *Run) Hold(ctx context.Context) (held context.Context, release func(), err error) {
	owned, err := r.own(ctx, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("run %s: hold: %w", r.spec.ID, err)
	}
	done := owned.alive()
	held, end := context.WithCancelCause(ctx)
	stop := context.AfterFunc(owned.ctx, func() { end(context.Cause(owned.ctx)) })
	return held, sync.OnceFunc(func() {
		stop()
		end(nil)
		done()
	}), nil
}

// Thinking tells what the agent is about. Steps are counted.
func (r *Run) Thinking(ctx context.Context, text string) error {
	return r.call(ctx, "thinking", nil, func(o *ownedRun) error {
		_, err := o.emit(ctx, event{typ: wire.AgentThinking, build: func() any {
			return runs.Thinking(text, o.machine.Steps()+1, 0)
		}})
		return err
	})
}

// Progress tells how far the run is: percent is 0 to 100; msg may be empty.
func (r *Run) Progress(ctx context.Context, percent float64, msg string) error {
	return r.call(ctx, "progress", nil, func(o *ownedRun) error {
		_, err := o.emit(ctx, event{typ: wire.ProgressUpdate, payload: runs.Progress(o.spec.Agent, percent, msg)})
		return err
	})
}

// Emit writes any other event of the run, and those above with a payload of one's own; of msg
// Type, Payload, ID and Agent count. The same ID is written once. Events that begin and end
// runs, streams and approvals have calls of their own and are refused.
func (r *Run) Emit(ctx context.Context, msg Message) (pos Position, err error) {
	payload, err := encodePayload(msg.Payload)
	if err != nil {
		return Position{}, err
	}
	if msg.Class != wire.Durable {
		return Position{}, unsupported("class", "the class "+msg.Class.String()+" is not available")
	}
	if msg.Agent != "" {
		if err := wire.CheckID(msg.Agent); err != nil {
			return Position{}, fieldError(wire.CodeInvalidMessage, "agent_name", "agent_name "+err.Error())
		}
	}
	if !runs.Producible(msg.Type) || msg.Type.Verb() {
		return Position{}, runError(&r.spec, &runs.Violation{Field: "type", Rule: string(msg.Type) + " is not for the producer to write"})
	}
	err = r.call(ctx, string(msg.Type), nil, func(o *ownedRun) (err error) {
		pos, err = o.emit(ctx, event{typ: msg.Type, id: msg.ID, agent: msg.Agent, raw: payload})
		return err
	})
	return pos, err
}

// Tool writes tool_executing; its error comes back from End. Viewers see params with secrets
// redacted and long values cut.
func (r *Run) Tool(ctx context.Context, name string, params any) *Tool {
	t := &Tool{run: r, name: name, began: time.Now()}
	var raw json.RawMessage
	if raw, t.err = encodePayload(params); t.err == nil {
		t.err = r.call(ctx, "tool", nil, func(o *ownedRun) error {
			_, err := o.emit(ctx, event{typ: wire.ToolExecuting, payload: runs.ToolExecuting(o.spec.Agent, name, raw)})
			return err
		})
	}
	return t
}

// Tool is a tool call in progress.
type Tool struct {
	run   *Run
	name  string
	began time.Time
	err   error // of tool_executing
}

// End writes tool_completed with the result, or with err if the tool has failed. It returns
// what could not be written: err itself is the caller's to handle.
func (t *Tool) End(ctx context.Context, result any, err error) error {
	if t.err != nil {
		return t.err
	}
	var raw json.RawMessage
	if err == nil {
		var bad error
		if raw, bad = encodePayload(result); bad != nil {
			return bad
		}
	}
	return t.run.call(ctx, "tool", nil, func(o *ownedRun) error {
		took := time.Since(t.began)
		payload := runs.ToolCompleted(o.spec.Agent, t.name, raw, took)
		if err != nil {
			payload = runs.ToolFailed(o.spec.Agent, t.name, err.Error(), took)
		}
		_, bad := o.emit(ctx, event{typ: wire.ToolCompleted, payload: payload})
		return bad
	})
}

// Complete ends the run well. The result, which may be nil, is never cut. An end that could not
// be written for want of the broker goes on by itself: so do those of Fail and Cancel.
func (r *Run) Complete(ctx context.Context, result any) (pos Position, err error) {
	raw, err := encodePayload(result)
	if err != nil {
		return Position{}, err
	}
	return r.finish(ctx, "complete", func(o *ownedRun) ending {
		return ending{typ: wire.AgentCompleted, payload: runs.Completed(o.spec.Agent, raw, o.age())}
	})
}

// Fail ends the run with agent_error. Users read the text of an [*Error] in cause's tree; that
// of any other error stays in the log. Of an *Error's Details "error_type" (a word) and
// "recoverable" (whether trying again may help) are told as well.
func (r *Run) Fail(ctx context.Context, cause error) (pos Position, err error) {
	return r.finish(ctx, "fail", func(o *ownedRun) ending {
		return ending{typ: wire.AgentError, payload: runs.Failed(o.spec.Agent, failure(cause).text, failure(cause).about)}
	})
}

// Cancel ends the run with agent_cancelled, as Stop does on a device: open streams keep their
// text, and the producer's context ends.
func (r *Run) Cancel(ctx context.Context, reason string) (pos Position, err error) {
	stop := ending{typ: wire.AgentCancelled, payload: runs.Cancelled(reason, "")}
	err = r.call(ctx, "cancel", &stop, func(o *ownedRun) (err error) {
		pos, err = o.stop(ctx, stop)
		return err
	})
	return pos, err
}

func (r *Run) finish(ctx context.Context, what string, how func(*ownedRun) ending) (pos Position, err error) {
	err = r.call(ctx, what, nil, func(o *ownedRun) (err error) {
		pos, err = o.finish(ctx, how(o))
		return err
	})
	return pos, err
}

// told is what users hear of a failure.
type told struct {
	text  string
	about wire.ErrorContext
}

func failure(cause error) told {
	known := visible(cause)
	t := told{text: known.Message, about: wire.ErrorContext{Type: "unknown"}}
	if _, own := errors.AsType[*Error](cause); !own {
		t.text = "the agent has failed"
		return t
	}
	t.about.UserFacing = true
	if kind, ok := known.Details["error_type"].(string); ok && kind != "" {
		t.about.Type = kind
	}
	t.about.Recoverable, _ = known.Details["recoverable"].(bool)
	return t
}

// RunInfo is a run and its times.
type RunInfo struct {
	wire.Run // texts are not in it
	Target   Target
	User     string   // who asked
	Owner    string   // node
	Started  Position // of agent_started
	Latest   Position // of its latest event
	End      Position // of its last event; zero: it has not ended
	Ended    time.Time
}

// Info is the run as watchers see it.
func (r *Run) Info(ctx context.Context) (RunInfo, error) {
	info, err := r.m.runInfo(ctx, r.spec, r.held)
	if err != nil {
		return RunInfo{}, fmt.Errorf("run %s: info: %w", r.spec.ID, err)
	}
	return info, nil
}
