package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

func TestDialOffersTheCredentialAndWhatTheOptionsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := serve(t, func(p *peer) {
			got := map[string]string{
				"authorization": p.r.Header.Get("Authorization"),
				"protocols":     p.r.Header.Get("Sec-WebSocket-Protocol"),
				"query":         p.r.URL.RawQuery,
				"path":          p.r.URL.Path,
			}
			want := map[string]string{
				"authorization": "Bearer jwt", "protocols": "", "path": "/ws",
				"query": "device=phone&thread=t-1&thread=t-2&user=bob",
			}
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("request (-got +want):\n%s", diff)
			}
			p.welcome("c1", "user/alice", "e1:0")
			if code := p.untilClosed(); code != 1000 {
				t.Errorf("got close code %d, want 1000", code)
			}
		})
		opts.URL += "?user=bob"
		opts.Device, opts.Threads = "phone", []string{"t-1", "t-2"}
		c := dial(t, opts)
		for range 2 {
			if err := c.Close(); err != nil {
				t.Errorf("got error %v closing, want none", err)
			}
		}
	})
}

func TestATicketTravelsInTheQueryAndInNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := serve(t, func(p *peer) {
			if got := p.r.URL.Query().Get("ticket"); got != "secret" || p.r.Header.Get("Authorization") != "" {
				t.Errorf("got ticket %q and header %q, want the ticket only", got, p.r.Header.Get("Authorization"))
			}
			conn, _, err := p.w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
			}
			_ = conn.Close()
		})
		opts.Token, opts.Ticket = nil, func(context.Context) (string, error) { return "secret", nil }
		_, err := client.Dial(t.Context(), opts)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("got error %v, want one without the ticket", err)
		}
	})
}

func TestDialSaysWhyTheServerRefused(t *testing.T) {
	tests := []struct {
		name   string
		script script
		want   client.Error
	}{
		{"before the upgrade", func(p *peer) { p.refuse(401, wire.CodeAuthError) },
			client.Error{Code: wire.CodeAuthError, Message: "no"}},
		{"without a problem document", func(p *peer) { p.w.WriteHeader(403) },
			client.Error{Code: wire.CodeForbidden, Message: "Forbidden"}},
		{"after the upgrade", func(p *peer) {
			p.accept()
			p.error("", wire.CodeRateLimited, nil)
			p.close(wire.CloseTryAgain, "later")
		}, client.Error{Code: wire.CodeRateLimited, Message: "no", Details: map[string]any{}, Close: 1013}},
		{"by a close without words", func(p *peer) {
			p.accept()
			p.close(wire.CloseRestart, "restarting")
		}, client.Error{Message: "restarting", Close: 1012}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, err := client.Dial(t.Context(), serve(t, tt.script))
				got, ok := errors.AsType[*client.Error](err)
				if !ok {
					t.Fatalf("got error %v, want a client.Error", err)
				}
				if diff := cmp.Diff(got, &tt.want, cmp.FilterPath(unexported, cmp.Ignore())); diff != "" {
					t.Errorf("error (-got +want):\n%s", diff)
				}
			})
		})
	}
}

func unexported(p cmp.Path) bool {
	f, ok := p.Last().(cmp.StructField)
	return ok && strings.ToLower(f.Name()[:1]) == f.Name()[:1]
}

func TestDialRefusesWhatIsNoServer(t *testing.T) {
	for name, s := range map[string]script{
		"another status":           func(p *peer) { p.w.WriteHeader(404) },
		"a redirect":               func(p *peer) { http.Redirect(p.w, p.r, "ws://elsewhere.test/ws", http.StatusFound) },
		"another first message":    func(p *peer) { p.accept(); p.sendRaw(`{"type":"note"}`); p.untilClosed() },
		"no message":               func(p *peer) { p.accept(); p.sendRaw(`hello`); p.untilClosed() },
		"nothing for a long while": func(p *peer) { p.accept(); p.untilClosed() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, err := client.Dial(t.Context(), serve(t, s))
				if _, refused := errors.AsType[*client.Error](err); err == nil || refused {
					t.Errorf("got error %v, want one that is no refusal", err)
				}
			})
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	token := func(context.Context) (string, error) { return "", errors.New("no token") }
	for want, opts := range map[string]client.Options{
		"URL must begin":        {URL: "ftp://x/ws"},
		"URL has no host":       {URL: "ws:///ws"},
		"URL: parse":            {URL: "ws://[x"},
		"exclude each other":    {URL: "ws://x/ws", Token: token, Ticket: token},
		`Rooms: "" must not be`: {URL: "ws://x/ws", Rooms: []string{""}},
		`Since: "team" must be`: {URL: "ws://x/ws", Since: map[string]wire.Position{"team": {}}},
		`Threads: "" must not`:  {URL: "ws://x/ws", Threads: []string{"t", ""}},
		`Lengths: "R" must be`:  {URL: "ws://x/ws", Lengths: map[string]int{"R": 1}},
		`"R/a/b" must be`:       {URL: "ws://x/ws", Lengths: map[string]int{"R/a/b": 1}},
		"must not be negative":  {URL: "ws://x/ws", Lengths: map[string]int{"R/answer": -1}},
		"token: no token":       {URL: "ws://x/ws", Token: token},
		"ticket: no token":      {URL: "ws://x/ws", Ticket: token},
		"context already done":  {URL: "ws://x/ws"},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		if strings.HasPrefix(want, "context") {
			want = "canceled"
			cancel(nil)
		}
		if _, err := client.Dial(ctx, opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %q", err, want)
		}
		cancel(nil)
	}
}

func TestTheFirstCallOfMessagesMissesNothingSinceDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			p.note("user/alice", 1)
			p.note("user/alice", 3)
			var n struct{ N int }
			p.answer(p.expect(wire.Ping, &n), wire.Pong, wire.PongPayload{Timestamp: 1})
			p.note("user/alice", 4)
			p.untilClosed()
		}))
		synctest.Wait()
		all := messages(t, c)
		got := all.expect("user/alice-1")
		if want := position("e1:1"); got.Position() != want {
			t.Errorf("got position %v, want %v", got.Position(), want)
		}
		late := messages(t, c)
		if err := c.Do(t.Context(), wire.Ping, map[string]int{"n": 1}, nil); err != nil {
			t.Fatal(err)
		}
		all.expect("user/alice-3")
		all.expect("user/alice-4")
		late.expect("user/alice-4")
	})
}

func TestWithoutAReaderMessagesAreNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			p.ack(p.expect("order", nil), wire.Ack{Status: wire.StatusOK})
			big := raw(map[string]string{"text": strings.Repeat("x", 1000)})
			for i := range 10_000 {
				p.send(wire.Envelope{Type: "note", Topic: "user/alice", Offset: uint64(i + 1), Payload: big})
			}
			p.ack(p.expect("order", nil), wire.Ack{Status: wire.StatusOK})
			p.untilClosed()
		}))
		for range 2 {
			if _, err := c.Send(t.Context(), client.Message{Type: "order"}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestSendReturnsTheAckAndNotTheEcho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := wire.Ack{MessageID: "m-1", Status: wire.StatusOK, Position: position("e1:1"), Result: json.RawMessage(`{"run_id":"r"}`)}
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			got := p.read()
			sent := wire.Envelope{
				Type: wire.UserMessage, ID: "m-1", ThreadID: "t-1", Topic: "room/desk", Payload: json.RawMessage(`{"content":"Hi"}`),
			}
			if diff := cmp.Diff(got, sent); diff != "" {
				t.Errorf("message (-got +want):\n%s", diff)
			}
			echo := got
			p.send(echo)
			echo.Offset = 1
			p.send(echo)
			p.ack(got, want)
			p.untilClosed()
		}))
		in := messages(t, c)
		got, err := c.Send(t.Context(), client.Message{
			Type: wire.UserMessage, ID: "m-1", Thread: "t-1", Room: "desk", Payload: map[string]string{"content": "Hi"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("ack (-got +want):\n%s", diff)
		}
		in.expect("m-1")
		in.expect("m-1")
	})
}

func TestSendRefusesWhatCannotBeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, serve(t, func(p *peer) {
			p.welcomeWith(wire.Welcome{ConnectionID: "c1", Config: wire.Config{MaxMessageSize: 100}})
			p.untilClosed()
		}))
		for name, m := range map[string]client.Message{
			"no type":        {},
			"a bad id":       {Type: "x", ID: "\n"},
			"a bad room":     {Type: "x", Room: strings.Repeat("x", 129)},
			"a list":         {Type: "x", Payload: []int{1}},
			"a bad payload":  {Type: "x", Payload: func() {}},
			"broken payload": {Type: "x", Payload: json.RawMessage(`{`)},
		} {
			if _, err := c.Send(t.Context(), m); err == nil {
				t.Errorf("got no error for %s", name)
			}
		}
		_, err := c.Send(t.Context(), client.Message{Type: "x", Payload: map[string]string{"a": strings.Repeat("x", 100)}})
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != wire.CodeTooLarge {
			t.Errorf("got error %v for too large a message, want TOO_LARGE", err)
		}
		if err := c.Do(t.Context(), wire.SessionRestore, nil, nil); err == nil {
			t.Error("got no error for session_restore")
		}
	})
}

func TestARefusedMessageIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			p.error(p.expect(wire.JoinRoom, nil).ID, wire.CodeForbidden, map[string]any{"field": "room"})
			p.untilClosed()
		}))
		err := c.Do(t.Context(), wire.JoinRoom, wire.JoinRoomRequest{Room: "board"}, nil)
		got, ok := errors.AsType[*client.Error](err)
		if !ok || got.Code != wire.CodeForbidden || got.Details["field"] != "room" || got.Error() != "FORBIDDEN: no" {
			t.Errorf("got error %v, want FORBIDDEN about the room", err)
		}
	})
}

func TestAnErrorAboutAnEarlierMessageIsAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			sent := p.expect(wire.UserMessage, nil)
			p.ack(sent, wire.Ack{Status: wire.StatusQueued})
			p.error(sent.ID, wire.CodeBackendUnavailable, map[string]any{"queued": true})
			p.untilClosed()
		}))
		in := messages(t, c)
		ack, err := c.Send(t.Context(), client.Message{Type: wire.UserMessage, ID: "m-1"})
		if err != nil || ack.Status != wire.StatusQueued {
			t.Fatalf("got %+v, error %v, want queued", ack, err)
		}
		got := client.AsError(in.expect("m-1"))
		if got == nil || got.Code != wire.CodeBackendUnavailable || got.Details["queued"] != true {
			t.Errorf("got %v, want BACKEND_UNAVAILABLE", got)
		}
		if got := client.AsError(wire.Envelope{Type: "note"}); got != nil {
			t.Errorf("got %v for a note, want nil", got)
		}
	})
}

func TestDoDecodesTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := wire.RoomJoinedPayload{Room: "team", Members: []string{"alice"}, Position: position("r1:4")}
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			p.answer(p.expect(wire.JoinRoom, nil), wire.RoomJoined, want)
			p.answer(p.expect(wire.JoinRoom, nil), wire.RoomJoined, map[string]any{"room": "x", "position": "r1:0", "members": 7})
			p.untilClosed()
		}))
		var got wire.RoomJoinedPayload
		if err := c.Do(t.Context(), wire.JoinRoom, wire.JoinRoomRequest{Room: "team"}, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("answer (-got +want):\n%s", diff)
		}
		if err := c.Do(t.Context(), wire.JoinRoom, wire.JoinRoomRequest{Room: "x"}, &got); err == nil {
			t.Error("got no error for an answer that does not fit")
		}
	})
}

func TestWhatIsNeverAnsweredIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			if got := p.expect(wire.TypingStarted, nil).ThreadID; got != "t-1" {
				t.Errorf("got thread %q, want t-1", got)
			}
			p.expect(wire.AckType, nil)
			p.expect(wire.Logout, nil)
			p.close(wire.CloseNormal, "bye")
		}))
		if _, err := c.Send(t.Context(), client.Message{Type: wire.TypingStarted, Thread: "t-1"}); err != nil {
			t.Error(err)
		}
		in := messages(t, c)
		if err := c.Do(t.Context(), wire.AckType, wire.AckRequest{}, nil); err != nil {
			t.Error(err)
		}
		if err := c.Do(t.Context(), wire.Logout, nil, nil); err != nil {
			t.Error(err)
		}
		if e, ok := errors.AsType[*client.Error](in.expectEnd()); !ok || e.Close != wire.CloseNormal {
			t.Errorf("got end %v, want close 1000", e)
		}
	})
}

func TestCloseEndsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			p.untilClosed()
		}))
		in := messages(t, c)
		sent, done := make(chan error, 2), make(chan struct{})
		go func() {
			defer close(done)
			_, err := c.Send(t.Context(), client.Message{Type: "order"})
			sent <- err
			sent <- c.Do(t.Context(), wire.Ping, nil, nil)
		}()
		synctest.Wait()
		_ = c.Close()
		<-done
		for range 2 {
			if err := <-sent; !errors.Is(err, client.ErrClosed) && !errors.Is(err, client.ErrNotConnected) {
				t.Errorf("got error %v, want ErrClosed", err)
			}
		}
		if err := in.expectEnd(); err != nil {
			t.Errorf("got end %v, want none", err)
		}
		if err := messages(t, c).expectEnd(); err != nil {
			t.Errorf("got end %v for a call after Close, want none", err)
		}
	})
}

func TestMessagesEndWithTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			p.answer(p.expect(wire.Ping, nil), wire.Pong, wire.PongPayload{})
			p.note("user/alice", 1)
			p.untilClosed()
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		next, stop := iter.Pull2(c.Messages(ctx))
		defer stop()
		if _, err, ok := next(); !ok || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got error %v, want the context's", err)
		}
		if _, _, ok := next(); ok {
			t.Error("got more after the end")
		}
		once := c.Messages(t.Context())
		if err := c.Do(t.Context(), wire.Ping, nil, nil); err != nil {
			t.Error(err)
		}
		for range once {
			break
		}
		for msg := range once {
			t.Errorf("got %s when ranged over again, want nothing", msg.ID)
		}
	})
}

func TestASendEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			p.untilClosed()
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Send(ctx, client.Message{Type: "order"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got error %v, want the context's", err)
		}
	})
}

func TestTheServersPingIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			p.send(wire.Envelope{Type: wire.Ping, ID: "p-1"})
			if got := p.expect(wire.Pong, nil); got.ID != "p-1" {
				t.Errorf("got pong %q, want p-1", got.ID)
			}
			p.note("user/alice", 1)
			p.untilClosed()
		}))
		messages(t, c).expect("user/alice-1")
	})
}
