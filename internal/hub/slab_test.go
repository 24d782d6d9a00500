package hub

import (
	"bytes"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func TestSlabNumbersAreUniqueAndRecordsStayWhereTheyAre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s slab[int]
		held := map[uint32]int{}
		where := map[uint32]*int{}
		for i, add := range rapid.SliceOfN(rapid.Bool(), 1, 2000).Draw(t, "ops") {
			if add || len(held) == 0 {
				n := s.get()
				if _, taken := held[n]; taken || n == 0 {
					t.Fatalf("get: %d is in use or 0", n)
				}
				*s.at(n), held[n] = i, i
				if p := where[n]; p != nil && p != s.at(n) {
					t.Fatalf("record %d has moved", n)
				}
				where[n] = s.at(n)
				continue
			}
			for n, v := range held {
				if *s.at(n) != v {
					t.Fatalf("record %d: got %d, want %d", n, *s.at(n), v)
				}
				delete(held, n)
				s.put(n)
				break
			}
		}
		if s.used() != len(held) {
			t.Fatalf("used: got %d, want %d", s.used(), len(held))
		}
	})
}

func TestSlabMayGrowWhileItIsRead(t *testing.T) {
	var s slab[int]
	first := s.get()
	*s.at(first) = 42
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				s.get()
				if got := *s.at(first); got != 42 {
					t.Errorf("got %d, want 42", got)
				}
			}
		})
	}
	wg.Wait()
}

func TestArenaKeepsWhatItIsGiven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a arena
		type block struct {
			ref  uint32
			want []byte
		}
		var blocks []block
		for range rapid.IntRange(1, 200).Draw(t, "ops") {
			if len(blocks) > 0 && rapid.Bool().Draw(t, "drop") {
				i := rapid.IntRange(0, len(blocks)-1).Draw(t, "which")
				if got := a.get(blocks[i].ref); !bytes.Equal(got, blocks[i].want) {
					t.Fatalf("got %x, want %x", got, blocks[i].want)
				}
				a.drop(blocks[i].ref)
				blocks = append(blocks[:i], blocks[i+1:]...)
				continue
			}
			b := bytes.Repeat([]byte{byte(len(blocks))}, rapid.IntRange(0, arenaMax).Draw(t, "size"))
			blocks = append(blocks, block{a.put(b), b})
		}
		for _, b := range blocks {
			if got := a.get(b.ref); !bytes.Equal(got, b.want) {
				t.Fatalf("got %d bytes, want %d", len(got), len(b.want))
			}
		}
	})
}

func TestArenaClassesFitTightly(t *testing.T) {
	for n := 1; n <= arenaMax+arenaLen; n++ {
		class := classFor(n)
		if class >= arenaClasses || classSize(class) < n || class > 0 && classSize(class-1) >= n {
			t.Fatalf("%d bytes: got class %d of %d bytes", n, class, classSize(class))
		}
	}
}

func TestArenaRefusesWhatDoesNotFit(t *testing.T) {
	var a arena
	if ref := a.put(make([]byte, arenaMax+1)); ref != 0 {
		t.Errorf("got block %d, want none", ref)
	}
}

func TestNamesAreStable(t *testing.T) {
	var n names
	a, b := n.number("a"), n.number("b")
	if a == b || n.number("a") != a || n.name(a) != "a" || n.name(b) != "b" || n.number("") != 0 || n.name(0) != "" {
		t.Errorf("got numbers %d and %d, names %q and %q", a, b, n.name(a), n.name(b))
	}
}
