package isolation_test

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// monitor is the reference: who may see what. It decides from what it was told when something was
// said, by rules of its own, and never asks the server.
type monitor struct {
	mu      sync.Mutex // guards the fields below
	step    int        // counts what has happened
	marks   []mark
	owners  map[string]person // of credentials that were handed out
	spans   map[member][]span // when somebody could follow a room, by the application's word
	first   map[member]int    // when somebody asked to follow a room, for the first time
	faults  []string
	watched int // bytes
	seen    int // marks, by those who may
}

// person is a user of a tenant.
type person struct{ tenant, user string }

type member struct {
	person
	room string
}

// span is from one step to another; to 0: it goes on.
type span struct{ from, to int }

// place is where something is said. Kind is user, room, all, connection, or void: for nobody.
type place struct{ tenant, kind, id string }

var void = place{kind: "void"}

// mark is something that was said, and stands in it as a word.
type mark struct {
	place
	step int
	by   person // who said it; zero: the application
	text bool   // of a run, whose text is said again as a whole when it is complete
	// again is the step in which somebody first got the whole text.
	again int
}

// word is how a mark looks. No encoding changes it.
func word(n int) string { return fmt.Sprintf("zq%dqz", n) }

var (
	words       = regexp.MustCompile(`zq(\d+)qz`)
	credentials = regexp.MustCompile(`(?:swt|tk)_[A-Za-z0-9_-]{16,}`)
)

func newMonitor() *monitor {
	return &monitor{owners: map[string]person{}, spans: map[member][]span{}, first: map[member]int{}}
}

// next begins a step.
func (m *monitor) next() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.step++
}

// say returns a word for what is about to be said.
func (m *monitor) say(at place, by person) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.marks = append(m.marks, mark{place: at, step: m.step, by: by})
	return len(m.marks) - 1
}

// write is say for the text of a run.
func (m *monitor) write(at place) int {
	n := m.say(at, person{})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.marks[n].text = true
	return n
}

func (m *monitor) wrong(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, fmt.Sprintf("step %d: ", m.step)+fmt.Sprintf(format, args...))
}

// added and removed are what the application says of memberships; asks is a client that wants
// to follow a room.
func (m *monitor) added(who member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.spans[who]
	if n := len(list); n == 0 || list[n-1].to != 0 {
		m.spans[who] = append(list, span{from: m.step})
	}
}

func (m *monitor) removed(who member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if list := m.spans[who]; len(list) > 0 && list[len(list)-1].to == 0 {
		list[len(list)-1].to = m.step
	}
}

func (m *monitor) asks(who member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.first[who]; !ok {
		m.first[who] = m.step
	}
}

// owns says whose a credential is that was handed out on purpose.
func (m *monitor) owns(credential string, who person) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.owners[credential] = who
}

// viewer is somebody who receives bytes.
type viewer interface {
	name() string
	// may decides about a mark. It is called with the monitor's lock.
	may(m *monitor, k mark) bool
	// keeps reports whether a credential of who may be in what the viewer gets.
	keeps(who person) bool
}

// inspect looks at what somebody received, and returns the marks in it.
func (m *monitor) inspect(who viewer, what string, b []byte) (got []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watched += len(b)
	for _, found := range words.FindAllSubmatch(b, -1) {
		n, err := strconv.Atoi(string(found[1]))
		var k mark
		if err == nil && n < len(m.marks) {
			k = m.said(n, b)
		}
		switch {
		case k == mark{}:
			m.faults = append(m.faults, fmt.Sprintf("%s got %s, which nobody said", who.name(), found[0]))
		case !who.may(m, k):
			m.faults = append(m.faults, fmt.Sprintf("step %d: %s got by %s what was said in step %d to %+v: %s",
				m.step, who.name(), what, m.marks[n].step, m.marks[n].place, cut(b)))
		default:
			m.seen++
			got = append(got, n)
		}
	}
	for _, found := range credentials.FindAllString(string(b), -1) {
		owner, known := m.owners[found]
		if known && !who.keeps(owner) || !known && !m.claim(who, found) {
			m.faults = append(m.faults, fmt.Sprintf("step %d: %s got by %s a credential of %+v: %s", m.step, who.name(), what, owner, cut(b)))
		}
	}
	return got
}

// said is a mark as it is said in a message.
func (m *monitor) said(n int, message []byte) mark {
	k := &m.marks[n]
	if !k.text || !bytes.Contains(message, []byte(`"stream_complete"`)) {
		return *k
	}
	if k.again == 0 {
		k.again = m.step
	}
	again := *k
	again.step = k.again
	return again
}

// claim makes a credential that was not seen before that of the client who got it.
func (m *monitor) claim(who viewer, credential string) bool {
	switch who := who.(type) {
	case *client:
		m.owners[credential] = who.person
		return true
	case *backend:
		return who.tickets // whose it is will be known when it is used
	}
	return false
}

func cut(b []byte) string { return strings.ToValidUTF8(string(b[:min(len(b), 400)]), "?") }

// rights are permissions of the form room:<id or *>:<action or *>, without other patterns: simple
// enough to be decided here again.
type rights []string

func (r rights) allow(room, action string) bool {
	return slices.ContainsFunc(r, func(p string) bool {
		rest, ok := strings.CutPrefix(p, "room:")
		at := strings.LastIndex(rest, ":")
		return ok && at >= 0 && (rest[:at] == "*" || rest[:at] == room) && (rest[at+1:] == "*" || rest[at+1:] == action)
	})
}

// granted is what a client could do from a step on.
type granted struct {
	from   int
	rights rights
}

// mayRoom decides about what was said in a room of the client's tenant: what was said while the
// client could follow it, and before only with the right to read history.
func (m *monitor) mayRoom(who person, held []granted, k mark) bool {
	key := member{who, k.id}
	lent := slices.ContainsFunc(m.spans[key], func(s span) bool { return s.from < k.step && (s.to == 0 || k.step < s.to) })
	first, asked := m.first[key]
	for i, g := range held {
		until := m.step + 1
		if i+1 < len(held) {
			until = held[i+1].from
		}
		switch {
		case k.step >= until:
		case g.rights.allow(k.id, "history"):
			return true // read at any time since
		case g.rights.allow(k.id, "join") && asked && first <= k.step:
			return true // as it was said, or by another device of the user
		case lent:
			return true
		}
	}
	return false
}

// mayMeet decides whether somebody may see that another user is there: in a room that both could
// follow at some time, with the right to see who is in it.
func (m *monitor) mayMeet(who person, held []granted, other person) bool {
	followed := func(key member) bool {
		_, asked := m.first[key]
		return asked || len(m.spans[key]) > 0
	}
	return slices.ContainsFunc(rooms, func(room string) bool {
		return followed(member{who, room}) && followed(member{other, room}) &&
			slices.ContainsFunc(held, func(g granted) bool { return g.rights.allow(room, "presence") })
	})
}

// nobody is who has no right to anything: a log, a probe, a caller that was refused.
type nobody string

func (n nobody) name() string          { return string(n) }
func (nobody) may(*monitor, mark) bool { return false }
func (nobody) keeps(person) bool       { return false }

// backend is who calls with an API key, or by the Go API.
type backend struct {
	called  string
	tenants []string
	reads   bool // messages
	tickets bool
}

func (b *backend) name() string { return "back end " + b.called }

func (b *backend) may(_ *monitor, k mark) bool {
	return b.reads && k.kind != "void" && slices.Contains(b.tenants, k.tenant)
}

func (b *backend) keeps(who person) bool { return b.tickets && slices.Contains(b.tenants, who.tenant) }
