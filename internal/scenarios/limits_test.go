package scenarios_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// TestLimitEnforcement: five more than a user may have and ten more than there is room for
// come all at once. At no moment are there more than the limits, who is refused hears why, and
// the others notice nothing.
func TestLimitEnforcement(t *testing.T) {
	t.Parallel()
	const perUser, total = 3, 100
	inWords := func(code wire.Code) refused { return refused{code, wire.CloseTryAgain, http.StatusSwitchingProtocols} }
	for _, tt := range []struct {
		name        string
		subprotocol string
		user, node  []refused // each of those refused hears one of them
	}{
		// Who offers no subprotocol hears it as a status, unless the last place was taken during the handshake.
		{"as a status", "", []refused{{wire.CodeRateLimited, 0, 429}, inWords(wire.CodeRateLimited)}, []refused{{wire.CodeUnavailable, 0, 503}, inWords(wire.CodeUnavailable)}},
		{"as a close", wire.Subprotocol, []refused{inWords(wire.CodeRateLimited)}, []refused{inWords(wire.CodeUnavailable)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, switchboard.Options{Limits: switchboard.Limits{ConnsPerUser: perUser, Conns: total}})
			stop, watched := make(chan struct{}), make(chan int, 1)
			go func() { watched <- n.most(stop) }()
			greedy := n.rush(t, tt.subprotocol, perUser+5, func(int) string { return "greedy" })
			greedy.want(t, perUser, 5, tt.user)
			others := n.rush(t, tt.subprotocol, total-perUser+10, func(i int) string { return fmt.Sprintf("user-%d", i) })
			others.want(t, total-perUser, 10, tt.node)
			close(stop)
			if most := <-watched; most != total {
				t.Errorf("got %d connections at most, want %d", most, total)
			}
			must(t, n.note(t.Context(), switchboard.All(), "server", 0))
			must(t, n.end(t.Context(), switchboard.All()))
			for _, d := range append(greedy.in, others.in...) {
				got, err := notes(d.messages())
				if err == nil {
					err = exactly(got, numbered("server", 1))
				}
				if err != nil {
					t.Errorf("one of those who are in: %v", err)
				}
			}
			if err := greedy.in[0].leave(); err != nil {
				t.Error(err)
			}
			eventually(t, "the place of who left is free", func() bool { return n.Stats().Connections < total })
			connect(t, n, "greedy")
		})
	}
}

// rushed is what became of many who wanted in at once.
type rushed struct {
	in  []*device
	out []refused
}

// refused is how somebody was told that there is no place.
type refused struct {
	code   wire.Code
	close  wire.CloseCode // 0: it was a status
	status int
}

func (r rushed) want(t *testing.T, in, out int, how []refused) {
	t.Helper()
	if len(r.in) != in || len(r.out) != out {
		t.Fatalf("got %d in and %d refused, want %d and %d", len(r.in), len(r.out), in, out)
	}
	for _, got := range r.out {
		if !slices.Contains(how, got) {
			t.Errorf("got the refusal %+v, want one of %+v", got, how)
		}
	}
}

// rush connects count at once.
func (n *node) rush(t *testing.T, subprotocol string, count int, token func(int) string) rushed {
	t.Helper()
	devices, refusals := make([]*device, count), make([]refused, count)
	each(t, count, func(i int) error {
		d, resp, err := n.handshake(token(i), subprotocol)
		if err != nil {
			return err
		}
		devices[i], refusals[i], err = admitted(d, resp.StatusCode, resp.Body)
		return err
	})
	var r rushed
	for i, d := range devices {
		if d == nil {
			r.out = append(r.out, refusals[i])
			continue
		}
		t.Cleanup(d.drop)
		r.in = append(r.in, d)
	}
	return r
}

// admitted reads the welcome, or why there is none.
func admitted(d *device, status int, body io.Reader) (*device, refused, error) {
	if status != http.StatusSwitchingProtocols {
		defer d.drop()
		text, err := io.ReadAll(body)
		if err != nil {
			return nil, refused{}, err
		}
		var problem struct {
			Code    wire.Code
			Details struct {
				RetryAfter float64 `json:"retry_after_ms"`
			}
		}
		if err := json.Unmarshal(text, &problem); err != nil || problem.Details.RetryAfter <= 0 {
			return nil, refused{}, fmt.Errorf("got %s (%w), want a problem that says when to come back", text, err)
		}
		return nil, refused{code: problem.Code, status: status}, nil
	}
	text, err := d.text()
	if err != nil {
		return nil, refused{}, err
	}
	told, err := wire.ParseErrorMessage(append([]byte(nil), text...))
	if err != nil {
		return d, refused{}, nil // the welcome
	}
	defer d.drop()
	var end errClosed
	if _, _, err := d.drain(); !errors.As(err, &end) {
		return nil, refused{}, fmt.Errorf("behind %s: %w, want a close", told.Code, err)
	}
	return nil, refused{code: told.Code, close: end.code, status: status}, nil
}

// most watches the connections until stop, and returns how many there were at most.
func (n *node) most(stop <-chan struct{}) (most int) {
	look := time.NewTicker(100 * time.Microsecond)
	defer look.Stop()
	for {
		most = max(most, n.Stats().Connections)
		select {
		case <-stop:
			return max(most, n.Stats().Connections)
		case <-look.C:
		}
	}
}
