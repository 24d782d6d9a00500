package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/agent"
)

func ExampleAgent() {
	type city struct{ Name string }
	weather := agent.Tool{
		Name:        "weather",
		Description: "tells the weather of a city",
		Parameters:  json.RawMessage(`{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}`),
		Call: agent.Typed(func(_ context.Context, c city) (any, error) {
			return map[string]string{"weather": "rain in " + c.Name}, nil
		}),
	}
	// A model is a function. This one knows one thing to do; package agent/openai has those
	// that know more.
	model := func(_ context.Context, req agent.Request, out io.Writer) ([]agent.Call, error) {
		last := req.Messages[len(req.Messages)-1]
		if last.Role == agent.RoleUser {
			return []agent.Call{{ID: "1", Name: "weather", Arguments: `{"name":"Bremen"}`}}, nil
		}
		_, err := io.WriteString(out, "It says: "+last.Text)
		return nil, err
	}
	a, err := agent.New(agent.Options{Model: model, Tools: []agent.Tool{weather}})
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	m, err := switchboard.New(switchboard.Options{Auth: nobody})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = m.Shutdown(ctx) }()
	m.HandleRun("user_message", switchboard.RunOptions{Agent: "weather"}, a.Run) // for users, from their devices

	run, err := m.Runs().Start(ctx, switchboard.RunOptions{Agent: "weather", To: switchboard.User("alice")})
	if err != nil {
		log.Fatal(err)
	}
	if err := a.Answer(ctx, run, "Do I need an umbrella?"); err != nil {
		log.Fatal(err)
	}
	if _, err := run.Complete(ctx, nil); err != nil { // which HandleRun does by itself
		log.Fatal(err)
	}
	answer, err := run.Stream(agent.StreamName).Snapshot(ctx)
	fmt.Println(answer.Text, err)
	// Output: It says: {"weather":"rain in Bremen"} <nil>
}

func nobody(context.Context, switchboard.Credential) (switchboard.Identity, error) {
	return switchboard.Identity{}, switchboard.ErrUnauthenticated
}
