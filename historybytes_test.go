package switchboard_test

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/netra-systems/switchboard"
)

// publishSizes publishes a message with so many bytes of text for each size.
func (s *server) publishSizes(t *testing.T, to switchboard.Target, thread string, sizes ...int) {
	t.Helper()
	for i, size := range sizes {
		if _, err := s.Publish(t.Context(), to, switchboard.Message{
			Type: "note", ID: strconv.Itoa(i), Thread: thread, Payload: map[string]any{"n": i, "text": strings.Repeat("x", size)},
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPagesForBackEndsAreBoundedInBytesAndTogetherAreAll: whatever the sizes, and both ways.
func TestPagesForBackEndsAreBoundedInBytesAndTogetherAreAll(t *testing.T) {
	const most = 4 << 20
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(2) {
			s := newServer(t, switchboard.Options{})
			random := rand.New(rand.NewPCG(seed, 1))
			sizes := make([]int, 24)
			var want []int
			for i := range sizes {
				sizes[i] = random.IntN(1_000_000)
				if i%3 == 0 {
					sizes[i] = random.IntN(1000)
				}
				want = append(want, i)
			}
			alice := switchboard.User("alice")
			s.publishSizes(t, alice, "t1", sizes...)
			check := func(messages []switchboard.Envelope, more bool) (got []int) {
				t.Helper()
				bytes := 0
				for _, env := range messages {
					bytes += len(env.Payload)
					got = append(got, payload[struct{ N int }](t, env).N)
				}
				if len(got) == 0 || bytes > most || more && bytes < most-1_000_200 {
					t.Fatalf("got a page of %d messages and %d bytes, has_more %v", len(got), bytes, more)
				}
				return got
			}
			var older, newer, thread []int
			q, pages := switchboard.Query{Limit: 1000}, 0
			for more := true; more; pages++ {
				page, err := s.History(t.Context(), alice, q)
				if err != nil {
					t.Fatal(err)
				}
				older, more = append(check(page.Messages, page.HasMore), older...), page.HasMore
				q.Before = switchboard.Position{Epoch: page.Head.Epoch, Offset: page.Messages[0].Offset}
			}
			q = switchboard.Query{Limit: 1000, Since: switchboard.Position{Epoch: q.Before.Epoch}}
			for more := true; more; {
				page, err := s.History(t.Context(), alice, q)
				if err != nil {
					t.Fatal(err)
				}
				newer, more = append(newer, check(page.Messages, page.HasMore)...), page.HasMore
				q.Since.Offset = page.Messages[len(page.Messages)-1].Offset
			}
			q = switchboard.Query{Limit: 1000}
			for more := true; more; {
				page, err := s.Thread(t.Context(), alice, "t1", q)
				if err != nil {
					t.Fatal(err)
				}
				thread, more = append(check(page.Messages, page.HasMore), thread...), page.HasMore
				q.Before = switchboard.Position{Epoch: page.Position.Epoch, Offset: page.Messages[0].Offset}
			}
			wantEqual(t, "before", older, want)
			wantEqual(t, "since", newer, want)
			wantEqual(t, "of a thread", thread, want)
			if pages < 2 {
				t.Errorf("seed %d: got %d page, want more", seed, pages)
			}
		}
	})
}
