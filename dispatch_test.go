package switchboard_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// unlimited is for tests that send more than a user would.
var unlimited = switchboard.Limits{MessagesPerMinute: -1, ConnsPerUser: -1, HandshakesPerSecond: -1}

func TestMessagesOfAConnectionAreHandledInOrderOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		var mu sync.Mutex
		var order []string
		atWork := 0
		s.Handle("work", func(_ context.Context, _ *switchboard.Conn, msg switchboard.Envelope) error {
			mu.Lock()
			atWork++
			if atWork > 1 {
				t.Error("two messages of one connection are handled at once")
			}
			order = append(order, msg.ID)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			atWork--
			return nil
		})
		a := s.as(t, "alice")
		var want []string
		for i := range 20 {
			id := fmt.Sprint("m", i)
			a.send(`{"type":"work","message_id":%q}`, id)
			want = append(want, id)
		}
		a.send(`{"type":"ping","message_id":"p"}`)
		a.expect(wire.Pong) // a verb never waits behind handlers
		for _, id := range want {
			a.ack(id)
		}
		wantEqual(t, "order", order, want)
	})
}

func TestTheThirtyThirdMessageThatWaitsIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		gate := make(chan struct{})
		s.Handle("work", func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
			<-gate
			return nil
		})
		s.Handle(wire.Chat, func(context.Context, *switchboard.Conn, switchboard.Envelope) error { return nil })
		a := s.as(t, "alice")
		a.send(`{"type":"work","message_id":"first"}`)
		synctest.Wait()
		for i := range 32 {
			a.send(`{"type":"work","message_id":"m%d"}`, i)
		}
		a.send(`{"type":"work","message_id":"e-4"}`)
		wantEqual(t, "details", a.refused(wire.CodeBusy, "e-4").Details, map[string]any{"waiting": 32.0})
		a.send(`{"type":"chat","message_id":"e-5"}`)
		a.refused(wire.CodeBusy, "e-5") // and is not in the log
		close(gate)
		a.ack("first")
		for i := range 32 {
			a.ack(fmt.Sprint("m", i))
		}
		a.send(`{"type":"work","message_id":"e-4"}`) // a refused one can be sent again
		a.ack("e-4")
		a.send(`{"type":"chat","message_id":"e-5"}`)
		if ack := a.ackBeside("e-5", wire.Chat); ack.Status != wire.StatusOK {
			t.Errorf("got status %q, want ok: it was never appended before", ack.Status)
		}
	})
}

func TestMoreThan256KiBThatWaitAreBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		gate := make(chan struct{})
		s.Handle("work", func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
			<-gate
			return nil
		})
		a := s.as(t, "alice")
		big := strings.Repeat("x", 60<<10)
		for i := range 6 { // one is handled, four wait
			a.send(`{"type":"work","message_id":"m%d","payload":{"x":"%s"}}`, i, big)
			synctest.Wait()
		}
		a.refused(wire.CodeBusy, "m5")
		close(gate)
	})
}

func TestAHandlerThatTakesTooLongIsToldAndHoldsUpItsOwnConnectionOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		gate := make(chan struct{})
		open := sync.OnceFunc(func() { close(gate) })
		defer open()
		causes := make(chan error, 300)
		s.Handle("hang", func(ctx context.Context, _ *switchboard.Conn, msg switchboard.Envelope) error {
			select {
			case <-gate:
			case <-ctx.Done():
				causes <- context.Cause(ctx)
				<-gate
			}
			return nil
		})
		s.Handle("quick", func(context.Context, *switchboard.Conn, switchboard.Envelope) error { return nil })
		// More hang than there are places for handlers.
		var all []*device
		for i := range 300 {
			c := s.as(t, fmt.Sprint("user", i))
			c.send(`{"type":"hang","message_id":"e-13"}`)
			synctest.Wait() // so that they hang in this order
			c.send(`{"type":"quick","message_id":"q"}`)
			all = append(all, c)
		}
		bob := s.as(t, "bob")
		bob.send(`{"type":"quick","message_id":"b"}`)
		began := time.Now()
		time.Sleep(30 * time.Second)
		for _, c := range all[:256] {
			c.refused(wire.CodeTimeout, "e-13")
			if got := time.Since(began); got != 30*time.Second {
				t.Fatalf("refused after %v, want 30s", got)
			}
		}
		bob.ack("b") // behind those that hang, but not for ever
		if cause := <-causes; switchboard.CodeOf(cause) != wire.CodeTimeout {
			t.Errorf("the handler's context ended with %v, want a timeout", cause)
		}
		all[0].silent()
		open()
		all[0].ack("q")
		for _, c := range all[256:] {
			c.ack("e-13")
			c.ack("q")
		}
	})
}

func TestAMessageSentAgainIsHandledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		handled := 0
		handler := func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
			handled++
			return nil
		}
		s.Handle("work", handler)
		s.Handle(wire.UserMessage, handler)
		a, phone, bob := s.as(t, "alice"), s.as(t, "alice"), s.as(t, "bob")
		for i, c := range []*device{a, a, phone} {
			c.send(`{"type":"work","message_id":"same"}`)
			want := wire.StatusDuplicate
			if i == 0 {
				want = wire.StatusOK
			}
			if got := c.ack("same").Status; got != want {
				t.Errorf("time %d: got status %q, want %q", i, got, want)
			}
		}
		if handled != 1 {
			t.Errorf("handled %d times, want once", handled)
		}
		bob.send(`{"type":"work","message_id":"same"}`) // another user's is another message
		if got := bob.ack("same").Status; got != wire.StatusOK || handled != 2 {
			t.Errorf("bob: got status %q, handled %d", got, handled)
		}
	})
}

func TestAnAppendedMessageSentAgainHasTheSamePlaceAndIsHandledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		handled := 0
		s.Handle(wire.UserMessage, func(_ context.Context, _ *switchboard.Conn, msg switchboard.Envelope) error {
			handled++
			if msg.UserID != "alice" || msg.Topic != "user/alice" || msg.Offset == 0 || msg.AgentName != "x" {
				t.Errorf("the handler got %+v", msg)
			}
			return nil
		})
		a := s.as(t, "alice")
		first := a.welcome.Topics["user/alice"]
		first.Offset++
		a.send(`{"type":"user_message","message_id":"m","thread_id":"t","user_id":"bob","agent_name":"x","offset":9,"payload":{"content":"hi"}}`)
		var env wire.Envelope
		var ack wire.Ack
		for range 2 { // which have no order among each other
			got := a.next()
			if got.Type == wire.AckType {
				ack = payload[wire.Ack](t, got)
			} else {
				env = got
			}
		}
		wantEqual(t, "message", env, wire.Envelope{
			Type: wire.UserMessage, ID: "m", Timestamp: env.Timestamp, Topic: "user/alice", Offset: first.Offset, UserID: "alice",
			ThreadID: "t", Payload: []byte(`{"content":"hi"}`),
		})
		wantEqual(t, "ack", ack, wire.Ack{MessageID: "m", Status: "ok", Position: first})
		a.send(`{"type":"user_message","message_id":"m","payload":{"content":"hi"}}`)
		wantEqual(t, "second ack", a.ack("m"), wire.Ack{MessageID: "m", Status: "duplicate", Position: first})
		if handled != 1 {
			t.Errorf("handled %d times, want once", handled)
		}
		a.silent()
	})
}

// TestAMessageWhoseHandlerFailedMayBeSentAgain: what is appended already is handled again.
func TestAMessageWhoseHandlerFailedMayBeSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		fail := true
		handler := func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
			if fail {
				return switchboard.ErrBusy
			}
			return nil
		}
		s.Handle("work", handler)
		s.Handle(wire.Chat, handler)
		a := s.as(t, "alice")
		for typ, status := range map[string]string{"work": wire.StatusOK, "chat": wire.StatusDuplicate} {
			fail = true
			a.send(`{"type":%q,"message_id":"id-%s"}`, typ, typ)
			for a.next().Type != wire.ErrorMessageType {
			}
			fail = false
			a.send(`{"type":%q,"message_id":"id-%s"}`, typ, typ)
			if got := a.ack("id-" + typ).Status; got != status {
				t.Errorf("%s: got status %q, want %q", typ, got, status)
			}
		}
		if got := s.Stats().HandlerErrors; got != 2 {
			t.Errorf("got %d handler errors, want 2", got)
		}
	})
}

func TestWhatNobodyTakesIsUnhandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		for _, typ := range []wire.MessageType{"anything", wire.Chat} {
			a.send(`{"type":%q,"message_id":"a-11"}`, typ)
			var raw []byte
			for raw == nil || !strings.Contains(string(raw), `"ack"`) {
				var err error
				if raw, err = a.raw(patience); err != nil {
					t.Fatal(err)
				}
			}
			if !strings.Contains(string(raw), fmt.Sprintf(`"received_type":%q`, typ)) || !strings.Contains(string(raw), `"status":"unhandled"`) {
				t.Errorf("got %s", raw)
			}
			if got, want := strings.Contains(string(raw), `"position"`), typ == wire.Chat; got != want {
				t.Errorf("%s: position is there: %v, want %v", typ, got, want)
			}
			for a.drained() {
			}
		}
		if got := s.Stats().Unhandled; got != 2 {
			t.Errorf("counted %d, want 2", got)
		}
	})
}

// drained reads what is there and reports whether there was something.
func (c *device) drained() bool {
	_, err := c.raw(time.Millisecond)
	return err == nil
}

func TestAMessageMayGoToARoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		s.Handle(wire.Chat, func(_ context.Context, _ *switchboard.Conn, msg switchboard.Envelope) error {
			if msg.Topic != "room/team" {
				t.Errorf("got topic %q, want room/team", msg.Topic)
			}
			return nil
		})
		a, b := s.as(t, "alice room:team:*"), s.as(t, "bob room:team:*")
		b.join("team")
		a.send(`{"type":"chat","message_id":"c","topic":"room/team","payload":{"text":"hi"}}`)
		a.ack("c")
		if got := b.expect(wire.Chat); got.UserID != "alice" || got.Topic != "room/team" {
			t.Errorf("got %+v", got)
		}
		a.silent() // it does not follow the room
	})
}

func TestHandlersAreWrappedFromTheOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		var order []string
		layer := func(name string) switchboard.Middleware {
			return func(next switchboard.Handler) switchboard.Handler {
				return func(ctx context.Context, c *switchboard.Conn, msg switchboard.Envelope) error {
					order = append(order, name)
					return next(ctx, c, msg)
				}
			}
		}
		s.Use(layer("outer"))
		s.Handle("work", func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
			order = append(order, "handler")
			return nil
		})
		s.Use(layer("middle"), layer("inner"))
		a := s.as(t, "alice")
		a.send(`{"type":"work","message_id":"m"}`)
		a.ack("m")
		wantEqual(t, "order", order, []string{"outer", "middle", "inner", "handler"})
	})
}

func TestHandleRefusesMistakesOfTheProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		ok := func(context.Context, *switchboard.Conn, switchboard.Envelope) error { return nil }
		s.Handle("taken", ok)
		for name, do := range map[string]func(){
			"duplicate":      func() { s.Handle("taken", ok) },
			"verb":           func() { s.Handle(wire.Ping, ok) },
			"run event":      func() { s.Handle(wire.AgentStarted, ok) },
			"no type":        func() { s.Handle("", ok) },
			"nil handler":    func() { s.Handle("other", nil) },
			"nil middleware": func() { s.Use(nil) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s: got no panic", name)
					}
				}()
				do()
			}()
		}
	})
}

func TestAHandlersContextEndsWithItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		ended := make(chan [2]error, 1)
		s.Handle("wait", func(ctx context.Context, c *switchboard.Conn, _ switchboard.Envelope) error {
			life := c.Context()
			<-ctx.Done()
			<-life.Done()
			ended <- [2]error{context.Cause(ctx), context.Cause(life)}
			return nil
		})
		a := s.as(t, "alice")
		a.send(`{"type":"wait","message_id":"w"}`)
		a.send(`{"type":"wait","message_id":"never handled"}`)
		synctest.Wait()
		n, err := s.Connections().Close(t.Context(), switchboard.User("alice"), switchboard.CloseError{Reason: "bye"})
		if n != 1 || err != nil {
			t.Fatalf("close: got %d, %v", n, err)
		}
		a.ends(wire.CloseNormal)
		for _, cause := range <-ended {
			if want := (switchboard.CloseError{Code: wire.CloseNormal, Reason: "bye"}); !errors.Is(cause, want) {
				t.Errorf("got cause %v, want %v", cause, want)
			}
		}
	})
}

func TestAMessageThatWasDroppedWithItsConnectionIsHandledWhenSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		handled := 0
		s.Handle("wait", func(ctx context.Context, _ *switchboard.Conn, _ switchboard.Envelope) error {
			<-ctx.Done()
			return nil
		})
		s.Handle("work", func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
			handled++
			return nil
		})
		a := s.as(t, "alice")
		a.send(`{"type":"wait","message_id":"first"}`)
		a.send(`{"type":"work","message_id":"behind"}`)
		synctest.Wait()
		_ = a.conn.Close()
		synctest.Wait()
		b := s.as(t, "alice")
		b.send(`{"type":"work","message_id":"behind"}`)
		if got := b.ack("behind").Status; got != wire.StatusOK || handled != 1 {
			t.Errorf("got status %q, handled %d times, want ok, once", got, handled)
		}
	})
}

// TestAMessageSentAgainWhileItIsHandledHasTheOutcomeOfItsHandler: it is a duplicate only of
// one that has succeeded, and those behind it stay behind it.
func TestAMessageSentAgainWhileItIsHandledHasTheOutcomeOfItsHandler(t *testing.T) {
	const rollback = 200 * time.Millisecond
	for name, rule := range map[string]struct {
		outcome func(context.Context) error
		status  string
		calls   string
	}{
		"success": {func(context.Context) error { return nil }, wire.StatusDuplicate, "m next"},
		"failure": {context.Cause, wire.StatusOK, "m m next"},
		"panic":   {func(context.Context) error { panic("rolled back") }, wire.StatusOK, "m m next"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, switchboard.Options{})
				calls := make(chan string, 8)
				s.Handle("work", func(ctx context.Context, _ *switchboard.Conn, msg switchboard.Envelope) error {
					calls <- msg.ID
					if len(calls) > 1 {
						return nil
					}
					<-ctx.Done()
					time.Sleep(rollback)
					return rule.outcome(ctx)
				})
				a := s.as(t, "alice")
				a.send(`{"type":"work","message_id":"m"}`)
				synctest.Wait()
				_ = a.conn.Close()
				gone, b := s.as(t, "alice"), s.as(t, "alice")
				for _, c := range []*device{gone, b} {
					c.send(`{"type":"work","message_id":"m"}`)
					c.send(`{"type":"work","message_id":"next"}`)
					synctest.Wait()
				}
				_ = gone.conn.Close() // it waits for nobody any more
				synctest.Wait()
				if got := len(calls); got != 1 {
					t.Fatalf("got %d calls while the first is at work, want 1", got)
				}
				if got := b.ack("m").Status; got != rule.status {
					t.Errorf("got status %q, want %q", got, rule.status)
				}
				b.ack("next")
				close(calls)
				var got []string
				for id := range calls {
					got = append(got, id)
				}
				wantEqual(t, "calls", strings.Join(got, " "), rule.calls)
			})
		})
	}
}

func TestAMessageWhoseHandlerIsLateIsBusyOnOtherConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		gate := make(chan struct{})
		s.Handle("hang", func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
			<-gate
			return nil
		})
		s.Handle("quick", func(context.Context, *switchboard.Conn, switchboard.Envelope) error { return nil })
		a, b := s.as(t, "alice"), s.as(t, "alice")
		a.send(`{"type":"hang","message_id":"e-14"}`)
		synctest.Wait()
		b.send(`{"type":"hang","message_id":"e-14"}`)
		b.send(`{"type":"quick","message_id":"q"}`)
		time.Sleep(30 * time.Second)
		a.refused(wire.CodeTimeout, "e-14")
		b.refused(wire.CodeBusy, "e-14")
		b.ack("q") // which the handler that hangs does not hold up
		close(gate)
		synctest.Wait()
		b.send(`{"type":"hang","message_id":"e-14"}`)
		if got := b.ack("e-14").Status; got != wire.StatusDuplicate {
			t.Errorf("got status %q, want duplicate", got)
		}
	})
}
