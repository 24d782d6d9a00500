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
	glob string
	act  Action // "*": every action
}

func compilePermissions(list []string) *permissions {
	p := &permissions{list: slices.Clone(list)}
	for _, text := range list {
		rest, ok := strings.CutPrefix(text, "room:")
		end := strings.LastIndexByte(rest, ':')
		if !ok || end < 1 {
			continue // not about rooms
		}
		p.rooms = append(p.rooms, roomRule{glob: rest[:end], act: Action(rest[end+1:])})
	}
	return p
}

// allow reports whether a rule gives the right. There is none without a rule.
func (p *permissions) allow(act Action, room string) bool {
	return slices.ContainsFunc(p.rooms, func(r roomRule) bool {
		return (r.act == act || r.act == "*") && matchGlob(r.glob, room)
	})
}

// matchGlob reports whether id matches glob, in which * stands for any characters and ?
// for one.
func matchGlob(glob, id string) bool {
	matches, _ := matchGlobSteps(glob, id)
	return matches
}

// matchGlobSteps is matchGlob and how many steps it took: at most len(glob)+1 per byte of id.
func matchGlobSteps(glob, id string) (matches bool, steps int) {
	star, retry := -1, 0 // where the last * was, and where in id to go on if the rest fails
	g, i := 0, 0
	for ; i < len(id); steps++ {
		_, size := utf8.DecodeRuneInString(id[i:])
		switch {
		case g < len(glob) && glob[g] == '*':
			star, retry = g, i
			g++
		case g < len(glob) && glob[g] == '?':
			g++
			i += size
		case g < len(glob) && glob[g] == id[i]:
			g++
			i++
		case star >= 0:
			_, skipped := utf8.DecodeRuneInString(id[retry:])
			retry += skipped
			g, i = star+1, retry
		default:
			return false, steps
		}
	}
	return strings.Trim(glob[g:], "*") == "", steps
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
