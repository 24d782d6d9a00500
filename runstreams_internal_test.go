package switchboard

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
)

func TestRefusedCallsLeaveNoStreamBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := New(Options{Auth: func(context.Context, Credential) (Identity, error) { return Identity{}, ErrUnauthenticated }})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = m.Shutdown(t.Context()) }()
		run, err := m.Runs().Start(t.Context(), RunOptions{Agent: "writer", To: User("alice")})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 1000 {
			out := run.Stream(fmt.Sprint(i))
			if _, err := out.AppendAt(t.Context(), 5, "late"); !errors.Is(err, ErrStreamOffset) {
				t.Fatalf("got %v, want ErrStreamOffset", err)
			}
			if err := out.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(run.held.streams); got != 0 {
			t.Errorf("got %d streams, want none", got)
		}
	})
}
