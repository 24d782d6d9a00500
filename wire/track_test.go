package wire_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/wire"
)

// server makes a message of the server.
func fromServer(t *testing.T, typ wire.MessageType, payload any) wire.Envelope {
	t.Helper()
	body, err := wire.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	return wire.Envelope{Type: typ, Payload: body}
}

func durable(topic string, offset uint64) wire.Envelope {
	return wire.Envelope{Type: "note", Topic: topic, Offset: offset}
}

func pos(text string) wire.Position {
	p, err := wire.ParsePosition(text)
	if err != nil {
		panic(err)
	}
	return p
}

type positions = map[string]wire.Position

// wantTrack compares what the client would say with a JSON object.
func wantTrack(t *testing.T, track *wire.Track, want string) {
	t.Helper()
	got, err := wire.Marshal(track.Restore())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("restore (-want +got):\n%s", diff)
	}
}

func TestATrackKnowsWhatTheClientWouldSay(t *testing.T) {
	welcome := wire.Welcome{Event: wire.WelcomeEvent, Topics: positions{"user/a": pos("e:5"), "all": pos("e:0")}}
	restored := func(rewind bool, topic string, state wire.RestoredTopic) wire.Restored {
		return wire.Restored{Topics: map[string]wire.RestoredTopic{topic: state}, Rewind: rewind}
	}
	tests := []struct {
		name    string
		env     wire.Envelope
		changed bool
		want    string // of positions
	}{
		{"a message moves its topic", durable("user/a", 9), true, `"all":"e:0","user/a":"e:9"`},
		{"also back, as after a rewind", durable("user/a", 2), true, `"all":"e:0","user/a":"e:2"`},
		{"a topic without an epoch does not count", durable("room/x", 2), false, `"all":"e:0","user/a":"e:5"`},
		{"a message without a place moves nothing", wire.Envelope{Type: "note", Topic: "user/a"}, false, `"all":"e:0","user/a":"e:5"`},
		{"another welcome changes nothing", fromServer(t, wire.SystemMessage, wire.Welcome{Event: wire.WelcomeEvent, Topics: positions{"all": pos("e:9")}}), false, `"all":"e:0","user/a":"e:5"`},
		{"nor does a farewell", fromServer(t, wire.SystemMessage, wire.Closing{Event: wire.ClosingEvent, Code: 1012}), false, `"all":"e:0","user/a":"e:5"`},
		{"subscribed says from where", fromServer(t, wire.Subscribed, wire.SubscribedPayload{Topics: positions{"room/r": pos("r:3")}}), true, `"all":"e:0","room/r":"r:3","user/a":"e:5"`},
		{"unsubscribed ends it", fromServer(t, wire.Unsubscribed, wire.SubscribedPayload{Topics: positions{"all": pos("e:0")}}), true, `"user/a":"e:5"`},
		{"joined says from where", fromServer(t, wire.RoomJoined, wire.RoomJoinedPayload{Room: "r", Position: pos("r:3")}), true, `"all":"e:0","room/r":"r:3","user/a":"e:5"`},
		{"left ends it", fromServer(t, wire.RoomLeft, wire.RoomLeftPayload{Room: "r", Reason: "removed"}), false, `"all":"e:0","user/a":"e:5"`},
		{"a gap moves behind it", fromServer(t, wire.GapType, wire.Gap{Topic: "user/a", From: pos("e:5"), To: pos("e:8"), Reason: "expired"}), true, `"all":"e:0","user/a":"e:8"`},
		{"into another epoch too", fromServer(t, wire.GapType, wire.Gap{Topic: "user/a", From: pos("e:5"), To: pos("f:0"), Reason: "epoch_changed"}), true, `"all":"e:0","user/a":"f:0"`},
		{"not one of volatile messages", fromServer(t, wire.GapType, wire.Gap{Topic: "user/a", To: pos("e:8"), Reason: "volatile"}), false, `"all":"e:0","user/a":"e:5"`},
		{"nor one of a topic that is not followed", fromServer(t, wire.GapType, wire.Gap{Topic: "room/x", To: pos("e:8"), Reason: "expired"}), false, `"all":"e:0","user/a":"e:5"`},
		{"restored says from where", fromServer(t, wire.SessionRestored, restored(false, "user/a", wire.RestoredTopic{Recovered: true, From: pos("e:1"), Head: pos("e:9")})), true, `"all":"e:0","user/a":"e:1"`},
		{"not restored stays, until the gap", fromServer(t, wire.SessionRestored, restored(false, "user/a", wire.RestoredTopic{Reason: "expired", Head: pos("e:9")})), false, `"all":"e:0","user/a":"e:5"`},
		{"rewound to a place that is not told", fromServer(t, wire.SessionRestored, restored(true, "user/a", wire.RestoredTopic{Reason: "expired", Head: pos("e:9")})), true, `"all":"e:0","user/a":"e:0"`},
		{"a forbidden room is not followed", fromServer(t, wire.SessionRestored, restored(false, "all", wire.RestoredTopic{Reason: "forbidden"})), true, `"user/a":"e:5"`},
		{"a snapshot of a thread in a new room", wire.Envelope{Type: wire.ThreadSnapshot, Topic: "room/r", Payload: json.RawMessage(`{"position":"r:7"}`)}, true, `"all":"e:0","room/r":"r:7","user/a":"e:5"`},
		{"a snapshot does not move what is followed", wire.Envelope{Type: wire.ThreadSnapshot, Topic: "user/a", Payload: json.RawMessage(`{"position":"e:7"}`)}, false, `"all":"e:0","user/a":"e:5"`},
		{"a payload that does not fit", wire.Envelope{Type: wire.Subscribed, Payload: json.RawMessage(`{"topics":{"room/r":7}}`)}, false, `"all":"e:0","user/a":"e:5"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var track wire.Track
			if !track.Take(fromServer(t, wire.SystemMessage, welcome)) {
				t.Error("the welcome changed nothing")
			}
			if changed := track.Take(test.env); changed != test.changed {
				t.Errorf("got changed %v, want %v", changed, test.changed)
			}
			wantTrack(t, &track, `{"positions":{`+test.want+`}}`)
		})
	}
}

func TestATrackOfAClientThatComesBackIsNotMovedByTheWelcome(t *testing.T) {
	track := wire.NewTrack(wire.Restore{Positions: positions{"user/a": pos("e:5"), "room/r": pos("r:1")}, Streams: map[string]int{"R/x": 3}})
	track.Take(fromServer(t, wire.SystemMessage, wire.Welcome{Event: wire.WelcomeEvent, Topics: positions{"user/a": pos("e:9"), "all": pos("e:2")}}))
	wantTrack(t, &track, `{"positions":{"all":"e:2","room/r":"r:1","user/a":"e:5"},"streams":{"R/x":3}}`)
}

func TestATrackCountsTheTextsThatAreBeingWritten(t *testing.T) {
	chunk := func(stream string, start int, text string) wire.Envelope {
		return fromServer(t, wire.StreamChunk, wire.StreamChunkPayload{StreamID: stream, Start: start, Text: text})
	}
	end := func(typ wire.MessageType, payload any) wire.Envelope {
		env := fromServer(t, typ, payload)
		env.Topic, env.Offset, env.RunID = "user/a", 1, "R"
		return env
	}
	var track wire.Track
	track.Take(chunk("R/answer", 0, "grün"))
	track.Take(chunk("R/answer", 4, "e 🌲"))
	track.Take(chunk("R/notes", 10, "x"))
	track.Take(chunk("Ra/answer", 0, "y"))
	wantTrack(t, &track, `{"streams":{"R/answer":7,"R/notes":11,"Ra/answer":1}}`)
	if track.Take(chunk("R/notes", 11, "")) {
		t.Error("an empty chunk changed something")
	}
	track.Take(fromServer(t, wire.ThreadSnapshot, wire.Thread{Runs: []wire.Run{{ID: "R", Streams: []wire.Stream{
		{ID: "R/answer", State: wire.StreamStateOpen, Text: "less"}, {ID: "R/more", State: wire.StreamStateOpen, Text: "ä"},
		{ID: "R/done", State: wire.StreamStateComplete, Text: "all"},
	}}}}))
	wantTrack(t, &track, `{"streams":{"R/answer":7,"R/more":1,"R/notes":11,"Ra/answer":1}}`)
	if !track.Take(end(wire.StreamComplete, wire.StreamCompletePayload{StreamID: "R/answer", Length: 7, State: "complete"})) {
		t.Error("the end of a text changed nothing")
	}
	wantTrack(t, &track, `{"streams":{"R/more":1,"R/notes":11,"Ra/answer":1}}`)
	track.Take(end(wire.AgentCancelled, wire.AgentCancelledPayload{}))
	wantTrack(t, &track, `{"streams":{"Ra/answer":1}}`)
}

func TestATrackCountsABoundedNumberOfTexts(t *testing.T) {
	var track wire.Track
	for i := range 1000 {
		track.Take(fromServer(t, wire.StreamChunk, wire.StreamChunkPayload{StreamID: fmt.Sprintf("R%d/a", i), Text: "x"}))
	}
	if n := len(track.Restore().Streams); n != 256 {
		t.Errorf("got %d texts, want 256", n)
	}
}
