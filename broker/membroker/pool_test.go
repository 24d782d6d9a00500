package membroker

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestClassesFit(t *testing.T) {
	for n := range maxBlock + 1 {
		c := classOf(n)
		if classSize(c) < n || c > 0 && classSize(c-1) >= n {
			t.Fatalf("%d bytes get class %d of %d", n, c, classSize(c))
		}
		if classSize(c)<<arenaBits(c) > 512<<10 {
			t.Fatalf("an arena of class %d has %d bytes", c, classSize(c)<<arenaBits(c))
		}
	}
	if c := classOf(maxBlock + 1); c != large {
		t.Errorf("%d bytes get class %d, want %d", maxBlock+1, c, large)
	}
}

// TestBlocksAreDistinct allocates and frees at random and checks that no block
// overlaps another one, and that a pool without blocks has no memory.
func TestBlocksAreDistinct(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p pool
		type held struct {
			r    ref
			size int
			mark byte
		}
		var all []held
		check := func(h held) {
			if _, mem := p.at(h.r); !bytes.Equal(mem[:h.size], bytes.Repeat([]byte{h.mark}, h.size)) {
				t.Fatalf("block %x of %d bytes was overwritten", h.r, h.size)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"alloc": func(t *rapid.T) {
				size := rapid.OneOf(rapid.IntRange(1, 400), rapid.IntRange(1, 2*maxBlock)).Draw(t, "size")
				h := held{p.alloc(size), size, byte(len(all) + 1)}
				b, mem := p.at(h.r)
				if *b != (block{}) {
					t.Fatalf("a new block has the head %+v", *b)
				}
				if len(mem) < size {
					t.Fatalf("got %d bytes, want %d", len(mem), size)
				}
				for i := range mem {
					mem[i] = h.mark
				}
				all = append(all, h)
			},
			"free": func(t *rapid.T) {
				if len(all) == 0 {
					t.Skip("nothing to free")
				}
				i := rapid.IntRange(0, len(all)-1).Draw(t, "which")
				check(all[i])
				p.free(all[i].r)
				all[i] = all[len(all)-1]
				all = all[:len(all)-1]
			},
		})
		for _, h := range all {
			check(h)
			p.free(h.r)
		}
		if n := p.bytes(); n != 0 {
			t.Errorf("an empty pool has %d bytes", n)
		}
	})
}

func TestFreedMemoryIsUsedAgain(t *testing.T) {
	var p pool
	refs := make([]ref, 10_000)
	for i := range refs {
		refs[i] = p.alloc(200)
	}
	full := p.bytes()
	if most := len(refs) * 224 * 5 / 4; full > most {
		t.Errorf("%d blocks of 200 bytes take %d bytes, want at most %d", len(refs), full, most)
	}
	for range 3 {
		for _, r := range refs {
			p.free(r)
		}
		for i := range refs {
			refs[i] = p.alloc(200)
		}
	}
	if n := p.bytes(); n > full*5/4 {
		t.Errorf("%d bytes after use again, want about %d", n, full)
	}
}

func TestChainSeeksFromBothEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p pool
		var ch chain
		var firsts []uint64
		var refs []ref
		place := uint64(1)
		for range rapid.IntRange(1, 60).Draw(t, "blocks") {
			b, mem := p.grow(&ch, 100, place)
			b.used = uint32(len(mem)) // full
			firsts, refs = append(firsts, place), append(refs, ch.newest)
			place += uint64(rapid.IntRange(1, 5).Draw(t, "entries"))
		}
		head := place - 1
		for range rapid.IntRange(0, len(refs)-1).Draw(t, "dropped") {
			if rapid.Bool().Draw(t, "oldest") {
				p.drop(&ch, ch.oldest)
				firsts, refs = firsts[1:], refs[1:]
			} else {
				p.drop(&ch, ch.newest)
				head = firsts[len(firsts)-1] - 1
				firsts, refs = firsts[:len(firsts)-1], refs[:len(refs)-1]
			}
		}
		if int(ch.blocks) != len(refs) {
			t.Fatalf("the chain counts %d blocks, want %d", ch.blocks, len(refs))
		}
		for at := firsts[0]; at <= head; at++ {
			want := 0
			for want+1 < len(firsts) && firsts[want+1] <= at {
				want++
			}
			if got := p.seek(&ch, at, head); got != refs[want] {
				t.Fatalf("seek(%d) = %x, want %x", at, got, refs[want])
			}
		}
		for len(refs) > 0 { // from anywhere
			i := rapid.IntRange(0, len(refs)-1).Draw(t, "which")
			p.drop(&ch, refs[i])
			refs = append(refs[:i], refs[i+1:]...)
		}
		if ch != (chain{}) || p.bytes() != 0 {
			t.Errorf("a cleared chain is %+v, the pool has %d bytes", ch, p.bytes())
		}
	})
}

func TestSlabReusesSlots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s slab[uint64]
		want := map[uint32]uint64{}
		most := 0
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				slot := s.take()
				if _, taken := want[slot]; taken || slot == 0 {
					t.Fatalf("slot %d is taken", slot)
				}
				if got := *s.at(slot); got != 0 {
					t.Fatalf("a new record is %d, want 0", got)
				}
				want[slot] = rapid.Uint64Min(1).Draw(t, "value")
				*s.at(slot) = want[slot]
				most = max(most, len(want))
			},
			"put": func(t *rapid.T) {
				for slot := range want {
					s.put(slot)
					delete(want, slot)
					return
				}
				t.Skip("nothing to put back")
			},
			"": func(t *rapid.T) {
				for slot, value := range want {
					if got := *s.at(slot); got != value {
						t.Fatalf("slot %d has %d, want %d", slot, got, value)
					}
				}
				if int(s.made) > most {
					t.Fatalf("%d slots were made for %d records", s.made, most)
				}
			},
		})
	})
}

func TestIndexKeepsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := []string{""} // by slot; slot 0 is none
		keyOf := func(slot uint32) []byte { return []byte(keys[slot]) }
		var x index
		want := map[string]uint32{}
		key := rapid.StringMatching(`[ab/]{0,7}`)
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				for range rapid.IntRange(1, 40).Draw(t, "many") {
					k := key.Draw(t, "key")
					page, place, found := x.seek(k, keyOf)
					if _, there := want[k]; there != found {
						t.Fatalf("seek(%q) found %v, want %v", k, found, there)
					}
					if !found {
						want[k] = uint32(len(keys))
						keys = append(keys, k)
						x.insert(page, place, want[k])
					}
				}
			},
			"remove": func(t *rapid.T) {
				k := key.Draw(t, "key")
				if page, place, found := x.seek(k, keyOf); found {
					x.remove(page, place)
					delete(want, k)
				}
			},
			"": func(t *rapid.T) {
				last, n := "", 0
				x.from(0, 0, func(slot uint32) bool {
					if k := keys[slot]; n > 0 && k <= last || want[k] != slot {
						t.Fatalf("%q comes after %q", k, last)
					}
					last = keys[slot]
					n++
					return true
				})
				if n != len(want) {
					t.Fatalf("%d keys, want %d", n, len(want))
				}
			},
		})
	})
}
