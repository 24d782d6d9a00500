package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// Run answers the question that msg asks, see [Question] and [Agent.Answer]. It is a
// [switchboard.RunHandler].
func (a *Agent) Run(ctx context.Context, run *switchboard.Run, msg switchboard.Envelope) error {
	question, err := Question(msg)
	if err != nil {
		return err
	}
	return a.Answer(ctx, run, question)
}

// Answer answers one question on run: it asks the model, calls the tools that it asks for,
// tells it the results and asks again, until it answers without a tool, or Rounds are over
// (ErrRounds). What the model writes goes to the stream [StreamName] as it comes, with an
// empty line between rounds; an error leaves that there. The error is that of the model, of
// the run (it was stopped), or of ctx. Errors of tools are for the model.
func (a *Agent) Answer(ctx context.Context, run *switchboard.Run, question string) error {
	out := &answer{stream: run.Stream(StreamName)}
	req := Request{Tools: a.opts.Tools}
	if a.opts.System != "" {
		req.Messages = append(req.Messages, Message{Role: RoleSystem, Text: a.opts.System})
	}
	req.Messages = append(req.Messages, Message{Role: RoleUser, Text: question})
	for round := 1; ; round++ {
		req.Final = round == a.opts.Rounds
		out.begin()
		calls, err := a.opts.Model(ctx, req, out)
		if err != nil {
			return modelError(ctx, round, err)
		}
		switch {
		case len(calls) == 0 && out.total == 0:
			return ErrNoAnswer
		case len(calls) == 0:
			return out.stream.Close()
		case req.Final:
			return fmt.Errorf("%w after %d rounds", ErrRounds, round)
		}
		req.Messages = append(req.Messages, Message{Role: RoleAssistant, Text: out.round.String(), Calls: calls})
		for i, call := range calls {
			result, err := a.call(ctx, run, call, i)
			if err != nil {
				return err
			}
			req.Messages = append(req.Messages, Message{Role: RoleTool, Text: result, CallID: call.ID})
		}
	}
}

// modelError says what failed, also to those who may only read errors that are for users.
func modelError(ctx context.Context, round int, err error) error {
	if ctx.Err() != nil {
		return err
	}
	if _, visible := errors.AsType[*switchboard.Error](err); !visible && switchboard.CodeOf(err) == wire.CodeInternal {
		err = errors.Join(&switchboard.Error{Code: wire.CodeBackendUnavailable, Message: "the model failed"}, err)
	}
	return fmt.Errorf("round %d of the model: %w", round, err)
}

// call does what the model asks for, the i-th call of its round, and returns what it is
// told. An error is that of the run or of ctx.
func (a *Agent) call(ctx context.Context, run *switchboard.Run, call Call, i int) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	tool, known := a.tools[call.Name]
	if !known || i >= maxCalls {
		refusal := fmt.Errorf("there is no tool %q", clip(call.Name, 64))
		if known {
			refusal = fmt.Errorf("%d tools may be called at once; call %q again", maxCalls, call.Name)
		}
		if err := run.Thinking(ctx, "The model asked for too much: "+refusal.Error()+"."); err != nil {
			return "", err
		}
		return errorResult(refusal)
	}
	args, err := arguments(call.Arguments)
	if err != nil { // shown as they came
		written := map[string]any{"arguments": clip(call.Arguments, 1000)}
		if ended := run.Tool(ctx, tool.Name, written).End(ctx, nil, err); ended != nil {
			return "", ended
		}
		return errorResult(err)
	}
	doing := run.Tool(ctx, tool.Name, args)
	result, err := encode(tool.Call(ctx, args))
	if ctx.Err() != nil { // which is all that err may mean
		return "", ctx.Err()
	}
	if err != nil {
		if ended := doing.End(ctx, nil, err); ended != nil {
			return "", ended
		}
		return errorResult(err)
	}
	return string(result), doing.End(ctx, result, nil)
}

// answer is the stream that the model writes to. It knows what was written in this round.
type answer struct {
	stream io.WriteCloser
	round  strings.Builder
	total  int  // bytes, of all rounds
	apart  bool // an empty line is to come before what is written next
}

func (a *answer) begin() {
	a.apart = a.total > 0
	a.round.Reset()
}

// Write implements io.Writer. Its error is that of the run.
func (a *answer) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if a.apart {
		if _, err := io.WriteString(a.stream, "\n\n"); err != nil {
			return 0, err
		}
		a.apart = false
	}
	n, err := a.stream.Write(p)
	a.round.Write(p[:n])
	a.total += n
	return n, err
}
