package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/netra-systems/switchboard/wire"
)

// Tool is something that a model may call. All fields but Parameters are required.
type Tool struct {
	Name        string // what the model calls it: 1 to 64 letters, digits, _ and -
	Description string // for the model: when to call it, and what comes back
	// Parameters is a JSON Schema of type object that says what Call takes. nil: nothing.
	Parameters json.RawMessage
	// Call does it. args is a JSON object, and nothing more is known of it; [Typed] decodes
	// it. The result is encoded as JSON, for the model and for who watches the run, and may
	// have 128 KiB. The model is told the text of an error.
	Call func(ctx context.Context, args json.RawMessage) (any, error)
}

// Typed makes a Call of a function of Args. It refuses what Args does not have and what
// does not fit.
func Typed[Args any](call func(ctx context.Context, args Args) (any, error)) func(context.Context, json.RawMessage) (any, error) {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var args Args
		if err := wire.Unmarshal(raw, &args); err != nil {
			return nil, err
		}
		return call(ctx, args)
	}
}

func (t Tool) check() error {
	switch {
	case !regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`).MatchString(t.Name):
		return fmt.Errorf("Name is %q, must be 1 to 64 letters, digits, _ and -", t.Name)
	case t.Description == "":
		return errors.New("Description is required")
	case t.Call == nil:
		return errors.New("Call is required")
	case t.Parameters == nil:
		return nil
	}
	var schema struct{ Type string }
	if err := wire.Unmarshal(t.Parameters, &schema); err != nil {
		return fmt.Errorf("Parameters: %w", err)
	}
	if schema.Type != "object" {
		return fmt.Errorf(`Parameters have type %q, must be a JSON Schema of type "object"`, schema.Type)
	}
	return nil
}

// arguments checks that what a model wrote is a JSON object that fits into an event. Nothing
// at all is an empty one.
func arguments(text string) (json.RawMessage, error) {
	if strings.TrimSpace(text) == "" {
		return json.RawMessage("{}"), nil
	}
	if err := fits(text); err != nil {
		return nil, fmt.Errorf("the arguments: %w", err)
	}
	var object map[string]json.RawMessage
	if err := wire.Unmarshal([]byte(text), &object); err != nil || object == nil {
		return nil, errors.New("the arguments must be a JSON object")
	}
	return json.RawMessage(text), nil
}

// encode makes JSON of what a tool returned.
func encode(result any, err error) (json.RawMessage, error) {
	if err != nil {
		return nil, err
	}
	text, err := wire.Marshal(result)
	if err != nil {
		return nil, fmt.Errorf("the result is no JSON: %w", err)
	}
	if len(text) > maxResult {
		return nil, fmt.Errorf("the result has %d bytes, %d are allowed: ask for less", len(text), maxResult)
	}
	if err := fits(string(text)); err != nil {
		return nil, fmt.Errorf("the result: %w", err)
	}
	return text, nil
}

// fits checks a value by itself, and then where it will be in an event, two levels deeper.
func fits(text string) error {
	var value json.RawMessage
	if err := wire.Unmarshal([]byte(text), &value); err != nil {
		return err
	}
	return wire.Unmarshal([]byte(`{"payload":{"result":`+text+`}}`), &value)
}

// errorResult is what a model is told of an error.
func errorResult(err error) (string, error) {
	text, err := wire.Marshal(map[string]string{"error": clip(err.Error(), 1000)})
	return string(text), err
}

// clip is s as valid UTF-8 of about n bytes at most.
func clip(s string, n int) string {
	if s = strings.ToValidUTF8(s, "\uFFFD"); len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
