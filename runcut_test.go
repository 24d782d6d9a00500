package switchboard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

func TestAnOutageInTheMiddleOfTheEndLeavesNothingOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := hookedNode(t, switchboard.Options{})
		run := started(t, s, switchboard.RunOptions{ID: "R"})
		if _, err := io.WriteString(run.Stream("answer"), "text"); err != nil {
			t.Fatal(err)
		}
		var down atomic.Bool
		down.Store(true)
		d.set(hooks{publish: unavailable(&down, wire.StreamComplete)})
		if _, err := run.Complete(t.Context(), nil); !errors.Is(err, switchboard.ErrUnavailable) {
			t.Fatalf("got %v, want ErrUnavailable", err)
		}
		down.Store(false)
		time.Sleep(5 * time.Second)
		_, _ = run.Complete(t.Context(), nil) // a producer that repeats its calls
		wantEqual(t, "log", s.logOf(t, "R"), []string{"agent_started", "stream_open", "stream_complete R/answer complete 4", "agent_completed"})
	})
}

func TestAnOutageAtTheFirstWriteDoesNotKeepARunFromItsEnd(t *testing.T) {
	for _, stored := range []bool{false, true} {
		t.Run(fmt.Sprint("stored ", stored), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, d := hookedNode(t, switchboard.Options{})
				run := started(t, s, switchboard.RunOptions{ID: "R"})
				var down atomic.Bool
				down.Store(true)
				d.set(hooks{publish: func(_ context.Context, typ wire.MessageType, do func() (broker.Published, error)) (broker.Published, error) {
					if !down.Load() {
						return do()
					}
					if stored {
						_, _ = do()
					}
					return broker.Published{}, broker.ErrUnavailable
				}})
				if _, err := io.WriteString(run.Stream("answer"), "text"); !errors.Is(err, switchboard.ErrUnavailable) {
					t.Fatalf("got %v, want ErrUnavailable", err)
				}
				time.Sleep(5 * time.Minute) // nobody knows the message's id any more
				down.Store(false)
				if _, err := run.Complete(t.Context(), nil); err != nil {
					t.Errorf("got %v", err)
				}
				want := []string{"agent_started", "agent_completed"}
				if stored {
					want = []string{"agent_started", "stream_open", "stream_complete R/answer complete 0", "agent_completed"}
				}
				wantEqual(t, "log", s.logOf(t, "R"), want)
			})
		})
	}
}

func TestAnEventWhoseFateWasUnknownIsInTheLogOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := hookedNode(t, switchboard.Options{})
		run := started(t, s, switchboard.RunOptions{ID: "R"})
		say := func() error {
			_, err := run.Emit(t.Context(), switchboard.Message{Type: wire.ToolExecuting, ID: "e-1", Payload: map[string]string{"tool_name": "search"}})
			return err
		}
		d.set(hooks{publish: func(_ context.Context, _ wire.MessageType, do func() (broker.Published, error)) (broker.Published, error) {
			_, _ = do()
			return broker.Published{}, context.DeadlineExceeded // as of a call that has waited for its answer
		}})
		if err := say(); err == nil {
			t.Fatal("got no error")
		}
		d.set(hooks{})
		time.Sleep(5 * time.Minute)
		if err := say(); err != nil {
			t.Error(err)
		}
		if _, err := run.Complete(t.Context(), nil); !errors.Is(err, switchboard.ErrRunContract) {
			t.Errorf("a tool is executing: got %v, want ErrRunContract", err)
		}
		wantEqual(t, "log", s.logOf(t, "R"), []string{"agent_started", "tool_executing"})
	})
}

func TestAStopThatIsCutShortIsCarriedThrough(t *testing.T) {
	for _, step := range []string{"seal", "read", "stream_complete", "agent_cancelled"} {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, d := hookedNode(t, switchboard.Options{})
				wrote := make(chan error, 1)
				s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, func(ctx context.Context, run *switchboard.Run, _ switchboard.Envelope) error {
					if _, err := io.WriteString(run.Stream("answer"), "begin"); err != nil {
						return err
					}
					time.Sleep(40 * time.Second) // it does not look at its context
					_, err := io.WriteString(run.Stream("answer"), " and end")
					wrote <- err
					return err
				})
				a := s.as(t, "alice")
				ack, _ := a.ask("m", "t1", "Write")
				id := runOf(t, ack)
				time.Sleep(time.Second)
				var down atomic.Bool
				down.Store(true)
				fail := func(context.Context) error {
					if down.Load() {
						return broker.ErrUnavailable
					}
					return nil
				}
				switch step {
				case "seal":
					d.set(hooks{seal: fail})
				case "read":
					d.set(hooks{read: fail})
				default:
					d.set(hooks{publish: unavailable(&down, wire.MessageType(step))})
				}
				a.send(`{"type":"stop_agent","message_id":"s","payload":{"run_id":%q}}`, id)
				time.Sleep(20 * time.Second)
				down.Store(false)
				if err := <-wrote; !errors.Is(err, switchboard.ErrRunCancelled) {
					t.Errorf("the next write: got %v, want ErrRunCancelled", err)
				}
				time.Sleep(5 * time.Second)
				wantEqual(t, "log", s.logOf(t, id), []string{"agent_started", "stream_open", "stream_complete " + id + "/answer cancelled 5", "agent_cancelled"})
			})
		})
	}
}

func TestAnEndThatIsRefusedLeavesNoTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := hookedNode(t, switchboard.Options{})
		run := started(t, s, switchboard.RunOptions{ID: "R"})
		if _, err := io.WriteString(run.Stream("answer"), "text"); err != nil {
			t.Fatal(err)
		}
		_, err := run.Complete(t.Context(), map[string]string{"report": strings.Repeat("x", 2<<20)})
		if code := switchboard.CodeOf(err); code != wire.CodeTooLarge {
			t.Errorf("got %v, want TOO_LARGE", err)
		}
		if _, err := io.WriteString(run.Stream("answer"), " goes on"); err != nil {
			t.Errorf("got %v: the refused end has closed the stream", err)
		}
		wantEqual(t, "log", s.logOf(t, "R"), []string{"agent_started", "stream_open"})
	})
}

func TestStartThatIsCutShort(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		down time.Duration
	}{
		{"by its context", context.Canceled, 0},
		{"by a long outage", broker.ErrUnavailable, 5 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, d := hookedNode(t, switchboard.Options{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				d.set(hooks{publish: func(_ context.Context, _ wire.MessageType, do func() (broker.Published, error)) (broker.Published, error) {
					_, _ = do() // it is in the log
					cancel()
					return broker.Published{}, test.err
				}})
				_, err := s.Runs().Start(ctx, switchboard.RunOptions{Agent: "writer", To: switchboard.User("alice"), ID: "R"})
				if err == nil {
					t.Fatal("got no error")
				}
				d.set(hooks{publish: func(context.Context, wire.MessageType, func() (broker.Published, error)) (broker.Published, error) {
					return broker.Published{}, broker.ErrUnavailable
				}})
				time.Sleep(test.down)
				d.set(hooks{})
				time.Sleep(30 * time.Second)
				wantEqual(t, "log", s.logOf(t, "R"), []string{"agent_started", "agent_error"})
			})
		})
	}
}

func TestAHandlerThatLeavesItsGoroutineEndsItsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, func(context.Context, *switchboard.Run, switchboard.Envelope) error {
			runtime.Goexit()
			return nil
		})
		a := s.as(t, "alice")
		a.send(`{"type":"user_message","message_id":"m","payload":{"content":"?"}}`)
		a.await(wire.AgentError)
	})
}

func TestAnEndGoesOnAfterACallThatHung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := hookedNode(t, switchboard.Options{})
		var calls atomic.Int32
		d.set(hooks{publish: func(ctx context.Context, typ wire.MessageType, do func() (broker.Published, error)) (broker.Published, error) {
			if typ == wire.AgentCompleted && calls.Add(1) == 1 {
				<-ctx.Done()
				return broker.Published{}, ctx.Err()
			}
			return do()
		}})
		s.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "writer"}, func(context.Context, *switchboard.Run, switchboard.Envelope) error {
			return nil
		})
		a := s.as(t, "alice")
		ack, _ := a.ask("m", "t1", "Write")
		time.Sleep(time.Minute)
		wantEqual(t, "log", s.logOf(t, runOf(t, ack)), []string{"agent_started", "agent_completed"})
	})
}
