package switchboard_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// openDriver returns a broker that ends with the test.
func openDriver(t testing.TB) *membroker.Broker {
	d := membroker.New(membroker.Options{})
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func roomKey(room string) broker.Key {
	return broker.KeyOf(wire.Topic{Kind: wire.KindRoom, ID: room})
}

// restored sends a session_restore and returns its answer.
func (c *device) restored(positions map[string]wire.Position, replace string) (wire.Envelope, wire.Restored) {
	c.t.Helper()
	c.send(`{"type":"session_restore","message_id":"restore","payload":%s}`, object(wire.Restore{Positions: positions, Replace: replace}))
	env := c.expect(wire.SessionRestored)
	return env, payload[wire.Restored](c.t, env)
}

func at(p wire.Position, offset uint64) wire.Position {
	return wire.Position{Epoch: p.Epoch, Offset: offset}
}

// TestResumeSaysWhatHistoryHasLost is journey 5: three messages a topic are kept, and the
// log of a room has begun anew.
func TestResumeSaysWhatHistoryHasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		s := newServer(t, switchboard.Options{Broker: d, Retention: broker.Retention{Messages: 3}})
		a := s.as(t, "alice room:team:join room:team:history")
		user := a.welcome.Topics["user/alice"]
		s.note(t, switchboard.Room("team"), 100)
		team, err := s.History(t.Context(), switchboard.Room("team"), switchboard.Query{})
		if err != nil {
			t.Fatal(err)
		}
		_ = a.conn.Close()
		synctest.Wait()
		for n := range 5 {
			s.note(t, switchboard.User("alice"), n+1)
		}
		if err := d.Drop(t.Context(), roomKey("team")); err != nil {
			t.Fatal(err)
		}
		s.note(t, switchboard.Room("team"), 101)

		a3 := s.resume(t, a)
		if !a3.welcome.Held || a3.welcome.Session.ID != a.welcome.Session.ID || a3.welcome.Session.Token == a.welcome.Session.Token {
			t.Errorf("got welcome %+v after %+v, want it held, of the same session, with a new token", a3.welcome, a.welcome)
		}
		gone := wire.Position{Epoch: "gn1a", Offset: 4}
		env, got := a3.restored(map[string]wire.Position{"user/alice": user, "room/team": team.Head, "room/gone": gone}, "")
		if env.ID != "restore" {
			t.Errorf("got answer %q, want that of restore", env.ID)
		}
		anew := got.Topics["room/team"].Head
		wantEqual(t, "answer", got, wire.Restored{Topics: map[string]wire.RestoredTopic{
			"user/alice": {Reason: "expired", Head: at(user, user.Offset+5)},
			"room/team":  {Reason: "epoch_changed", Head: anew},
			"room/gone":  {Reason: "forbidden"},
		}, Runs: []wire.RestoredRun{}})

		byTopic := map[string][]any{}
		for range 6 {
			env := a3.next()
			if env.Type == wire.GapType {
				gap := payload[wire.Gap](t, env)
				byTopic[gap.Topic] = append(byTopic[gap.Topic], gap)
				continue
			}
			byTopic[env.Topic] = append(byTopic[env.Topic], env.Offset)
		}
		wantEqual(t, "what came", byTopic, map[string][]any{
			"user/alice": {
				wire.Gap{Topic: "user/alice", From: user, To: at(user, user.Offset+2), Reason: "expired", Count: 2},
				user.Offset + 3, user.Offset + 4, user.Offset + 5,
			},
			"room/team": {
				wire.Gap{Topic: "room/team", From: team.Head, To: at(anew, 0), Reason: "epoch_changed", Epoch: team.Head.Epoch, NewEpoch: anew.Epoch},
				anew.Offset,
			},
		})
		a3.silent()
	})
}

// TestALateRestoreRewindsOnce is journey 6.
func TestALateRestoreRewindsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		for n := range 5 {
			s.note(t, switchboard.User("alice"), n+1)
		}
		a := s.as(t, "alice")
		head := a.welcome.Topics["user/alice"]
		s.note(t, switchboard.User("alice"), 6)
		first := a.expect("note")

		from := at(head, head.Offset-2)
		_, got := a.restored(map[string]wire.Position{"user/alice": from}, "")
		wantEqual(t, "answer", got, wire.Restored{Topics: map[string]wire.RestoredTopic{
			"user/alice": {Recovered: true, From: from, Head: at(head, head.Offset+1)},
		}, Runs: []wire.RestoredRun{}, Rewind: true})
		wantEqual(t, "replayed", a.notes(2), []int{4, 5})
		wantEqual(t, "repeated", a.expect("note"), first)

		a.send(`{"type":"session_restore","message_id":"a-7","payload":{"positions":{"user/alice":"%s"}}}`, from)
		if e := a.refused(wire.CodeConflict, "a-7"); e.Details["field"] != "type" {
			t.Errorf("got details %v, want field type", e.Details)
		}
		a.silent()
	})
}

// A right may be gone before the node knows of it that has the connection.
func TestARoomThatALateRestoreForbidsIsFollowedNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shut atomic.Bool
		s := newServer(t, switchboard.Options{Authorize: func(context.Context, switchboard.Identity, switchboard.Action, string) error {
			if shut.Load() {
				return switchboard.ErrForbidden
			}
			return nil
		}})
		a := s.as(t, "alice")
		pos := a.join("team").Position
		shut.Store(true)
		_, got := a.restored(map[string]wire.Position{"room/team": pos}, "")
		wantEqual(t, "answer", got.Topics["room/team"], wire.RestoredTopic{Reason: wire.ReasonForbidden})
		s.note(t, switchboard.Room("team"), 1)
		a.silent()
	})
}

func TestAHeldConnectionGetsNothingUntilItRestores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		_ = a.conn.Close()
		s.note(t, switchboard.User("alice"), 1)
		b := s.resume(t, a)
		s.note(t, switchboard.User("alice"), 2)
		b.send(`{"type":"ping","message_id":"p"}`) // other messages are handled meanwhile
		b.expect(wire.Pong)
		b.silent()
		_, got := b.restored(map[string]wire.Position{"user/alice": a.welcome.Topics["user/alice"]}, "")
		if got.Rewind || !got.Topics["user/alice"].Recovered {
			t.Errorf("got %+v, want it recovered and no rewind", got)
		}
		wantEqual(t, "notes", b.notes(2), []int{1, 2})
		b.silent()
	})
}

func TestAHoldEndsAfterTwoSecondsAtTheWelcomesPositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		s.note(t, switchboard.User("alice"), 1)
		a := s.connect(t, request{path: "/ws?resume=1", token: "alice"})
		began := time.Now()
		s.note(t, switchboard.User("alice"), 2)
		wantEqual(t, "notes", a.notes(1), []int{2})
		if got, want := time.Since(began), 2*time.Second; got < want || got > want+100*time.Millisecond {
			t.Errorf("held for %v, want %v", got, want)
		}
		// The hold is over, so this one is the one late restore.
		if _, got := a.restored(nil, ""); !got.Rewind {
			t.Errorf("got %+v, want a rewind", got)
		}
	})
}

func TestReplaceClosesAConnectionOfTheSameSessionOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		half, other, bob := s.as(t, "alice"), s.as(t, "alice"), s.as(t, "bob")
		for _, victim := range []*device{other, bob} {
			c := s.resume(t, half)
			c.restored(nil, victim.welcome.ConnectionID)
			victim.silent()
			_ = c.conn.Close()
		}
		c := s.resume(t, half)
		c.restored(nil, half.welcome.ConnectionID)
		half.ends(wire.CloseReplaced)
		c.send(`{"type":"ping","message_id":"p"}`)
		c.expect(wire.Pong)
	})
}

func TestReplaceOfADeadConnectionIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		_ = a.conn.Close()
		for _, id := range []string{a.welcome.ConnectionID, "conn_old", ""} {
			c := s.resume(t, a)
			c.restored(nil, id)
			c.silent()
		}
	})
}

func TestTheEmptyPositionIsTheBeginningOfWhatIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Retention: broker.Retention{Messages: 2}})
		for n := range 4 {
			s.note(t, switchboard.User("alice"), n)
		}
		a := s.as(t, "alice")
		_, got := a.restored(map[string]wire.Position{"user/alice": {}}, "")
		if !got.Topics["user/alice"].Recovered {
			t.Errorf("got %+v, want it recovered", got)
		}
		wantEqual(t, "notes", a.notes(2), []int{2, 3})
		a.silent()
	})
}

func TestWithoutTheHistoryRightARoomGoesOnFromNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice room:team:join")
		s.note(t, switchboard.Room("team"), 1)
		d := s.note(t, switchboard.Room("team"), 2)
		from := at(d.Position, d.Position.Offset-1)
		_, got := a.restored(map[string]wire.Position{"room/team": from}, "")
		wantEqual(t, "answer", got.Topics["room/team"], wire.RestoredTopic{Reason: "expired", Head: d.Position})
		wantEqual(t, "gap", payload[wire.Gap](t, a.expect(wire.GapType)), wire.Gap{Topic: "room/team", From: from, To: d.Position, Reason: "expired"})
		s.note(t, switchboard.Room("team"), 3)
		wantEqual(t, "notes", a.notes(1), []int{3})

		b := s.as(t, "bob room:team:join")
		d = s.note(t, switchboard.Room("team"), 4)
		_, got = b.restored(map[string]wire.Position{"room/team": d.Position}, "")
		wantEqual(t, "answer at the head", got.Topics["room/team"], wire.RestoredTopic{Recovered: true, From: d.Position, Head: d.Position})
	})
}

func TestRestoreRefusesWhatIsNoTopicAndChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		_ = a.conn.Close()
		b := s.resume(t, a)
		for _, bad := range []string{`{"positions":{"thread/x":"e:1"}}`, `{"positions":{"all":"nonsense"}}`, `{"positions":7}`} {
			b.send(`{"type":"session_restore","message_id":"bad","payload":%s}`, bad)
			b.refused(wire.CodeInvalidMessage, "bad")
		}
		_, got := b.restored(map[string]wire.Position{"user/bob": {Epoch: "e", Offset: 1}}, "")
		if got.Rewind {
			t.Error("the hold was used up by refused messages")
		}
		wantEqual(t, "answer", got.Topics, map[string]wire.RestoredTopic{"user/bob": {Reason: "forbidden"}})
	})
}

// TestASlowReaderAndAReturningOneGetTheSame compares a client that was there with one that
// was not.
func TestASlowReaderAndAReturningOneGetTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		const n = 3000 // more than a window holds
		slow := s.connect(t, request{token: "alice", buffer: 4096})
		gone := s.as(t, "alice")
		_ = gone.conn.Close()
		for i := range n {
			s.note(t, switchboard.User("alice"), i)
		}
		back := s.resume(t, gone)
		back.restored(map[string]wire.Position{"user/alice": gone.welcome.Topics["user/alice"]}, "")
		var got, want []wire.Envelope
		for range n {
			got, want = append(got, back.expect("note")), append(want, slow.expect("note"))
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("the returning client got other messages (-slow +returning):\n%s", diff)
		}
		for i, env := range got {
			if payload[struct{ N int }](t, env).N != i {
				t.Fatalf("message %d is %s", i, env.Payload)
			}
		}
	})
}

// TestASessionGoesOnAtAnotherNode: the key of session tokens is shared through the store.
func TestASessionGoesOnAtAnotherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		second := d.Node()
		t.Cleanup(func() { _ = second.Close() })
		one := newServer(t, switchboard.Options{Broker: d})
		two := newServer(t, switchboard.Options{Broker: second})
		a := one.as(t, "alice")
		one.note(t, switchboard.User("alice"), 1)
		a.notes(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := one.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		a.await(wire.ServerShutdown)
		a.ends(wire.CloseRestart)
		two.note(t, switchboard.User("alice"), 2)
		b := two.resume(t, a)
		p := a.welcome.Topics["user/alice"]
		_, got := b.restored(map[string]wire.Position{"user/alice": at(p, p.Offset+1)}, "")
		if b.welcome.Session.ID != a.welcome.Session.ID || !got.Topics["user/alice"].Recovered {
			t.Errorf("got %+v and %+v, want the same session, recovered", b.welcome.Session, got)
		}
		wantEqual(t, "notes", b.notes(1), []int{2})
	})
}

// TestAMemberWithoutTheHistoryRightGetsWhatWasSaidSinceTheJoin and nothing before.
func TestAMemberWithoutTheHistoryRightGetsWhatWasSaidSinceTheJoin(t *testing.T) {
	join := map[string]func(t *testing.T, s *server, a *device) wire.Position{
		"added": func(t *testing.T, s *server, a *device) wire.Position {
			if err := s.Rooms().Add(t.Context(), "team", "alice"); err != nil {
				t.Fatal(err)
			}
			return payload[wire.RoomJoinedPayload](t, a.expect(wire.RoomJoined)).Position
		},
		"joined": func(_ *testing.T, _ *server, a *device) wire.Position { return a.join("team").Position },
		"joined, then added": func(t *testing.T, s *server, a *device) wire.Position {
			pos := a.join("team").Position
			s.note(t, switchboard.Room("team"), 1)
			if err := s.Rooms().Add(t.Context(), "team", "alice"); err != nil {
				t.Fatal(err)
			}
			a.notes(1)
			return pos
		},
	}
	for name, join := range join {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, switchboard.Options{})
				token := "alice"
				if name != "added" {
					token = "alice room:team:join"
				}
				before := s.note(t, switchboard.Room("team"), 0).Position
				a := s.as(t, token)
				joined := join(t, s, a)
				seen := s.note(t, switchboard.Room("team"), 1).Position
				_ = a.conn.Close()
				synctest.Wait()
				head := s.note(t, switchboard.Room("team"), 2).Position

				b := s.as(t, token)
				_, got := b.restored(map[string]wire.Position{"room/team": seen}, "")
				wantEqual(t, "answer", got.Topics["room/team"], wire.RestoredTopic{Recovered: true, From: seen, Head: head})
				wantEqual(t, "while away", b.notes(1), []int{2})
				b.silent()

				for _, early := range []struct {
					pos    wire.Position
					reason string
					gap    wire.Gap
				}{
					{at(before, before.Offset-1), "expired", wire.Gap{Reason: "expired"}},
					{wire.Position{}, "expired", wire.Gap{Reason: "expired"}},
					{wire.Position{Epoch: "old", Offset: 9}, "epoch_changed", wire.Gap{Reason: "epoch_changed", Epoch: "old", NewEpoch: joined.Epoch}},
				} {
					c := s.as(t, token)
					_, got = c.restored(map[string]wire.Position{"room/team": early.pos}, "")
					wantEqual(t, "answer to "+early.pos.String(), got.Topics["room/team"], wire.RestoredTopic{Reason: early.reason, Head: head})
					early.gap.Topic, early.gap.From, early.gap.To = "room/team", early.pos, joined
					wantEqual(t, "gap", payload[wire.Gap](t, c.expect(wire.GapType)), early.gap)
					wantEqual(t, "first note since the join", c.notes(1), []int{1})
				}
			})
		})
	}
}

// TestAPlaceThatWasNeverReachedIsLeftByAGap: a client that believes to have been further than the log
// goes would take what comes for known. A gap leads it back, before the next message.
func TestAPlaceThatWasNeverReachedIsLeftByAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		user := s.note(t, switchboard.User("alice"), 1).Position
		room := s.note(t, switchboard.Room("team"), 1).Position
		gap := func(topic string, head wire.Position) wire.Gap {
			return wire.Gap{Topic: topic, From: at(head, 500), To: head, Reason: "expired"}
		}

		a := s.as(t, "alice room:team:*")
		_, got := a.restored(map[string]wire.Position{"user/alice": at(user, 500), "room/team": at(room, 500)}, "")
		for topic, head := range map[string]wire.Position{"user/alice": user, "room/team": room} {
			wantEqual(t, topic, got.Topics[topic], wire.RestoredTopic{Reason: "expired", Head: head})
		}
		told := map[string]wire.Gap{}
		for range 2 {
			g := payload[wire.Gap](t, a.expect(wire.GapType))
			told[g.Topic] = g
		}
		wantEqual(t, "gaps", told, map[string]wire.Gap{"user/alice": gap("user/alice", user), "room/team": gap("room/team", room)})
		s.note(t, switchboard.User("alice"), 2)
		wantEqual(t, "notes", a.notes(1), []int{2})

		b := s.as(t, "bob room:team:*")
		b.send(`{"type":"subscribe","message_id":"s","payload":{"rooms":["team"],"since":{"room/team":%q}}}`, at(room, 500))
		wantEqual(t, "subscribed", payload[wire.SubscribedPayload](t, b.expect(wire.Subscribed)).Topics, map[string]wire.Position{"room/team": room})
		wantEqual(t, "gap", payload[wire.Gap](t, b.expect(wire.GapType)), gap("room/team", room))
		s.note(t, switchboard.Room("team"), 3)
		wantEqual(t, "notes", b.notes(1), []int{3})
	})
}
