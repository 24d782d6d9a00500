package hub

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// member is a connection of the stress test and what it must have got.
type member struct {
	*client
	topics map[string]uint64 // "tenant:topic" -> head when it began to follow
	left   bool              // closed: it has a prefix of what came
}

// stress runs random publishers, slow readers, joins and closes at once, and
// looks after each pause whether everybody has exactly what was theirs.
type stress struct {
	*rig
	seed  uint64
	rooms []wire.Topic
	users []wire.Topic
	all   []wire.Topic

	mu      sync.Mutex
	members []*member
}

func newStress(t *testing.T, seed uint64) *stress {
	rng := rand.New(rand.NewPCG(seed, 1))
	s := &stress{seed: seed}
	s.rig = newRig(t, func(c *Config, e *fakeEngine) {
		c.Workers = 1 + rng.IntN(3)
		c.WindowMessages = 2 + rng.IntN(20)
		e.room = 1 + rng.IntN(400)
	})
	for _, tenant := range []string{"", "acme"} { // the same ids in both
		for _, id := range []string{"*", ">", "a/b"} {
			s.users = append(s.users, wire.Topic{Tenant: tenant, Kind: wire.KindUser, ID: id})
			s.rooms = append(s.rooms, wire.Topic{Tenant: tenant, Kind: wire.KindRoom, ID: id})
		}
		s.all = append(s.all, wire.Topic{Tenant: tenant, Kind: wire.KindAll})
	}
	return s
}

func (s *stress) topics() []wire.Topic {
	return append(append(append([]wire.Topic(nil), s.users...), s.rooms...), s.all...)
}

func (s *stress) open(rng *rand.Rand) {
	u := s.users[rng.IntN(len(s.users))]
	held, err := s.openHeld(u)
	if err != nil {
		s.t.Error(err)
		return
	}
	m := &member{client: held, topics: map[string]uint64{}}
	for _, cur := range s.hub.Following(held.h) {
		m.topics[cur.Address.Tenant+":"+cur.Address.String()] = cur.Pos.Offset
	}
	_ = s.hub.Start(held.h, false)
	for _, r := range s.rooms {
		if r.Tenant == u.Tenant && rng.IntN(2) == 0 {
			t := s.follow(r)
			head, _ := s.hub.Head(t)
			m.topics[r.Tenant+":"+r.String()] = head.Offset
			if err := s.hub.Follow(held.h, t, head); err != nil {
				s.t.Error(err)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members = append(s.members, m)
}

// leave ends a random connection in one of the ways in which they end.
func (s *stress) leave(rng *rand.Rand) {
	s.mu.Lock()
	m := s.members[rng.IntN(len(s.members))]
	was := m.left
	m.left = true
	s.mu.Unlock()
	switch {
	case was:
	case rng.IntN(2) == 0:
		s.engine.sink.Closed(uint64(m.h), nil)
	default:
		_ = s.hub.Close(m.h, 1000, "", false)
		s.engine.sink.Closed(uint64(m.h), nil)
	}
}

func (s *stress) publishers(wg *sync.WaitGroup, messages int) {
	for i, topic := range s.topics() {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(s.seed, uint64(100+i)))
			for range messages {
				if rng.IntN(20) == 0 {
					l := s.log(topic)
					l.mu.Lock()
					l.lost += rng.IntN(3)
					l.mu.Unlock()
				}
				s.publish(topic)
			}
		})
	}
}

// check compares what every member got with what was published.
func (s *stress) check() {
	s.t.Helper()
	for i, m := range s.members {
		next := map[string]uint64{}
		for name, from := range m.topics {
			next[name] = from + 1
		}
		for _, f := range m.got.frames() {
			name, rest, ok := strings.Cut(f, " e1 ")
			if !ok {
				if f != "incomplete" && !strings.HasPrefix(f, "close") {
					s.t.Fatalf("seed %d: member %d got %q", s.seed, i, f)
				}
				continue
			}
			want, mine := next[name]
			offset, _ := strconv.ParseUint(rest, 10, 64)
			if !mine || offset != want {
				s.t.Fatalf("seed %d: member %d (%v) got %q, want offset %d (0: nothing of this topic)", s.seed, i, m.topics, f, want)
			}
			next[name]++
		}
		if m.left {
			continue
		}
		for _, topic := range s.topics() {
			name := topic.Tenant + ":" + topic.String()
			l := s.log(topic)
			if n, mine := next[name]; mine && n != l.head+1 {
				s.t.Fatalf("seed %d: member %d has %s up to %d, head is %d", s.seed, i, name, n-1, l.head)
			}
		}
	}
}

// settle lets everything come to rest with readers that read, and checks.
func (s *stress) settle() {
	s.t.Helper()
	for {
		synctest.Wait()
		if !s.anyBlocked() {
			break
		}
		s.engine.drainAll()
	}
	// Lost entries are noticed by the next one; a head announced does the same.
	for _, topic := range s.topics() {
		l := s.log(topic)
		s.hub.Announce(keyOf(topic), wire.Position{Epoch: "e1", Offset: l.head}, s.hub.Link())
	}
	for {
		synctest.Wait()
		if !s.anyBlocked() {
			break
		}
		s.engine.drainAll()
	}
	s.check()
}

func (s *stress) anyBlocked() bool {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	for _, f := range s.engine.sockets {
		if f.blocked && !f.released {
			return true
		}
	}
	return false
}

func (s *stress) run(rounds int) {
	rng := rand.New(rand.NewPCG(s.seed, 2))
	for range 6 {
		s.open(rng)
	}
	for range rounds {
		var wg sync.WaitGroup
		s.publishers(&wg, 1+rng.IntN(20))
		wg.Go(func() { // readers
			rng := rand.New(rand.NewPCG(s.seed, 3))
			for range 200 {
				s.engine.mu.Lock()
				i := rng.IntN(len(s.engine.sockets))
				s.engine.mu.Unlock()
				s.engine.drain(ws.Socket(i))
			}
		})
		wg.Go(func() { // who comes and goes
			rng := rand.New(rand.NewPCG(s.seed, 4))
			for range 4 {
				s.leave(rng)
				s.open(rng)
			}
		})
		wg.Wait()
		s.settle()
	}
	// A lost last wake-up shows only when nothing follows it.
	for range 4 * rounds {
		var wg sync.WaitGroup
		s.publishers(&wg, 2)
		wg.Wait()
		s.settle()
	}
}

func TestEverybodyGetsExactlyTheirsUnderStress(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 10
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newStress(t, seed).run(3) })
		})
	}
}
