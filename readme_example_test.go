package switchboard_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http/httptest"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/auth"
	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// Example is the program in README.md, and a client that asks it.
func Example() {
	ctx := context.Background()
	m, err := switchboard.New(switchboard.Options{Auth: auth.Development()}) // this machine only
	if err != nil {
		log.Fatal(err)
	}
	defer m.Shutdown(ctx)
	m.HandleRun("user_message", switchboard.RunOptions{Agent: "support"},
		func(ctx context.Context, run *switchboard.Run, msg switchboard.Envelope) error {
			var question struct{ Content string }
			if err := msg.Decode(&question); err != nil {
				return err
			}
			tool := run.Tool(ctx, "orders", map[string]any{"order": 1042}) // every device sees the call
			found, err := lookUp(ctx, 1042)
			if err := tool.End(ctx, found, err); err != nil { // and its result
				return err
			}
			_, err = io.Copy(run.Stream("answer"), model(ctx, question.Content)) // tokens in, text on every device
			return err                                                           // nil completes the run; Stop ends ctx
		})
	srv := httptest.NewServer(m.ClientAPI()) // or any http.Server, beside what it has
	defer srv.Close()

	phone, err := client.Dial(ctx, client.Options{URL: srv.URL + "/ws?user=alice"})
	if err != nil {
		log.Fatal(err)
	}
	defer phone.Close()
	messages := phone.Messages(ctx)
	_, err = phone.Send(ctx, client.Message{Type: wire.UserMessage, Payload: map[string]string{"content": "Where is my order?"}})
	if err != nil {
		log.Fatal(err)
	}
	for msg := range messages {
		switch msg.Type {
		case wire.ToolExecuting, wire.ToolCompleted:
			fmt.Println(msg.Type)
		case wire.StreamComplete:
			text, _ := phone.Text(msg.RunID + "/answer")
			fmt.Println(text)
		case wire.AgentCompleted:
			return
		}
	}
	// Output:
	// tool_executing
	// tool_completed
	// You asked: Where is my order?
}
