package wire_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

func ExampleParse() {
	env, err := wire.Parse([]byte(`{"type":"chat","message_id":"m-1","payload":{"text":"Hi"}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	var body struct{ Text string }
	if err := env.Decode(&body); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(env.Type, env.ID, body.Text)

	_, err = wire.Parse([]byte(`{"type":"chat","type":"ping"}`))
	if refused, ok := errors.AsType[*wire.ParseError](err); ok {
		fmt.Println(refused.Code, refused.Field)
	}
	// Output:
	// chat m-1 Hi
	// INVALID_JSON type
}

func ExampleAppendPlaced() {
	body, err := wire.Append(nil, wire.Envelope{Type: "note", ID: "note-1", Payload: []byte(`{"n":1}`)})
	if err != nil {
		fmt.Println(err)
		return
	}
	topic := wire.Topic{Tenant: "acme", Kind: wire.KindUser, ID: "alice"}
	fmt.Printf("%s\n", wire.AppendPlaced(nil, topic, 42, time.UnixMilli(1764000000042), body))
	// Output: {"topic":"user/alice","offset":42,"timestamp":1764000000.042,"type":"note","message_id":"note-1","payload":{"n":1}}
}

func ExampleParsePosition() {
	p, err := wire.ParsePosition("a1Fq:42")
	fmt.Println(p.Epoch, p.Offset, err)
	// Output: a1Fq 42 <nil>
}

func ExampleTypes() {
	for info := range wire.Types() {
		if info.RunEvent {
			fmt.Println(info.Type)
			break
		}
	}
	// Output: agent_started
}

func ExampleTrack() {
	var track wire.Track
	for _, frame := range []string{
		`{"type":"system_message","payload":{"event":"connection_established","topics":{"user/alice":"k3f9:41"}}}`,
		`{"type":"order_shipped","topic":"user/alice","offset":42}`,
		`{"type":"stream_chunk","payload":{"stream_id":"R/answer","start":0,"text":"Grüß"}}`,
	} {
		env, err := wire.ParseAnswer([]byte(frame))
		if err != nil {
			fmt.Println(err)
		}
		track.Take(env)
	}
	body, err := wire.Marshal(track.Restore())
	fmt.Println(string(body), err)
	// Output:
	// {"positions":{"user/alice":"k3f9:42"},"streams":{"R/answer":4}} <nil>
}
