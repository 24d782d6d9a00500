package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/netra-systems/switchboard/wire"
)

// FuzzPublishRequest holds that a body is refused with a code, or is one that a lenient
// decoder understands in the same way, without a member that it ignores.
func FuzzPublishRequest(f *testing.F) {
	for _, seed := range []string{
		`{"to":{"user":"alice"},"type":"x","payload":{"a":[1,{"b":null}]},"message_id":"m","thread_id":"t","run_id":"R"}`,
		`{"to":{"room":"r"},"type":"x","class":"durable","except":["s"]}`,
		`{"to":{"connection":"c"},"type":"x","class":"volatile"}`, `{"to":{"all":true},"type":"x","payload":null}`,
		`{"to":{"user":"alice","user":"bob"},"type":"x"}`, `{"to":null,"type":null}`, `{"To":{},"TYPE":"x"}`,
		`{"to":{"usr":1}}`, `[]`, `null`, `"x"`, `{}{}`, "{\"type\":\"\xff\"}", `{"type":"\ud800"}`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got publishRequest
		if err := decode(body, &got); err != nil {
			p, internal := problemOf(err)
			if internal || p.Code != wire.CodeInvalidJSON && p.Code != wire.CodeInvalidMessage {
				t.Fatalf("got %v for %q, want INVALID_JSON or INVALID_MESSAGE", err, body)
			}
			return
		}
		if _, err := got.check(); err != nil {
			if _, ok := errors.AsType[*problem](err); !ok {
				t.Fatalf("got %v for %q, want a problem", err, body)
			}
		}
		var lenient publishRequest
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&lenient); err != nil {
			t.Fatalf("got %v for %q, want that it is accepted", err, body)
		}
		a, errA := wire.Marshal(got)
		b, errB := wire.Marshal(lenient)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Fatalf("got %s, %v for %q, want %s, %v", a, errA, body, b, errB)
		}
	})
}
