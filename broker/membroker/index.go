package membroker

import (
	"slices"
	"sort"
)

// index is a list of slots, ordered by the keys that they have, in pages of at
// most indexPage, so that inserting moves little. It has no strings of its own:
// key tells that of a slot. The zero index is empty; whoever owns it locks.
type index struct {
	pages [][]uint32 // none is empty
}

const indexPage = 256

// seek returns where key is, or would be: a page and a place in it.
func (x *index) seek(key string, keyOf func(slot uint32) []byte) (page, place int, found bool) {
	// The page is the last one that does not begin above key.
	page = max(0, sort.Search(len(x.pages), func(i int) bool {
		return string(keyOf(x.pages[i][0])) > key
	})-1)
	if page == len(x.pages) {
		return page, 0, false
	}
	slots := x.pages[page]
	place = sort.Search(len(slots), func(i int) bool { return string(keyOf(slots[i])) >= key })
	return page, place, place < len(slots) && string(keyOf(slots[place])) == key
}

// insert puts slot where seek said that its key would be.
func (x *index) insert(page, place int, slot uint32) {
	if page == len(x.pages) {
		x.pages = append(x.pages, nil)
	}
	slots := slices.Insert(x.pages[page], place, slot)
	x.pages[page] = slots
	if len(slots) < indexPage {
		return
	}
	half := len(slots) / 2
	x.pages = slices.Insert(x.pages, page+1, slices.Clone(slots[half:]))
	x.pages[page] = slots[:half:half]
}

// remove takes the slot out that seek found.
func (x *index) remove(page, place int) {
	x.pages[page] = slices.Delete(x.pages[page], place, place+1)
	if len(x.pages[page]) == 0 {
		x.pages = slices.Delete(x.pages, page, page+1)
	}
}

// from yields the slots from a place on, in order, until yield returns false.
// The index must not change meanwhile.
func (x *index) from(page, place int, yield func(slot uint32) bool) {
	for ; page < len(x.pages); page++ {
		for _, slot := range x.pages[page][place:] {
			if !yield(slot) {
				return
			}
		}
		place = 0
	}
}
