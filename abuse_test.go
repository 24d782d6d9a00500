package switchboard_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// abuse is an attacker beside a normal client, which must lose nothing.
type abuse struct {
	*server
	t        testing.TB
	attacker *device
	normal   *device
	said     int
}

// underAbuse runs test in a bubble, with and after it the normal client gets what is published.
func underAbuse(t *testing.T, opts switchboard.Options, test func(*abuse)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, opts)
		a := &abuse{server: s, t: t, normal: s.as(t, "alice")}
		a.attacker = s.as(t, "mallory room:*:*")
		a.normalGoesOn()
		test(a)
		a.normalGoesOn()
	})
}

// normalGoesOn lets the normal client ask and be told.
func (a *abuse) normalGoesOn() {
	a.t.Helper()
	a.said++
	a.note(a.t, switchboard.User("alice"), a.said)
	wantEqual(a.t, "what the normal client got", a.normal.notes(1), []int{a.said})
	a.normal.send(`{"type":"ping","message_id":"p%d"}`, a.said)
	if env := a.normal.await(wire.Pong); env.ID != fmt.Sprint("p", a.said) {
		a.t.Errorf("got the pong of %q", env.ID)
	}
}

// flood writes frame until the connection ends, or n times, and reports that by closing done.
func (a *abuse) flood(n int, frame func(i int) []byte) (done chan struct{}) {
	done = make(chan struct{})
	conn := a.attacker.conn
	go func() {
		defer close(done)
		for i := range n {
			if _, err := conn.Write(frame(i)); err != nil {
				return
			}
		}
	}()
	a.t.Cleanup(func() { _ = conn.Close(); <-done })
	return done
}

// answers is what a flood got back: error messages by code, other messages, pongs, and the end.
type answers struct {
	errors       map[wire.Code]int
	others       int
	pongs, bytes int
	end          error
}

func (a *abuse) answers(wait time.Duration) answers {
	got := answers{errors: map[wire.Code]int{}}
	for {
		op, payload, err := a.attacker.frame(wait)
		if err != nil {
			got.end = err
			return got
		}
		got.bytes += len(payload)
		switch op {
		case ws.OpPong:
			got.pongs++
		case ws.OpClose:
			got.end = closedBy(payload)
			return got
		case ws.OpText:
			if e, err := wire.ParseErrorMessage(payload); err == nil {
				got.errors[e.Code]++
				if ms, _ := e.Details["retry_after_ms"].(float64); e.Code == wire.CodeRateLimited && ms < 1 {
					a.t.Errorf("got %s, want a time to wait", payload)
				}
			} else {
				got.others++
			}
		}
	}
}

// closedWith fails unless a flood ended with code.
func (got answers) closedWith(t testing.TB, code wire.CloseCode) {
	t.Helper()
	end, ok := errors.AsType[closed](got.end)
	if !ok || end.code != code || end.reason == "" {
		t.Errorf("got %v, want a close with %d and a reason", got.end, code)
	}
}

func text(format string, args ...any) []byte {
	return ws.AppendMasked(nil, ws.OpText, true, [4]byte{1, 2, 3, 4}, fmt.Appendf(nil, format, args...))
}

// What a control allowance of the default gives at once, and what is answered beyond it.
const (
	controls = 240
	warnings = controls / 10
)

func TestAFloodThatIsNotHeardIsToldToStopAndThenClosed(t *testing.T) {
	ping := ws.AppendMasked(nil, ws.OpPing, true, [4]byte{}, bytes.Repeat([]byte("x"), 125))
	pong := ws.AppendMasked(nil, ws.OpPong, true, [4]byte{}, nil)
	for name, flood := range map[string]struct {
		frame func(int) []byte
		code  wire.Code // of the answers within the allowance; "": pongs or nothing
		told  bool      // RATE_LIMITED before the end
	}{
		"protocol pings":            {frame: func(int) []byte { return ping }},
		"protocol pongs":            {frame: func(int) []byte { return pong }},
		"ping messages":             {frame: func(i int) []byte { return text(`{"type":"ping","message_id":"%d"}`, i) }, told: true},
		"heartbeats":                {frame: func(int) []byte { return text(`{"type":"heartbeat"}`) }, told: true},
		"acks of nothing":           {frame: func(int) []byte { return text(`{"type":"ack","payload":{}}`) }, told: true},
		"what is no JSON":           {frame: func(int) []byte { return text(`{"type":`) }, code: wire.CodeInvalidJSON, told: true},
		"empty messages":            {frame: func(int) []byte { return text(``) }, code: wire.CodeInvalidJSON, told: true},
		"duplicate keys":            {frame: func(int) []byte { return text(`{"type":"x","a":1,"a":2}`) }, code: wire.CodeInvalidJSON, told: true},
		"a type that is a number":   {frame: func(int) []byte { return text(`{"type":1}`) }, code: wire.CodeInvalidMessage, told: true},
		"huge ids":                  {frame: func(int) []byte { return text(`{"type":"x","message_id":"%s"}`, strings.Repeat("i", 300)) }, code: wire.CodeInvalidMessage, told: true},
		"huge numbers":              {frame: func(int) []byte { return text(`{"type":"x","offset":1%s}`, strings.Repeat("0", 300)) }, code: wire.CodeInvalidMessage, told: true},
		"rooms that are not theirs": {frame: func(i int) []byte { return text(`{"type":"chat","message_id":"%d","topic":"user/alice"}`, i) }, code: wire.CodeRateLimited, told: true},
		"chat":                      {frame: func(i int) []byte { return text(`{"type":"x","message_id":"%d"}`, i) }, code: wire.CodeRateLimited, told: true},
	} {
		t.Run(name, func(t *testing.T) {
			underAbuse(t, switchboard.Options{}, func(a *abuse) {
				synctest.Wait()
				before := runtime.NumGoroutine()
				done := a.flood(100_000, flood.frame)
				got := a.answers(time.Minute)
				got.closedWith(t, wire.ClosePolicy)
				<-done
				time.Sleep(2 * time.Second) // longer than anything of it is waited for
				n := got.pongs + got.others
				for _, of := range got.errors {
					n += of
				}
				if most := controls + warnings + 120 + 1; n > most { // messages are answered as well
					t.Errorf("got %d answers, want at most %d", n, most)
				}
				if flood.code != "" && flood.code != wire.CodeRateLimited && got.errors[flood.code] < controls/2 {
					t.Errorf("got %v, want most of them %s", got.errors, flood.code)
				}
				if told := got.errors[wire.CodeRateLimited]; flood.told && told < 4 {
					t.Errorf("was told %d times to slow down, want some", told)
				}
				synctest.Wait()
				if after := runtime.NumGoroutine(); after > before {
					t.Errorf("got %d goroutines, want no more than the %d before", after, before)
				}
				if st := a.Stats(); st.Flooded != 1 || st.Limited == 0 {
					t.Errorf("got %d flooded, %d limited, want 1 and some", st.Flooded, st.Limited)
				}
			})
		})
	}
}

func TestAFloodOfLongRubbishPaysByItsSize(t *testing.T) {
	underAbuse(t, switchboard.Options{}, func(a *abuse) {
		long := text(`{"type":"x","payload":{"a":[%s`, strings.Repeat(`{},`, 20_000))
		a.flood(1000, func(int) []byte { return long })
		got := a.answers(time.Minute)
		got.closedWith(t, wire.ClosePolicy)
		if n := got.errors[wire.CodeInvalidJSON]; n > controls/10 {
			t.Errorf("parsed %d messages of 60 KB, want at most %d", n, controls/10)
		}
	})
}

func TestWhoWaitsAsToldIsNotClosed(t *testing.T) {
	underAbuse(t, switchboard.Options{}, func(a *abuse) {
		for i := range 2 * controls {
			a.attacker.send(`{"type":"ping","message_id":"%d"}`, i)
			env := a.attacker.next()
			if env.Type != wire.Pong {
				a.attacker.send(`{"type":"x"}`) // its messages have an allowance of their own
				a.attacker.await(wire.AckType)
				time.Sleep(time.Second)
			}
		}
	})
}

func TestAFloodOfChatLeavesCredentialsAndHeartbeatsAlone(t *testing.T) {
	underAbuse(t, switchboard.Options{}, func(a *abuse) {
		for i := range 150 {
			a.attacker.send(`{"type":"x","message_id":"%d"}`, i)
		}
		a.attacker.send(`{"type":"auth","message_id":"a","payload":{"token":"mallory room:*:*"}}`)
		a.attacker.send(`{"type":"ping","message_id":"b"}`)
		for {
			env := a.attacker.next()
			if env.ID == "a" && env.Type == wire.ErrorMessageType {
				t.Error("the credential was refused for the chat")
			}
			if env.ID == "b" {
				if env.Type != wire.Pong {
					t.Errorf("got a %s, want a pong", env.Type)
				}
				return
			}
		}
	})
}

func TestAMessageOfTinyFragmentsIsClosed(t *testing.T) {
	for _, piece := range []string{"", " "} {
		underAbuse(t, switchboard.Options{}, func(a *abuse) {
			op := ws.OpText
			a.flood(100_000, func(int) []byte {
				frame := ws.AppendMasked(nil, op, false, [4]byte{}, []byte(piece))
				op = ws.OpContinuation
				return frame
			})
			a.answers(time.Minute).closedWith(t, wire.ClosePolicy)
		})
	}
}

func TestByteAtATimeEndsWithTheFrameTimeout(t *testing.T) {
	underAbuse(t, switchboard.Options{}, func(a *abuse) {
		synctest.Wait()
		before, began := runtime.NumGoroutine(), time.Now()
		frame := text(`{"type":"x","payload":{"a":%q}}`, strings.Repeat("a", 1000))
		done := a.flood(len(frame), func(i int) []byte {
			time.Sleep(time.Second)
			return frame[i : i+1]
		})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := runtime.NumGoroutine(); got > before+1 { // the flood itself
			t.Errorf("got %d goroutines for one slow message, want %d", got, before+1)
		}
		a.answers(time.Minute).closedWith(t, wire.ClosePolicy)
		if took := time.Since(began); took < 30*time.Second || took > 32*time.Second {
			t.Errorf("closed after %v, want 30 s", took)
		}
		<-done
	})
}

func TestCompressedFramesAreRefused(t *testing.T) {
	underAbuse(t, switchboard.Options{}, func(a *abuse) {
		frame := text(`{"type":"x"}`)
		frame[0] |= 0x40 // RSV1: compressed, with permessage-deflate
		a.flood(1, func(int) []byte { return frame })
		a.answers(time.Minute).closedWith(t, 1002)
	})
}

func TestACompressionThatIsOfferedIsNotAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		conn, err := s.ln.dial(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, resp := handshakeOver(t, extended{conn}, request{token: "alice"})
		if got := resp.Header.Get("Sec-WebSocket-Extensions"); resp.StatusCode != http.StatusSwitchingProtocols || got != "" {
			t.Errorf("got %d with extensions %q, want 101 and none", resp.StatusCode, got)
		}
	})
}

// extended offers a compression in the handshake.
type extended struct{ *ws.PipeConn }

func (e extended) Write(b []byte) (int, error) {
	const line = "Sec-WebSocket-Version: 13\r\n"
	n := len(b)
	b = bytes.Replace(b, []byte(line), []byte(line+"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"), 1)
	_, err := e.PipeConn.Write(b)
	return n, err
}

func TestJoinsAndSubscriptionsArePaidFor(t *testing.T) {
	var many []string
	for i := range 120 {
		many = append(many, fmt.Sprintf("%q", fmt.Sprint("r", i)))
	}
	list := strings.Join(many, ",")
	for name, flood := range map[string]struct {
		frame func(int) []byte
		most  int // done within the first minute's allowance
	}{
		"joins and leaves": {func(i int) []byte {
			return text(`{"type":%q,"payload":{"room":"hall"}}`, []string{"join_room", "leave_room"}[i%2])
		}, 120},
		"a new room each": {func(i int) []byte {
			return text(`{"type":"join_room","payload":{"room":"r%d"}}`, i)
		}, 120},
		"120 rooms at once": {func(i int) []byte {
			return text(`{"type":%q,"payload":{"rooms":[%s]}}`, []string{"subscribe", "unsubscribe"}[i%2], list)
		}, 120 / (1 + 120/16)},
		"what is seen in 120 rooms": {func(i int) []byte {
			if i == 0 {
				return text(`{"type":"subscribe","payload":{"rooms":[%s]}}`, list)
			}
			return text(`{"type":"presence_update","payload":{"state":%q}}`, []string{"idle", "active"}[i%2])
		}, 120 / (1 + 120/16)},
	} {
		t.Run(name, func(t *testing.T) {
			underAbuse(t, switchboard.Options{}, func(a *abuse) {
				a.flood(10_000, flood.frame)
				got := a.answers(time.Minute)
				got.closedWith(t, wire.ClosePolicy)
				if got.others > 2*flood.most { // a join is told by its answer and its record
					t.Errorf("got %d answers, want at most %d", got.others, 2*flood.most)
				}
				if p := a.Stats().Published; p > uint64(flood.most)+10 {
					t.Errorf("%d records were written, want at most %d", p, flood.most)
				}
			})
		})
	}
}

func TestPagesArePaidForByWhatWasRead(t *testing.T) {
	for name, verb := range map[string]string{
		"history of a thread that is not there": `{"type":"history","payload":{"topic":"room/hall","thread_id":"none","limit":1}}`,
		"a thread that is not there":            `{"type":"thread_open","payload":{"room":"hall","thread_id":"none","limit":1}}`,
	} {
		t.Run(name, func(t *testing.T) {
			underAbuse(t, switchboard.Options{}, func(a *abuse) {
				for i := range 5000 {
					a.note(t, switchboard.Room("hall"), i)
				}
				a.flood(10, func(int) []byte { return text("%s", verb) })
				got := a.answers(time.Second)
				if got.others > 4 || got.errors[wire.CodeRateLimited] < 5 {
					t.Errorf("got %d pages of 5,000 records and %v, want at most 3", got.others, got.errors)
				}
			})
		})
	}
}

// Whatever a client sends, it is answered by codes that the protocol knows or closed with one, and costs
// no more answers than were paid for.
func TestHostileSequencesAreAnsweredOrClosed(t *testing.T) {
	pieces := []func(*rapid.T) []byte{
		func(t *rapid.T) []byte { return rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "garbage") },
		func(t *rapid.T) []byte { return text("%s", rapid.String().Draw(t, "text")) },
		func(t *rapid.T) []byte {
			return text(`{"type":%q,"payload":%s}`, rapid.SampledFrom([]string{
				"ping", "auth", "session_restore", "subscribe", "unsubscribe", "join_room", "leave_room", "room_message",
				"history", "thread_open", "switch_thread", "stop_agent", "ack", "chat", "agent_started", "x",
			}).Draw(t, "type"), rapid.SampledFrom([]string{
				`{}`, `null`, `[]`, `{"room":"r"}`, `{"rooms":["r","r"]}`, `{"room":""}`, `{"topic":"room/r","limit":1000}`,
				`{"positions":{"room/r":"x:1"}}`, `{"token":"bad"}`, `{"token":"mallory"}`, `{"run_id":"r"}`, `{"thread_id":"t"}`,
				strings.Repeat(`{"a":`, 31) + `1` + strings.Repeat(`}`, 31), strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40),
			}).Draw(t, "payload"))
		},
		func(t *rapid.T) []byte {
			op := rapid.SampledFrom([]ws.Opcode{ws.OpContinuation, ws.OpText, ws.OpBinary, ws.OpPing, ws.OpPong, ws.OpClose, 3, 11}).Draw(t, "op")
			return ws.AppendMasked(nil, op, rapid.Bool().Draw(t, "fin"), [4]byte{}, rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "body"))
		},
	}
	known := map[wire.CloseCode]bool{1000: true, 1001: true, 1002: true, 1003: true, 1005: true, 1007: true, 1008: true, 1009: true, 1013: true}
	rapid.Check(t, func(rt *rapid.T) {
		var stream []byte
		for range rapid.IntRange(1, 20).Draw(rt, "frames") {
			piece := rapid.SampledFrom(pieces).Draw(rt, "piece")(rt)
			for range rapid.SampledFrom([]int{1, 1, 1, 50}).Draw(rt, "times") {
				stream = append(stream, piece...)
			}
		}
		underAbuse(t, switchboard.Options{}, func(a *abuse) {
			done := a.flood(1, func(int) []byte { return stream })
			got := a.answers(10 * time.Second)
			<-done
			if end, ok := errors.AsType[closed](got.end); ok && !known[end.code] && end.code < 3000 {
				rt.Errorf("closed with %d", end.code)
			}
			if got.errors[wire.CodeInternal] > 0 {
				rt.Errorf("got %v for %q", got.errors, stream)
			}
		})
	})
}
