package scenarios_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// TestIsolation: 15 users in two tenants, with names that look alike, get ten messages each in
// a thread of the same name. Nobody gets one that is not theirs.
func TestIsolation(t *testing.T) {
	t.Parallel()
	users := []string{
		"1", "10", "user-1", "user-10", "USER-1", "user_1", "user/1", "*", ">", "all", "acme/1", "acme/10", "acme/user-1", "acme/*", "acme/all",
	}
	n := newNode(t, switchboard.Options{})
	// byName cuts at the first slash, so that user/1 is user 1 of the tenant "user".
	target := func(token string) (context.Context, switchboard.Target) {
		id, err := byName(t.Context(), switchboard.Credential{Token: token})
		must(t, err)
		return switchboard.WithTenant(t.Context(), id.Tenant), switchboard.User(id.User)
	}
	devices := make([]*device, len(users))
	for i, token := range users {
		devices[i] = connect(t, n, token)
	}
	each(t, len(users), func(i int) error {
		ctx, to := target(users[i])
		for k := range 10 {
			msg := switchboard.Message{Type: noteType, Thread: "shared", Payload: note{users[i], k}}
			if _, err := n.Publish(ctx, to, msg); err != nil {
				return err
			}
		}
		return nil
	})
	each(t, len(users), func(i int) error {
		ctx, to := target(users[i])
		if err := n.end(ctx, to); err != nil {
			return err
		}
		got, err := notes(devices[i].messages())
		if err != nil {
			return err
		}
		return exactly(got, numbered(users[i], 10))
	})
	if got := n.Stats().Isolation; got != 0 {
		t.Errorf("got %d violations, want none", got)
	}
}

// TestEachConnectionGetsOnlyItsOwn: 25 users with two connections. What is for a user reaches
// both, what is for one of them the other never sees.
func TestEachConnectionGetsOnlyItsOwn(t *testing.T) {
	t.Parallel()
	const users = 25
	n := newNode(t, switchboard.Options{})
	devices := make([]*device, 2*users)
	each(t, len(devices), func(i int) (err error) {
		devices[i], err = n.connect(fmt.Sprintf("user-%d", i/2))
		return err
	})
	each(t, len(devices), func(i int) error {
		id := devices[i].welcome.ConnectionID
		msg := switchboard.Message{Type: noteType, Class: wire.Volatile, Payload: note{id, 0}}
		_, err := n.Publish(t.Context(), switchboard.Connection(id), msg)
		return err
	})
	for user := range users {
		name := fmt.Sprintf("user-%d", user)
		must(t, n.note(t.Context(), switchboard.User(name), name, 0))
		must(t, n.end(t.Context(), switchboard.User(name)))
	}
	each(t, len(devices), func(i int) error {
		defer devices[i].drop()
		got, err := notes(devices[i].messages())
		if err != nil {
			return err
		}
		return exactly(got, []note{{devices[i].welcome.ConnectionID, 0}, {fmt.Sprintf("user-%d", i/2), 0}})
	})
}

// TestAllFiveAgentEvents: each user of an agent gets all the events that a chat needs, in
// their order, on each device.
func TestAllFiveAgentEvents(t *testing.T) {
	t.Parallel()
	const users = 10
	n := newNode(t, switchboard.Options{})
	n.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "support"}, work("nothing"))
	devices := make([]*device, 2*users)
	each(t, len(devices), func(i int) (err error) {
		devices[i], err = n.connect(fmt.Sprintf("user-%d", i/2))
		return err
	})
	want := []wire.MessageType{
		wire.UserMessage, wire.AgentStarted, wire.AgentThinking, wire.ToolExecuting, wire.ToolCompleted, wire.StreamOpen, wire.StreamComplete, wire.AgentCompleted,
	}
	each(t, len(devices), func(i int) error {
		d := devices[i]
		defer d.drop()
		if i%2 == 0 {
			if err := d.say(`{"type":"user_message","message_id":"ask","payload":{"content":"hello"}}`); err != nil {
				return err
			}
		}
		var got []wire.MessageType
		for env, err := range d.messages() {
			if err != nil {
				return fmt.Errorf("behind %v: %w", got, err)
			}
			if env.Offset == 0 {
				continue // the ack, and chunks
			}
			if got = append(got, env.Type); env.Type == wire.AgentCompleted {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("events (-want +got):\n%s", diff)
		}
		return nil
	})
}

// work is an agent that does everything with a secret.
func work(secret string) switchboard.RunHandler {
	return func(ctx context.Context, run *switchboard.Run, msg switchboard.Envelope) error {
		if msg.UserID != "" && secret == "" {
			secret = secretOf(msg.UserID)
		}
		if err := run.Thinking(ctx, "about "+secret); err != nil {
			return err
		}
		tool := run.Tool(ctx, "search", map[string]any{"query": secret, "api_key": "key of " + secret})
		if err := tool.End(ctx, map[string]any{"found": secret, "password": "key of " + secret}, nil); err != nil {
			return err
		}
		_, err := io.WriteString(run.Stream("answer"), "the answer is "+secret)
		return err
	}
}

func secretOf(user string) string { return "secret<" + user + ">" }

// TestSecretsNeverCross: 25 users ask at once, and everything about each is secret. No byte of
// another's reaches a device, and of what is a secret by its name not even one's own.
func TestSecretsNeverCross(t *testing.T) {
	t.Parallel()
	const users = 25
	n := newNode(t, switchboard.Options{})
	n.HandleRun(wire.UserMessage, switchboard.RunOptions{Agent: "support"}, func(ctx context.Context, run *switchboard.Run, msg switchboard.Envelope) error {
		return work("")(ctx, run, msg)
	})
	devices := make([]*device, 2*users)
	each(t, len(devices), func(i int) (err error) {
		devices[i], err = n.connect(fmt.Sprintf("user-%d", i/2))
		return err
	})
	each(t, len(devices), func(i int) error {
		d, user := devices[i], fmt.Sprintf("user-%d", i/2)
		defer d.drop()
		if i%2 == 0 {
			if err := d.say(`{"type":"user_message","message_id":"ask","payload":{"content":"` + secretOf(user) + `"}}`); err != nil {
				return err
			}
		}
		own := 0
		for {
			text, err := d.text()
			if err != nil {
				return err
			}
			for _, mark := range [][]byte{[]byte("key of"), []byte("<key")} {
				if bytes.Contains(text, mark) {
					return fmt.Errorf("got a value that is a secret by its name: %s", text)
				}
			}
			all := bytes.Count(text, []byte("secret<"))
			if mine := bytes.Count(text, []byte(secretOf(user))); mine != all {
				return fmt.Errorf("got what is another's: %s", text)
			}
			own += all
			if bytes.Contains(text, []byte(`"type":"agent_completed"`)) {
				break
			}
		}
		if own < 5 { // said, thought, searched, found and answered
			return fmt.Errorf("got one's own secret %d times only", own)
		}
		return nil
	})
	if got := n.Stats().Isolation; got != 0 {
		t.Errorf("got %d violations, want none", got)
	}
}
