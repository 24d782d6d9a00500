package hub

import (
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

func TestStaleHandlesAreGoneAlsoWhenTheSlotIsReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		id := r.hub.ID(a.h)
		r.engine.sink.Closed(uint64(a.h), nil)
		synctest.Wait()
		b := r.open(user("b"))
		if b.h.slot() != a.h.slot() {
			t.Fatalf("slot %d was not reused, got %d", a.h.slot(), b.h.slot())
		}
		if err := r.hub.Send(a.h, text("secret"), false); !errors.Is(err, ErrGone) {
			t.Errorf("Send: got %v, want ErrGone", err)
		}
		if err := r.hub.Close(a.h, 1000, "", false); !errors.Is(err, ErrGone) {
			t.Errorf("Close: got %v, want ErrGone", err)
		}
		if _, ok := r.hub.Find(id); ok {
			t.Error("Find finds an id whose connection is gone")
		}
		r.engine.sink.Message(uint64(a.h), ws.OpText, []byte("late"))
		r.engine.sink.Writable(uint64(a.h))
		r.engine.sink.Closed(uint64(a.h), nil)
		synctest.Wait()
		wantFrames(t, b.got.frames(), nil)
		wantFrames(t, r.events, nil)
		if _, ok := r.hub.View(b.h); !ok {
			t.Error("a late event of the former owner closed the new one")
		}
	})
}

func TestTheOwnersBlobIsKeptReplacedAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		if err := r.hub.SetInfo(a.h, make([]byte, arenaMax+1)); !errors.Is(err, ErrInfo) {
			t.Errorf("too long: got %v, want ErrInfo", err)
		}
		if got, _ := r.hub.Info(a.h); string(got) != "a" {
			t.Errorf("after a refusal: got %q, want the former blob", got)
		}
		if err := r.hub.SetInfo(a.h, []byte("new")); err != nil {
			t.Error(err)
		}
		if got, _ := r.hub.Info(a.h); string(got) != "new" {
			t.Errorf("got %q, want the new blob", got)
		}
	})
}

func TestIDFindsItsConnectionAndGuessesDoNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		id := r.hub.ID(a.h)
		if c, ok := r.hub.Find(id); !ok || c != a.h {
			t.Errorf("Find(%q): got %x %v, want %x", id, c, ok, a.h)
		}
		guess := []byte(id)
		guess[len("conn_")] ^= 1
		for _, bad := range []string{"", "conn_", string(guess), id + "00", "x" + id, strings.Repeat("f", 24), "conn_" + strings.Repeat("0", 24)} {
			if _, ok := r.hub.Find(bad); ok {
				t.Errorf("Find(%q) finds something", bad)
			}
		}
	})
}

func TestLimitsAreHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config, _ *fakeEngine) { c.MaxConns, c.MaxPerUser, c.MaxRooms = 4, 3, 2 })
		for range 3 {
			r.open(user("a"))
		}
		if _, err := r.openHeld(user("a")); !errors.Is(err, ErrUserLimit) {
			t.Errorf("fourth of a user: got %v, want ErrUserLimit", err)
		}
		b := r.open(user("b"))
		if _, err := r.openHeld(user("c")); !errors.Is(err, ErrLimit) {
			t.Errorf("fifth of all: got %v, want ErrLimit", err)
		}
		b.join(room("1"))
		b.join(room("2"))
		b.join(room("2"))
		if err := r.hub.Follow(b.h, r.follow(room("3")), wire.Position{}); !errors.Is(err, ErrRoomLimit) {
			t.Errorf("third room: got %v, want ErrRoomLimit", err)
		}
		r.engine.sink.Closed(uint64(b.h), nil)
		synctest.Wait()
		r.open(user("c"))
	})
}

func TestTooManyAnswersPauseReadingAndRefuseWhatIsOptional(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config, e *fakeEngine) { e.room, c.ControlBytes = 1, 100 })
		a := r.open(user("a"))
		for i := range 10 {
			if err := r.hub.Send(a.h, text(fmt.Sprint("answer number ", i)), false); err != nil {
				t.Fatal(err)
			}
		}
		if !r.engine.socket(a.socket()).paused {
			t.Error("the socket is still read")
		}
		r.engine.sink.Ping(uint64(a.h), []byte("x"))
		if err := r.hub.Send(a.h, text("optional"), true); !errors.Is(err, ErrFull) {
			t.Errorf("optional: got %v, want ErrFull", err)
		}
		r.engine.room = 0
		r.engine.drainAll()
		synctest.Wait()
		if r.engine.socket(a.socket()).paused {
			t.Error("the socket is not read although all is written")
		}
		if n := len(a.got.frames()); n != 10 {
			t.Errorf("got %d answers, want 10", n)
		}
		if n := r.hub.Stats().Refused; n != 2 {
			t.Errorf("got %d refused, want the pong and the optional frame", n)
		}
	})
}

func TestCloseWritesTheCodeLastAndWaitsForTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		_ = r.hub.Send(a.h, text("answer"), false)
		_ = r.hub.Close(a.h, 4002, "revoked", false)
		_ = r.hub.Close(a.h, 1000, "again", false)
		r.publish(user("a"))
		if err := r.hub.Send(a.h, text("late"), false); !errors.Is(err, ErrGone) {
			t.Errorf("Send after Close: got %v, want ErrGone", err)
		}
		synctest.Wait()
		wantFrames(t, a.got.frames(), []string{"answer", "close 4002 revoked"})
		if _, ended := r.end(a.h); ended {
			t.Error("gone before the client has answered")
		}
		r.engine.sink.Closed(uint64(a.h), &ws.CloseError{Code: 4002, Remote: true})
		synctest.Wait()
		if end, _ := r.end(a.h); end.Code != 4002 || end.Reason != "revoked" || end.Remote {
			t.Errorf("got %+v, want our own 4002", end)
		}
	})
}

func TestAClientThatNeverAnswersACloseIsGoneAfterTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *Config, e *fakeEngine) { e.room = 1 })
		a, b := r.open(user("a")), r.open(user("b"))
		r.publish(user("a"))
		_ = r.hub.Close(a.h, 1001, "", true)
		time.Sleep(2 * time.Second)
		_ = r.hub.Close(b.h, 1001, "", false)
		time.Sleep(3*time.Second + time.Millisecond)
		if _, ended := r.end(a.h); !ended {
			t.Error("a is still there after the grace")
		}
		if _, ended := r.end(b.h); ended {
			t.Error("b is gone before its grace is over")
		}
		time.Sleep(2 * time.Second)
		if _, ended := r.end(b.h); !ended {
			t.Error("b is still there after the grace")
		}
	})
}

func TestADrainingCloseWritesWhatIsPendingFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config, e *fakeEngine) { e.room, c.WindowMessages = 1, 4 })
		a := r.open(user("a"))
		for range 50 { // more than the window holds: the rest is read from the log
			r.publish(user("a"))
		}
		_ = r.hub.Close(a.h, 1012, "restarting", true)
		for range 2000 {
			synctest.Wait()
			r.engine.drain(a.socket())
		}
		got := a.got.frames()
		if got[len(got)-1] != "close 1012 restarting" {
			t.Errorf("last frame is %q, want the close", got[len(got)-1])
		}
		wantFrames(t, a.of(user("a")), numbers("e1", 1, 50))
	})
}

func TestTheClientsCloseIsEchoedAndEndsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		r.engine.sink.Closed(uint64(a.h), &ws.CloseError{Code: 1000, Reason: "bye", Remote: true})
		synctest.Wait()
		wantFrames(t, a.got.frames(), []string{"close 1000 bye"})
		if end, ok := r.end(a.h); !ok || end.Code != 1000 || !end.Remote || string(end.Info) != "a" {
			t.Errorf("got %+v %v, want the client's 1000", end, ok)
		}
	})
}

// The system says only once why a socket broke, to the reader or to the writer.
func TestWhyASocketBrokeIsKnownWhoeverIsTold(t *testing.T) {
	timedOut := End{Code: wire.CloseTryAgain, Reason: Unwritable}
	reset := End{Code: closeAbnormal, Reason: syscall.ECONNRESET.Error(), Remote: true}
	for name, tt := range map[string]struct {
		more          int // bytes that it takes of the frame at which it is blocked
		writer, reads error
		want          End
	}{
		"the writer":                 {3, syscall.ETIMEDOUT, nil, timedOut},
		"the writer, between frames": {0, syscall.ETIMEDOUT, nil, timedOut},
		"the reader":                 {3, syscall.EPIPE, syscall.ETIMEDOUT, timedOut},
		"the reader, between frames": {0, syscall.EPIPE, syscall.ETIMEDOUT, timedOut},
		"the reader, of a reset":     {3, syscall.EPIPE, syscall.ECONNRESET, reset},
		"the writer, of a reset":     {3, syscall.ECONNRESET, nil, reset},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				a := r.open(user("a"))
				r.publish(user("a"))
				synctest.Wait()
				s := r.engine.socket(a.socket())
				r.engine.room = s.fill + tt.more
				r.publish(user("a"))
				synctest.Wait()
				if !s.blocked || s.fill != r.engine.room {
					t.Fatalf("blocked %v at %d bytes, want it at %d", s.blocked, s.fill, r.engine.room)
				}
				r.engine.snap(a.socket(), tt.writer)
				synctest.Wait()
				if tt.reads != nil {
					if _, ended := r.end(a.h); ended {
						t.Error("ended before it is known why")
					}
					r.publish(user("a")) // is not written: the engine would complain
					r.engine.sink.Closed(uint64(a.h), tt.reads)
					synctest.Wait()
				}
				end, _ := r.end(a.h)
				if got := (End{Code: end.Code, Reason: end.Reason, Remote: end.Remote}); !reflect.DeepEqual(got, tt.want) {
					t.Errorf("got %+v, want %+v", got, tt.want)
				}
			})
		})
	}
}

// What others have it told must not keep the reader, which knows why it broke, from reading.
func TestABrokenSocketIsReadHoweverMuchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *Config, e *fakeEngine) { e.room = 1 })
		a := r.open(user("a"))
		much := text(strings.Repeat("x", r.hub.cfg.ControlBytes))
		_ = r.hub.Tell(a.h, much) // is begun
		_ = r.hub.Tell(a.h, much) // waits
		s := r.engine.socket(a.socket())
		if !s.paused {
			t.Fatal("the socket is read although much waits")
		}
		r.engine.snap(a.socket(), syscall.EPIPE)
		_ = r.hub.Tell(a.h, much)
		synctest.Wait()
		if s.paused {
			t.Error("the socket is not read")
		}
		r.engine.sink.Closed(uint64(a.h), syscall.ETIMEDOUT)
		synctest.Wait()
		if end, ended := r.end(a.h); !ended || end.Code != wire.CloseTryAgain {
			t.Errorf("got %+v, %v, want 1013", end, ended)
		}
	})
}

// Who was never blocked has nothing to wait for.
func TestWhoseSocketIsBrokenAndWasNotBlockedEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		r.publish(user("a"))
		synctest.Wait()
		r.engine.snap(a.socket(), syscall.EPIPE)
		r.publish(user("a"))
		synctest.Wait()
		if end, ended := r.end(a.h); !ended || end.Code != closeAbnormal || !end.Remote {
			t.Errorf("got %+v, %v, want an end that nobody said", end, ended)
		}
	})
}

func TestAProtocolErrorIsExplainedBeforeTheClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		r.engine.sink.Closed(uint64(a.h), &ws.CloseError{Code: 1009, Reason: "too big"})
		synctest.Wait()
		wantFrames(t, a.got.frames(), []string{"failed", "close 1009 too big"})
		if end, ok := r.end(a.h); !ok || end.Code != 1009 || end.Remote {
			t.Errorf("got %+v %v, want our own 1009 at once", end, ok)
		}
	})
}

func TestTheMessageAllowanceRefillsEvenly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := r.open(user("a"))
		for i := range 120 {
			if _, over := r.hub.Allow(a.h, 1, Rates{Conn: 120}); over != Within {
				t.Fatalf("message %d of 120 was refused", i+1)
			}
		}
		retry, over := r.hub.Allow(a.h, 1, Rates{Conn: 120})
		if over != OfConn || retry != 500*time.Millisecond {
			t.Errorf("message 121: got %v %v, want a refusal for 500ms", over, retry)
		}
		time.Sleep(retry)
		if _, over := r.hub.Allow(a.h, 1, Rates{Conn: 120}); over != Within {
			t.Error("refused after the time that was told")
		}
	})
}

func TestShutdownEndsEveryConnectionAndMayBeRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a, b := r.open(user("a")), r.open(user("b"))
		r.hub.Shutdown()
		r.hub.Shutdown()
		for _, c := range []*client{a, b} {
			if end, ok := r.end(c.h); !ok || end.Code != wire.CloseGoingAway {
				t.Errorf("got %+v %v, want 1001", end, ok)
			}
		}
		if _, err := r.openHeld(user("c")); !errors.Is(err, ErrClosed) {
			t.Errorf("Open after Shutdown: got %v, want ErrClosed", err)
		}
	})
}

// refusing is an engine that takes nobody.
type refusing struct {
	ws.Engine
}

func (refusing) Attach(net.Conn, []byte) (ws.Socket, error) { return 0, errors.New("refused") }

func TestAConnectionThatIsRefusedLeavesNothingOfBoards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.open(user("a"))
		r.pass(user("a"), 1, "")
		synctest.Wait()
		before := r.hub.readings.used()
		r.hub.engine = refusing{r.hub.engine}
		for range 3 {
			if _, err := r.openHeld(user("a")); err == nil {
				t.Fatal("attached")
			}
		}
		if n := r.hub.readings.used(); n != before {
			t.Errorf("got %d readings, want %d", n, before)
		}
	})
}
