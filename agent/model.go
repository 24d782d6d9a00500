package agent

import (
	"context"
	"io"
)

// Model writes the next message of a conversation: text to out, in pieces as it comes, and
// the tool calls that it returns. No calls: its text is the answer. It must return when ctx
// ends, and with the error of out if that has one: then the run was stopped. Text that ends
// before the model had finished is an error, never a short answer. Users read the text of
// an error only if it has a *switchboard.Error in its tree.
type Model func(ctx context.Context, req Request, out io.Writer) ([]Call, error)

// Request is what a model is asked. It must not be kept or changed.
type Request struct {
	Messages []Message // oldest first
	Tools    []Tool    // what may be called; Call of a Tool is not for the model
	Final    bool      // the model must answer now: calls are an error
}

// Role is who says a message.
type Role string

// The roles.
const (
	RoleSystem    Role = "system"    // the application
	RoleUser      Role = "user"      // who asks
	RoleAssistant Role = "assistant" // the model
	RoleTool      Role = "tool"      // the result of a call
)

// Message is a part of a conversation.
type Message struct {
	Role   Role
	Text   string
	Calls  []Call // of the assistant
	CallID string // of a tool: which call this is the result of
}

// Call is a tool call as the model wrote it, unchecked.
type Call struct {
	ID        string // names it in its message
	Name      string
	Arguments string // JSON, if the model did well
}
