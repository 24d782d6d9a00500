package server

import (
	"fmt"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/agent/openai"
	"github.com/netra-systems/switchboard/internal/docsagent"
	"github.com/netra-systems/switchboard/wire"
)

// documentsAgent is what the agent of documents is called in its runs.
const documentsAgent = "docs"

// Documents has user_message answered by an agent that knows a folder of documents.
type Documents struct {
	// Dir is the folder. "": the project's own documents.
	Dir string
	// WordsPerSecond is the pace at which answers are written that no model writes; 0: at once.
	WordsPerSecond int
	// ModelURL and Model name a model that writes the answers, at a server that speaks the
	// OpenAI protocol; ModelKey may be "". Without both nobody but the agent writes.
	ModelURL, Model, ModelKey string
}

// handler returns the agent.
func (d *Documents) handler() (switchboard.RunHandler, error) {
	opts := docsagent.Options{Dir: d.Dir, WordsPerSecond: d.WordsPerSecond}
	if d.ModelURL != "" || d.Model != "" {
		model, err := openai.New(openai.Options{URL: d.ModelURL, Model: d.Model, Key: d.ModelKey})
		if err != nil {
			return nil, fmt.Errorf("Documents: %w", err)
		}
		opts.Model = model
	}
	a, err := docsagent.New(opts)
	if err != nil {
		return nil, fmt.Errorf("Documents: %w", err)
	}
	return a.Run, nil
}

// answer registers the agent, if there is one.
func (s *Server) answer(m *switchboard.Manager) {
	if s.agent != nil {
		m.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: documentsAgent}, s.agent)
	}
}
