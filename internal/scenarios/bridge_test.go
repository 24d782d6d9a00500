package scenarios_test

import (
	"fmt"
	"iter"
	"strconv"
	"testing"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// agent writes a run of so many thoughts to a user.
func (n *node) agent(t testing.TB, user string, thoughts int) error {
	run, err := n.Runs().Start(t.Context(), switchboard.RunOptions{Agent: "bridge", To: switchboard.User(user), ID: "run-" + user})
	if err != nil {
		return err
	}
	for k := range thoughts {
		if err := run.Thinking(t.Context(), strconv.Itoa(k)); err != nil {
			return err
		}
	}
	_, err = run.Complete(t.Context(), nil)
	return err
}

// follows wants a run of so many thoughts: each once, in order, between its start and its end.
func follows(msgs iter.Seq2[wire.Envelope, error], user string, thoughts int) error {
	next, started := 0, false
	for env, err := range msgs {
		if err != nil {
			return fmt.Errorf("behind %d thoughts: %w", next, err)
		}
		if env.Offset == 0 && env.Type != wire.GapType {
			continue
		}
		if env.RunID != "run-"+user {
			return fmt.Errorf("got a %s of run %q", env.Type, env.RunID)
		}
		switch {
		case env.Type == wire.AgentStarted && !started:
			started = true
		case env.Type == wire.AgentThinking && started:
			var thought wire.AgentThinkingPayload
			if err := env.Decode(&thought); err != nil {
				return err
			}
			if thought.Reasoning != strconv.Itoa(next) {
				return fmt.Errorf("got the thought %s, want %d", thought.Reasoning, next)
			}
			next++
		case env.Type == wire.AgentCompleted && next == thoughts:
			return nil
		default:
			return fmt.Errorf("got a %s behind %d thoughts", env.Type, next)
		}
	}
	return errEnded
}

// TestBridgeLosesNothing: an agent writes 5,000 events. A device and a client get all of them.
func TestBridgeLosesNothing(t *testing.T) {
	t.Parallel()
	const events = 5000
	n := newNode(t, switchboard.Options{})
	d, c := connect(t, n, "alice"), n.client(t, "alice", client.Options{})
	each(t, 3, func(i int) error {
		switch i {
		case 0:
			return n.agent(t, "alice", events)
		case 1:
			return follows(d.messages(), "alice", events)
		}
		return follows(c.Messages(waiting(t)), "alice", events)
	})
}

// TestThirtyUsersFiftyEvents: 30 agents write 50 events each at once, and each user has all of
// theirs.
func TestThirtyUsersFiftyEvents(t *testing.T) {
	t.Parallel()
	const users, events = 30, 50
	n := newNode(t, switchboard.Options{})
	clients := make([]*client.Client, users)
	for i := range clients {
		clients[i] = n.client(t, fmt.Sprintf("user-%d", i), client.Options{})
	}
	each(t, 2*users, func(i int) error {
		user := fmt.Sprintf("user-%d", i/2)
		if i%2 == 0 {
			return n.agent(t, user, events)
		}
		return follows(clients[i/2].Messages(waiting(t)), user, events)
	})
}
