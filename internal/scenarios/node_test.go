package scenarios_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// patience bounds every wait for what must come. The machine may have other things to do.
const patience = time.Minute

// byName takes a token for its user, or tenant/user, and for permissions behind it.
func byName(_ context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
	words := strings.Fields(cred.Token)
	if len(words) == 0 {
		return switchboard.Identity{}, switchboard.ErrUnauthenticated
	}
	id := switchboard.Identity{User: words[0], Permissions: words[1:]}
	if tenant, user, ok := strings.Cut(words[0], "/"); ok {
		id.Tenant, id.User = tenant, user
	}
	return id, nil
}

// node is a manager behind net/http, on a port of its own.
type node struct {
	*switchboard.Manager
	addr string
}

// newNode starts one with nothing in the way of those who send much.
func newNode(t testing.TB, opts switchboard.Options) *node {
	t.Helper()
	opts.Auth = byName
	opts.Limits.MessagesPerMinute = -1
	m, err := switchboard.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: m.ClientAPI(), ReadHeaderTimeout: patience}
	var served sync.WaitGroup
	served.Go(func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		// Clients that are left over need not be asked to go; the context is over for them.
		drain, cancel := context.WithCancel(context.Background())
		cancel()
		if err := m.Shutdown(drain); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		quit, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := srv.Shutdown(quit); err != nil {
			t.Error(err)
		}
		served.Wait()
	})
	return &node{Manager: m, addr: ln.Addr().String()}
}

func (n *node) url() string { return "ws://" + n.addr + "/ws" }

// as gives a client the token of a user.
func as(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

// client connects a user until the test ends.
func (n *node) client(t testing.TB, token string, opts client.Options) *client.Client {
	t.Helper()
	if opts.URL == "" {
		opts.URL = n.url()
	}
	opts.Token = as(token)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := client.Dial(ctx, opts)
	if err != nil {
		t.Fatalf("dial as %s: %v", token, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// note is what these tests publish: the n-th of what from sends.
type note struct {
	From string `json:"from"`
	N    int    `json:"n"`
}

const (
	noteType wire.MessageType = "note"
	endType  wire.MessageType = "end" // behind the last note, so that one too many is seen
)

func (n *node) note(ctx context.Context, to switchboard.Target, from string, k int) error {
	d, err := n.Publish(ctx, to, switchboard.Message{Type: noteType, Payload: note{From: from, N: k}})
	if err == nil && d.Duplicate {
		err = fmt.Errorf("note %d of %s is taken for a duplicate", k, from)
	}
	return err
}

func (n *node) end(ctx context.Context, to switchboard.Target) error {
	_, err := n.Publish(ctx, to, switchboard.Message{Type: endType})
	return err
}

// must ends the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// notes reads until the message of type end and returns the notes before it. Nothing but
// what greets may come between them: a gap is an error.
func notes(msgs iter.Seq2[wire.Envelope, error]) ([]note, error) {
	var got []note
	for env, err := range msgs {
		if err != nil {
			return got, fmt.Errorf("behind %d notes: %w", len(got), err)
		}
		switch env.Type {
		case endType:
			return got, nil
		case wire.SystemMessage, wire.SessionRestored, wire.PresenceState, wire.PresenceDiff:
		case noteType:
			var one note
			if err := env.Decode(&one); err != nil {
				return got, err
			}
			got = append(got, one)
		default:
			return got, fmt.Errorf("behind %d notes: a %s: %s", len(got), env.Type, env.Payload)
		}
	}
	return got, fmt.Errorf("no end behind %d notes", len(got))
}

var errEnded = errors.New("the messages have ended")

// numbered are the notes of one sender.
func numbered(from string, count int) []note {
	all := make([]note, count)
	for i := range all {
		all[i] = note{From: from, N: i}
	}
	return all
}

// exactly says how got differs from want.
func exactly(got, want []note) error {
	if slices.Equal(got, want) {
		return nil
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Errorf("got %+v as number %d, want %+v", got[i], i, want[i])
		}
	}
	return fmt.Errorf("got %d notes, want %d", len(got), len(want))
}

// interleaved says what is wrong unless got are count notes of each of senders, and those
// of each in order, however they are mixed.
func interleaved(got []note, senders, count int) error {
	next := map[string]int{}
	for i, one := range got {
		if one.N != next[one.From] {
			return fmt.Errorf("got %+v as number %d, want %d of this sender", one, i, next[one.From])
		}
		next[one.From]++
	}
	if len(next) != senders || len(got) != senders*count {
		return fmt.Errorf("got %d notes of %d senders, want %d of %d", len(got), len(next), senders*count, senders)
	}
	return nil
}

// each calls what for 0 to n-1, all at once, and ends the test if one fails.
func each(t testing.TB, n int, what func(i int) error) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = what(i) })
	}
	wg.Wait()
	failed := 0
	for i, err := range errs {
		if err != nil {
			if failed++; failed <= 5 {
				t.Errorf("%d: %v", i, err)
			}
		}
	}
	if failed > 0 {
		t.Fatalf("%d of %d failed", failed, n)
	}
}

// waiting bounds a wait within a test.
func waiting(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
