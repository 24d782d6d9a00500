package server

import (
	"context"
	"net/http"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// nodeAnswer is one node as the API shows it.
type nodeAnswer struct {
	Node        string                `json:"node"`
	State       switchboard.NodeState `json:"state" enum:"ready,draining,drained"`
	Connections int                   `json:"connections"`
	Drain       *drainAnswer          `json:"drain,omitempty" doc:"Absent: none has begun"`
}

// drainAnswer is how far a drain is, and at its end what became of everybody.
type drainAnswer struct {
	Began        time.Time `json:"began_at"`
	Seconds      float64   `json:"seconds"`
	Told         int       `json:"told" doc:"Connections that were told to come back elsewhere"`
	Moved        int       `json:"moved" doc:"Closed when all was written"`
	Gone         int       `json:"gone" doc:"Ended by the client or the network"`
	Forced       int       `json:"forced" doc:"Closed although their socket did not take all"`
	PeakCloses   int       `json:"peak_closes_per_second"`
	PeakReturns  int       `json:"peak_returns_per_second" doc:"As clients were asked to come back"`
	RunsFinished int       `json:"runs_finished"`
	RunsEnded    int       `json:"runs_ended" doc:"With agent_death"`
	RunsUntold   int       `json:"runs_untold" doc:"Whose end could not be written: the broker did not answer"`
	Written      uint64    `json:"messages_written" doc:"To these connections over their lives"`
	Left         uint64    `json:"messages_left" doc:"In the log, from where clients resume"`
	Unanswered   uint64    `json:"answers_unwritten"`
	Lost         uint64    `json:"messages_lost" doc:"Of those left, what the log does not have any more"`
	Unknown      uint64    `json:"messages_unknown" doc:"Of those left, what the log could not be asked for, or has not been yet"`
}

type listNodesOutput struct {
	Body struct {
		Nodes []nodeAnswer `json:"nodes" nullable:"false"`
	}
}

func (a *api) listNodes(ctx context.Context, _ *struct{}) (*listNodesOutput, error) {
	if err := nodeIsEverybodys(ctx); err != nil {
		return nil, err
	}
	r := a.m.DrainReport()
	n := nodeAnswer{Node: r.Node, State: r.State, Connections: a.m.Stats().Connections}
	if !r.Began.IsZero() {
		n.Drain = &drainAnswer{
			Began: r.Began.UTC(), Seconds: r.Took.Seconds(), Told: r.Told, Moved: r.Moved, Gone: r.Gone, Forced: r.Forced,
			PeakCloses: r.PeakCloses, PeakReturns: r.PeakReturns, RunsFinished: r.RunsFinished, RunsEnded: r.RunsEnded, RunsUntold: r.RunsUntold,
			Written: r.Written, Left: r.Left, Unanswered: r.Unanswered, Lost: r.Lost, Unknown: r.Unknown,
		}
	}
	out := new(listNodesOutput)
	out.Body.Nodes = []nodeAnswer{n}
	return out, nil
}

type drainInput struct {
	ID string `path:"id" doc:"A node"`
}

type drainOutput struct {
	Body struct {
		Node  string                `json:"node"`
		State switchboard.NodeState `json:"state" enum:"draining"`
	}
}

// drainNode begins a drain, which goes on after the answer: its goroutine waits for that as long
// as the drain may take.
func (a *api) drainNode(ctx context.Context, in *drainInput) (*drainOutput, error) {
	if err := nodeIsEverybodys(ctx); err != nil {
		return nil, err
	}
	now := a.m.DrainReport()
	if in.ID != now.Node {
		return nil, switchboard.ErrNotFound
	}
	if now.State == switchboard.NodeReady {
		call := callerOf(ctx)
		recordIn(a.audit)(switchboard.AuditEvent{
			Action: switchboard.AuditDrain, Tenant: call.tenant, Actor: call.key.Name, Address: a.guesses.addressOf(call.request), Object: now.Node,
		})
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.drain)
			defer cancel()
			_, _ = a.m.Drain(ctx) // the report has it
		}()
	}
	out := new(drainOutput)
	out.Body.Node, out.Body.State = now.Node, switchboard.NodeDraining
	return out, nil
}

// nodeIsEverybodys refuses a key that is limited to tenants with a name: what a node counts and does
// concerns all tenants, and one must not learn of another how busy it is.
func nodeIsEverybodys(ctx context.Context) error {
	call := callerOf(ctx)
	if call.key == nil || !call.key.speaksFor("") {
		if call.api != nil {
			call.api.refused(call.request, call, "", "node", wire.CodeForbidden)
		}
		return newProblem(http.StatusForbidden, wire.CodeForbidden, "a node is everybody's: the API key must not be limited to tenants with a name")
	}
	return nil
}
