package switchboard

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestGoingBackAndForthBetweenCredentialsCollectsNoDeadlines: a client that has two good tokens may show them
// in turn for as long as it likes.
func TestGoingBackAndForthBetweenCredentialsCollectsNoDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := New(Options{Auth: func(context.Context, Credential) (Identity, error) { return Identity{}, ErrUnauthenticated }})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := m.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		conn := opened(t, m, state{})
		for range 3000 {
			for _, life := range []time.Duration{0, 2 * time.Hour, 30 * time.Second, 5 * time.Minute, time.Hour} {
				id := Identity{User: "alice"}
				if life > 0 {
					id.Expires = time.Now().Add(life)
				}
				if !m.refresh(conn, login{identity: id}) {
					t.Fatal("the connection has ended")
				}
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Minute) // they are tidied up
		synctest.Wait()
		m.deadlines.mu.Lock()
		n := len(m.deadlines.heap)
		m.deadlines.mu.Unlock()
		if n > 4 {
			t.Errorf("got %d deadlines of one connection after 15,000 refreshes, want a few", n)
		}
		time.Sleep(time.Hour) // it ends with the last credential
		synctest.Wait()
		if m.hub.ID(conn.handle) != "" {
			t.Error("the connection outlives its credential")
		}
	})
}
