package client_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

func TestALostConnectionIsResumedWithWhatWasSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:40", "all", "al:7")
			p.note("user/alice", 41)
			p.note("user/alice", 43) // 42 was a membership record
			p.cut()
		}, func(p *peer) {
			if got := p.sessionToken(); got != "token of c1" || p.r.Header.Get("Authorization") != "" {
				t.Errorf("got session token %q, want that of c1 and no other credential", got)
			}
			p.welcome("c2", "user/alice", "e1:44", "all", "al:8")
			want := wire.Restore{
				Positions: map[string]wire.Position{"user/alice": position("e1:43"), "all": position("al:7")}, Replace: "c1",
			}
			if diff := cmp.Diff(p.restore(), want); diff != "" {
				t.Errorf("restore (-got +want):\n%s", diff)
			}
			p.note("user/alice", 43) // seen
			p.note("user/alice", 44)
			p.note("all", 8)
			p.untilClosed()
		}))
		in := messages(t, c)
		for _, id := range []string{"user/alice-41", "user/alice-43", "user/alice-44", "all-8"} {
			in.expect(id)
		}
	})
}

// TestARestoreThatComesLateLosesNothing: the server has stopped to wait for the restore and
// has sent new messages already. It sends everything again after its answer.
func TestARestoreThatComesLateLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			p.note("user/alice", 1)
			p.cut()
		}, func(p *peer) {
			p.welcome("c2", "user/alice", "e1:3")
			p.note("user/alice", 4)
			p.send(wire.Envelope{Type: "volatile", ID: "v", Topic: "user/alice"})
			p.restore()
			for offset := range uint64(4) {
				p.note("user/alice", 2+offset)
			}
			p.untilClosed()
		}))
		in := messages(t, c)
		for _, id := range []string{"user/alice-1", "v", "user/alice-2", "user/alice-3", "user/alice-4", "user/alice-5"} {
			in.expect(id)
		}
	})
}

func TestAGapMovesOnAndIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gap := func(p *peer, g wire.Gap) {
			p.send(wire.Envelope{Type: wire.GapType, ID: g.Reason, Payload: raw(g)})
		}
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:5")
			gap(p, wire.Gap{Topic: "user/alice", From: position("e1:5"), To: position("e1:8"), Reason: wire.ReasonExpired, Count: 3})
			p.note("user/alice", 9)
			gap(p, wire.Gap{Topic: "user/alice", From: position("e1:99"), To: position("e1:99"), Reason: wire.ReasonVolatile, Count: 2})
			gap(p, wire.Gap{Topic: "user/alice", From: position("e1:9"), To: position("e2:0"), Reason: wire.ReasonEpochChanged})
			p.note("user/alice", 1)
			p.cut()
		}, func(p *peer) {
			p.welcome("c2", "user/alice", "e3:9") // begun anew once more; only the gap tells of it
			want := map[string]wire.Position{"user/alice": position("e2:1")}
			if diff := cmp.Diff(p.restore().Positions, want); diff != "" {
				t.Errorf("positions (-got +want):\n%s", diff)
			}
			gap(p, wire.Gap{Topic: "user/alice", From: position("e2:1"), To: position("e3:0"), Reason: wire.ReasonEpochChanged})
			p.note("user/alice", 1)
			p.untilClosed()
		}))
		in := messages(t, c)
		in.expect(wire.ReasonExpired)
		var got []string
		for _, id := range []string{"user/alice-9", wire.ReasonVolatile, wire.ReasonEpochChanged, "user/alice-1", wire.ReasonEpochChanged, "user/alice-1"} {
			if msg := in.expect(id); msg.Offset != 0 {
				got = append(got, msg.Position().String())
			}
		}
		if want := []string{"e1:9", "e2:1", "e3:1"}; !slices.Equal(got, want) {
			t.Errorf("got positions %v, want %v", got, want)
		}
	})
}

func TestRoomsComeBackThroughTheirPositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			var req wire.SubscribeRequest
			order := p.expect(wire.Subscribe, &req)
			if diff := cmp.Diff(req, wire.SubscribeRequest{Rooms: []string{"a", "b"}}); diff != "" {
				t.Errorf("subscribe (-got +want):\n%s", diff)
			}
			p.answer(order, wire.Subscribed, wire.SubscribedPayload{
				Topics: map[string]wire.Position{"room/a": position("ra:1"), "room/b": position("rb:2")},
			})
			p.answer(p.expect(wire.JoinRoom, nil), wire.RoomJoined, wire.RoomJoinedPayload{Room: "c", Position: position("rc:3")})
			p.answer(p.expect(wire.LeaveRoom, nil), wire.RoomLeft, wire.RoomLeftPayload{Room: "a", Reason: "left"})
			p.answer(p.expect(wire.Unsubscribe, nil), wire.Unsubscribed, wire.SubscribedPayload{
				Topics: map[string]wire.Position{"room/b": position("rb:2")},
			})
			p.send(wire.Envelope{Type: wire.RoomJoined, Payload: raw(wire.RoomJoinedPayload{Room: "d", Position: position("rd:4")})})
			p.note("room/c", 9)
			p.cut()
		}, func(p *peer) {
			p.welcome("c2", "user/alice", "e1:0")
			want := map[string]wire.Position{
				"user/alice": position("e1:0"), "room/c": position("rc:9"), "room/d": position("rd:4"),
			}
			var r wire.Restore
			order := p.expect(wire.SessionRestore, &r)
			if diff := cmp.Diff(r.Positions, want); diff != "" {
				t.Errorf("positions (-got +want):\n%s", diff)
			}
			p.answer(order, wire.SessionRestored, wire.Restored{Topics: map[string]wire.RestoredTopic{
				"room/c": {Reason: wire.ReasonForbidden},
			}})
			p.cut()
		}, func(p *peer) {
			p.welcome("c3", "user/alice", "e1:0")
			if _, ok := p.restore().Positions["room/c"]; ok {
				t.Error("got a position of a room that may not be read any more")
			}
			p.note("room/d", 5)
			p.untilClosed()
		})
		opts.Rooms = []string{"a", "b"}
		c := dial(t, opts)
		in := messages(t, c)
		for _, order := range []struct {
			verb    wire.MessageType
			payload any
		}{
			{wire.JoinRoom, wire.JoinRoomRequest{Room: "c"}},
			{wire.LeaveRoom, wire.JoinRoomRequest{Room: "a"}},
			{wire.Unsubscribe, wire.SubscribeRequest{Rooms: []string{"b"}}},
		} {
			if err := c.Do(t.Context(), order.verb, order.payload, nil); err != nil {
				t.Fatal(err)
			}
		}
		in.expect("") // room_joined of d, which nobody here asked for
		in.expect("room/c-9")
		in.expect("room/d-5")
	})
}

func TestARoomThatMayNotBeReadFailsDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			p.note("user/alice", 1)
			p.error(p.expect(wire.Subscribe, nil).ID, wire.CodeForbidden, nil)
			p.untilClosed()
		}, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			p.answer(p.expect(wire.SessionRestore, nil), wire.SessionRestored, wire.Restored{
				Topics: map[string]wire.RestoredTopic{"room/b": {Reason: wire.ReasonForbidden}},
			})
			p.untilClosed()
		})
		byRoom, bySince := opts, opts
		byRoom.Rooms = []string{"a"}
		bySince.Since = map[string]wire.Position{"room/b": position("rb:1")}
		for _, opts := range []client.Options{byRoom, bySince} {
			_, err := client.Dial(t.Context(), opts)
			if e, ok := errors.AsType[*client.Error](err); !ok || e.Code != wire.CodeForbidden {
				t.Errorf("got error %v, want FORBIDDEN", err)
			}
		}
	})
}

func TestSinceBeginsWhereTheCallerSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := serve(t, func(p *peer) {
			if got := p.r.URL.RawQuery; got != "resume=1" {
				t.Errorf("got query %q, want resume=1", got)
			}
			p.welcomeWith(wire.Welcome{ConnectionID: "c1", Held: true}, "user/alice", "e1:9", "all", "al:7")
			var r wire.Restore
			order := p.expect(wire.SessionRestore, &r)
			want := wire.Restore{Positions: map[string]wire.Position{
				"user/alice": position("e1:7"), "room/r": {}, "all": position("al:7"),
			}}
			if diff := cmp.Diff(r, want); diff != "" {
				t.Errorf("restore (-got +want):\n%s", diff)
			}
			p.answer(order, wire.SessionRestored, wire.Restored{Topics: map[string]wire.RestoredTopic{
				"user/alice": {Recovered: true, From: position("e1:7"), Head: position("e1:9")},
				"room/r":     {Recovered: true, From: position("rr:0"), Head: position("rr:2")},
				"all":        {Recovered: true, From: position("al:7"), Head: position("al:7")},
			}})
			p.note("user/alice", 8)
			p.note("room/r", 1)
			p.untilClosed()
		})
		opts.Since = map[string]wire.Position{"user/alice": position("e1:7"), "room/r": {}}
		in := messages(t, dial(t, opts))
		in.expect("user/alice-8")
		if got, want := in.expect("room/r-1").Position(), position("rr:1"); got != want {
			t.Errorf("got position %v, want %v", got, want)
		}
	})
}

func TestAnEarlierPlaceMayBeAskedForLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			subscribed := wire.SubscribedPayload{Topics: map[string]wire.Position{"room/a": position("ra:5")}}
			p.answer(p.expect(wire.Subscribe, nil), wire.Subscribed, subscribed)
			p.note("room/a", 6)
			subscribed.Topics["room/a"] = position("ra:4")
			p.answer(p.expect(wire.Subscribe, nil), wire.Subscribed, subscribed)
			for offset := range uint64(3) {
				p.note("room/a", 5+offset)
			}
			p.untilClosed()
		}))
		in := messages(t, c)
		req := wire.SubscribeRequest{Rooms: []string{"a"}}
		if err := c.Do(t.Context(), wire.Subscribe, req, nil); err != nil {
			t.Fatal(err)
		}
		in.expect("room/a-6")
		req.Since = map[string]wire.Position{"room/a": position("ra:4")}
		if err := c.Do(t.Context(), wire.Subscribe, req, nil); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"room/a-5", "room/a-6", "room/a-7"} {
			in.expect(id)
		}
	})
}

func TestThreadsAreWatchedAgainAfterALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			for range 5 {
				order := p.read()
				if order.Type == wire.Subscribe || order.Type == wire.Unsubscribe {
					p.answer(order, order.Type+"d", wire.SubscribedPayload{})
				} else {
					p.answer(order, wire.ThreadSnapshot, wire.Thread{})
				}
			}
			p.cut()
		}, func(p *peer) {
			if got, want := p.r.URL.Query()["thread"], []string{"a", "d", "e"}; !slices.Equal(got, want) {
				t.Errorf("got threads %v, want %v", got, want)
			}
			p.welcome("c2", "user/alice", "e1:0")
			p.restore()
			p.note("user/alice", 1)
			p.untilClosed()
		})
		opts.Threads = []string{"a", "b"}
		c := dial(t, opts)
		in := messages(t, c)
		for _, order := range []struct {
			verb    wire.MessageType
			payload any
		}{
			{wire.ThreadOpen, wire.ThreadOpenRequest{ThreadID: "c"}},
			{wire.SwitchThread, wire.ThreadOpenRequest{ThreadID: "d"}}, // leaves c
			{wire.Subscribe, wire.SubscribeRequest{Threads: []string{"e", "f"}}},
			{wire.Unsubscribe, wire.SubscribeRequest{Threads: []string{"b"}}},
			{wire.Unsubscribe, wire.SubscribeRequest{Threads: []string{"f"}}},
		} {
			if err := c.Do(t.Context(), order.verb, order.payload, nil); err != nil {
				t.Fatal(err)
			}
		}
		in.expect("user/alice-1")
	})
}

func TestSendIsRepeatedOnTheNextConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			p.expect("order", nil)
			p.cut() // before the answer
		}, func(p *peer) {
			p.welcome("c2", "user/alice", "e1:0")
			p.restore()
			order := p.expect("order", nil)
			if order.ID != "o-1" {
				t.Errorf("got id %q, want o-1", order.ID)
			}
			p.ack(order, wire.Ack{Status: wire.StatusDuplicate})
			p.ack(order, wire.Ack{Status: wire.StatusDuplicate}) // nobody waits for it
			p.note("user/alice", 1)
			p.untilClosed()
		}))
		in := messages(t, c)
		acks := make(chan wire.Ack)
		for range 2 { // the same id at once is sent once
			go func() {
				ack, err := c.Send(t.Context(), client.Message{Type: "order", ID: "o-1"})
				if err != nil {
					t.Error(err)
				}
				acks <- ack
			}()
		}
		for range 2 {
			if ack := <-acks; ack.Status != wire.StatusDuplicate || ack.MessageID != "o-1" {
				t.Errorf("got %+v, want the duplicate", ack)
			}
		}
		in.expect("user/alice-1")
	})
}

func TestDoDoesNotWaitForAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			p.expect(wire.Ping, nil)
			p.send(wire.Envelope{Type: wire.ServerShutdown, Payload: raw(wire.ServerShutdownPayload{ReconnectAfterMS: 5000})})
			p.cut()
		}, func(p *peer) {
			p.welcome("c2", "user/alice", "e1:0")
			p.restore()
			p.note("user/alice", 1)
			p.untilClosed()
		}))
		if err := c.Do(t.Context(), wire.Ping, nil, nil); !errors.Is(err, client.ErrNotConnected) {
			t.Errorf("got error %v when the connection was lost, want ErrNotConnected", err)
		}
		synctest.Wait()
		for _, verb := range []wire.MessageType{wire.Ping, wire.TypingStarted} {
			if err := c.Do(t.Context(), verb, nil, nil); !errors.Is(err, client.ErrNotConnected) {
				t.Errorf("got error %v for %s without a connection, want ErrNotConnected", err, verb)
			}
		}
		messages(t, c).expect("user/alice-1")
	})
}

func TestATooLargeMessageIsNotRepeatedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0") // says no limit, but has one
			p.expect("order", nil)
			p.error("", wire.CodeTooLarge, nil)
			p.close(wire.CloseTooBig, "message is too large")
		}, func(p *peer) {
			p.welcome("c2", "user/alice", "e1:0")
			p.restore()
			p.untilClosed()
		}))
		_, err := c.Send(t.Context(), client.Message{Type: "order"})
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Close != wire.CloseTooBig {
			t.Errorf("got error %v, want close 1009", err)
		}
		time.Sleep(time.Second)
	})
}

func TestACredentialIsRenewedOnTheOpenConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			for range 2 { // the second is for nothing
				p.send(wire.Envelope{Type: wire.AuthExpiring, ID: "exp", Payload: raw(wire.AuthExpiringPayload{ExpiresAt: 9, InSeconds: 60})})
			}
			var req wire.AuthRequest
			order := p.expect(wire.Auth, &req)
			if req.Token != "jwt 2" {
				t.Errorf("got token %q, want the second", req.Token)
			}
			p.answer(order, wire.AuthOK, wire.AuthOKPayload{Session: wire.SessionInfo{ID: "ses_1", Token: "renewed"}})
			p.note("user/alice", 1)
			p.cut()
		}, func(p *peer) {
			if got := p.sessionToken(); got != "renewed" {
				t.Errorf("got session token %q, want renewed", got)
			}
			p.welcome("c2", "user/alice", "e1:0")
			p.restore()
			p.note("user/alice", 2)
			p.untilClosed()
		})
		calls := 0
		opts.Token = func(context.Context) (string, error) {
			calls++
			return []string{"", "jwt 1", "jwt 2", "jwt 3"}[calls], nil
		}
		in := messages(t, dial(t, opts))
		for _, id := range []string{"exp", "exp", "user/alice-1", "user/alice-2"} {
			in.expect(id)
		}
		if calls != 2 {
			t.Errorf("got %d tokens asked for, want 2", calls)
		}
	})
}
