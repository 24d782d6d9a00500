package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/netra-systems/switchboard/client"
)

type sendCmd struct {
	Server     serverURL `name:"url" env:"SWITCHBOARD_URL" required:"" placeholder:"URL" help:"The server's base URL, such as http://127.0.0.1:8080."`
	APIKey     string    `name:"api-key" placeholder:"K" xor:"credential" help:"Publish as the application, with this key ($$SWITCHBOARD_API_KEY)."`
	User       string    `placeholder:"U" xor:"to" help:"Publish to a user."`
	Room       string    `placeholder:"R" xor:"to" help:"Publish to a room."`
	All        bool      `xor:"to" help:"Publish to everybody."`
	credential `embed:""`
	Thread     string `placeholder:"T" help:"The conversation that the message belongs to."`
	Type       string `arg:"" help:"The type of the message."`
	Payload    string `arg:"" optional:"" help:"A JSON object; - reads it from standard input."`
}

// Help says what the flags do together.
func (*sendCmd) Help() string {
	return "With --user, --room or --all the message is published by the application, which takes an API key. " +
		"Otherwise a user sends it, who is proved by --token or --ticket; on a dev server the URL may say who, as in http://127.0.0.1:8080?user=alice. " +
		"The server's answer is printed as a line of JSON."
}

// Validate finds flags that do not go together. A key from the environment counts only
// where one is needed.
func (c *sendCmd) Validate() error {
	addressed := c.User != "" || c.Room != "" || c.All
	switch {
	case addressed && c.given():
		return usage("--user, --room and --all go with --api-key, not with a user's credential")
	case addressed:
		if c.APIKey = cmp.Or(c.APIKey, os.Getenv("SWITCHBOARD_API_KEY")); c.APIKey == "" {
			return usage("--user, --room and --all need --api-key or $SWITCHBOARD_API_KEY")
		}
	case c.APIKey != "":
		return usage("--api-key needs one of --user, --room and --all")
	}
	if c.Payload != "" && c.Payload != "-" && !isObject([]byte(c.Payload)) {
		return usage("PAYLOAD must be a JSON object")
	}
	return nil
}

// Run sends the message and prints the server's answer.
func (c *sendCmd) Run(ctx context.Context, term terminal) error {
	payload, err := c.payload(term.in)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := c.send(ctx, payload)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(term.out, "%s\n", answer)
	return err
}

func (c *sendCmd) payload(in io.Reader) (json.RawMessage, error) {
	switch c.Payload {
	case "":
		return nil, nil
	case "-":
	default:
		return json.RawMessage(c.Payload), nil
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	if !isObject(text) {
		return nil, usage("standard input must be a JSON object")
	}
	return text, nil
}

// send returns the answer to the message: that of the API, or the ack.
func (c *sendCmd) send(ctx context.Context, payload json.RawMessage) (answer []byte, err error) {
	if c.APIKey != "" {
		p := publication{Type: c.Type, Payload: payload, Thread: c.Thread}
		p.To.User, p.To.Room, p.To.All = c.User, c.Room, c.All
		return publish(ctx, c.Server, c.APIKey, p)
	}
	user, err := client.Dial(ctx, c.options(c.Server))
	if err != nil {
		return nil, err
	}
	defer user.Close()
	msg := client.Message{Payload: payload, Thread: c.Thread}
	setText(&msg.Type, c.Type)
	ack, err := user.Send(ctx, msg)
	if err != nil {
		return nil, err
	}
	return json.Marshal(ack)
}

// setText sets a string of a type that belongs to another package.
func setText[T ~string](dst *T, text string) { *dst = T(text) }
