package switchboard_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// On a connection that was not held, text comes from where session_restore says that the client
// has it, whatever the connection was sent before: from the beginning if it says nothing.
func TestALateRestoreBringsTextFromWhereTheClientHasIt(t *testing.T) {
	for name, have := range map[string]int{"nothing is named": 0, "a length is named": 3} {
		for kind, where := range map[string]switchboard.Target{"user": switchboard.User("alice"), "room": switchboard.Room("r")} {
			t.Run(name+" "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newServer(t, switchboard.Options{})
					a := s.as(t, "alice room:*:*")
					topic, from := "user/alice", a.welcome.Topics["user/alice"]
					if kind == "room" {
						a.send(`{"type":"subscribe","payload":{"rooms":["r"]}}`)
						topic = "room/r"
						from = payload[wire.SubscribedPayload](t, a.expect(wire.Subscribed)).Topics[topic]
					}
					run, err := s.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "writer", To: where, ID: "R"})
					if err != nil {
						t.Fatal(err)
					}
					if _, err := run.Stream("answer").AppendAt(t.Context(), -1, "some text"); err != nil {
						t.Fatal(err)
					}
					read := func(want int) {
						t.Helper()
						env := a.next()
						for env.Type != wire.StreamChunk {
							env = a.next()
						}
						p := payload[wire.StreamChunkPayload](t, env)
						if p.Start != want || p.Start+len(p.Text) != len("some text") {
							t.Errorf("got %q from %d on, want the text from %d on", p.Text, p.Start, want)
						}
					}
					read(0)
					streams := "{}"
					if have > 0 {
						streams = fmt.Sprintf(`{"R/answer":%d}`, have)
					}
					a.send(`{"type":"session_restore","payload":{"positions":{"%s":"%s"},"streams":%s}}`, topic, from, streams)
					read(have)
				})
			})
		}
	}
}
