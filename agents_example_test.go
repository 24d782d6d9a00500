package switchboard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// What docs/agents.md shows is in this file, compiled and run.

// model stands for a language model that streams its answer.
func model(_ context.Context, question string) io.Reader {
	return strings.NewReader("You asked: " + question)
}

type order struct {
	ID    int    `json:"order"`
	State string `json:"state"`
}

func lookUp(_ context.Context, id int) (order, error) { return order{id, "shipped"}, nil }

func ExampleManager_HandleRun() {
	ctx := context.Background()
	m, srv, stop := start(ctx, switchboard.Options{})
	defer stop()

	m.HandleRun("user_message", switchboard.RunOptions{Agent: "support"},
		func(ctx context.Context, run *switchboard.Run, msg switchboard.Envelope) error {
			var question struct{ Content string }
			if err := msg.Decode(&question); err != nil {
				return err
			}
			if err := run.Thinking(ctx, "Looking up the order"); err != nil {
				return err
			}
			tool := run.Tool(ctx, "orders", map[string]any{"order": 1042, "api_key": "never shown"})
			found, err := lookUp(ctx, 1042)
			if err := tool.End(ctx, found, err); err != nil {
				return err
			}
			_, err = io.Copy(run.Stream("answer"), model(ctx, question.Content))
			return err // nil completes the run, an error fails it
		})

	alice, err := open(ctx, srv, "alice")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer alice.CloseNow()
	alice.say(ctx, `{"type":"user_message","message_id":"m-1","payload":{"content":"Where is my order?"}}`)
	for typ := wire.MessageType(""); typ != wire.AgentCompleted; {
		msg := alice.next(ctx)
		switch typ = msg.Type; typ {
		case wire.AckType:
		case wire.StreamChunk:
		case wire.ToolExecuting:
			var tool wire.ToolExecutingPayload
			if err := msg.Decode(&tool); err != nil {
				fmt.Println(err)
			}
			fmt.Printf("%s %s %s\n", typ, tool.Tool, tool.Parameters)
		case wire.StreamComplete:
			var text wire.StreamCompletePayload
			if err := msg.Decode(&text); err != nil {
				fmt.Println(err)
			}
			fmt.Printf("%s %q\n", typ, text.Text)
		default:
			fmt.Println(typ)
		}
	}
	// Output:
	// user_message
	// agent_started
	// agent_thinking
	// tool_executing orders {"api_key":"[REDACTED]","order":1042}
	// tool_completed
	// stream_open
	// stream_complete "You asked: Where is my order?"
	// agent_completed
}

func ExampleRuns_Start() {
	ctx := context.Background()
	m, _, stop := start(ctx, switchboard.Options{})
	defer stop()

	run, err := m.Runs().Start(ctx, switchboard.RunOptions{
		Agent: "reporter", To: switchboard.User("alice"), Thread: "reports", ID: "report-7",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := run.Progress(ctx, 50, "half of the tables"); err != nil {
		fmt.Println(err)
	}
	_, err = run.Complete(ctx, map[string]int{"tables": 12})
	fmt.Println(err)
	_, err = run.Complete(ctx, nil)
	fmt.Println(errors.Is(err, switchboard.ErrRunEnded))
	// Output:
	// <nil>
	// true
}

func ExampleRuns_Attach() {
	ctx := context.Background()
	m, _, stop := start(ctx, switchboard.Options{})
	defer stop()

	// One process starts the run and may end. Whoever goes on with it keeps it alive.
	_, err := m.Runs().Start(ctx, switchboard.RunOptions{
		Agent: "writer", To: switchboard.User("alice"), ID: "letter-3", Lease: 30 * time.Second,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	run, err := m.Runs().Attach(ctx, "letter-3")
	if err != nil {
		fmt.Println(err)
		return
	}
	out := run.Stream("answer")
	length, err := out.AppendAt(ctx, 0, "Dear customer, ")
	fmt.Println(length, err)
	length, err = out.AppendAt(ctx, 0, "Dear customer, ") // sent again: nothing is doubled
	fmt.Println(length, err)
	length, err = out.AppendAt(ctx, 99, "late")
	fmt.Println(length, switchboard.CodeOf(err))
	_, err = run.Complete(ctx, nil)
	fmt.Println(err)
	// Output:
	// 15 <nil>
	// 15 <nil>
	// 15 STREAM_OFFSET
	// <nil>
}

func ExampleRun_Context() {
	ctx := context.Background()
	m, srv, stop := start(ctx, switchboard.Options{})
	defer stop()
	stopped := make(chan string)

	m.HandleRun("user_message", switchboard.RunOptions{Agent: "writer"},
		func(ctx context.Context, run *switchboard.Run, _ switchboard.Envelope) error {
			<-ctx.Done() // somebody has pressed Stop, on any device
			_, err := io.WriteString(run.Stream("answer"), "too late")
			stopped <- fmt.Sprint(context.Cause(ctx), "; ", errors.Is(err, switchboard.ErrRunCancelled))
			return ctx.Err()
		})

	alice, err := open(ctx, srv, "alice")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer alice.CloseNow()
	alice.say(ctx, `{"type":"user_message","message_id":"m-1","thread_id":"t1","payload":{"content":"Write"}}`)
	for alice.next(ctx).Type != wire.AgentStarted {
	}
	alice.say(ctx, `{"type":"stop_agent","message_id":"m-2","payload":{"thread_id":"t1"}}`)
	fmt.Println(<-stopped)
	// Output:
	// RUN_CANCELLED: the run was cancelled by alice; true
}

func ExampleManager_Thread() {
	ctx := context.Background()
	m, _, stop := start(ctx, switchboard.Options{})
	defer stop()

	run, err := m.Runs().Start(ctx, switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), Thread: "letters", ID: "letter-4"})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := io.WriteString(run.Stream("answer"), "Dear Bob,"); err != nil {
		fmt.Println(err)
	}
	thread, err := m.Thread(ctx, switchboard.User("alice"), "letters", switchboard.Query{})
	if err != nil {
		fmt.Println(err)
		return
	}
	live := thread.Runs[0]
	fmt.Println(len(thread.Messages), live.ID, live.State, live.Streams[0].Text)
	_, err = run.Cancel(ctx, "enough")
	fmt.Println(err)
	// Output:
	// 2 letter-4 running Dear Bob,
	// <nil>
}
