package switchboard

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
)

func TestWhatIsKeptOfEndedConnectionsIsBounded(t *testing.T) {
	var e ended
	for range maxEnded + 10 {
		e.add("", ConnEnd{Ended: time.Now()})
	}
	if e.n != maxEnded {
		t.Errorf("got %d, want %d", e.n, maxEnded)
	}
	long := make([]ConnTopic, 130)
	for i := range long {
		long[i].Topic = "room/" + strings.Repeat("x", 128)
	}
	for range 1000 {
		e.add("", ConnEnd{ConnInfo: ConnInfo{Topics: long}, Ended: time.Now()})
		if e.bytes > maxEndedBytes {
			t.Fatalf("got %d bytes, want at most %d", e.bytes, maxEndedBytes)
		}
	}
	e.expire(time.Now().Add(endedKept))
	if e.n != 0 || e.bytes != 0 || len(e.of) != 0 {
		t.Errorf("got %d of %d bytes after their time, want none", e.n, e.bytes)
	}
}

func TestReceiptsThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := receipts{wake: make(chan struct{}, 1)}
		name := func(i int) receiptName {
			return receiptName{topic: hub.Key{byte(i), byte(i >> 8), byte(i >> 16)}}
		}
		for i := range maxReceipts {
			if !r.note(name(i), mark{Epoch: "e", Delivered: 1, tenant: tenantOfHalf(i)}) {
				t.Fatalf("no room for the receipt %d", i)
			}
		}
		if r.note(name(maxReceipts), mark{Epoch: "e", Delivered: 1}) {
			t.Error("there is room for more than the bound")
		}
		if !r.note(name(0), mark{Epoch: "e", Delivered: 2}) {
			t.Error("there is no room for one that waits already")
		}
		if due, wait := r.take(time.Now(), 16); len(due) != 0 || wait != receiptDelay {
			t.Errorf("got %d at once and %v to wait", len(due), wait)
		}
		r.hurry(hub.Session{}, []hub.Cursor{{Key: name(0).topic, Delivered: Position{Epoch: "e", Offset: 2}}})
		if due, _ := r.take(time.Now(), 16); len(due) != 1 || due[name(0)].Delivered != 2 {
			t.Errorf("got %v for the one in a hurry", due)
		}
		time.Sleep(receiptDelay)
		n := 0
		for {
			due, _ := r.take(time.Now(), 1000)
			if len(due) == 0 {
				break
			}
			n += len(due)
		}
		if n != maxReceipts-1 || r.waiting != nil || r.order != nil {
			t.Errorf("got %d, want %d and nothing left", n, maxReceipts-1)
		}
	})
}

// While the store is away, connections of the same sessions may end again and again.
func TestAReceiptWaitsInOnePlaceHoweverOftenItsConnectionEnds(t *testing.T) {
	r := receipts{wake: make(chan struct{}, 1)}
	name, far := receiptName{topic: hub.Key{1}}, mark{Epoch: "e", Delivered: 2}
	r.note(name, far)
	for range 100 {
		r.note(name, far)
		r.hurry(name.session, []hub.Cursor{{Key: name.topic, Delivered: Position{Epoch: "e", Offset: 2}}})
	}
	if n := len(r.soon); n != 1 {
		t.Errorf("it is to be written %d times, want once", n)
	}
	if due, _ := r.take(time.Now(), 16); len(due) != 1 {
		t.Errorf("got %v, want it at once", due)
	}
	r.note(name, far) // it could not be written
	r.hurry(name.session, []hub.Cursor{{Key: name.topic, Delivered: Position{Epoch: "e", Offset: 2}}})
	if due, _ := r.take(time.Now(), 16); len(due) != 1 {
		t.Errorf("got %v, want it at once again", due)
	}
}

func TestOfTwoEpochsTheOneHeardLastHolds(t *testing.T) {
	old, fresh := mark{Epoch: "a", Delivered: 90, Seen: 80, At: 1}, mark{Epoch: "b", Delivered: 3, At: 2}
	if old.with(fresh) != fresh || fresh.with(old) != fresh {
		t.Errorf("got %v and %v, want %v", old.with(fresh), fresh.with(old), fresh)
	}
	far := furthest([]mark{old, fresh, {Epoch: "a", Delivered: 95, At: 1}, {Epoch: "b", Delivered: 2, Seen: 2, At: 1}})
	if want := (mark{Epoch: "b", Delivered: 3, Seen: 2, At: 2}); far != want {
		t.Errorf("got %+v, want %+v", far, want)
	}
}
