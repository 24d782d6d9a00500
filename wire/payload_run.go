package wire

import "encoding/json"

// RunState is where a run is in its life.
type RunState string

// The states of runs. The last four are final.
const (
	RunRunning   RunState = "running"
	RunWaiting   RunState = "waiting" // for the answer to an approval
	RunCompleted RunState = "completed"
	RunFailed    RunState = "failed"
	RunCancelled RunState = "cancelled"
	RunDead      RunState = "dead"
)

// Ended reports whether s is final: no event of the run follows.
func (s RunState) Ended() bool {
	switch s {
	case RunCompleted, RunFailed, RunCancelled, RunDead:
		return true
	}
	return false
}

// Run is a run as its viewers see it.
type Run struct {
	ID        string   `json:"run_id"`
	ThreadID  string   `json:"thread_id,omitzero"`
	AgentName string   `json:"agent_name"`
	State     RunState `json:"state"`
	StartedAt float64  `json:"started_at"` // seconds since 1970
	// Tools are the names of the tools that are executing.
	Tools []string `json:"tools"`
	// Streams are all text streams of the run with their text; in a thread it may be the beginning
	// of a longer one.
	Streams []Stream `json:"streams"`
	// Approvals are those that wait for an answer.
	Approvals []Approval `json:"approvals"`
}

// Stream is a text stream with its text so far.
type Stream struct {
	ID   string `json:"stream_id"` // "<run id>/<name>"
	Name string `json:"name,omitzero"`
	// State is "open", "complete", "cancelled" or "failed".
	State string `json:"state"`
	Text  string `json:"text"`
	// Length is that of the whole text in Unicode code points. In a thread it is there only if
	// Text is not all of it.
	Length int `json:"length,omitzero"`
}

// What a text stream may be.
const (
	StreamStateOpen      = "open"
	StreamStateComplete  = "complete"
	StreamStateCancelled = "cancelled" // the run was stopped; what is there stays
	StreamStateFailed    = "failed"
)

// Approval is the payload of approval_requested: a question to the viewers of a run.
type Approval struct {
	ID     string `json:"approval_id"`
	Tool   string `json:"tool_name"`
	Prompt string `json:"prompt"`
	// Parameters are those of the tool call, redacted.
	Parameters json.RawMessage `json:"parameters,omitempty"`
	Truncated  []Truncation    `json:"truncated,omitempty"`
	// Schema is the JSON Schema of the values to answer with, if any are asked for.
	Schema    json.RawMessage `json:"schema,omitempty"`
	ExpiresAt float64         `json:"expires_at"` // seconds since 1970; then the answer is no
}

// ApprovalResolvedPayload is the payload of approval_resolved.
type ApprovalResolvedPayload struct {
	ID string `json:"approval_id"`
	// Decision is "approved", "rejected" or "expired".
	Decision string `json:"decision"`
	ByUser   string `json:"by_user,omitzero"` // empty if nobody answered
	Comment  string `json:"comment,omitzero"`
}

// What may become of an approval.
const (
	DecisionApproved = "approved"
	DecisionRejected = "rejected"
	DecisionExpired  = "expired"
	DecisionPending  = "pending" // not yet answered, for those who wait
)

// ApproveRequest is the payload of approve and reject.
type ApproveRequest struct {
	ID string `json:"approval_id"`
	// Values are what the approval's schema asks for.
	Values  json.RawMessage `json:"values,omitempty"`
	Comment string          `json:"comment,omitzero"`
}

// StopAgentRequest is the payload of stop_agent: one run, the runs of a thread, or all of
// the user's.
type StopAgentRequest struct {
	RunID    string `json:"run_id,omitzero"`
	ThreadID string `json:"thread_id,omitzero"`
	All      bool   `json:"all,omitzero"`
	Reason   string `json:"reason,omitzero"`
}

// SteerRequest is the payload of steer.
type SteerRequest struct {
	RunID string `json:"run_id"`
	Text  string `json:"text"`
}

// AgentStartedPayload is the payload of agent_started.
type AgentStartedPayload struct {
	Status  string          `json:"status"` // "started"
	Context json.RawMessage `json:"context,omitempty"`
	Message string          `json:"message,omitzero"`
	// InReplyTo is the id of the message that the agent took.
	InReplyTo string `json:"in_reply_to,omitzero"`
}

// AgentThinkingPayload is the payload of agent_thinking.
type AgentThinkingPayload struct {
	Status     string  `json:"status"` // "thinking"
	Reasoning  string  `json:"reasoning"`
	StepNumber int     `json:"step_number,omitzero"`         // from 1
	Progress   float64 `json:"progress_percentage,omitzero"` // 0 to 100
}

// ToolExecutingPayload is the payload of tool_executing.
type ToolExecutingPayload struct {
	Tool string `json:"tool_name"`
	// Parameters are redacted.
	Parameters json.RawMessage `json:"parameters,omitempty"`
	Status     string          `json:"status"` // "executing"
	Message    string          `json:"message,omitzero"`
	Truncated  []Truncation    `json:"truncated,omitempty"`
}

// Truncation tells of a string or a list that was cut before it was shown to viewers.
type Truncation struct {
	// Path is where it is in the payload, joined by dots, with list items by number from
	// 0, such as "parameters.items.2.text". A path of more than 200 characters ends in "…".
	Path string `json:"path"`
	// OriginalLength is what it had: Unicode code points of a string, items of a list.
	OriginalLength int `json:"original_length"`
}

// ToolCompletedPayload is the payload of tool_completed.
type ToolCompletedPayload struct {
	Tool string `json:"tool_name"`
	// Result is redacted; Error is there instead if the tool failed.
	Result          json.RawMessage `json:"result,omitempty"`
	Error           string          `json:"error,omitzero"`
	ExecutionTimeMS float64         `json:"execution_time_ms"`
	Status          string          `json:"status"` // "completed" or "failed"
	Message         string          `json:"message,omitzero"`
	Truncated       []Truncation    `json:"truncated,omitempty"`
}

// AgentCompletedPayload is the payload of agent_completed.
type AgentCompletedPayload struct {
	Status          string          `json:"status"` // "completed"
	Result          json.RawMessage `json:"result,omitempty"`
	ExecutionTimeMS float64         `json:"execution_time_ms"`
	Message         string          `json:"message,omitzero"`
}

// AgentErrorPayload is the payload of agent_error.
type AgentErrorPayload struct {
	Status string `json:"status"` // "error"
	// Error may be read by users; the text of internal errors stays in the log.
	Error     string       `json:"error_message"`
	Context   ErrorContext `json:"error_context"`
	Message   string       `json:"message,omitzero"`
	Truncated []Truncation `json:"truncated,omitempty"`
}

// ErrorContext classifies the error of an agent.
type ErrorContext struct {
	Type        string `json:"error_type"` // "unknown" if nobody knows
	Step        string `json:"agent_step,omitzero"`
	UserFacing  bool   `json:"user_facing"`
	Recoverable bool   `json:"recoverable,omitzero"` // trying again may help
}

// AgentCancelledPayload is the payload of agent_cancelled.
type AgentCancelledPayload struct {
	Status string `json:"status"` // "cancelled"
	Reason string `json:"reason"`
	ByUser string `json:"by_user,omitzero"` // empty unless a user stopped it
}

// AgentDeathPayload is the payload of agent_death.
type AgentDeathPayload struct {
	Status string `json:"status"` // "dead"
	// Cause is a word such as timeout, no_heartbeat, silent_failure, memory_limit, node_lost.
	Cause    string          `json:"death_cause"`
	Context  json.RawMessage `json:"death_context,omitempty"`
	Message  string          `json:"message"`
	Recovery string          `json:"recovery_action"` // such as refresh_required
}

// Why the server lets a run die.
const (
	DeathTimeout     = "timeout"      // it took longer than it may in total
	DeathNoHeartbeat = "no_heartbeat" // its producer gave no sign of life
	DeathNodeLost    = "node_lost"    // the node that owned it is gone, and its producer too
	DeathShutdown    = "shutdown"     // the process that ran it has ended
)

// AgentStalledPayload is the payload of agent_stalled.
type AgentStalledPayload struct {
	SilentSeconds float64 `json:"silent_seconds"`
	Tool          string  `json:"tool_name,omitzero"` // that is executing
}

// ProgressUpdatePayload is the payload of progress_update.
type ProgressUpdatePayload struct {
	Status  string   `json:"status"` // "progress"
	Data    Progress `json:"progress_data"`
	Message string   `json:"message,omitzero"`
}

// Progress says how far a run is.
type Progress struct {
	Percentage         float64 `json:"percentage"` // 0 to 100
	CurrentStep        string  `json:"current_step,omitzero"`
	TotalSteps         int     `json:"total_steps,omitzero"`
	EstimatedRemaining float64 `json:"estimated_remaining,omitzero"` // seconds
}

// PartialResultPayload is the payload of partial_result.
type PartialResultPayload struct {
	Content    string `json:"content"`
	IsComplete bool   `json:"is_complete"`
}

// FinalReportPayload is the payload of final_report.
type FinalReportPayload struct {
	Report          json.RawMessage `json:"report"`
	TotalDurationMS float64         `json:"total_duration_ms,omitzero"`
}

// SubagentPayload is the payload of subagent_started and subagent_completed.
type SubagentPayload struct {
	Name            string          `json:"subagent_name"`
	ID              string          `json:"subagent_id"`
	ParentAgentName string          `json:"parent_agent_name,omitzero"`
	Status          string          `json:"status"` // "started", "completed" or "failed"
	Result          json.RawMessage `json:"result,omitempty"`
	DurationMS      float64         `json:"duration_ms,omitzero"`
}

// AgentLogPayload is the payload of agent_log.
type AgentLogPayload struct {
	Level    string          `json:"level"` // debug, info, warning or error
	Message  string          `json:"message"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// StreamOpenPayload is the payload of stream_open.
type StreamOpenPayload struct {
	StreamID string `json:"stream_id"` // "<run id>/<name>"
	Name     string `json:"name"`
	Format   string `json:"format"` // "text"
}

// StreamChunkPayload is the payload of stream_chunk. A receiver drops what it has by Start.
type StreamChunkPayload struct {
	StreamID string `json:"stream_id"`
	Start    int    `json:"start"` // where Text begins, in Unicode code points
	Text     string `json:"text"`
}

// StreamCompletePayload is the payload of stream_complete.
type StreamCompletePayload struct {
	StreamID string `json:"stream_id"`
	Length   int    `json:"length"` // of the text, in Unicode code points
	// State is "complete", "cancelled" or "failed".
	State string `json:"state"`
	// Text is the whole text; absent if it is longer than 64 KiB.
	Text string `json:"text,omitzero"`
}
