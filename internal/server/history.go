package server

import (
	"context"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

type historyInput struct {
	Topic  string `query:"topic" required:"true" doc:"user/<id>, room/<id> or all"`
	Since  string `query:"since" doc:"Only messages after this position"`
	Before string `query:"before" doc:"Only messages before this position"`
	Thread string `query:"thread_id" maxLength:"128" doc:"Only messages of this conversation"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"At most so many"`
}

type historyAnswer struct {
	Messages []wire.Envelope `json:"messages" nullable:"false" doc:"Oldest first"`
	Head     wire.Position   `json:"head"`
	HasMore  bool            `json:"has_more"`
	Gap      *wire.Gap       `json:"gap,omitempty"`
}

// message describes a [wire.Envelope], whose fields have no tags because it encodes itself.
type message struct {
	Type          wire.MessageType `json:"type"`
	Payload       object           `json:"payload,omitempty"`
	ID            string           `json:"message_id,omitempty"`
	Timestamp     float64          `json:"timestamp,omitempty" doc:"Seconds since 1970"`
	Topic         string           `json:"topic,omitempty"`
	Offset        uint64           `json:"offset,omitempty" doc:"The place in the topic's log"`
	UserID        string           `json:"user_id,omitempty" doc:"Who sent it; absent: the application"`
	ThreadID      string           `json:"thread_id,omitempty"`
	RunID         string           `json:"run_id,omitempty"`
	AgentName     string           `json:"agent_name,omitempty"`
	StreamLengths map[string]int   `json:"stream_lengths,omitempty" doc:"Of the run's text streams, in code points"`
	Trace         object           `json:"trace,omitempty" doc:"W3C trace context"`
}

type historyOutput struct{ Body historyAnswer }

func (a *api) history(ctx context.Context, in *historyInput) (*historyOutput, error) {
	to, err := targetOf(in.Topic)
	if err != nil {
		return nil, err
	}
	q := switchboard.Query{Thread: in.Thread, Limit: in.Limit}
	if err := position("since", in.Since, &q.Since); err != nil {
		return nil, err
	}
	if err := position("before", in.Before, &q.Before); err != nil {
		return nil, err
	}
	page, err := a.m.History(ctx, to, q)
	if err != nil {
		return nil, err
	}
	return &historyOutput{Body: historyAnswer(page)}, nil
}

// targetOf reads the name of a topic.
func targetOf(topic string) (switchboard.Target, error) {
	t, err := wire.ParseTopic("", topic)
	if err != nil {
		return switchboard.Target{}, invalid("topic", err.Error())
	}
	switch t.Kind {
	case wire.KindUser:
		return switchboard.User(t.ID), nil
	case wire.KindRoom:
		return switchboard.Room(t.ID), nil
	default:
		return switchboard.All(), nil
	}
}

// position reads a parameter that may be left out.
func position(name, text string, p *wire.Position) error {
	if text == "" {
		return nil
	}
	if err := p.UnmarshalText([]byte(text)); err != nil {
		return invalid(name, "must be a position, as <epoch>:<offset>")
	}
	return nil
}
