package wire_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"github.com/netra-systems/switchboard/wire"
)

// payload is a Go type that a message's payload may have.
type payload struct {
	typ   wire.MessageType
	value any // a pointer to a zero value
}

// payloads lists what payloads are in Go. A type that is not here carries what its
// applications agree on.
func payloads() []payload {
	return []payload{
		{wire.SystemMessage, new(wire.Welcome)},
		{wire.SystemMessage, new(wire.Closing)},
		{wire.SessionRestore, new(wire.Restore)},
		{wire.SessionRestored, new(wire.Restored)},
		{wire.Auth, new(wire.AuthRequest)},
		{wire.AuthOK, new(wire.AuthOKPayload)},
		{wire.AuthExpiring, new(wire.AuthExpiringPayload)},
		{wire.Logout, new(wire.LogoutRequest)},
		{wire.ServerShutdown, new(wire.ServerShutdownPayload)},
		{wire.AckType, new(wire.Ack)},
		{wire.AckType, new(wire.AckRequest)},
		{wire.GapType, new(wire.Gap)},
		{wire.Subscribe, new(wire.SubscribeRequest)},
		{wire.Unsubscribe, new(wire.SubscribeRequest)},
		{wire.Subscribed, new(wire.SubscribedPayload)},
		{wire.Unsubscribed, new(wire.SubscribedPayload)},
		{wire.JoinRoom, new(wire.JoinRoomRequest)},
		{wire.LeaveRoom, new(wire.JoinRoomRequest)},
		{wire.RoomJoined, new(wire.RoomJoinedPayload)},
		{wire.RoomLeft, new(wire.RoomLeftPayload)},
		{wire.RoomMessage, new(wire.RoomMessageRequest)},
		{wire.ThreadOpen, new(wire.ThreadOpenRequest)},
		{wire.SwitchThread, new(wire.ThreadOpenRequest)},
		{wire.ThreadSnapshot, new(wire.Thread)},
		{wire.History, new(wire.HistoryRequest)},
		{wire.HistoryResult, new(wire.HistoryResultPayload)},
		{wire.MarkRead, new(wire.MarkReadRequest)},
		{wire.ReadMarker, new(wire.ReadMarkerPayload)},
		{wire.PresenceUpdate, new(wire.PresenceUpdateRequest)},
		{wire.PresenceState, new(wire.PresenceStatePayload)},
		{wire.PresenceDiff, new(wire.PresenceDiffPayload)},
		{wire.TypingStarted, new(wire.TypingRequest)},
		{wire.TypingStopped, new(wire.TypingRequest)},
		{wire.UserTyping, new(wire.TypingPayload)},
		{wire.AgentTyping, new(wire.TypingPayload)},
		{wire.StopAgent, new(wire.StopAgentRequest)},
		{wire.Steer, new(wire.SteerRequest)},
		{wire.Approve, new(wire.ApproveRequest)},
		{wire.Reject, new(wire.ApproveRequest)},
		{wire.AgentStarted, new(wire.AgentStartedPayload)},
		{wire.AgentThinking, new(wire.AgentThinkingPayload)},
		{wire.ToolExecuting, new(wire.ToolExecutingPayload)},
		{wire.ToolCompleted, new(wire.ToolCompletedPayload)},
		{wire.AgentCompleted, new(wire.AgentCompletedPayload)},
		{wire.AgentError, new(wire.AgentErrorPayload)},
		{wire.AgentCancelled, new(wire.AgentCancelledPayload)},
		{wire.AgentDeath, new(wire.AgentDeathPayload)},
		{wire.AgentStalled, new(wire.AgentStalledPayload)},
		{wire.ProgressUpdate, new(wire.ProgressUpdatePayload)},
		{wire.PartialResult, new(wire.PartialResultPayload)},
		{wire.FinalReport, new(wire.FinalReportPayload)},
		{wire.SubagentStarted, new(wire.SubagentPayload)},
		{wire.SubagentCompleted, new(wire.SubagentPayload)},
		{wire.AgentLog, new(wire.AgentLogPayload)},
		{wire.ApprovalRequested, new(wire.Approval)},
		{wire.ApprovalResolved, new(wire.ApprovalResolvedPayload)},
		{wire.StreamOpen, new(wire.StreamOpenPayload)},
		{wire.StreamChunk, new(wire.StreamChunkPayload)},
		{wire.StreamComplete, new(wire.StreamCompletePayload)},
	}
}

// TestSchemaIsThatOfTheStructs generates schema.json: one definition per struct, and for
// each message type which of them its payload is.
func TestSchemaIsThatOfTheStructs(t *testing.T) {
	r := jsonschema.Reflector{Anonymous: true, AllowAdditionalProperties: true, Mapper: schemaOfOwnTypes}
	if err := r.AddGoComments(reflect.TypeFor[wire.Envelope]().PkgPath(), ".", jsonschema.WithFullComment()); err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`\[\*?(\w+)\]`)
	for name, text := range r.CommentMap {
		r.CommentMap[name] = links.ReplaceAllString(strings.Join(strings.Fields(text), " "), "$1")
	}
	defs := map[string]any{"Envelope": envelopeSchema(), "ErrorMessage": errorSchema()}
	types := map[wire.MessageType][]any{}
	for _, p := range payloads() {
		schema := r.Reflect(p.value)
		for name, def := range schema.Definitions {
			defs[name] = def
		}
		types[p.typ] = append(types[p.typ], map[string]string{"$ref": schema.Ref})
	}
	rules := []any{map[string]any{
		"if":   map[string]any{"properties": map[string]any{"type": map[string]any{"const": wire.ErrorMessageType}}},
		"then": map[string]any{"$ref": "#/$defs/ErrorMessage"},
	}}
	for info := range wire.Types() {
		if refs := types[info.Type]; refs != nil {
			rules = append(rules, map[string]any{
				"if":   map[string]any{"properties": map[string]any{"type": map[string]any{"const": info.Type}}},
				"then": map[string]any{"properties": map[string]any{"payload": map[string]any{"anyOf": refs}}},
			})
		}
	}
	out, err := json.MarshalIndent(map[string]any{
		"$schema": jsonschema.Version,
		"$id":     "https://github.com/netra-systems/switchboard/wire/schema.json",
		"title":   "A frame of the Switchboard protocol",
		"$ref":    "#/$defs/Envelope",
		"allOf":   rules,
		"$defs":   defs,
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "schema.json", append(bytes.TrimSpace(out), '\n'))
}

// schemaOfOwnTypes describes the types that write themselves.
func schemaOfOwnTypes(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[wire.Position]():
		return &jsonschema.Schema{Type: "string", Pattern: `^([A-Za-z0-9_-]{1,32}:(0|[1-9][0-9]{0,19}))?$`}
	case reflect.TypeFor[wire.Envelope]():
		return &jsonschema.Schema{Ref: "#/$defs/Envelope"}
	case reflect.TypeFor[wire.RunState]():
		return &jsonschema.Schema{Type: "string", Enum: []any{
			wire.RunRunning, wire.RunWaiting, wire.RunCompleted, wire.RunFailed, wire.RunCancelled, wire.RunDead,
		}}
	}
	return nil
}

type object = map[string]any

func envelopeSchema() object {
	id := object{"type": "string", "minLength": 1, "maxLength": 128}
	text := object{"type": "string"}
	return object{
		"description": "One message as it travels.",
		"type":        "object",
		"required":    []string{"type"},
		"properties": object{
			"type": id, "message_id": id, "thread_id": id, "run_id": id,
			"topic":          object{"type": "string", "pattern": "^(all|user/.+|room/.+)$"},
			"offset":         object{"type": "integer", "minimum": 0},
			"timestamp":      object{"type": "number", "description": "Seconds since 1970."},
			"user_id":        text,
			"agent_name":     text,
			"stream_lengths": object{"type": "object", "additionalProperties": object{"type": "integer", "minimum": 0}},
			"payload":        object{"type": "object"},
			"trace":          object{"type": "object"},
		},
	}
}

func errorSchema() object {
	codes := append([]wire.Code{}, declaredCodes()...)
	return object{
		"description": "An error_message has its fields in the envelope.",
		"type":        "object",
		"required":    []string{"type", "error_code", "error_message"},
		"properties": object{
			"error_code":           object{"type": "string", "enum": codes},
			"error_message":        object{"type": "string"},
			"details":              object{"type": "object"},
			"recovery_suggestions": object{"type": "array", "items": object{"type": "string"}},
		},
	}
}
