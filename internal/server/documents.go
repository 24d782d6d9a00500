package server

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/agent/openai"
	"github.com/netra-systems/switchboard/internal/docsagent"
	"github.com/netra-systems/switchboard/wire"
)

// documentsAgent is what the agent of documents is called in its runs.
const documentsAgent = "docs"

// Documents has user_message answered by an agent that knows a folder of documents, and
// read_passage by what is in them.
type Documents struct {
	// Dir is the folder. "": the project's own documents.
	Dir string
	// WordsPerSecond is the pace at which answers are written that no model writes; 0: at once.
	WordsPerSecond int
	// ModelURL and Model name a model that writes the answers, at a server that speaks the
	// OpenAI protocol; ModelKey may be "". Without both nobody but the agent writes.
	ModelURL, Model, ModelKey string
}

// Subject says what the documents are about, in the middle of a sentence. Of the folder it
// tells the name alone: where that lies concerns nobody else.
func (d *Documents) Subject() string {
	if d.Dir == "" {
		return "Switchboard's own documentation"
	}
	return "the documents in " + filepath.Base(d.Dir)
}

// documents is Documents at work.
type documents struct {
	agent *docsagent.Agent
	turn  chan struct{} // of capacity 1: one survey at a time, since each reads the folder
}

func newDocuments(d *Documents) (*documents, error) {
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
	return &documents{agent: a, turn: make(chan struct{}, 1)}, nil
}

// register makes m answer. It may be called on nil, which answers nothing.
func (d *documents) register(m *switchboard.Manager) {
	if d != nil {
		m.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: documentsAgent}, d.agent.Run)
		m.Handle(docsagent.ReadPassage, switchboard.Call(d.agent.ReadPassage))
	}
}

func (d *documents) survey(ctx context.Context) (docsagent.Survey, error) {
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
		return d.agent.Survey(ctx)
	case <-ctx.Done():
		return docsagent.Survey{}, ctx.Err()
	}
}
