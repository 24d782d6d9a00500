package switchboard_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// drained drains s within 10 s.
func (s *server) drained(t *testing.T) switchboard.DrainReport {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	report, err := s.Drain(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestClientsOfADrainedNodeComeBackAtAnEvenRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		const n = 400
		var all []*device
		for range n {
			all = append(all, s.as(t, "alice"))
		}
		s.note(t, switchboard.User("alice"), 1)
		report := s.drained(t)
		if report.Told != n || report.Moved != n || report.Gone+report.Forced != 0 || report.Lost+report.Left+report.Unknown != 0 ||
			report.Written < n || report.State != switchboard.NodeDrained || report.PeakCloses < n/3 || report.Took > 8*time.Second {
			t.Errorf("got %+v", report)
		}
		// They are closed over 2 s and come back over 2.8 s more.
		if most := n/4 + 10; report.PeakReturns > most || report.PeakReturns < n/6 {
			t.Errorf("got %d returns in one second, want at most %d", report.PeakReturns, most)
		}
		for _, c := range all {
			c.await(wire.ServerShutdown)
			c.ends(wire.CloseRestart)
		}
		if _, err := s.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{Type: "note"}); err != nil {
			t.Errorf("publish on a drained node: %v", err)
		}
		if again := s.drained(t); again.Told != n {
			t.Errorf("a second drain: got %+v", again)
		}
	})
}

func TestALoginThatHangsDoesNotHoldUpADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, release := make(chan struct{}), make(chan struct{})
		s := newServer(t, switchboard.Options{
			Auth: func(ctx context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
				if cred.Token == "hangs" {
					close(asked)
					<-release // whatever its context says
				}
				return login(ctx, cred)
			},
		})
		a := s.as(t, "alice")
		status := make(chan int, 1)
		go func() {
			_, resp := s.handshake(t, request{token: "hangs"})
			status <- resp.StatusCode
		}()
		<-asked
		left := make(chan struct{})
		go func() {
			defer close(left)
			a.await(wire.ServerShutdown)
			a.ends(wire.CloseRestart)
			_ = a.conn.Close()
		}()
		if report := s.drained(t); report.Took > time.Second || report.Moved != 1 {
			t.Errorf("got %+v, want that nobody waited", report)
		}
		<-left
		close(release)
		if got := <-status; got != 503 {
			t.Errorf("got %d for the login that took so long, want 503", got)
		}
	})
}

func TestAHandlerAtWorkMayAnswerBeforeItsClientIsMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		s.Handle("work", func(ctx context.Context, _ *switchboard.Conn, _ switchboard.Envelope) error {
			select {
			case <-time.After(3 * time.Second):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		a := s.as(t, "alice")
		a.send(`{"type":"work","message_id":"w"}`)
		synctest.Wait()
		if report := s.drained(t); report.Took < 3*time.Second || report.Took > 9*time.Second || report.Moved != 1 {
			t.Errorf("got %+v, want that it waited for the handler", report)
		}
		a.expect(wire.ServerShutdown)
		if got := a.ack("w"); got.Status != wire.StatusOK {
			t.Errorf("got %+v", got)
		}
		a.ends(wire.CloseRestart)
	})
}

func TestADrainSaysWhatItLeftInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		const n = 50
		s.connect(t, request{token: "alice", buffer: 4 << 10}) // a socket that takes next to nothing
		for range n {
			if _, err := s.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{Type: "note", Payload: map[string]string{"text": strings.Repeat("x", 1000)}}); err != nil {
				t.Fatal(err)
			}
		}
		report := s.drained(t)
		if report.Told != 1 || report.Forced != 1 || report.Left == 0 || report.Left >= n || report.Lost+report.Unknown != 0 {
			t.Errorf("got %+v, want some messages left in the log and none lost", report)
		}
	})
}

func TestADrainCountsWhatNobodyCanResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited, Retention: broker.Retention{Messages: 3}})
		s.connect(t, request{token: "alice", buffer: 4 << 10})
		for range 50 {
			if _, err := s.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{Type: "note", Payload: map[string]string{"text": strings.Repeat("x", 1000)}}); err != nil {
				t.Fatal(err)
			}
		}
		if report := s.drained(t); report.Forced != 1 || report.Left < 10 || report.Lost != report.Left-3 || report.Unknown != 0 {
			t.Errorf("got %+v, want all of what is left counted as lost but for three", report)
		}
	})
}

func TestADrainSaysWhatBecameOfRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		ended := make(chan error, 1)
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"},
			func(ctx context.Context, run *switchboard.Run, env switchboard.Envelope) error {
				if env.ThreadID == "endless" {
					return waiter(ended)(ctx, run, env)
				}
				time.Sleep(2 * time.Second)
				return nil
			})
		a := s.as(t, "alice")
		a.ask("m1", "t1", "Write")
		a.ask("m2", "endless", "Write")
		time.Sleep(time.Second)
		if report := s.drained(t); report.RunsFinished != 1 || report.RunsEnded != 1 || report.Took > 11*time.Second {
			t.Errorf("got %+v, want one run finished and one ended", report)
		}
		<-ended
	})
}

func TestADrainGivesTimeToProducersOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nodes, _ := hookedNodes(t)
		a, b := nodes[0], nodes[1]
		start := func(id string) *switchboard.Run {
			run, err := a.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), ID: id, Lease: 30 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			return run
		}
		here, _ := start("here"), start("elsewhere")
		drained := make(chan switchboard.DrainReport, 1)
		go func() { drained <- a.drained(t) }()
		time.Sleep(3 * time.Second)
		if _, err := here.Complete(t.Context(), nil); err != nil {
			t.Error(err)
		}
		there, err := b.Runs().Attach(t.Context(), "elsewhere")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := there.Complete(t.Context(), nil); err != nil {
			t.Error(err)
		}
		if report := <-drained; report.RunsFinished != 1 || report.RunsEnded != 0 || report.Took < 3*time.Second || report.Took > 4*time.Second {
			t.Errorf("got %+v, want one run that ended here and none killed", report)
		}
	})
}

func TestADrainWithoutADeadlineEndsRunsThoughAHandlerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: switchboard.Limits{Handler: -1}})
		release, ended := make(chan struct{}), make(chan error, 1)
		s.Handle("work", func(context.Context, *switchboard.Conn, switchboard.Envelope) error {
			<-release // whatever its context says
			return nil
		})
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, waiter(ended))
		a, b := s.as(t, "alice"), s.as(t, "bob")
		a.ask("m", "t1", "Write")
		b.send(`{"type":"work","message_id":"w"}`)
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		time.Sleep(20 * time.Second)
		select {
		case <-ended:
		default:
			t.Error("the agent is still at work")
		}
		if report := s.DrainReport(); report.State != switchboard.NodeDraining || report.RunsEnded != 1 || report.Told != 2 {
			t.Errorf("got %+v, want all but the handler ended", report)
		}
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestADrainReportSaysWhatItDoesNotKnowYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := hookedNode(t, switchboard.Options{})
		ended := make(chan error, 1)
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, waiter(ended))
		s.as(t, "bob").ask("m", "t1", "Write")
		s.connect(t, request{token: "alice", buffer: 4 << 10}) // a socket that takes next to nothing
		for range 50 {
			if _, err := s.Publish(t.Context(), switchboard.User("alice"), switchboard.Message{Type: "note", Payload: map[string]string{"text": strings.Repeat("x", 1000)}}); err != nil {
				t.Fatal(err)
			}
		}
		d.set(hooks{publish: func(context.Context, wire.MessageType, func() (broker.Published, error)) (broker.Published, error) {
			return broker.Published{}, broker.ErrUnavailable
		}})
		done := make(chan switchboard.DrainReport, 1)
		go func() { done <- s.drained(t) }()
		time.Sleep(7 * time.Second) // its socket was given up, and the agent is still at work
		if report := s.DrainReport(); report.Forced != 1 || report.Left == 0 || report.Unknown != report.Left {
			t.Errorf("meanwhile got %+v, want that nothing is known of what is left", report)
		}
		report := <-done
		if report.Unknown != 0 || report.Lost != 0 || report.RunsEnded != 0 || report.RunsUntold != 1 {
			t.Errorf("got %+v, want the log asked, and a run whose end could not be written", report)
		}
		if !strings.Contains(report.String(), "1 whose end could not be written") {
			t.Errorf("got %s", report)
		}
		<-ended
	})
}

func TestADrainWhoseTimeIsOverStillSpreadsItsClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		const n = 100
		for range n {
			s.as(t, "alice")
		}
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Hour))
		defer cancel()
		if report, err := s.Drain(ctx); err != nil || report.Told != n || report.PeakReturns > n/2 {
			t.Errorf("got %+v, %v, want at most half of them back within one second", report, err)
		}
	})
}
