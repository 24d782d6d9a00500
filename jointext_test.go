package switchboard_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// writer is a run in the room "team" whose text is written piece by piece.
type writer struct {
	t   *testing.T
	run *switchboard.Run
}

func (s *server) writer(t *testing.T, id string) writer {
	t.Helper()
	run, err := s.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.Room("team"), ID: id})
	if err != nil {
		t.Fatal(err)
	}
	return writer{t, run}
}

// write adds text, and waits until whoever gets it has it.
func (w writer) write(stream, text string) {
	w.t.Helper()
	if _, err := w.run.Stream(stream).AppendAt(w.t.Context(), -1, text); err != nil {
		w.t.Fatal(err)
	}
	time.Sleep(time.Second)
	synctest.Wait()
}

// thinks says something that is no text.
func (w writer) thinks() {
	w.t.Helper()
	if err := w.run.Thinking(w.t.Context(), "so"); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

// piece is text and where it begins.
type piece struct {
	Stream string
	Start  int
	Text   string
}

// pieces are the chunks that a device got so far, those of a stream that follow each other in one.
func (c *device) pieces() (got []piece) {
	c.t.Helper()
	c.send(`{"type":"ping","message_id":"so far"}`)
	for {
		env := c.next()
		switch env.Type {
		case wire.Pong:
			return got
		case wire.StreamChunk:
			p := payload[wire.StreamChunkPayload](c.t, env)
			if n := len(got) - 1; n >= 0 && got[n].Stream == p.StreamID && got[n].Start+len(got[n].Text) == p.Start {
				got[n].Text += p.Text
				continue
			}
			got = append(got, piece{p.StreamID, p.Start, p.Text})
		}
	}
}

// Who comes to a room while a text is being written there gets what is added from then on, and all
// of it only with the right to read what was said before.
func TestWhoJoinsWhileATextIsWrittenGetsWhatComesThen(t *testing.T) {
	for _, how := range []struct{ name, join string }{
		{"subscribes", `{"type":"subscribe","payload":{"rooms":["team"]}}`},
		{"joins", `{"type":"join_room","payload":{"room":"team"}}`},
		{"chooses a thread and subscribes", `{"type":"subscribe","payload":{"rooms":["team"],"threads":[""]}}`},
		{"subscribes from the beginning", `{"type":"subscribe","payload":{"rooms":["team"],"since":{"room/team":"e:0"}}}`},
	} {
		t.Run(how.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, switchboard.Options{})
				first := s.as(t, "first room:team:join")
				first.send(`{"type":"subscribe","payload":{"rooms":["team"]}}`)
				first.expect(wire.Subscribed)
				w := s.writer(t, "R")
				w.write("answer", "before, ")
				a, old := s.as(t, "alice room:team:join"), s.as(t, "old room:team:join room:team:history")
				a.send("%s", how.join)
				old.send("%s", how.join)
				synctest.Wait()
				w.write("answer", "after")
				w.write("notes", "all of it")
				w.thinks()
				all := []piece{{"R/answer", 0, "before, after"}, {"R/notes", 0, "all of it"}}
				wantEqual(t, "who was there", first.pieces(), all)
				wantEqual(t, "who may read what was before", old.pieces(), all)
				wantEqual(t, "who may not", a.pieces(), []piece{{"R/answer", 8, "after"}, {"R/notes", 0, "all of it"}})
			})
		})
	}
}

// The same on a node that knows nothing of the room yet, and for all devices of who is made a member.
func TestANewMemberOnAnotherNodeGetsTheTextThatComesThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		second := d.Node()
		t.Cleanup(func() { _ = second.Close() })
		s, other := newServer(t, switchboard.Options{Broker: d}), newServer(t, switchboard.Options{Broker: second})
		w := s.writer(t, "R")
		w.write("answer", "before, ")
		phone, laptop := other.as(t, "alice"), other.as(t, "alice")
		s.add(t, "alice")
		phone.expect(wire.RoomJoined)
		laptop.expect(wire.RoomJoined)
		synctest.Wait()
		w.write("answer", "after")
		w.thinks()
		for _, c := range []*device{phone, laptop} {
			wantEqual(t, "what alice got", c.pieces(), []piece{{"R/answer", 8, "after"}})
		}
	})
}

// Who loses the right to what was before, while a text is written, keeps what comes, and no more.
func TestWhoLosesTheRightToTheTextBeforeGetsWhatComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		w := s.writer(t, "R")
		w.write("answer", "before, ")
		a := s.as(t, "alice room:team:join room:team:history")
		a.send(`{"type":"subscribe","payload":{"rooms":["team"],"threads":["elsewhere"]}}`)
		a.expect(wire.Subscribed)
		a.send(`{"type":"auth","payload":{"token":"alice room:team:join"}}`)
		a.expect(wire.AuthOK)
		synctest.Wait()
		w.write("answer", "unwatched, ")
		a.send(`{"type":"subscribe","payload":{"threads":[""]}}`)
		a.expect(wire.Subscribed)
		synctest.Wait()
		w.write("answer", "after")
		wantEqual(t, "what alice got", a.pieces(), []piece{{"R/answer", 8, "unwatched, after"}})
	})
}

// A client that comes back says what it has of each text. What was there before its user joined it
// does not get, whatever it says, and it misses nothing of what was written meanwhile.
func TestAMemberWhoComesBackGetsNoTextFromBeforeTheJoin(t *testing.T) {
	for _, tt := range []struct {
		name, streams string
		event         bool // of the run, between the join and the cut
		answer, notes piece
	}{
		{
			"an honest client", `{"R/answer":13,"R/notes":4}`, true,
			piece{"R/answer", 13, ", meanwhile, now"}, piece{"R/notes", 4, " too"},
		},
		{
			"who says nothing", `{}`, true,
			piece{"R/answer", 8, "after, meanwhile, now"}, piece{"R/notes", 0, "this too"},
		},
		{
			"who wants all", `{"R/answer":1,"R/notes":1}`, true,
			piece{"R/answer", 8, "after, meanwhile, now"}, piece{"R/notes", 1, "his too"},
		},
		{
			"without an event since", `{"R/answer":1,"R/notes":1}`, false,
			piece{"R/answer", 24, ", now"}, piece{"R/notes", 1, "his too"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, switchboard.Options{})
				other, a := s.as(t, "bob room:team:join"), s.as(t, "alice room:team:join")
				other.send(`{"type":"subscribe","payload":{"rooms":["team"]}}`)
				w := s.writer(t, "R")
				w.write("answer", "before, ")
				a.send(`{"type":"join_room","payload":{"room":"team"}}`)
				joined := payload[wire.RoomJoinedPayload](t, a.expect(wire.RoomJoined))
				if tt.event {
					w.thinks()
				}
				w.write("answer", "after")
				second := w
				if !tt.event { // an event of the same run would tell how long the first text was
					second = s.writer(t, "R2")
				}
				second.write("notes", "this")
				_ = a.conn.Close()
				synctest.Wait()
				w.write("answer", ", meanwhile")
				a = s.resume(t, a)
				streams := tt.streams
				if !tt.event {
					streams = `{"R/answer":1,"R2/notes":1}`
					tt.notes.Stream = "R2/notes"
				}
				a.send(`{"type":"session_restore","payload":{"positions":{"room/team":%q},"streams":%s}}`, joined.Position, streams)
				a.expect(wire.SessionRestored)
				synctest.Wait()
				w.write("answer", ", now")
				second.write("notes", " too")
				got := a.pieces()
				var answer, notes piece
				for _, p := range got {
					to := &answer
					if p.Stream != "R/answer" {
						to = &notes
					}
					if to.Stream == "" {
						to.Stream, to.Start = p.Stream, p.Start
					}
					if p.Start != to.Start+len(to.Text) {
						t.Errorf("a hole in %v", got)
					}
					to.Text += p.Text
				}
				wantEqual(t, "answer", answer, tt.answer)
				wantEqual(t, "notes", notes, tt.notes)
			})
		})
	}
}

// A length of a text is nothing without a position in its room: it is no way to what was written
// before the user joined, and moves nothing for who may read that.
func TestALengthOfATextWithoutItsRoomMovesNothing(t *testing.T) {
	for _, how := range []string{"is made a member", "joins", "may read what was before"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, switchboard.Options{})
				w := s.writer(t, "R")
				w.write("answer", "before, ")
				a, want := s.as(t, "alice room:team:join"), []piece{{"R/answer", 8, "after"}}
				switch how {
				case "is made a member":
					a = s.as(t, "alice")
					s.add(t, "alice")
					a.expect(wire.RoomJoined)
				case "joins":
					a.send(`{"type":"join_room","payload":{"room":"team"}}`)
					a.expect(wire.RoomJoined)
				default:
					a = s.as(t, "alice room:team:join room:team:history")
					a.send(`{"type":"join_room","payload":{"room":"team"}}`)
					a.expect(wire.RoomJoined)
					synctest.Wait()
					wantEqual(t, "what was there", a.pieces(), []piece{{"R/answer", 0, "before, "}})
				}
				a.send(`{"type":"session_restore","payload":{"positions":{},"streams":{"R/answer":1}}}`)
				a.expect(wire.SessionRestored)
				synctest.Wait()
				w.write("answer", "after")
				wantEqual(t, "what alice got", a.pieces(), want)
			})
		})
	}
}
