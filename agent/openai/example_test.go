package openai_test

import (
	"fmt"
	"log"
	"os"

	"github.com/netra-systems/switchboard/agent"
	"github.com/netra-systems/switchboard/agent/openai"
)

func ExampleNew() {
	model, err := openai.New(openai.Options{URL: "http://127.0.0.1:11434/v1", Model: "a-model", Key: os.Getenv("MODEL_KEY")})
	if err != nil {
		log.Fatal(err)
	}
	a, err := agent.New(agent.Options{Model: model, System: "You are brief."})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%T\n", a) // and then: manager.HandleRun("user_message", switchboard.RunOptions{Agent: "brief"}, a.Run)
	// Output: *agent.Agent
}
