package openai

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/ssestream"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/agent"
	"github.com/netra-systems/switchboard/wire"
)

// What a model may write in one round.
const (
	maxText  = 1 << 20  // bytes
	maxArgs  = 64 << 10 // bytes of names and arguments
	maxCalls = 64
)

// Why an answer is none. Users may read the text of these.
var (
	// ErrEarlyEnd means that the answer ended before the model had finished.
	ErrEarlyEnd = visible("the model's answer broke off", true)
	// ErrCut means that the answer reached the limit of its length.
	ErrCut = visible("the model's answer was cut at its limit", false)
	// ErrFiltered means that the server withheld the rest of the answer.
	ErrFiltered = visible("the model's server withheld the answer", false)
	// ErrTooLong means that the model wrote more than a round may have.
	ErrTooLong = visible("the model wrote too much", false)
)

// visible is an error that users read. Recoverable: to ask again may help.
func visible(message string, recoverable bool) error {
	return &switchboard.Error{
		Code: wire.CodeBackendUnavailable, Message: message,
		Details: map[string]any{"error_type": "model", "recoverable": recoverable},
	}
}

// reply is what has come of a round.
type reply struct {
	calls  []call
	text   int // bytes
	args   int // bytes
	finish string
}

// call is one that its server counts as index. Servers that do not count tell calls apart
// by their ids.
type call struct {
	index int64
	agent.Call
}

// add takes the next piece. An error of out is that of the run.
func (r *reply) add(choice openai.ChatCompletionChunkChoice, out io.Writer) error {
	for _, text := range [...]string{choice.Delta.Content, choice.Delta.Refusal} {
		if r.text += len(text); r.text > maxText {
			return fmt.Errorf("%w: more than %d bytes", ErrTooLong, maxText)
		}
		if text == "" {
			continue
		}
		if _, err := io.WriteString(out, text); err != nil {
			return err
		}
	}
	for _, piece := range choice.Delta.ToolCalls {
		if r.args += len(piece.Function.Name) + len(piece.Function.Arguments); r.args > maxArgs {
			return fmt.Errorf("%w: more than %d bytes of arguments", ErrTooLong, maxArgs)
		}
		c, err := r.call(piece.Index, piece.ID)
		if err != nil {
			return err
		}
		c.Name += piece.Function.Name
		c.Arguments += piece.Function.Arguments
	}
	if choice.FinishReason != "" {
		r.finish = choice.FinishReason
	}
	return nil
}

// call finds or begins the call that a piece belongs to.
func (r *reply) call(index int64, id string) (*call, error) {
	for i := len(r.calls) - 1; i >= 0; i-- {
		if c := &r.calls[i]; c.index == index && (id == "" || c.ID == "" || c.ID == id) {
			c.ID = cmp.Or(c.ID, id)
			return c, nil
		}
	}
	if len(r.calls) == maxCalls {
		return nil, fmt.Errorf("%w: more than %d calls", ErrTooLong, maxCalls)
	}
	r.calls = append(r.calls, call{index: index, Call: agent.Call{ID: id}})
	return &r.calls[len(r.calls)-1], nil
}

// end is called when no more comes.
func (r *reply) end() ([]agent.Call, error) {
	switch r.finish {
	case "":
		return nil, ErrEarlyEnd
	case "length":
		return nil, ErrCut
	case "content_filter":
		return nil, ErrFiltered
	}
	calls := make([]agent.Call, len(r.calls))
	for i, c := range r.calls {
		calls[i] = c.Call
		if c.ID == "" { // the protocol wants one
			calls[i].ID = "call_" + strconv.Itoa(i)
		}
	}
	return calls, nil
}

// failure says of an error of the server or the network as much as users may know, and the
// rest for the log, without the key, which servers like to repeat.
func (m *model) failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	why := visible("the model's server sent what is no answer", false)
	if answered, ok := errors.AsType[*openai.Error](err); ok {
		again := answered.StatusCode == http.StatusTooManyRequests || answered.StatusCode >= http.StatusInternalServerError
		why = visible(fmt.Sprintf("the model's server answered %d %s", answered.StatusCode, http.StatusText(answered.StatusCode)), again)
	} else if _, ok := errors.AsType[*ssestream.StreamError](err); ok {
		why = visible("the model's server reported an error", true)
	} else if _, ok := errors.AsType[*url.Error](err); ok { // of the request: the body has others
		why = visible("the model's server cannot be reached", true)
	} else if _, ok := errors.AsType[net.Error](err); ok || errors.Is(err, io.ErrUnexpectedEOF) {
		why = ErrEarlyEnd
	}
	text := err.Error()
	if m.key != "" {
		text = strings.ReplaceAll(text, m.key, "[key]")
	}
	return fmt.Errorf("%w: %.1000s", why, text)
}
