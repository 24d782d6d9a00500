package bench

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
)

// kind is a way to be hostile.
type kind struct {
	name    string
	wants   string        // how the server ends it
	after   time.Duration // until it does so
	least   int           // attackers for it to do so
	again   time.Duration // until an attacker comes back
	refused bool          // at the handshake
	resumes bool          // comes back with its session
	shared  bool          // all have one address
	quiet   bool          // reads nothing
	flood   bool          // sends much at once
	token   func(i int) string
	bare    func(context.Context, *attacker) // instead of a handshake
	send    func(context.Context, *attacker) // behind the handshake
}

// busyRoom is a room in which much is said.
const busyRoom = "busy"

// burst is what a flood sends without a pause: more than any allowance.
const burst = 1000

// kinds lists all of them.
func kinds() []kind {
	mallory := func(i int) string { return fmt.Sprint("mallory-", i) }
	flood := func(name, wants string, frame func(i int) []byte) kind {
		return kind{name: name, wants: wants, flood: true, again: attackPause, token: mallory, send: func(_ context.Context, c *attacker) {
			for i := range burst {
				if !c.write(frame(i)) {
					return
				}
			}
		}}
	}
	var rooms []string
	for i := range 100 {
		rooms = append(rooms, fmt.Sprintf(`"r%d"`, i))
	}
	list := strings.Join(rooms, ",")
	deep := text(`{"type":"x","payload":{"a":` + strings.Repeat("[", 30_000) + strings.Repeat("]", 30_000) + `}}`)
	op := func(i int) ws.Opcode {
		if i == 0 {
			return ws.OpText
		}
		return ws.OpContinuation
	}
	return []kind{
		{name: "slow handshakes", wants: "400", after: 12 * time.Second, again: time.Second, bare: slowly(
			[]byte("GET /ws HTTP/1.1\r\nHost: nodes.test\r\nX-Padding: " + strings.Repeat("x", 10_000)))},
		{name: "half frames", wants: "1008", after: 32 * time.Second, again: time.Second, token: mallory, send: func(_ context.Context, c *attacker) {
			c.write(text(`{"type":"x","payload":{}}`)[:9])
		}},
		{name: "a byte at a time", wants: "1008", after: 32 * time.Second, again: time.Second, token: mallory,
			send: slowly(text(`{"type":"x","payload":{"a":"` + strings.Repeat("x", 10_000) + `"}}`))},
		flood("pings", "1008", func(int) []byte { return masked(ws.OpPing, true, bytes.Repeat([]byte("x"), 125)) }),
		flood("tiny fragments", "1008", func(i int) []byte { return masked(op(i), false, []byte(" ")[:i%2]) }),
		flood("subscriptions", "1008", func(i int) []byte {
			return text(`{"type":"` + []string{"subscribe", "unsubscribe"}[i%2] + `","payload":{"rooms":[` + list + `]}}`)
		}),
		flood("joins and leaves", "1008", func(i int) []byte {
			return text(`{"type":"` + []string{"join_room", "leave_room"}[i%2] + `","payload":{"room":"hall"}}`)
		}),
		flood("malformed JSON", "1008", func(int) []byte { return text(`{"type":"x","payload":{"a":[1,2,}}`) }),
		flood("oversize messages", "1009", func(int) []byte { return text(strings.Repeat("x", 70_000)) }),
		flood("deep JSON", "1008", func(int) []byte { return deep }),
		{name: "receivers that never read", again: attackPause, quiet: true, token: mallory, send: func(_ context.Context, c *attacker) {
			c.write(text(`{"type":"subscribe","payload":{"rooms":["` + busyRoom + `"]}}`))
		}},
		{name: "bad tokens again and again", wants: "401", again: 2 * time.Second, refused: true, token: func(i int) string {
			return fmt.Sprint(badToken, i)
		}},
		// Some forty share a user, who may connect 120 times in a minute.
		{name: "sessions again and again", wants: "429", after: 30 * time.Second, again: time.Second, resumes: true, token: func(i int) string {
			return fmt.Sprint("mallory-and-friends-", i/600)
		}},
		// One may connect 60 times in a minute.
		{name: "one address", wants: "429", least: 61, again: time.Second, shared: true, token: mallory, send: func(context.Context, *attacker) {}},
	}
}

// slowly sends one byte of piece a second.
func slowly(piece []byte) func(context.Context, *attacker) {
	return func(ctx context.Context, c *attacker) {
		for i := range piece {
			if !c.write(piece[i:i+1]) || !pause(ctx, time.Second) {
				return
			}
		}
	}
}

func text(payload string) []byte { return masked(ws.OpText, true, []byte(payload)) }

func masked(op ws.Opcode, fin bool, payload []byte) []byte {
	return ws.AppendMasked(nil, op, fin, [4]byte{1, 2, 3, 4}, payload)
}
