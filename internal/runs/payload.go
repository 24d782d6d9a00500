package runs

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// What the server itself writes into the log of a run, in the one schema of run events.

// MaxFinalText is how long a text may be, in bytes, to travel with its stream_complete.
const MaxFinalText = 64 << 10

// recovery is what clients are told to do about the death of an agent.
const recovery = "refresh_required"

// Started is the payload of agent_started. inReplyTo is the id of the message that the
// agent took, or "".
func Started(agent, inReplyTo string) wire.AgentStartedPayload {
	return wire.AgentStartedPayload{
		Status: "started", Context: orEmpty(nil), Message: agent + " has started processing your request", InReplyTo: inReplyTo,
	}
}

// Thinking is the payload of agent_thinking. Steps count from 1; progress is a percentage,
// 0 if nobody knows.
func Thinking(reasoning string, step int, progress float64) wire.AgentThinkingPayload {
	return wire.AgentThinkingPayload{Status: "thinking", Reasoning: reasoning, StepNumber: step, Progress: progress}
}

// ToolExecuting is the payload of tool_executing, with the parameters as they are: see
// [Redact].
func ToolExecuting(agent, tool string, parameters json.RawMessage) wire.ToolExecutingPayload {
	return wire.ToolExecutingPayload{
		Tool: tool, Parameters: orEmpty(parameters), Status: "executing", Message: agent + " is using " + tool,
	}
}

// ToolCompleted is the payload of tool_completed, with the result as it is: see [Redact].
func ToolCompleted(agent, tool string, result json.RawMessage, took time.Duration) wire.ToolCompletedPayload {
	return wire.ToolCompletedPayload{
		Tool: tool, Result: orEmpty(result), ExecutionTimeMS: milliseconds(took), Status: "completed",
		Message: agent + " completed " + tool,
	}
}

// ToolFailed is the payload of tool_completed for a call that failed, with the text of the
// error as it is: see [Redact].
func ToolFailed(agent, tool, cause string, took time.Duration) wire.ToolCompletedPayload {
	return wire.ToolCompletedPayload{
		Tool: tool, Error: cause, ExecutionTimeMS: milliseconds(took), Status: "failed",
		Message: agent + " could not complete " + tool,
	}
}

// Progress is the payload of progress_update. The message may be "".
func Progress(agent string, percentage float64, message string) wire.ProgressUpdatePayload {
	if message == "" {
		message = agent + " is making progress"
	}
	return wire.ProgressUpdatePayload{Status: "progress", Data: wire.Progress{Percentage: percentage}, Message: message}
}

// Completed is the payload of agent_completed. The result may be nil, and is never cut.
func Completed(agent string, result json.RawMessage, took time.Duration) wire.AgentCompletedPayload {
	return wire.AgentCompletedPayload{
		Status: "completed", Result: orEmpty(result), ExecutionTimeMS: milliseconds(took),
		Message: agent + " has completed processing your request",
	}
}

// Failed is the payload of agent_error. Users read cause.
func Failed(agent, cause string, about wire.ErrorContext) wire.AgentErrorPayload {
	if about.Type == "" {
		about.Type = "unknown"
	}
	return wire.AgentErrorPayload{
		Status: "error", Error: cause, Context: about, Message: agent + " encountered an issue processing your request",
	}
}

// Cancelled is the payload of agent_cancelled. byUser is "" unless a user stopped the run.
func Cancelled(reason, byUser string) wire.AgentCancelledPayload {
	return wire.AgentCancelledPayload{Status: "cancelled", Reason: reason, ByUser: byUser}
}

// Death is the payload of agent_death; causes are [wire.DeathTimeout] and others.
func Death(agent, cause string) wire.AgentDeathPayload {
	text := "The " + agent + " agent encountered a critical error. Please refresh and try again."
	switch cause {
	case wire.DeathTimeout:
		text = "The " + agent + " agent took too long to respond and has been stopped. Please try again."
	case wire.DeathNoHeartbeat:
		text = "The " + agent + " agent has stopped responding. Please try again."
	case wire.DeathNodeLost:
		text = "The server that ran the " + agent + " agent was lost. Please try again."
	case wire.DeathShutdown:
		text = "The " + agent + " agent was stopped because its server is shutting down. Please try again."
	}
	return wire.AgentDeathPayload{Status: "dead", Cause: cause, Message: text, Recovery: recovery}
}

// StreamOpen is the payload of stream_open.
func StreamOpen(run, name string) wire.StreamOpenPayload {
	return wire.StreamOpenPayload{StreamID: StreamID(run, name), Name: name, Format: "text"}
}

// StreamComplete is the payload of stream_complete. state is one of the final ones of
// [wire.Stream], length is in code points; the text goes along if it has at most 64 KiB.
func StreamComplete(run, name, state, text string, length int) wire.StreamCompletePayload {
	if len(text) > MaxFinalText {
		text = ""
	}
	return wire.StreamCompletePayload{StreamID: StreamID(run, name), Length: length, State: state, Text: text}
}

// orEmpty is value, or an empty object if there is none.
func orEmpty(value json.RawMessage) json.RawMessage {
	if len(value) == 0 || bytes.Equal(value, []byte("null")) {
		return json.RawMessage("{}")
	}
	return value
}

// milliseconds keeps microseconds as fraction.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
