package switchboard_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// What the former system was to do, and the test that holds it here. Its tests wrote into maps;
// these have real connections, in fake time.
//
//	configuration of environments, limit of payloads   TestHeartbeatForKnowsItsEnvironments, TestEnvironmentsAreGivenTime, TestPingsAreSmall
//	first state, status known and unknown, all of them TestAFreshConnectionIsKnown, TestTheStateOfAConnectionFollowsWhatHappens
//	register, again, unregister, unknown               TestConnectionsAreCountedAsTheyComeAndGo
//	activity resets missed, resurrection               TestAPeerThatComesBackAfterAMissIsCounted
//	ping: works, pending, time-out, unknown, error     TestPingMeasures…, TestManyPingsAreOne, TestAPingWithoutAnswer…, TestPingOfWhatIsNotThere, TestAPingThatCannotBeWritten…
//	pong: fields, unregistered, strange times          TestPingMeasuresARoundTrip, internal/hub: TestAPongThatAnswersNoPing…, TestStaleHandles…, TestALatePong…
//	health: timeout, missed, stale ping                TestSilenceIsBoundedWhateverThePings, TestAPeerThatMissesTooManyIsClosed, internal/hub: TestHealthFalls…
//	dead once                                          internal/hub: TestADeadOneIsCountedOnceAndIsGoneAtOnce
//	average, least, most, outliers, what is none       internal/hub: TestTheMeanOfRoundTrips…, TestWhatIsNoRoundTripIsNotCounted
//	clean-up: dead go, live stay, orphans              TestTheDeadAreGoneSoonAndTheLiveStay, TestAPingWithoutItsConnectionIsNotPending, TestAPeerThatAnswersNoPingsIsNotWaitedFor
//	clock skew                                         internal/hub: TestTicksAreOfTheMonotonicClock, internal/arch: a fence
//	start, stop                                        TestNoPingAfterShutdown
//	10 of which 5 leave while all are active           TestHalfLeaveWhileAllAreActive
//	10 quick cycles, 100 connections                   TestConnectionsAreCountedAsTheyComeAndGo, TestNothingIsLeftOfThousandsOfConnections
//	the loop survives errors, error during ping        TestAPingThatCannotBeWrittenEndsOnlyItsConnection
//	5 users, 5 pings, 3 pongs                          TestWhoAnswersIsKnownOneByOne
//	interruption and recovery, all state transitions   TestTheStateOfAConnectionFollowsWhatHappens
//	3 connections, 10 operations each; 100 at once     TestAHundredOperationsAtOnceHarmNobody
//	1,000 registered, 500 removed                      TestOf1000ConnectionsHalfLeave
//	never offline while chatting                       TestWhoChatsIsNeverClosed
//	a failed ping drops nobody, the next one works     TestAPingWithoutAnswerChangesNothingAndTheNextOneWorks
//	the dead are not resurrected by pinging            TestOurOwnPingsBringNobodyBack
//	alice dead, bob and charlie not                    TestOneDeadUserIsNobodyElsesConcern
//	3 of 3 messages: well, one missed, recovered       TestMessagesArriveInEveryState
//	chat never waits for a heartbeat                   TestChatNeverWaitsForAHeartbeat, BenchmarkActivity
//	1,000 dead and 10 live                             TestAThousandDeadAndTenLive
//	follows connect and disconnect of the manager      TestConnectionsAreCountedAsTheyComeAndGo: there is one registry
//	survives a failure of the database                 TestHeartbeatsGoOnWithoutTheBroker
//	socket that fails after 3 sends                    TestAPingThatCannotBeWrittenEndsOnlyItsConnection
//	application heartbeat                              TestApplicationPingsComeWhenAskedFor, TestAClientThatAnswersNoApplicationPingIsClosed
//
// Left out: one manager per process (an application may have two), functions without a manager
// (package compat), and that a time of a pong is believed (it is measured here).

// quick is the heartbeat of most of those tests.
func quick() switchboard.Heartbeat {
	return switchboard.Heartbeat{Interval: time.Second, Timeout: 3 * time.Second, MaxMissed: 2}
}

// patient is one that closes nobody in an hour.
func patient(interval time.Duration) switchboard.Heartbeat {
	return switchboard.Heartbeat{Interval: interval, Timeout: time.Hour, MaxMissed: 255}
}

// info is what is known of the connection of a device, and whether there is one.
func (s *server) info(t testing.TB, c *device) (switchboard.ConnInfo, bool) {
	t.Helper()
	for info, err := range s.Connections().List(t.Context(), switchboard.Connection(c.welcome.ConnectionID)) {
		if err != nil {
			t.Fatal(err)
		}
		return info, true
	}
	return switchboard.ConnInfo{}, false
}

func (s *server) known(t testing.TB, c *device) switchboard.ConnInfo {
	t.Helper()
	info, ok := s.info(t, c)
	if !ok {
		t.Fatalf("connection %s is gone", c.welcome.ConnectionID)
	}
	return info
}

func TestEnvironmentsAreGivenTime(t *testing.T) {
	for _, name := range []string{"production", "staging", "development"} {
		h := switchboard.HeartbeatFor(name)
		if h.Timeout < time.Minute || h.MaxMissed > 3 || h.Interval > h.Timeout {
			t.Errorf("%s: got %+v, want at least a minute and at most three missed", name, h)
		}
	}
}

func TestMoreMissesThanCanBeCountedAreRefused(t *testing.T) {
	_, err := switchboard.New(switchboard.Options{Auth: login, Heartbeat: switchboard.Heartbeat{MaxMissed: 256}})
	if err == nil {
		t.Error("got a manager that would never count so far")
	}
}

func TestAFreshConnectionIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.connect(t, request{token: "alice", path: "/ws?device=phone"})
		time.Sleep(time.Second)
		info := s.known(t, a)
		if !info.Healthy() || info.Stale() || info.Health != 100 || info.Missed != 0 || info.Pinging || !info.LastPing.IsZero() || !info.LastPong.IsZero() ||
			info.RoundTrip != 0 || info.Idle != time.Second || time.Since(info.LastActivity) != time.Second || time.Since(info.Opened) != time.Second ||
			info.Errors != 0 || info.Transport != "websocket" || info.ID != a.welcome.ConnectionID {
			t.Errorf("got %+v, want it fresh", info)
		}
		st := s.Stats().Heartbeat
		if st.Healthy != 1 || st.Stale != 0 || st.MeanHealth != 100 || st.Pending != 0 || st.Missing != 0 {
			t.Errorf("got %+v, want one healthy", st)
		}
		for info, err := range s.Connections().List(t.Context(), switchboard.Connection("conn_unknown")) {
			t.Errorf("got %+v, %v of an unknown connection", info, err)
		}
	})
}

func TestConnectionsAreCountedAsTheyComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: quick()})
		a := s.as(t, "alice")
		b := s.as(t, "alice") // another of the same user
		if st := s.Stats(); st.Connections != 2 || st.Users != 1 || st.Accepted != 2 || st.Heartbeat.Healthy != 2 {
			t.Errorf("got %d connections of %d users, want 2 of 1", st.Connections, st.Users)
		}
		_ = a.conn.Close()
		synctest.Wait()
		if n, err := s.Connections().Close(t.Context(), switchboard.Connection(a.welcome.ConnectionID), switchboard.CloseError{}); n != 0 || err != nil {
			t.Errorf("closing one that is gone: got %d, %v, want nothing", n, err)
		}
		_ = b.conn.Close()
		for range 10 {
			c := s.as(t, "bob")
			_ = c.conn.Close()
			synctest.Wait()
		}
		if st := s.Stats(); st.Connections != 0 || st.Users != 0 || st.Accepted != 12 || st.Heartbeat != (switchboard.HeartbeatStats{}) {
			t.Errorf("got %d connections, %d accepted and %+v, want 0, 12 and nothing of heartbeats", st.Connections, st.Accepted, st.Heartbeat)
		}
	})
}

func TestAPingThatCannotBeWrittenEndsOnlyItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: quick()})
		broken, well := s.as(t, "alice"), s.as(t, "alice")
		go well.answer()
		for n := range 5 {
			if n == 3 {
				_ = broken.conn.Close() // its socket fails from now on
			}
			s.note(t, switchboard.User("alice"), n)
		}
		time.Sleep(time.Minute)
		if _, ok := s.info(t, broken); ok {
			t.Error("a connection whose socket is broken is still there")
		}
		info := s.known(t, well)
		if st := s.Stats(); info.Health != 100 || st.Connections != 1 || st.Heartbeat.Dropped != 0 || st.Heartbeat.Pongs < 50 {
			t.Errorf("got %+v and %+v, want the other one pinged and well", info, st.Heartbeat)
		}
	})
}

func TestAPeerThatMissesTooManyIsClosed(t *testing.T) {
	for _, most := range []int{1, 2, 3, 5} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, switchboard.Options{Heartbeat: switchboard.Heartbeat{Interval: 10 * time.Second, Timeout: time.Hour, MaxMissed: most}})
				a := s.as(t, "alice")
				began := time.Now()
				for s.Stats().Connections == 1 {
					time.Sleep(100 * time.Millisecond)
				}
				// A ping after 10 s, and 12 s until each is missed, seen within an eighth of an interval.
				least := 10*time.Second + time.Duration(most)*12*time.Second
				if took := time.Since(began); took < least-time.Second || took > least+time.Duration(most+1)*1300*time.Millisecond {
					t.Errorf("closed after %v, want about %v", took, least)
				}
				if st := s.Stats().Heartbeat; st.Missed != uint64(most) || st.Pings != uint64(most) || st.Dropped != 1 || st.Pending != 0 {
					t.Errorf("got %+v, want %d missed", st, most)
				}
				a.pings(time.Hour, false)
			})
		})
	}
}

// A late answer is one: a ping is missed for good only after 1.2 times its interval.
func TestAnAnswerWithinTheGraceIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: switchboard.Heartbeat{Interval: 10 * time.Second, Timeout: time.Hour, MaxMissed: 1}})
		a := s.as(t, "alice")
		for range 10 {
			op, payload, err := a.frame(time.Minute)
			if op != ws.OpPing || err != nil {
				t.Fatalf("got %v, %v, want a ping", op, err)
			}
			time.Sleep(11900 * time.Millisecond)
			a.write(ws.OpPong, payload)
		}
		synctest.Wait()
		if st := s.Stats().Heartbeat; st.Missed != 0 || st.Pongs != 10 || st.MeanRTT != 11900*time.Millisecond {
			t.Errorf("got %+v, want nothing missed", st)
		}
	})
}

func TestTheStateOfAConnectionFollowsWhatHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: switchboard.Heartbeat{Interval: 10 * time.Second, Timeout: time.Minute, MaxMissed: 3}})
		a := s.as(t, "alice")
		began := time.Now()
		at := func(after time.Duration, what string, want switchboard.ConnInfo) {
			t.Helper()
			time.Sleep(time.Until(began.Add(after)))
			got, _ := s.info(t, a)
			if got.Missed != want.Missed || got.Health != want.Health || got.Pinging != want.Pinging {
				t.Errorf("%s: got %d missed, health %d, pinging %v; want %d, %d, %v", what, got.Missed, got.Health, got.Pinging, want.Missed, want.Health, want.Pinging)
			}
		}
		at(5*time.Second, "connected", switchboard.ConnInfo{Health: 100})
		at(11*time.Second, "pinged", switchboard.ConnInfo{Health: 100, Pinging: true})
		at(21*time.Second, "in the grace", switchboard.ConnInfo{Health: 100, Pinging: true})
		at(24*time.Second, "missed", switchboard.ConnInfo{Health: 75, Missed: 1, Pinging: true})
		at(37*time.Second, "missed again", switchboard.ConnInfo{Health: 50, Missed: 2, Pinging: true})
		if info := s.known(t, a); info.Healthy() || s.Stats().Heartbeat.Healthy != 0 || s.Stats().Heartbeat.MeanHealth != 50 {
			t.Errorf("got %+v, want it unhealthy", info)
		}
		if pings := a.pings(0, false); len(pings) != 0 { // still in the pipe: nothing was read
			t.Errorf("got %v", pings)
		}
		a.send(`{"type":"pong"}`)
		synctest.Wait()
		at(37*time.Second, "heard again", switchboard.ConnInfo{Health: 50, Pinging: true})
		a.pings(time.Second, true) // answers to all three; the last one counts
		synctest.Wait()
		at(38*time.Second, "answered", switchboard.ConnInfo{Health: 60})
		at(48*time.Second, "pinged", switchboard.ConnInfo{Health: 60, Pinging: true})
		at(74*time.Second, "missed twice", switchboard.ConnInfo{Health: 10, Missed: 2, Pinging: true})
		at(90*time.Second, "dead", switchboard.ConnInfo{})
		st := s.Stats()
		if st.Connections != 0 || st.Heartbeat.Resurrected != 1 || st.Heartbeat.Dropped != 1 || st.Heartbeat.Missed != 5 || st.Heartbeat.Pending != 0 || st.Heartbeat.Missing != 0 {
			t.Errorf("got %+v, want one resurrected and then dropped", st.Heartbeat)
		}
		_, _ = a.conn.Write(text(`{"type":"pong"}`)) // too late
		synctest.Wait()
		if st := s.Stats(); st.Connections != 0 || st.Heartbeat.Resurrected != 1 {
			t.Errorf("got %+v, want no one back from the dead", st.Heartbeat)
		}
	})
}

func TestOneDeadUserIsNobodyElsesConcern(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: quick()})
		alice, bob, charlie := s.as(t, "alice"), s.as(t, "bob"), s.as(t, "charlie")
		go bob.answer()
		go charlie.answer()
		time.Sleep(time.Minute)
		if _, ok := s.info(t, alice); ok {
			t.Error("alice, who answers nothing, is still there")
		}
		for _, c := range []*device{bob, charlie} {
			if info := s.known(t, c); info.Health != 100 || info.Missed != 0 || info.Idle > 2*time.Second {
				t.Errorf("got %+v, want it well", info)
			}
		}
		if st := s.Stats().Heartbeat; st.Dropped != 1 || st.Healthy != 2 || st.MeanHealth != 100 || st.Resurrected != 0 {
			t.Errorf("got %+v, want one dropped and two well", st)
		}
	})
}

func TestWhoChatsIsNeverClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: switchboard.Heartbeat{Interval: time.Second, Timeout: 2 * time.Second, MaxMissed: 1}, Limits: unlimited})
		a := s.as(t, "alice") // answers no pings at all
		var last time.Time
		for range 120 {
			time.Sleep(500 * time.Millisecond)
			a.send(`{"type":"chat","payload":{"content":"hi"}}`)
			synctest.Wait()
			info := s.known(t, a)
			if info.Missed != 0 || !info.LastActivity.After(last) {
				t.Fatalf("got %+v, want it active", info)
			}
			last = info.LastActivity
		}
		time.Sleep(time.Second)
		if info := s.known(t, a); !info.Healthy() {
			t.Errorf("got %+v a second later, want it there", info)
		}
		if st := s.Stats().Heartbeat; st.Missed != 0 || st.Dropped != 0 {
			t.Errorf("got %+v, want nothing missed", st)
		}
	})
}

func TestMessagesArriveInEveryState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: switchboard.Heartbeat{Interval: 10 * time.Second, Timeout: time.Minute, MaxMissed: 3}})
		a := s.as(t, "alice")
		s.note(t, switchboard.User("alice"), 0)
		time.Sleep(25 * time.Second)
		if info := s.known(t, a); info.Missed != 1 {
			t.Errorf("got %+v, want one missed", info)
		}
		s.note(t, switchboard.User("alice"), 1)
		a.send(`{"type":"pong"}`)
		synctest.Wait()
		if info := s.known(t, a); info.Missed != 0 {
			t.Errorf("got %+v, want it recovered", info)
		}
		s.note(t, switchboard.User("alice"), 2)
		wantEqual(t, "notes", a.notes(3), []int{0, 1, 2})
	})
}

// A ping to it would wait here, and be missed though it never left.
func TestWhoTakesNothingIsNotPinged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: switchboard.Heartbeat{Interval: 10 * time.Second, Timeout: time.Minute, MaxMissed: 1}})
		a := s.connect(t, request{token: "alice", buffer: 2048})
		_, err := s.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{
			Type: "note", Payload: map[string]string{"x": strings.Repeat("x", 4000)},
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Second)
		if info := s.known(t, a); info.UnwritableSince.IsZero() || info.Missed != 0 || s.Stats().Heartbeat.Pings != 0 {
			t.Errorf("got %+v and %+v, want it unwritable and not pinged", info, s.Stats().Heartbeat)
		}
		a.expect("note") // it reads again
		go a.answer()
		time.Sleep(30 * time.Minute)
		if info := s.known(t, a); info.Health != 100 || s.Stats().Heartbeat.Missed != 0 {
			t.Errorf("got %+v, want it well", info)
		}
	})
}

func TestAPingWithoutItsConnectionIsNotPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: patient(10 * time.Second)})
		for range 10 {
			s.as(t, "alice")
		}
		time.Sleep(25 * time.Second)
		if st := s.Stats().Heartbeat; st.Pending != 10 || st.Missing != 10 || st.MeanHealth != 75 {
			t.Errorf("got %+v, want ten pending", st)
		}
		if n, err := s.Connections().Close(t.Context(), switchboard.All(), switchboard.CloseError{}); n != 10 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
		time.Sleep(6 * time.Second)
		if st := s.Stats().Heartbeat; st.Pending != 0 || st.Missing != 0 || st.Healthy != 0 || st.MeanHealth != 0 {
			t.Errorf("got %+v, want nothing left", st)
		}
	})
}

func TestAPeerThatAnswersNoPingsIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: patient(10 * time.Second), Limits: unlimited})
		a := s.as(t, "alice")
		time.Sleep(11 * time.Second)
		for range 30 {
			time.Sleep(time.Second)
			a.send(`{"type":"pong"}`)
		}
		if st := s.Stats().Heartbeat; st.Pending != 0 || st.Pings != 1 || st.Missed != 0 {
			t.Errorf("got %+v, want no ping pending", st)
		}
	})
}

func TestNoPingAfterShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: quick()})
		a := s.as(t, "alice")
		go a.answer()
		time.Sleep(10 * time.Second)
		shutDown(t, s.Manager)
		before := s.Stats().Heartbeat
		if before.Sweeps < 70 || before.Pings < 8 {
			t.Errorf("got %+v, want it to have run", before)
		}
		time.Sleep(time.Hour)
		shutDown(t, s.Manager) // again, which does nothing
		wantEqual(t, "heartbeat", s.Stats().Heartbeat, before)
	})
}

func TestHalfLeaveWhileAllAreActive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: quick(), Limits: unlimited})
		var busy sync.WaitGroup
		for i := range 10 {
			c := s.as(t, fmt.Sprint("user-", i))
			busy.Go(func() {
				for range 20 {
					time.Sleep(100 * time.Millisecond)
					c.send(`{"type":"pong"}`)
				}
				if i%2 == 0 {
					_ = c.conn.Close()
				}
			})
		}
		busy.Wait()
		synctest.Wait()
		if st := s.Stats(); st.Connections != 5 || st.Users != 5 || st.Heartbeat.Healthy != 5 || st.Heartbeat.Missed != 0 {
			t.Errorf("got %d connections and %+v, want five", st.Connections, st.Heartbeat)
		}
	})
}

func TestChatNeverWaitsForAHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited, Heartbeat: switchboard.Heartbeat{Interval: 100 * time.Millisecond, Timeout: time.Hour, MaxMissed: 255}})
		for i := range 100 { // who let every ping time out
			s.connect(t, request{token: fmt.Sprint("silent-", i), buffer: 4096})
		}
		a := s.as(t, "alice")
		for n := range 50 {
			began := time.Now()
			a.send(`{"type":"chat","message_id":"%d","payload":{"content":"hi"}}`, n)
			a.ack(fmt.Sprint(n))
			if took := time.Since(began); took >= 10*time.Millisecond {
				t.Errorf("an ack took %v, want it at once", took)
			}
			time.Sleep(33 * time.Millisecond)
		}
		if st := s.Stats().Heartbeat; st.Pings < 1000 {
			t.Errorf("got %d pings: nothing was tried", st.Pings)
		}
	})
}

func TestHeartbeatsGoOnWithoutTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		s := newServer(t, switchboard.Options{Broker: d, Heartbeat: quick()})
		a, dead := s.as(t, "alice"), s.as(t, "bob")
		go a.answer()
		for range 30 {
			d.Faults().CutLink()
			time.Sleep(time.Second)
		}
		if info := s.known(t, a); info.Health != 100 || info.Idle > 2*time.Second {
			t.Errorf("got %+v, want it well", info)
		}
		if _, ok := s.info(t, dead); ok {
			t.Error("who answers nothing is still there")
		}
	})
}

// The loop of the former system ended here, and the socket stayed open.
func TestAClientThatAnswersNoApplicationPingIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: switchboard.Heartbeat{Interval: 45 * time.Second, Timeout: 55 * time.Second, MaxMissed: 2}})
		a := s.connect(t, request{path: "/ws?heartbeat=app", token: "alice"})
		b := s.connect(t, request{path: "/ws?heartbeat=app", token: "bob"})
		began := time.Now()
		go func() {
			for {
				op, payload, err := b.frame(time.Hour)
				if err != nil {
					return
				}
				if env, err := wire.Parse(payload); op == ws.OpText && err == nil && env.Type == wire.Ping {
					b.send(`{"type":"pong"}`)
				}
			}
		}()
		messages := 0
		for {
			op, _, err := a.frame(10 * time.Minute)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if op == ws.OpText {
				messages++
			}
		}
		if took := time.Since(began); took < 55*time.Second || took > 62*time.Second || messages != 1 {
			t.Errorf("closed after %v and %d ping messages, want one and 55s", took, messages)
		}
		time.Sleep(10 * time.Minute)
		if info := s.known(t, b); info.Missed != 0 || info.Idle > 46*time.Second {
			t.Errorf("got %+v of who answers, want it well", info)
		}
	})
}

func TestStaleIsWhoWasSilentForFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: switchboard.Heartbeat{Interval: 4 * time.Minute, Timeout: 10 * time.Minute, MaxMissed: 255}})
		quiet, talks := s.as(t, "alice"), s.as(t, "bob")
		time.Sleep(2 * time.Minute)
		talks.send(`{"type":"pong"}`)
		time.Sleep(3*time.Minute + time.Second)
		if info := s.known(t, quiet); !info.Stale() || info.Idle != 301*time.Second {
			t.Errorf("got %+v, want it stale", info)
		}
		if info := s.known(t, talks); info.Stale() {
			t.Errorf("got %+v, want it not stale", info)
		}
		time.Sleep(time.Minute) // until the sweep has been there
		if st := s.Stats().Heartbeat; st.Stale != 1 {
			t.Errorf("got %d stale, want one", st.Stale)
		}
		quiet.send(`{"type":"pong"}`)
		talks.send(`{"type":"pong"}`)
		time.Sleep(time.Minute)
		if st := s.Stats().Heartbeat; st.Stale != 0 {
			t.Errorf("got %d stale, want none", st.Stale)
		}
	})
}
