// Package agent turns a model that calls tools into a run: what the model writes becomes a
// text stream, each tool call a pair of events with its real parameters and result. The
// model is a function; package agent/openai has one for every server that speaks the chat
// completions of OpenAI.
//
// Nothing that a model says is trusted: a tool that does not exist and arguments that do
// not fit go back to it as errors of the tool, and what it may cost is bounded.
package agent

import (
	"errors"
	"fmt"
	"strings"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// StreamName is the name of the text stream that has the answer.
const StreamName = "answer"

const (
	defaultRounds = 8
	maxCalls      = 16        // of one round
	maxResult     = 128 << 10 // bytes of JSON of one tool's result
	maxQuestion   = 16 << 10  // bytes
)

// What a model does wrong. Users may read the text of these.
var (
	// ErrRounds means that the model went on calling tools when it had to answer.
	ErrRounds error = &switchboard.Error{Code: wire.CodeBackendUnavailable, Message: "the model calls tools instead of answering"}
	// ErrNoAnswer means that the model ended without a word.
	ErrNoAnswer error = &switchboard.Error{Code: wire.CodeBackendUnavailable, Message: "the model ended without an answer"}
)

// Options are what an [Agent] is made of. Model is required.
type Options struct {
	Model Model
	// System says who the model is and how it answers.
	System string
	// Tools are what it may call, in the order in which it is told of them.
	Tools []Tool
	// Rounds is how often the model is asked for one question; in the last round it has to
	// answer. 0: 8.
	Rounds int
}

// Agent answers questions with a model and tools. It is immutable, and may be used
// concurrently if Model and Tools may. Make one with [New].
type Agent struct {
	opts  Options
	tools map[string]Tool
}

// New checks opts; the error names the field.
func New(opts Options) (*Agent, error) {
	a := &Agent{opts: opts, tools: map[string]Tool{}}
	switch {
	case opts.Model == nil:
		return nil, errors.New("agent: Model is required")
	case opts.Rounds < 0:
		return nil, fmt.Errorf("agent: Rounds is %d, must not be negative", opts.Rounds)
	case opts.Rounds == 0:
		a.opts.Rounds = defaultRounds
	}
	for i, tool := range opts.Tools {
		if err := tool.check(); err != nil {
			return nil, fmt.Errorf("agent: Tools[%d]: %w", i, err)
		}
		if _, twice := a.tools[tool.Name]; twice {
			return nil, fmt.Errorf("agent: Tools[%d]: there are two tools %q", i, tool.Name)
		}
		a.tools[tool.Name] = tool
	}
	return a, nil
}

// Question is what msg asks: the text of its payload's content, else of its text. What has
// none, or more than 16 KiB, is refused as INVALID_MESSAGE.
func Question(msg switchboard.Envelope) (string, error) {
	var payload struct{ Content, Text string }
	if err := msg.Decode(&payload); err != nil {
		return "", err
	}
	field, question := "content", payload.Content
	if question == "" && payload.Text != "" {
		field, question = "text", payload.Text
	}
	switch {
	case strings.TrimSpace(question) == "":
		return "", invalid(field, "content must be a question")
	case len(question) > maxQuestion:
		return "", invalid(field, fmt.Sprintf("%s has %d bytes, %d are allowed", field, len(question), maxQuestion))
	}
	return question, nil
}

func invalid(field, message string) error {
	return &switchboard.Error{Code: wire.CodeInvalidMessage, Message: message, Details: map[string]any{"field": field}}
}
