package runs

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/netra-systems/switchboard/wire"
)

// ErrEnded means an event of a run that has ended; [Machine.State] says how.
var ErrEnded = errors.New("the run has ended")

// Violation is what breaks the contract of runs in an event: RUN_CONTRACT.
type Violation struct {
	Field string // of the envelope, such as "type" or "payload.tool_name"
	Rule  string // a sentence that may be shown to whoever sent it
}

// Error returns the rule.
func (v *Violation) Error() string { return v.Rule }

// Check reports whether e may be the next event of the run, and changes nothing. e is the
// envelope as it would be appended, with the run's id. The error is [ErrEnded], a
// [*Violation], or a [*wire.ParseError] with code INVALID_JSON if the payload is none that
// a strict decoder takes; paths begin with "payload".
//
// An event that ends the run may come at any time, but agent_completed not while a tool
// executes. Streams that are open then are no violation: once Check has agreed, the owner
// completes them, and only then appends the end. Check does not know who sent e; see
// [Producible].
func (m *Machine) Check(e wire.Envelope) error {
	switch {
	case m.run.State.Ended():
		return ErrEnded
	case m.run.State == "" && e.Type != wire.AgentStarted:
		return violation("type", "%s before agent_started", e.Type)
	case m.run.State != "" && e.Type == wire.AgentStarted:
		return violation("type", "agent_started comes only once")
	case m.run.State != "" && e.RunID != m.run.ID:
		return violation("run_id", "run_id is that of another run")
	}
	switch e.Type {
	case wire.AgentStarted:
		return cmp.Or(must("run_id", CheckRunID(e.RunID)), filled("agent_name", e.AgentName))
	case wire.ToolExecuting, wire.ToolCompleted:
		return m.checkTool(e)
	case wire.AgentCompleted:
		if len(m.run.Tools) > 0 {
			return violation("type", "agent_completed while the tool %q is executing", m.run.Tools[0])
		}
		return nil
	case wire.StreamOpen, wire.StreamComplete, wire.StreamChunk:
		return m.checkStream(e)
	case wire.ApprovalRequested, wire.ApprovalResolved:
		return m.checkApproval(e)
	}
	return checkReport(e)
}

func (m *Machine) checkTool(e wire.Envelope) error {
	if e.Type == wire.ToolExecuting {
		return check(e, func(p *wire.ToolExecutingPayload) error {
			return must("payload.tool_name", wire.CheckID(p.Tool))
		})
	}
	return check(e, func(p *wire.ToolCompletedPayload) error {
		if err := must("payload.tool_name", wire.CheckID(p.Tool)); err != nil {
			return err
		}
		if !slices.Contains(m.run.Tools, p.Tool) {
			return violation("payload.tool_name", "tool_completed without tool_executing")
		}
		return notNegative("payload.execution_time_ms", p.ExecutionTimeMS)
	})
}

func (m *Machine) checkStream(e wire.Envelope) error {
	switch e.Type {
	case wire.StreamOpen:
		return check(e, func(p *wire.StreamOpenPayload) error {
			if err := must("payload.name", CheckStreamName(p.Name)); err != nil {
				return err
			}
			if p.StreamID != StreamID(m.run.ID, p.Name) {
				return violation("payload.stream_id", "payload.stream_id is not that of the run and the name")
			}
			if m.findStream(p.StreamID) >= 0 {
				return violation("payload.stream_id", "stream_open of a stream that was opened before")
			}
			return nil
		})
	case wire.StreamComplete:
		return check(e, func(p *wire.StreamCompletePayload) error {
			if i := m.findStream(p.StreamID); i < 0 || m.run.Streams[i].State != wire.StreamStateOpen {
				return violation("payload.stream_id", "stream_complete of a stream that is not open")
			}
			if !ended(p.State) {
				return violation("payload.state", "payload.state must be complete, cancelled or failed")
			}
			return notNegative("payload.length", float64(p.Length))
		})
	}
	return violation("type", "text is appended to its stream and is no event")
}

// ended reports whether state is one that a stream may end in.
func ended(state string) bool {
	return state == wire.StreamStateComplete || state == wire.StreamStateCancelled || state == wire.StreamStateFailed
}

func (m *Machine) checkApproval(e wire.Envelope) error {
	if e.Type == wire.ApprovalRequested {
		return check(e, func(p *wire.Approval) error {
			if m.findApproval(p.ID) >= 0 {
				return violation("payload.approval_id", "approval_requested twice with the same id")
			}
			return must("payload.approval_id", wire.CheckID(p.ID))
		})
	}
	return check(e, func(p *wire.ApprovalResolvedPayload) error {
		if m.findApproval(p.ID) < 0 {
			return violation("payload.approval_id", "approval_resolved without approval_requested")
		}
		switch p.Decision {
		case wire.DecisionApproved, wire.DecisionRejected, wire.DecisionExpired:
			return nil
		}
		return violation("payload.decision", "payload.decision must be approved, rejected or expired")
	})
}

// checkReport checks what changes nothing but what viewers read.
func checkReport(e wire.Envelope) error {
	switch e.Type {
	case wire.AgentThinking:
		return check(e, func(p *wire.AgentThinkingPayload) error {
			return cmp.Or(
				filled("payload.reasoning", p.Reasoning),
				notNegative("payload.step_number", float64(p.StepNumber)),
				percentage("payload.progress_percentage", p.Progress))
		})
	case wire.ProgressUpdate:
		return check(e, func(p *wire.ProgressUpdatePayload) error {
			return cmp.Or(
				percentage("payload.progress_data.percentage", p.Data.Percentage),
				notNegative("payload.progress_data.total_steps", float64(p.Data.TotalSteps)),
				notNegative("payload.progress_data.estimated_remaining", p.Data.EstimatedRemaining))
		})
	case wire.PartialResult:
		return check(e, func(*wire.PartialResultPayload) error { return nil })
	case wire.FinalReport:
		return check(e, func(p *wire.FinalReportPayload) error {
			return notNegative("payload.total_duration_ms", p.TotalDurationMS)
		})
	case wire.SubagentStarted, wire.SubagentCompleted:
		return check(e, func(p *wire.SubagentPayload) error { return notNegative("payload.duration_ms", p.DurationMS) })
	case wire.AgentLog:
		return check(e, func(*wire.AgentLogPayload) error { return nil })
	}
	return nil
}

// check reads the payload of e and holds it against the rules of its type.
func check[T any](e wire.Envelope, rules func(p *T) error) error {
	p := new(T)
	if err := decode(e, p); err != nil {
		return err
	}
	return rules(p)
}

// decode reads the payload of e, with errors that say where in the event they are.
func decode(e wire.Envelope, v any) error {
	err := e.Decode(v)
	parse, ok := errors.AsType[*wire.ParseError](err)
	if !ok {
		return err
	}
	field := strings.TrimSuffix("payload."+parse.Field, ".")
	if parse.Code == wire.CodeInvalidJSON {
		return &wire.ParseError{Code: parse.Code, Field: field, Message: "payload: " + parse.Message}
	}
	rule := strings.TrimPrefix(strings.TrimPrefix(parse.Message, "the value"), parse.Field)
	return violation(field, "%s%s", field, rule)
}

func violation(field, format string, args ...any) error {
	return &Violation{Field: field, Rule: fmt.Sprintf(format, args...)}
}

// must makes a violation of a sentence that lacks its subject.
func must(field string, rule error) error {
	if rule == nil {
		return nil
	}
	return violation(field, "%s %v", field, rule)
}

func filled(field, value string) error {
	if value == "" {
		return violation(field, "%s must not be empty", field)
	}
	return nil
}

func notNegative(field string, n float64) error {
	if n < 0 {
		return violation(field, "%s must not be negative", field)
	}
	return nil
}

func percentage(field string, n float64) error {
	if n < 0 || n > 100 {
		return violation(field, "%s must be from 0 to 100", field)
	}
	return nil
}
