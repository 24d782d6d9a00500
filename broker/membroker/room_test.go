package membroker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

func TestWhoHasMostPaysForAll(t *testing.T) {
	b := New(Options{HistoryBytes: 1 << 20})
	defer b.Close()
	say := func(owner string, topic, size int) {
		r := broker.Record{Topic: keyOf(topic), Owner: broker.Owner{Key: broker.OwnerKey(owner)}, Keep: usual(), Data: make([]byte, size)}
		must(t, b, r)
	}
	for i := range 100 {
		say("small", i, 1000)
	}
	for i := range 3000 {
		say("large", 1000+i%200, 1000)
		say("larger", 2000+i%200, 2000)
		if n := b.shared.owners.bytes.Load(); n > 1<<20 {
			t.Fatalf("%d bytes are kept, want at most 1 MiB", n)
		}
	}
	kept := func(owner string) broker.Kept {
		k, err := b.Kept(t.Context(), broker.OwnerKey(owner))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	if k := kept("small"); k.Evicted != 0 || k.Bytes < 100_000 {
		t.Errorf("of the small owner %+v is kept, want all", k)
	}
	large, larger := kept("large"), kept("larger")
	if large.Evicted == 0 || larger.Evicted == 0 || math.Abs(float64(large.Bytes-larger.Bytes)) > 1<<20/10 {
		t.Errorf("of the large owners %+v and %+v are kept, want about the same of both", large, larger)
	}
}

func TestOpenTextsOfOneLeaveRoomForThoseOfOthers(t *testing.T) {
	b := New(Options{HistoryBytes: 1 << 20})
	defer b.Close()
	say := func(owner string, topic int) {
		must(t, b, broker.Record{Topic: keyOf(topic), Owner: broker.Owner{Key: broker.OwnerKey(owner)}, Keep: usual()})
	}
	say("greedy", 1)
	var err error
	length := 0
	for err == nil {
		length, err = b.Append(t.Context(), keyOf(1), keyOf(2), length, strings.Repeat("x", 1000), 1)
	}
	if !errors.Is(err, broker.ErrFull) || length < 256<<10 || length > 512<<10 {
		t.Fatalf("the greedy one has written %d bytes until %v, want half of what there is at most", length, err)
	}
	for i := range 4 { // everybody has a share
		say(fmt.Sprint("modest", i), 10+i)
		n, err := b.Append(t.Context(), keyOf(10+i), keyOf(2), 0, strings.Repeat("x", 50_000), 1)
		if err != nil || n != 50_000 {
			t.Errorf("a modest one: %d, %v; want all", n, err)
		}
	}
	if n := b.shared.owners.bytes.Load(); n > 1<<20 {
		t.Errorf("%d bytes are kept, want at most 1 MiB", n)
	}
	if text, _, err := b.Read(t.Context(), keyOf(1), keyOf(2), 0, math.MaxInt); err != nil || len(text) != length {
		t.Errorf("the open text has %d bytes, %v; want %d", len(text), err, length)
	}
}

// What was known of a topic is as far as anybody can have been told.
func TestATopicThatWasForgottenIsNotTakenForANewOne(t *testing.T) {
	b := New(Options{})
	defer b.Close()
	of := broker.Owner{Key: broker.OwnerKey("noisy"), Bytes: 64 << 10}
	known, followed, fresh, dropped := keyOf(1), keyOf(2), keyOf(3), keyOf(4)
	for range 5000 {
		must(t, b, broker.Record{Topic: dropped, Owner: of, Keep: usual()})
	}
	if err := b.Drop(t.Context(), dropped); err != nil {
		t.Fatal(err)
	}
	b.mark([]broker.Key{followed}, true)
	var last wire.Position
	for range 7 {
		last = must(t, b, broker.Record{Topic: known, Owner: of, Keep: usual()}).Pos
		must(t, b, broker.Record{Topic: followed, Owner: of, Keep: usual()})
	}
	for i := range 20_000 {
		must(t, b, broker.Record{Topic: keyOf(10 + i), Owner: of, Keep: usual(), Data: make([]byte, 100), DedupeID: "same"})
	}
	p := b.shared.of(known)
	if p.find(known) != 0 || p.floor < last.Offset {
		t.Fatal("the topic is still known: this test shows nothing")
	}
	if b.shared.of(followed).find(followed) == 0 {
		t.Error("a topic that is followed was forgotten")
	}
	heads, err := b.Heads(t.Context(), true, known, followed, fresh)
	if err != nil || heads[0].Offset < last.Offset || heads[1] != last || heads[2].Offset != 0 {
		t.Errorf("heads %v, %v; want at least, and exactly, %v, and 0", heads, err, last)
	}
	if _, _, err := b.Since(t.Context(), fresh, heads[2], 1); err != nil {
		t.Errorf("Since the beginning of a topic that had no record: %v", err)
	}
	first := must(t, b, broker.Record{Topic: known, Owner: of, Keep: usual()}).Pos
	if first.Epoch != last.Epoch || first.Offset <= last.Offset {
		t.Errorf("position %v after %v", first, last)
	}
	for offset, want := range map[uint64]bool{0: true, last.Offset - 1: true, first.Offset - 1: false, first.Offset: false} {
		_, _, err := b.Since(t.Context(), known, wire.Position{Epoch: last.Epoch, Offset: offset}, 1)
		var gap *broker.GapError
		if errors.As(err, &gap) != want || want && gap.Lost != 0 {
			t.Errorf("Since %d: %v, want a gap: %v, of nobody knows how many", offset, err, want)
		}
	}
	if pos := must(t, b, broker.Record{Topic: dropped, Owner: of, Keep: usual()}).Pos; pos.Epoch == last.Epoch {
		t.Errorf("position %v in a topic that was dropped, want another epoch", pos)
	}
	again := must(t, b, broker.Record{Topic: keyOf(10), Owner: of, Keep: usual(), DedupeID: "same"})
	if !again.Duplicate {
		t.Error("an id was forgotten with its topic")
	}
	if n := len(p.topics); n > 300 {
		t.Errorf("%d topics are known of 300 that came lately", n)
	}
}

// Dropped topics need no room for good either: what is known of them is that what was told of
// them before is of another epoch.
func TestTopicsThatWereDroppedAreForgottenToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{})
		defer b.Close()
		of := broker.Owner{Key: broker.OwnerKey("noisy"), Bytes: 64 << 10}
		n := 0
		fresh := func() broker.Key { // all of one partition
			for n++; b.shared.of(keyOf(n)) != b.shared.of(keyOf(1)); n++ {
			}
			return keyOf(n)
		}
		topic, often := fresh(), fresh()
		p := b.shared.of(topic)
		drop := func(key broker.Key) {
			if err := b.Drop(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
		say := func(key broker.Key, id string) broker.Published {
			return must(t, b, broker.Record{Topic: key, Owner: of, Keep: usual(), Data: make([]byte, 100), DedupeID: id})
		}
		churn := func() {
			for range 2000 {
				key := fresh()
				say(key, "")
				drop(key)
			}
		}
		var before wire.Position
		for range 5 {
			before = say(topic, "").Pos
		}
		drop(topic)
		for range 7 {
			say(often, "")
			drop(often)
		}
		churn()
		if p.find(topic) == 0 {
			t.Fatal("a topic was forgotten while ids of before it was dropped are known")
		}
		time.Sleep(3 * time.Minute)
		after := say(topic, "once").Pos
		if after.Epoch == before.Epoch || after.Offset != 1 {
			t.Errorf("position %v after the drop, want the first of another epoch than %v", after, before)
		}
		churn()
		if p.find(topic) != 0 || p.find(often) != 0 {
			t.Fatal("the topics are still known: this test shows nothing")
		}
		if n := len(p.topics); n > 2000 { // of this time
			t.Errorf("%d topics are known of 4000 that were dropped", n)
		}
		heads, err := b.Heads(t.Context(), true, topic)
		if err != nil || heads[0].Epoch == before.Epoch {
			t.Errorf("head %v, %v; want another epoch than %v", heads, err, before)
		}
		var gap *broker.GapError
		for _, pos := range []wire.Position{before, {Epoch: before.Epoch}} {
			if _, _, err := b.Since(t.Context(), topic, pos, 1); !errors.As(err, &gap) {
				t.Errorf("Since(%v): %v, want a gap", pos, err)
			}
		}
		if again := say(topic, "once"); !again.Duplicate {
			t.Errorf("got %+v, want a duplicate: an id was forgotten with its topic", again)
		}
		if next := say(topic, "next"); next.Duplicate || next.Pos.Epoch != heads[0].Epoch || next.Pos.Offset != heads[0].Offset+1 {
			t.Errorf("got %+v behind the head %v", next, heads[0])
		}
		drop(topic)
		if next := say(topic, "next"); next.Duplicate || next.Pos.Epoch == heads[0].Epoch {
			t.Errorf("got %+v after another drop, want it in another epoch", next)
		}
	})
}

// Who follows a topic that was forgotten sees it as it is then, whatever is forgotten later.
func TestATopicThatIsFollowedStandsWhereItStood(t *testing.T) {
	b := New(Options{})
	defer b.Close()
	of := broker.Owner{Key: broker.OwnerKey("noisy"), Bytes: 64 << 10}
	topic := keyOf(1)
	must(t, b, broker.Record{Topic: topic, Owner: of, Keep: usual()})
	churn := func() {
		for i := range 10_000 {
			must(t, b, broker.Record{Topic: keyOf(10 + i), Owner: of, Keep: usual(), Data: make([]byte, 100)})
		}
	}
	head := func() wire.Position {
		heads, err := b.Heads(t.Context(), true, topic)
		if err != nil {
			t.Fatal(err)
		}
		return heads[0]
	}
	churn()
	if b.shared.of(topic).find(topic) != 0 {
		t.Fatal("the topic is still known: this test shows nothing")
	}
	b.mark([]broker.Key{topic}, true)
	before, floor := head(), b.shared.of(topic).floor
	churn()
	churn()
	if b.shared.of(topic).floor == floor {
		t.Fatal("nothing higher was forgotten: this test shows nothing")
	}
	if got := head(); got != before {
		t.Errorf("head %v, want %v as before", got, before)
	}
	must(t, b, broker.Record{Topic: topic, Owner: of, Keep: usual()})
	if list, _, err := b.Since(t.Context(), topic, before, 10); err != nil || len(list) != 1 {
		t.Errorf("Since(%v): %d entries, %v; want one and no gap", before, len(list), err)
	}
}

func TestForgottenTopicsAreKnownAndFewOthersAreTakenForThem(t *testing.T) {
	var f forgotten
	rng := rand.New(rand.NewPCG(1, 2))
	fresh := func() (k broker.Key) { // a hash
		binary.LittleEndian.PutUint64(k[:], rng.Uint64())
		binary.LittleEndian.PutUint64(k[8:], rng.Uint64())
		return k
	}
	const n = 10_000
	gone := make([]broker.Key, n)
	for i := range gone {
		gone[i] = fresh()
		f.add(gone[i])
	}
	mistaken := 0
	for i := range gone {
		if !f.has(gone[i]) {
			t.Fatalf("number %d is not known as forgotten", i)
		}
		if f.has(fresh()) {
			mistaken++
		}
	}
	if mistaken > n/50 {
		t.Errorf("%d of %d new topics are taken for forgotten ones, want 2%% at most", mistaken, n)
	}
	var last broker.Key
	for range 300_000 {
		last = fresh()
		f.add(last)
	}
	if len(f.filters) > filtersMost || !f.has(gone[0]) || !f.has(last) {
		t.Errorf("%d filters, or a key is missing", len(f.filters))
	}
}

// What was nobody's expires as it did before it had an owner.
func TestATopicThatGetsAnOwnerKeepsItsTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{})
		defer b.Close()
		keep := broker.Retention{Age: time.Minute}
		topic := keyOf(1)
		for range 50 {
			must(t, b, broker.Record{Topic: topic, Keep: keep, Data: make([]byte, 1000)})
		}
		time.Sleep(50 * time.Second)
		of := broker.Owner{Key: broker.OwnerKey("a")}
		must(t, b, broker.Record{Topic: topic, Owner: of, Keep: keep})
		time.Sleep(15 * time.Second)
		entries, _, err := b.Since(t.Context(), topic, wire.Position{}, 100)
		if err != nil || len(entries) != 1 {
			t.Errorf("%d records are left, %v; want the one that is not too old", len(entries), err)
		}
		if k, err := b.Kept(t.Context(), of.Key); err != nil || k.Bytes > 10_000 || k.Evicted != 0 {
			t.Errorf("%+v is kept, %v; want one block", k, err)
		}
	})
}

// What is counted is what is taken, so that a bound bounds memory.
func TestWhatIsCountedIsWhatIsTaken(t *testing.T) {
	before, _ := heapInUse()
	b := New(Options{})
	defer b.Close()
	of := broker.Owner{Key: broker.OwnerKey("a")}
	for i := range 30_000 {
		must(t, b, broker.Record{Topic: keyOf(i % 10_000), Owner: of, Keep: usual(), Data: make([]byte, 200)})
	}
	after, _ := heapInUse()
	taken, counted := after-before, float64(b.shared.owners.bytes.Load())
	if taken > 1.35*counted || taken < 0.8*counted {
		t.Errorf("%.0f bytes are taken and %.0f counted", taken, counted)
	}
	runtime.KeepAlive(b)
}
