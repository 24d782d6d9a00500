package switchboard_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// shut shuts s down and fails unless that takes at most so long.
func (s *server) shut(ctx context.Context, t *testing.T, most time.Duration) {
	t.Helper()
	asked := time.Now()
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(ctx) }()
	select {
	case err := <-done:
		if d := time.Since(asked); err != nil || d > most {
			t.Errorf("got %v after %v, want nil within %v", err, d, most)
		}
	case <-time.After(5 * time.Minute):
		t.Error("Shutdown does not return")
	}
}

func TestShutdownWithoutADeadlineEndsRunsThatGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := hookedNode(t, switchboard.Options{})
		ended := make(chan error, 1)
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, waiter(ended))
		a := s.as(t, "alice")
		a.ask("m", "t1", "Write")
		time.Sleep(time.Second)
		s.shut(context.Background(), t, 12*time.Second)
		select {
		case <-ended:
		default:
			t.Error("the agent is still at work")
		}
	})
}

func TestShutdownDoesNotWaitForABrokerThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := hookedNode(t, switchboard.Options{})
		ended := make(chan error, 1)
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, waiter(ended))
		a := s.as(t, "alice")
		a.ask("m", "t1", "Write")
		time.Sleep(time.Second)
		d.set(hooks{publish: func(context.Context, wire.MessageType, func() (broker.Published, error)) (broker.Published, error) {
			return broker.Published{}, broker.ErrUnavailable
		}})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		s.shut(ctx, t, 6*time.Second)
	})
}

func TestShutdownEndsARunWhoseStartIsUnderWay(t *testing.T) {
	for _, slow := range []time.Duration{300 * time.Millisecond, time.Hour} {
		t.Run(slow.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, nodes, drivers := hookedNodes(t)
				s, d := nodes[0], drivers[0]
				d.set(hooks{publish: func(ctx context.Context, typ wire.MessageType, do func() (broker.Published, error)) (broker.Published, error) {
					p, err := do()
					if typ != wire.AgentStarted || p.Duplicate {
						return p, err
					}
					select { // the answer takes a while
					case <-time.After(slow):
						return p, err
					case <-ctx.Done():
						return broker.Published{}, ctx.Err()
					}
				}})
				started := make(chan struct{})
				go func() {
					defer close(started)
					_, _ = s.Runs().Start(context.Background(), switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), ID: "R"})
				}()
				synctest.Wait()
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				s.shut(ctx, t, time.Second)
				<-started
				wantEqual(t, "log", nodes[1].logOf(t, "R"), []string{"agent_started", "agent_error"})
			})
		})
	}
}
