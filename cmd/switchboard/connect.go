package main

import (
	"context"
	"encoding/json"

	"github.com/netra-systems/switchboard/client"
)

// credential is how a command proves who its user is. Without one only a dev server on
// this machine lets it in.
type credential struct {
	Token  string `placeholder:"JWT" xor:"credential" help:"The user's token."`
	Ticket string `placeholder:"T" xor:"credential" help:"A ticket, good for one connection."`
}

func (c credential) given() bool { return c.Token != "" || c.Ticket != "" }

// options are those with which a command connects.
func (c credential) options(server serverURL) client.Options {
	opts := client.Options{URL: server.client()}
	if c.Token != "" {
		opts.Token = func(context.Context) (string, error) { return c.Token, nil }
	}
	if c.Ticket != "" {
		opts.Ticket = func(context.Context) (string, error) { return c.Ticket, nil }
	}
	return opts
}

// isObject reports whether text is one JSON object.
func isObject(text []byte) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal(text, &object) == nil && object != nil
}
