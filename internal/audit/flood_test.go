package audit

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestEqualRefusalsAreOneLineWithTheirNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, Options{})
		for range 1000 {
			l.Record(refused("192.0.2.1"))
		}
		if all := read(t, l); len(all) != 1 || all[0].Count != 0 {
			t.Fatalf("got %+v, want the first at once", all)
		}
		time.Sleep(foldTime + pace)
		if all := read(t, l); len(all) != 2 || all[1].Count != 999 {
			t.Fatalf("got %+v, want the others in one line", all)
		}
		time.Sleep(2 * foldTime)
		l.Record(refused("192.0.2.1"))
		if all := read(t, l); len(all) != 3 || all[2].Count != 0 {
			t.Errorf("got %+v, want a line of its own", all)
		}
		shut(t, l)
	})
}

func TestDeedsAreNotFolded(t *testing.T) {
	l := open(t, Options{})
	for range 5 {
		l.Record(did(1))
	}
	if all := read(t, l); len(all) != 5 {
		t.Errorf("got %d lines, want 5", len(all))
	}
}

// TestAFloodOfStrangersIsBoundedAndPushesNothingOut: from as many addresses as there may be.
func TestAFloodOfStrangersIsBoundedAndPushesNothingOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := open(t, Options{Dir: dir, FileBytes: 2000})
		l.Record(did(1))
		const minutes, each = 10, 20_000
		sent := 0
		for range minutes * 60 {
			for range each / 60 {
				sent++
				l.Record(refused(netip.AddrFrom4([4]byte{10, byte(sent >> 16), byte(sent >> 8), byte(sent)}).String()))
			}
			time.Sleep(time.Second)
		}
		l.Record(did(2))
		shut(t, l)
		if lines, most := l.next-1, uint64(strangersBurst+minutes*(strangersPerMinute+12)+3); lines > most {
			t.Errorf("got %d lines, want at most %d", lines, most)
		}
		reports := must(Verify(dir))
		if reports[0].Lines != 2 || reports[1].Files > strangerFiles {
			t.Errorf("got %+v, want both deeds, and few files", reports)
		}
		r := must(Open(Options{Dir: dir}))
		defer func() { _ = r.Close() }()
		var users []string
		for _, e := range read(t, r) {
			if e.User != "" {
				users = append(users, e.User)
			}
		}
		if !slices.Equal(users, []string{"u1", "u2"}) {
			t.Errorf("got deeds of %v, want both", users)
		}
	})
}

// TestEverythingIsCounted: lines, those folded and those lost are all that came.
func TestEverythingIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, Options{})
		const n = 5000
		for i := range n {
			l.Record(refused(netip.AddrFrom4([4]byte{10, 0, byte(i % 7), byte(i % 251)}).String()))
			if i%100 == 0 {
				time.Sleep(100 * time.Millisecond)
			}
		}
		shut(t, l)
		total, lost := 0, 0
		for _, e := range read(t, l) {
			if e.Action == ActionLost {
				lost += int(e.Lost)
			} else {
				total += max(1, e.Count)
			}
		}
		if total+lost != n || lost == 0 {
			t.Errorf("got %d told and %d lost, want %d together", total, lost, n)
		}
	})
}

func TestOneUserCannotFillTheLogNorHideWhatOthersDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, Options{})
		for n := range 3000 {
			l.Record(Event{Action: "room", User: "mallory", Object: fmt.Sprint("room", n), Code: "FORBIDDEN"})
			l.Record(Event{Action: "join", User: "mallory", Object: fmt.Sprint("room", n)})
		}
		l.Record(Event{Action: "room", User: "alice", Object: "r", Code: "FORBIDDEN"})
		time.Sleep(foldTime + pace)
		shut(t, l)
		all := read(t, l)
		if len(all) > refusedBurst+doneBurst+5 || !slices.ContainsFunc(all, func(e Entry) bool { return e.User == "alice" }) {
			t.Errorf("got %d lines, want few, one of them of alice", len(all))
		}
		if !slices.ContainsFunc(all, func(e Entry) bool { return e.Lost > 5000 }) {
			t.Error("what is missing is not told")
		}
	})
}

func BenchmarkRefusalFlood(b *testing.B) {
	l := must(Open(Options{Dir: b.TempDir()}))
	defer func() { _ = l.Close() }()
	b.ReportAllocs()
	b.Run("one address", func(b *testing.B) {
		b.ReportAllocs()
		e := refused("192.0.2.1")
		for b.Loop() {
			l.Record(e)
		}
	})
	b.Run("all addresses", func(b *testing.B) {
		b.ReportAllocs()
		e := refused("192.0.2.1")
		for n := 0; b.Loop(); n++ {
			e.Address = netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
			l.Record(e)
		}
	})
}

// TestALineOfAFullLogInMemoryCostsNoCopyOfTheOthers: an audited flood would be paid for by everybody.
func TestALineOfAFullLogInMemoryCostsNoCopyOfTheOthers(t *testing.T) {
	l := open(t, Options{})
	defer shut(t, l)
	var seq uint64
	store := func(n int) {
		for range n {
			seq++
			if _, err := l.store(actors, []Entry{{Seq: seq, Event: did(1)}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	store(2 * ringEntries)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	store(ringEntries)
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / ringEntries; each > 16<<10 {
		t.Errorf("a line costs %d bytes", each)
	}
	ring := lastOf(l.rings[actors], ringEntries)
	if len(ring) != ringEntries || ring[ringEntries-1].Seq != seq || ring[0].Seq != seq-ringEntries+1 {
		t.Errorf("got %d lines from %d to %d, want the last %d", len(ring), ring[0].Seq, ring[len(ring)-1].Seq, ringEntries)
	}
}
