package scenarios_test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

const room = "team"

// padded is a note that fills sockets.
type padded struct {
	note
	Pad string `json:"pad"`
}

// stalled connects count users that follow a room and then read nothing.
func (n *node) stalled(t *testing.T, count int) []*device {
	t.Helper()
	all := make([]*device, count)
	each(t, count, func(i int) error {
		d, err := n.connect(fmt.Sprintf("user-%d room:%s:*", i, room))
		if err != nil {
			return err
		}
		all[i] = d
		if err := d.say(`{"type":"subscribe","payload":{"rooms":["` + room + `"]}}`); err != nil {
			return err
		}
		env, err := d.read()
		if err == nil && env.Type != wire.Subscribed {
			err = fmt.Errorf("got a %s, want subscribed", env.Type)
		}
		return err
	})
	t.Cleanup(func() {
		for _, d := range all {
			d.drop()
		}
	})
	return all
}

// flood publishes count notes to the room by each of so many publishers at once.
func (n *node) flood(t *testing.T, publishers, count int) {
	t.Helper()
	pad := strings.Repeat("x", 300)
	each(t, publishers, func(i int) error {
		for k := range count {
			msg := switchboard.Message{Type: noteType, Payload: padded{note{strconv.Itoa(i), k}, pad}}
			if _, err := n.Publish(t.Context(), switchboard.Room(room), msg); err != nil {
				return err
			}
		}
		return nil
	})
	must(t, n.end(t.Context(), switchboard.Room(room)))
	for info, err := range n.Connections().List(t.Context(), switchboard.Room(room)) {
		if err != nil {
			t.Fatal(err)
		}
		if info.Behind == 0 {
			t.Errorf("%s has been sent everything, so it is not slow", info.User)
		}
	}
}

// numberIn is the number behind the last member of that name, quickly: there are a million of
// them to read.
func numberIn(text []byte, member string) (int, error) {
	_, rest, ok := bytes.Cut(text, []byte(member))
	if !ok {
		return 0, fmt.Errorf("%s has no %s", text, member)
	}
	end := bytes.IndexAny(rest, `,"}`)
	return strconv.Atoi(string(rest[:max(end, 0)]))
}

// TestBufferOverflow: 10,000 messages by ten publishers at once for 100 consumers that read
// nothing meanwhile. It costs one log and no queue of theirs, and then all of them get all of
// it in order.
func TestBufferOverflow(t *testing.T) {
	if !alone(t) {
		return
	}
	const consumers, publishers, messages, window = 100, 10, 1000, 1 << 20
	n := newNode(t, switchboard.Options{
		Retention: broker.Retention{Messages: 2 * publishers * messages},
		Limits:    switchboard.Limits{MemoryBytes: window},
	})
	devices := n.stalled(t, consumers)
	before := footprint()
	n.flood(t, publishers, messages)
	if got := n.Stats().WindowBytes; got > window {
		t.Errorf("got %d bytes of recent messages while all are stalled, want at most %d", got, window)
	}
	grewBelow(t, before, 20*megabyte) // of which the log itself is more than 5
	each(t, consumers, func(i int) error {
		var next [publishers]int
		for {
			text, err := devices[i].text()
			if err != nil {
				return fmt.Errorf("behind %v: %w", next, err)
			}
			if bytes.Contains(text, []byte(`"type":"end"`)) {
				break
			}
			from, err := numberIn(text, `"from":"`)
			if err != nil {
				return err
			}
			k, err := numberIn(text, `"n":`)
			if err != nil {
				return err
			}
			if k != next[from] {
				return fmt.Errorf("got %d of publisher %d, want %d", k, from, next[from])
			}
			next[from]++
		}
		for from, got := range next {
			if got != messages {
				return fmt.Errorf("got %d of publisher %d, want %d", got, from, messages)
			}
		}
		return nil
	})
	if got := n.healthy(t); got != consumers {
		t.Errorf("got %d healthy connections in the end, want %d", got, consumers)
	}
	st := n.Stats()
	if st.Gaps != 0 || st.Unwritten == 0 || st.CatchUps == 0 {
		t.Errorf("got %d gaps, %d blocked writes and %d readings of the log, want none, some and some", st.Gaps, st.Unwritten, st.CatchUps)
	}
}

// TestBufferOverflowTellsWhatIsMissing: where less is kept than was published while they were
// stalled, consumers are told exactly what is gone, in its place, and get the rest in order.
func TestBufferOverflowTellsWhatIsMissing(t *testing.T) {
	t.Parallel()
	const consumers, publishers, messages, kept = 20, 10, 1000, 500
	n := newNode(t, switchboard.Options{
		Retention: broker.Retention{Messages: kept},
		Limits:    switchboard.Limits{MemoryBytes: 64 << 10},
	})
	devices := n.stalled(t, consumers)
	head, err := n.History(t.Context(), switchboard.Room(room), switchboard.Query{})
	if err != nil {
		t.Fatal(err)
	}
	n.flood(t, publishers, messages)
	each(t, consumers, func(i int) error {
		at, got, lost := head.Head.Offset, 0, 0
		for env, err := range devices[i].messages() {
			switch {
			case err != nil:
				return err
			case env.Type == wire.GapType:
				var gap wire.Gap
				if err := env.Decode(&gap); err != nil {
					return err
				}
				if gap.From.Offset != at || gap.Reason != wire.ReasonExpired || gap.Count != gap.To.Offset-gap.From.Offset {
					return fmt.Errorf("got the gap %+v behind offset %d", gap, at)
				}
				at, lost = gap.To.Offset, lost+int(gap.Count)
				continue
			case env.Offset != at+1:
				return fmt.Errorf("got offset %d behind %d, and nothing told of a gap", env.Offset, at)
			}
			at = env.Offset
			if env.Type == endType {
				break
			}
			got++
		}
		if lost == 0 || got < kept-1 || got+lost != publishers*messages {
			return fmt.Errorf("got %d messages and was told of %d that are gone, want %d in all, and some gone", got, lost, publishers*messages)
		}
		return nil
	})
}
