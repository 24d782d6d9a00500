package switchboard

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// permissions is a compiled list of permissions. It is immutable.
type permissions struct {
	list  []string
	rooms []roomRule
}

type roomRule struct {
	glob  string
	plain int    // how many of its bytes come before the first * or ?
	act   Action // "*": every action
}

func compilePermissions(list []string) *permissions {
	p := &permissions{list: slices.Clone(list)}
	for _, text := range list {
		rest, ok := strings.CutPrefix(text, "room:")
		end := strings.LastIndexByte(rest, ':')
		if !ok || end < 1 || !utf8.ValidString(rest[:end]) {
			continue // not about rooms
		}
		rule := roomRule{glob: rest[:end], plain: end, act: Action(rest[end+1:])}
		if wild := strings.IndexAny(rule.glob, "*?"); wild >= 0 {
			rule.plain = wild
		}
		p.rooms = append(p.rooms, rule)
	}
	return p
}

// allow reports whether a rule gives the right. There is none without a rule.
func (p *permissions) allow(act Action, room string) bool {
	m := globMatcher{id: room}
	return slices.ContainsFunc(p.rooms, func(r roomRule) bool {
		return (r.act == act || r.act == "*") && m.matches(r)
	})
}

// globMatcher matches one id with globs, in which * stands for any characters and ? for one. It goes
// through a glob once, with all places of the id at which what came of the glob so far may end: no glob
// takes more than a few operations for each of its bytes, whatever it looks like.
type globMatcher struct {
	id     string
	ready  bool
	starts places                 // before each character, and the end
	before [1 << 8]uint8          // of each byte value: its index in found; 0: it is not in id
	found  [maxIDBytes + 1]places // before which the byte stands
	kinds  uint8
}

// maxIDBytes is the longest id there is (wire.CheckID).
const maxIDBytes = 128

// places are some in an id: bit i is before its byte i, and bit len(id) at its end.
type places [maxIDBytes/64 + 1]uint64

func (p *places) set(i int) { p[i/64] |= 1 << (i % 64) }

// next moves all by a byte.
func (p *places) next() {
	for i := len(p) - 1; i > 0; i-- {
		p[i] = p[i]<<1 | p[i-1]>>63
	}
	p[0] <<= 1
}

// only leaves those that are in q too, and reports whether there are some.
func (p *places) only(q *places) bool {
	some := uint64(0)
	for i := range p {
		p[i] &= q[i]
		some |= p[i]
	}
	return some != 0
}

// from adds those of q that are behind the first.
func (p *places) from(q *places) {
	for i := range p {
		if p[i] == 0 {
			continue
		}
		p[i] |= q[i] &^ (p[i]&-p[i] - 1)
		copy(p[i+1:], q[i+1:])
		return
	}
}

func (m *globMatcher) matches(r roomRule) bool {
	switch {
	case len(m.id) > maxIDBytes || !strings.HasPrefix(m.id, r.glob[:r.plain]):
		return false
	case r.plain == len(r.glob):
		return m.id == r.glob
	case r.glob[r.plain:] == "*":
		return true
	}
	m.prepare()
	var at places
	at.set(r.plain)
	for _, c := range []byte(r.glob[r.plain:]) {
		switch c {
		case '*':
			at.from(&m.starts)
			continue
		case '?':
			if !m.character(&at) {
				return false
			}
			continue
		}
		if !at.only(&m.found[m.before[c]]) {
			return false
		}
		at.next()
	}
	return at[len(m.id)/64]&(1<<(len(m.id)%64)) != 0
}

// character moves all by a character. Globs and ids are UTF-8, so each is before one or at the end.
func (m *globMatcher) character(at *places) bool {
	at[len(m.id)/64] &^= 1 << (len(m.id) % 64)
	at.next()
	for range utf8.UTFMax - 1 {
		within := *at
		for i := range within {
			within[i] &^= m.starts[i]
		}
		within.next()
		for i := range at {
			at[i] = at[i]&m.starts[i] | within[i]
		}
	}
	return at.only(&m.starts)
}

// prepare notes where what is in the id.
func (m *globMatcher) prepare() {
	if m.ready {
		return
	}
	m.ready = true
	for i := range len(m.id) {
		c := m.id[i]
		if m.before[c] == 0 {
			m.kinds++
			m.before[c] = m.kinds
		}
		m.found[m.before[c]].set(i)
		if utf8.RuneStart(c) {
			m.starts.set(i)
		}
	}
	m.starts.set(len(m.id))
}

// Bounds of the permissions of one identity: each of them may be looked at whenever something is
// asked of a room.
const (
	maxPermissions     = 1024
	maxPermissionBytes = 32 << 10 // of all together
)

// tooMany reports whether a list of permissions is more than one identity may have.
func tooMany(list []string) bool {
	size := 0
	for _, p := range list {
		size += len(p)
	}
	return len(list) > maxPermissions || size > maxPermissionBytes
}

// permissionTable keeps each list of permissions once, however many connections have it,
// and gives it a number for their records. Numbers carry a generation: a reader that was
// overtaken by a refresh or a close finds nothing, never the list of somebody else.
type permissionTable struct {
	mu      sync.RWMutex // guards the fields below
	entries []permissionEntry
	free    []uint32
	index   map[string]uint32
}

type permissionEntry struct {
	set        *permissions // nil: vacant
	key        string
	generation uint32
	references int
}

// put returns the number of list, with one reference more.
func (t *permissionTable) put(list []string) uint64 {
	key := permissionKey(list)
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok := t.index[key]
	if !ok {
		if t.index == nil {
			t.index = make(map[string]uint32)
		}
		if n := len(t.free); n > 0 {
			i, t.free = t.free[n-1], t.free[:n-1]
		} else {
			i = uint32(len(t.entries))
			t.entries = append(t.entries, permissionEntry{})
		}
		t.index[key] = i
		e := &t.entries[i]
		e.set, e.key = compilePermissions(list), key
		e.generation++
	}
	e := &t.entries[i]
	e.references++
	return uint64(e.generation)<<32 | uint64(i)
}

// get returns what number stands for, and false if it is nobody's any more.
func (t *permissionTable) get(number uint64) (*permissions, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e := t.entry(number)
	if e == nil {
		return nil, false
	}
	return e.set, true
}

// drop gives one reference back.
func (t *permissionTable) drop(number uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entry(number)
	if e == nil {
		return
	}
	if e.references--; e.references == 0 {
		delete(t.index, e.key)
		e.set, e.key = nil, ""
		t.free = append(t.free, uint32(number))
	}
}

// entry returns the live entry of a number, or nil. The caller holds t.mu.
func (t *permissionTable) entry(number uint64) *permissionEntry {
	i := uint32(number)
	if uint64(i) >= uint64(len(t.entries)) {
		return nil
	}
	if e := &t.entries[i]; e.set != nil && e.generation == uint32(number>>32) {
		return e
	}
	return nil
}

// permissionKey joins list so that no two lists have the same key.
func permissionKey(list []string) string {
	var b strings.Builder
	for _, p := range list {
		b.WriteString(strconv.Itoa(len(p)))
		b.WriteByte(':')
		b.WriteString(p)
	}
	return b.String()
}
