package presence

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/netra-systems/switchboard/wire"
	"pgregory.net/rapid"
)

func device(n int) Device {
	return Device{Session: fmt.Sprint("s", n), Opened: int64(1000 * n), Active: int64(1000 * n)}
}

func entry(user string, devices ...int) Entry {
	e := Entry{User: user}
	for _, n := range devices {
		e.Devices = append(e.Devices, device(n))
	}
	return e
}

// node is one that says what it has, over a network that loses and delays.
type node struct {
	seq  uint64
	has  map[string]Entry
	last []Entry // what it said last
}

// change makes a user have devices.
func (n *node) change(e Entry) {
	n.seq++
	n.last = []Entry{e}
	if n.has[e.User] = e; len(e.Devices) == 0 {
		delete(n.has, e.User)
	}
}

func (n *node) all() (entries []Entry) {
	for _, e := range n.has {
		entries = append(entries, e)
	}
	return entries
}

// TestAViewIsWhatTheNodesHave lets nodes change, their messages be lost, repeated or late, and answers be
// older than what came since. In the end, when each has said how far it is, the view is what they have,
// and who was told every difference knows the same.
func TestAViewIsWhatTheNodesHave(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var v View
		nodes := map[string]*node{"a": {has: map[string]Entry{}}, "b": {has: map[string]Entry{}}, "c": {has: map[string]Entry{}}}
		names := slices.Sorted(maps.Keys(nodes))
		knows := map[string]wire.Presence{}
		listen := func() {
			diff := v.Diff()
			for _, p := range slices.Concat(diff.Joins, diff.Updates) {
				_, known := knows[p.UserID]
				if joins := slices.ContainsFunc(diff.Joins, func(j wire.Presence) bool { return j.UserID == p.UserID }); joins == known {
					t.Fatalf("%s joins: %v, and was there: %v", p.UserID, joins, known)
				}
				knows[p.UserID] = p
			}
			for _, p := range diff.Leaves {
				if _, known := knows[p.UserID]; !known || p.Online {
					t.Fatalf("%+v leaves, and was not there", p)
				}
				delete(knows, p.UserID)
			}
			if diff.Count != len(knows) {
				t.Fatalf("got count %d, want %d", diff.Count, len(knows))
			}
		}
		ask := func(name string) {
			n := nodes[name]
			v.Replace(name, n.seq, n.all())
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			name := rapid.SampledFrom(names).Draw(t, "node")
			n := nodes[name]
			switch rapid.SampledFrom([]string{"change", "change", "change", "old answer", "listen", "gone", "twice"}).Draw(t, "what") {
			case "change":
				e := entry(fmt.Sprint("u", rapid.IntRange(0, 3).Draw(t, "user")), rapid.SliceOfN(rapid.IntRange(0, 5), 0, 2).Draw(t, "devices")...)
				n.change(e)
				if rapid.IntRange(0, 3).Draw(t, "lost") > 0 && !v.Next(name, n.seq, n.last) {
					ask(name)
				}
			case "old answer":
				seq, has := n.seq, n.all()
				n.change(entry("u9", 9))
				v.Next(name, n.seq, n.last)
				v.Replace(name, seq, has)
			case "listen":
				listen()
			case "gone":
				v.Drop(name)
				nodes[name] = &node{has: map[string]Entry{}}
				ask(name)
			case "twice":
				v.Next(name, n.seq, n.last)
			}
		}
		want := map[string]wire.Presence{}
		parts := map[string][][]Device{}
		for _, name := range names {
			if n := nodes[name]; !v.Next(name, n.seq, nil) {
				ask(name)
			}
			for user, e := range nodes[name].has {
				parts[user] = append(parts[user], e.Devices)
			}
		}
		for user, devices := range parts {
			want[user] = Merge(user, devices...)
		}
		listen()
		// Which of two equal devices is right nobody can tell.
		if diff := cmp.Diff(want, knows, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("what is known differs (-want +got):\n%s", diff)
		}
		got := map[string]wire.Presence{}
		for p := range v.All() {
			got[p.UserID] = p
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("the view differs (-want +got):\n%s", diff)
		}
	})
}

func TestTheNewerOfTwoConnectionsOfASessionIsRight(t *testing.T) {
	old, now := device(1), device(1)
	old.State, now.Opened = wire.StateIdle, 9000
	p := Merge("alice", []Device{old}, []Device{now, device(3)})
	if len(p.Devices) != 2 || p.Devices[1].State != wire.StateActive || p.Since != 3 {
		t.Errorf("got %+v, want s3 since 3 and s1, which is active", p)
	}
}

// Clocks differ: one that is ahead must not hide where the device is with where it was lost.
func TestAConnectedDeviceIsRightWhateverTheClocksSay(t *testing.T) {
	var v View
	lost, now := device(1), device(1)
	lost.Opened, now.State = 40_000, wire.StateIdle
	v.Replace("b", 0, []Entry{{User: "alice", Devices: []Device{now}}})
	v.Replace("a", 0, []Entry{{User: "alice", Devices: []Device{lost}}})
	v.Skip()
	lost.Absent = true
	if v.Next("a", 1, []Entry{{User: "alice", Devices: []Device{lost}}}); !v.Changed() {
		t.Fatal("got no change when the later one was lost")
	}
	if diff := v.Diff(); len(diff.Updates) != 1 || diff.Updates[0].Devices[0].State != wire.StateIdle {
		t.Errorf("got %+v, want the device that is connected", diff)
	}
	lost.Absent, lost.Opened = false, 50_000
	v.Next("a", 2, []Entry{{User: "alice", Devices: []Device{lost}}})
	if diff := v.Diff(); len(diff.Updates) != 1 || diff.Updates[0].Devices[0].State != wire.StateActive {
		t.Errorf("got %+v, want the device that is connected since", diff)
	}
}

func TestASignOfLifeAloneIsNoDifference(t *testing.T) {
	var v View
	v.Replace("a", 0, []Entry{entry("alice", 1)})
	v.Skip()
	later := entry("alice", 1)
	later.Devices[0].Active, later.Devices[0].Opened = 99_000, 98_000
	v.Next("a", 1, []Entry{later})
	if v.Changed() {
		t.Error("got a difference, want none")
	}
	if got := v.User("alice").Devices[0].LastActivity; got != 99 {
		t.Errorf("got %v, want the new sign of life", got)
	}
	later = entry("alice", 1)
	later.Devices[0].State = wire.StateIdle
	v.Next("a", 2, []Entry{later})
	if diff := v.Diff(); len(diff.Updates) != 1 {
		t.Errorf("got %+v, want an update", diff)
	}
}

// The users of nodes that have gone stay until each is dropped, and a goodbye is for who says it.
func TestAGhostIsBuriedByAGoodbyeAndByNothingElse(t *testing.T) {
	var v View
	for _, node := range []string{"a", "b", "c"} {
		v.Replace(node, 0, []Entry{entry("alice", 1, 2)})
	}
	v.Lose("a")
	v.Lose("b")
	lost := entry("alice", 1)
	lost.Devices[0].Absent = true
	v.Next("c", 1, []Entry{lost}) // s2 has said goodbye
	if got := v.User("alice").Devices; len(got) != 1 || got[0].SessionID != "s1" {
		t.Errorf("got %+v after a goodbye of s2, want s1", got)
	}
	v.Next("c", 2, []Entry{entry("alice")}) // nobody waits for s1 there any more
	if !v.User("alice").Online {
		t.Error("got nobody, want s1, which said nothing")
	}
	v.Drop("a")
	if !v.User("alice").Online {
		t.Error("got nobody after one of two nodes was dropped")
	}
	if v.Drop("b"); v.User("alice").Online {
		t.Error("got alice after all nodes were dropped")
	}
}
