// Package openai is a model for package agent that speaks OpenAI's chat completions, with
// streaming and tool calls, as many servers do. It uses nothing else of any of them.
package openai

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/netra-systems/switchboard/agent"
)

const defaultTries = 3

// Options say which model it is. URL and Model are required.
type Options struct {
	URL   string // the server's base, such as http://127.0.0.1:11434/v1
	Model string // its name there
	Key   string // sent as a bearer token; "": none
	// Tries is how often a request is made that was not answered, or with 408, 409, 429 or
	// 5xx, before any text: 0: 3. What the server asks for with Retry-After is respected.
	Tries int
	// Client makes the requests. nil: http.DefaultTransport without a time limit, since ctx
	// has one where there is to be one.
	Client *http.Client
}

// New checks opts and makes a model of them; the error names the field. It does not connect.
func New(opts Options) (agent.Model, error) {
	base, err := url.Parse(opts.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("openai: URL: %w", err)
	case base.Scheme != "http" && base.Scheme != "https" || base.Host == "":
		return nil, fmt.Errorf("openai: URL is %q, must be like http://127.0.0.1:11434/v1", opts.URL)
	case opts.Model == "":
		return nil, errors.New("openai: Model is required")
	case opts.Tries < 0:
		return nil, fmt.Errorf("openai: Tries is %d, must not be negative", opts.Tries)
	case opts.Tries == 0:
		opts.Tries = defaultTries
	}
	if opts.Client == nil {
		opts.Client = &http.Client{}
	}
	settings := []option.RequestOption{
		option.WithBaseURL(opts.URL), option.WithHTTPClient(opts.Client), option.WithMaxRetries(opts.Tries - 1),
	}
	if opts.Key != "" {
		settings = append(settings, option.WithAPIKey(opts.Key))
	}
	m := &model{name: opts.Model, key: opts.Key, chat: openai.NewChatCompletionService(settings...)}
	return m.write, nil
}

// model is immutable.
type model struct {
	name string
	key  string
	chat openai.ChatCompletionService
}

// write is an agent.Model.
func (m *model) write(ctx context.Context, req agent.Request, out io.Writer) ([]agent.Call, error) {
	params, err := m.params(req)
	if err != nil {
		return nil, err
	}
	stream := m.chat.NewStreaming(ctx, params)
	defer stream.Close()
	var r reply
	for stream.Next() {
		for _, choice := range stream.Current().Choices {
			if choice.Index != 0 { // one was asked for
				continue
			}
			if err := r.add(choice, out); err != nil {
				return nil, err
			}
		}
	}
	if err := stream.Err(); err != nil {
		return nil, m.failure(ctx, err)
	}
	return r.end()
}
