package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// address names what a message is for. Exactly one member is there.
type address struct {
	User       *string `json:"user,omitempty" doc:"All devices of a user"`
	Room       *string `json:"room,omitempty" doc:"All who follow a room"`
	Connection *string `json:"connection,omitempty" doc:"One connection, now: nothing is stored"`
	All        bool    `json:"all,omitempty" doc:"Every connection of the tenant"`
}

// target returns the address in the manager's words.
func (a address) target() (switchboard.Target, error) {
	var to switchboard.Target
	var named int
	var bad error
	take := func(field string, id *string, make func(string) switchboard.Target) {
		if id == nil {
			return
		}
		named++
		if err := wire.CheckID(*id); err != nil {
			bad = invalid(field, err.Error())
			return
		}
		to = make(*id)
	}
	take("to.user", a.User, switchboard.User)
	take("to.room", a.Room, switchboard.Room)
	take("to.connection", a.Connection, switchboard.Connection)
	if a.All {
		named++
		to = switchboard.All()
	}
	if named != 1 {
		return to, invalid("to", "must name one of user, room, connection, all")
	}
	return to, bad
}

// object is a JSON object that passes through unread.
type object json.RawMessage

var errNoObject = &wire.ParseError{Code: wire.CodeInvalidMessage, Message: "payload must be an object"}

// UnmarshalJSON takes an object, and null as if nothing were there.
func (o *object) UnmarshalJSON(b []byte) error {
	switch {
	case bytes.Equal(b, []byte("null")):
		return nil
	case len(b) == 0 || b[0] != '{':
		return errNoObject
	}
	*o = bytes.Clone(b)
	return nil
}

// Schema describes an object in the OpenAPI document.
func (*object) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// publishRequest is the body of a publish.
type publishRequest struct {
	To        address  `json:"to"`
	Type      string   `json:"type" minLength:"1" maxLength:"128" doc:"Any name but those of run events, which are published through their run"`
	Payload   object   `json:"payload,omitempty"`
	MessageID string   `json:"message_id,omitempty" maxLength:"128" doc:"The same id is published once within 2 minutes, unless the message is volatile; default: a new UUIDv7"`
	ThreadID  string   `json:"thread_id,omitempty" maxLength:"128" doc:"The conversation that the message belongs to"`
	RunID     string   `json:"run_id,omitempty" maxLength:"64" doc:"A label: the run that the message is about"`
	Class     string   `json:"class,omitempty" enum:"durable,latest,volatile" doc:"durable, the default, is kept; latest replaces the one with the same key; volatile, the default for a connection, passes"`
	Key       string   `json:"key,omitempty" maxLength:"128" doc:"Goes with the class latest, which needs it"`
	TTL       float64  `json:"ttl_seconds,omitempty" doc:"Goes with the class latest: how long it is kept, from 1 second to 7 days (60)"`
	Except    []string `json:"except,omitempty" nullable:"false" doc:"Sessions that do not get it"`
}

// check returns where the message goes, or what is wrong with the request.
func (r *publishRequest) check() (switchboard.Target, error) {
	to, err := r.To.target()
	if err != nil {
		return to, err
	}
	if r.Type == "" {
		return to, invalid("type", "is missing")
	}
	for _, id := range []struct{ field, value string }{
		{"type", r.Type}, {"message_id", r.MessageID}, {"thread_id", r.ThreadID}, {"run_id", r.RunID}, {"key", r.Key},
	} {
		if id.value == "" {
			continue
		}
		if err := wire.CheckID(id.value); err != nil {
			return to, invalid(id.field, err.Error())
		}
	}
	if len(r.RunID) > 64 || strings.Contains(r.RunID, "/") {
		return to, invalid("run_id", `must have at most 64 bytes and no "/"`)
	}
	for i, session := range r.Except {
		if err := wire.CheckID(session); err != nil {
			return to, invalid(fmt.Sprintf("except.%d", i), err.Error())
		}
	}
	if len(r.Except) > 0 {
		if r.To.Connection != nil {
			return to, invalid("except", "does not go with a connection")
		}
		to = to.Except(r.Except...)
	}
	return to, nil
}

// class returns the class of the message, or what does not go together with it.
func (r *publishRequest) class() (class wire.Class, err error) {
	if err := class.UnmarshalText([]byte(r.Class)); err != nil {
		return class, invalid("class", err.Error())
	}
	if r.To.Connection != nil {
		if r.Class != "" && class != wire.Volatile {
			return class, invalid("class", `must be "volatile" for a connection`)
		}
		class = wire.Volatile
	}
	switch {
	case class != wire.Latest && r.Key != "":
		return class, invalid("key", `goes with the class "latest"`)
	case class != wire.Latest && r.TTL != 0:
		return class, invalid("ttl_seconds", `goes with the class "latest"`)
	case class == wire.Latest && r.Key == "":
		return class, invalid("key", `is missing: a message of class "latest" replaces the one with the same key`)
	case r.TTL != 0 && (r.TTL < 1 || r.TTL > latestLong):
		return class, invalid("ttl_seconds", fmt.Sprintf("must be from 1 to %d", latestLong))
	}
	return class, nil
}

// latestLong is how many seconds a message of class latest may be kept.
const latestLong = 7 * 24 * 60 * 60

// receivers is how many got a message as far as the answering node knows.
type receivers struct {
	Nodes       int `json:"nodes"`
	Connections int `json:"connections"`
}

type publishAnswer struct {
	MessageID string         `json:"message_id"`
	Topic     string         `json:"topic,omitempty" doc:"Absent for a connection"`
	Position  *wire.Position `json:"position,omitempty" doc:"The place in the topic's log, as <epoch>:<offset>; absent unless the class is durable"`
	Duplicate bool           `json:"duplicate" doc:"The id was published before; position is the first one's"`
	Receivers receivers      `json:"receivers" doc:"As known to the answering node; no proof of delivery"`
}

type publishOutput struct{ Body publishAnswer }

func (a *api) publish(ctx context.Context, r *publishRequest) (*publishOutput, error) {
	to, err := r.check()
	if err != nil {
		return nil, err
	}
	class, err := r.class()
	if err != nil {
		return nil, err
	}
	msg := switchboard.Message{
		Type: wire.MessageType(r.Type), ID: r.MessageID, Thread: r.ThreadID, Run: r.RunID,
		Class: class, Key: r.Key, TTL: time.Duration(r.TTL * float64(time.Second)),
	}
	if r.Payload != nil {
		msg.Payload = json.RawMessage(r.Payload)
	}
	d, err := a.m.Publish(ctx, to, msg)
	switch {
	case errors.Is(err, switchboard.ErrRunContract):
		return nil, newProblem(http.StatusConflict, wire.CodeRunContract, sentence(wire.CodeRunContract)).with("field", "type")
	case err != nil:
		return nil, err
	}
	answer := publishAnswer{MessageID: d.ID, Duplicate: d.Duplicate, Receivers: receivers{Connections: d.Receivers}}
	if d.Receivers > 0 {
		answer.Receivers.Nodes = 1
	}
	if r.To.Connection == nil {
		answer.Topic = r.To.topic()
	}
	if !d.Position.IsZero() {
		answer.Position = &d.Position
	}
	return &publishOutput{Body: answer}, nil
}

// topic is what clients call the address.
func (a address) topic() string {
	switch {
	case a.User != nil:
		return wire.Topic{Kind: wire.KindUser, ID: *a.User}.String()
	case a.Room != nil:
		return wire.Topic{Kind: wire.KindRoom, ID: *a.Room}.String()
	}
	return wire.Topic{Kind: wire.KindAll}.String()
}
