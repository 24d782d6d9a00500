package switchboard_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// seesTeam may do everything in the room "team" but read what was said before.
const seesTeam = " room:team:join room:team:publish room:team:presence"

// watching connects somebody who hears who is there.
func (s *server) watching(t testing.TB, token string) *device {
	t.Helper()
	c := s.as(t, token)
	c.presence = true
	return c
}

// follow makes a device follow the room "team", and reads the answer.
func (c *device) follow() {
	c.t.Helper()
	c.send(`{"type":"subscribe","message_id":"f","payload":{"rooms":["team"]}}`)
	c.await(wire.Subscribed)
}

// who is what a device was told of a place so far, as it understands it.
type who map[string]wire.Presence

// hears reads what a device is told of a place for a time, and returns who is there then.
func (c *device) hears(topic string, w who, d time.Duration) who {
	c.t.Helper()
	if w == nil {
		w = who{}
	}
	for end := time.Now().Add(d); ; {
		b, err := c.raw(time.Until(end))
		if err != nil {
			return w
		}
		env, err := wire.ParseAnswer(b)
		if err != nil {
			c.t.Fatal(err)
		}
		if env.Topic != topic {
			continue
		}
		count := 0
		switch env.Type {
		case wire.PresenceState:
			state := payload[wire.PresenceStatePayload](c.t, env)
			clear(w)
			for _, p := range state.Users {
				w[p.UserID] = p
			}
			count = state.Count
		case wire.PresenceDiff:
			diff := payload[wire.PresenceDiffPayload](c.t, env)
			for _, p := range diff.Joins {
				if _, there := w[p.UserID]; there {
					c.t.Errorf("%s joins, and was there: %s", p.UserID, b)
				}
				w[p.UserID] = p
			}
			for _, p := range diff.Updates {
				if _, there := w[p.UserID]; !there {
					c.t.Errorf("%s is changed, and was not there: %s", p.UserID, b)
				}
				w[p.UserID] = p
			}
			for _, p := range diff.Leaves {
				if _, there := w[p.UserID]; !there || p.Online {
					c.t.Errorf("%s leaves, and was not there, or is: %s", p.UserID, b)
				}
				delete(w, p.UserID)
			}
			count = diff.Count
		default:
			continue
		}
		if count != len(w) {
			c.t.Errorf("got count %d, want %d: %s", count, len(w), b)
		}
	}
}

// String is who is there: each with the states of the devices.
func (w who) String() string {
	var all []string
	for user, p := range w {
		var devices []string
		for _, d := range p.Devices {
			devices = append(devices, strings.TrimPrefix(d.Name+" "+d.State, " "))
		}
		slices.Sort(devices)
		all = append(all, user+" ("+strings.Join(devices, ", ")+")")
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

func (w who) want(t testing.TB, what, want string) {
	t.Helper()
	if got := w.String(); got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// phone connects a device that takes part: it says what its user does.
func (s *server) phone(t testing.TB, token, name string) *device {
	t.Helper()
	c := s.connect(t, request{path: "/ws?device=" + name, token: token})
	c.presence = true
	c.is("active")
	return c
}

// is says what the user of a device does.
func (c *device) is(state string) {
	c.t.Helper()
	c.send(`{"type":"presence_update","message_id":"is","payload":{"state":%q}}`, state)
	c.await(wire.AckType)
}

func TestTheDevicesOfAUserKnowOfEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: patientBeat})
		phone := s.phone(t, "alice", "phone")
		known := phone.hears("user/alice", nil, time.Second)
		known.want(t, "alone", "")
		laptop := s.phone(t, "alice", "laptop")
		bob := s.phone(t, "bob", "phone")
		known = phone.hears("user/alice", known, time.Second)
		known.want(t, "phone", "alice (laptop active, phone active)")
		laptop.hears("user/alice", nil, time.Second).want(t, "laptop", "alice (laptop active, phone active)")

		laptop.send(`{"type":"presence_update","message_id":"u","payload":{"state":"background","meta":{"in":"kitchen"}}}`)
		laptop.ack("u")
		known = phone.hears("user/alice", known, time.Second)
		known.want(t, "phone", "alice (laptop background, phone active)")
		if got := string(known["alice"].Devices[0].Meta) + string(known["alice"].Devices[1].Meta); got != `{"in":"kitchen"}` {
			t.Errorf("got meta %s, want the laptop's", got)
		}
		laptop.send(`{"type":"presence_update","message_id":"u","payload":{"state":"background","meta":{"in":"kitchen"}}}`)
		laptop.ack("u")
		if b, err := phone.raw(time.Second); err == nil {
			t.Errorf("got %s after an update that changes nothing", b)
		}

		// Cut, it counts as there for 30 s, and who comes back was not away.
		_ = laptop.conn.Close()
		known = phone.hears("user/alice", known, 20*time.Second)
		known.want(t, "after a cut", "alice (laptop background, phone active)")
		laptop = s.resume(t, laptop)
		quiet := s.watching(t, "alice") // it takes no part, and is seen
		known = phone.hears("user/alice", known, 40*time.Second)
		known.want(t, "after a return", "alice (active, active, phone active)") // it has not said its name
		quiet.silent()
		quiet.write(8, []byte{0x03, 0xe8})
		_ = laptop.conn.Close()
		known = phone.hears("user/alice", known, 31*time.Second)
		known.want(t, "after it is gone", "alice (phone active)")

		// Who says goodbye has gone at once.
		tablet := s.phone(t, "alice", "tablet")
		known = phone.hears("user/alice", known, time.Second)
		known.want(t, "a third", "alice (phone active, tablet active)")
		tablet.write(8, []byte{0x03, 0xe8})
		known = phone.hears("user/alice", known, time.Second)
		known.want(t, "after a goodbye", "alice (phone active)")

		// Also if it was cut a moment before.
		tablet = s.phone(t, "alice", "tablet")
		known = phone.hears("user/alice", known, time.Second)
		_ = tablet.conn.Close()
		known = phone.hears("user/alice", known, time.Second)
		tablet = s.resume(t, tablet)
		known = phone.hears("user/alice", known, time.Second)
		tablet.write(8, []byte{0x03, 0xe8})
		known = phone.hears("user/alice", known, time.Second)
		known.want(t, "after a cut and a goodbye", "alice (phone active)")
		if b, err := bob.raw(time.Second); err == nil {
			t.Errorf("bob got %s", b)
		}
	})
}

func TestWhoIsInARoomIsForWhoMaySeeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		alice, bob := s.watching(t, "alice"+seesTeam), s.watching(t, "bob"+seesTeam)
		blind := s.watching(t, "blind room:team:join")
		alice.follow()
		known := alice.hears("room/team", nil, time.Second)
		known.want(t, "first", "alice (active)")
		bob.follow()
		blind.follow()
		known = alice.hears("room/team", known, time.Second)
		known.want(t, "then", "alice (active); blind (active); bob (active)")
		bob.hears("room/team", nil, time.Second).want(t, "bob", "alice (active); blind (active); bob (active)")
		bob.send(`{"type":"presence_update","message_id":"u","payload":{"state":"idle"}}`)
		bob.ack("u")
		bob.send(`{"type":"unsubscribe","payload":{"rooms":["team"]}}`)
		known = alice.hears("room/team", known, time.Second)
		known.want(t, "bob stops", "alice (active); blind (active)")
		if b, err := blind.raw(time.Second); err == nil {
			t.Errorf("got %s without the right", b)
		}

		// The right may come, and go, with a credential.
		blind.send(`{"type":"auth","payload":{"token":"blind%s"}}`, seesTeam)
		blind.await(wire.AuthOK)
		seen := blind.hears("room/team", nil, time.Second)
		seen.want(t, "with the right", "alice (active); blind (active)")
		alice.send(`{"type":"auth","payload":{"token":"alice room:team:join"}}`)
		alice.await(wire.AuthOK)
		bob.follow()
		blind.hears("room/team", seen, time.Second).want(t, "with the right", "alice (active); blind (active); bob (idle)")
		if b, err := alice.raw(time.Second); err == nil {
			t.Errorf("got %s without the right any more", b)
		}
		bob.send(`{"type":"logout"}`)
		bob.ends(wire.CloseNormal)
		_ = bob.conn.Close()
		blind.hears("room/team", seen, time.Second).want(t, "bob has logged out", "alice (active); blind (active)")
	})
}

// cluster is two nodes over one broker.
func cluster(t *testing.T, opts switchboard.Options) (b *membroker.Broker, one, two *server, second *membroker.Broker) {
	b = openDriver(t)
	second = b.Node()
	t.Cleanup(func() { _ = second.Close() })
	opts.SessionKeys = [][]byte{make([]byte, 32)}
	opts.Broker, opts.Node = b, "one"
	one = newServer(t, opts)
	opts.Broker, opts.Node = second, "two"
	two = newServer(t, opts)
	time.Sleep(time.Second) // they know of each other
	return b, one, two, second
}

func TestPresenceIsThatOfAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two, _ := cluster(t, switchboard.Options{Heartbeat: patientBeat})
		alice := one.watching(t, "alice"+seesTeam)
		alice.follow()
		known := alice.hears("room/team", nil, 2*time.Second)
		known.want(t, "one", "alice (active)")
		bob, phone := two.watching(t, "bob"+seesTeam), two.phone(t, "alice"+seesTeam, "phone")
		bob.follow()
		known = alice.hears("room/team", known, time.Second)
		known.want(t, "one", "alice (active); bob (active)")
		bob.hears("room/team", nil, 2*time.Second).want(t, "two", "alice (active); bob (active)")
		phone.hears("user/alice", nil, time.Second).want(t, "alice's phone", "alice (active, phone active)")
		phone.follow()
		phone.hears("room/team", nil, 2*time.Second).want(t, "who comes later", "alice (active, phone active); bob (active)")
		known = alice.hears("room/team", known, time.Second)
		known.want(t, "one", "alice (active, phone active); bob (active)")
		phone.send(`{"type":"presence_update","payload":{"state":"idle"}}`)
		known = alice.hears("room/team", known, time.Second)
		known.want(t, "one", "alice (active, phone idle); bob (active)")

		for _, s := range []*server{one, two} {
			p, err := s.Presence().User(t.Context(), "alice")
			if err != nil || !p.Online || len(p.Devices) != 2 || !slices.ContainsFunc(p.Devices, func(d switchboard.Device) bool { return d.State == wire.StateIdle && d.Name == "phone" }) {
				t.Errorf("got %+v, %v, want alice on two devices", p, err)
			}
			var users []string
			for p, err := range s.Presence().Room(t.Context(), "team") {
				if err != nil {
					t.Fatal(err)
				}
				users = append(users, fmt.Sprint(p.User, len(p.Devices)))
			}
			wantEqual(t, "users", users, []string{"alice2", "bob1"})
			p, err = s.Presence().User(t.Context(), "nobody")
			if err != nil || p.Online || len(p.Devices) != 0 {
				t.Errorf("got %+v, %v, want nobody", p, err)
			}
		}
		if _, err := one.Presence().User(t.Context(), ""); err == nil {
			t.Error("got no error for a user without a name")
		}
		// A resume on the other node is no leave, and no join.
		_ = bob.conn.Close()
		bob = one.resume(t, bob)
		bob.presence = true
		bob.follow()
		known = alice.hears("room/team", known, time.Minute)
		known.want(t, "bob on the other node", "alice (active, phone idle); bob (active)")
	})
}

// A node that is killed leaves ghosts: until its lease is over, and then as long as a lost device. How
// old the lease is when that happens differs.
func TestTheGhostsOfADeadNodeLiveAsLongAsItsLease(t *testing.T) {
	const lease, renewed, rounded, offline, told = 10 * time.Second, 3 * time.Second, 2 * time.Second, 30 * time.Second, 100 * time.Millisecond
	var worst time.Duration
	for age := time.Duration(0); age < renewed; age += renewed / 10 {
		synctest.Test(t, func(t *testing.T) {
			took := ghosts(t, age)
			if least, most := lease-renewed+offline, lease+rounded+offline+told; took < least || took > most {
				t.Errorf("ghosts lived for %v, want between %v and %v", took, least, most)
			}
			worst = max(worst, took)
		})
	}
	t.Logf("users of a dead node were shown online for %v at most, in virtual time", worst)
}

// ghosts is how long users of a node that has died are shown online by another one.
func ghosts(t *testing.T, after time.Duration) time.Duration {
	_, one, two, second := cluster(t, switchboard.Options{Heartbeat: patientBeat})
	alice, bob := one.watching(t, "alice"+seesTeam), two.watching(t, "bob"+seesTeam)
	phone := two.phone(t, "alice"+seesTeam, "phone")
	for _, c := range []*device{alice, bob, phone} {
		c.follow()
	}
	known := alice.hears("room/team", nil, 3*time.Second+after)
	known.want(t, "before", "alice (active, phone active); bob (active)")
	_ = second.Close() // the node is alive, and nobody hears of it: as if it were dead
	died := time.Now()
	known = alice.hears("room/team", known, 30*time.Second)
	known.want(t, "at once", "alice (active, phone active); bob (active)")
	for len(known) > 1 && time.Since(died) < 2*time.Minute {
		known = alice.hears("room/team", known, 50*time.Millisecond)
	}
	known.want(t, "in the end", "alice (active)")
	return time.Since(died)
}

// A node that others have given up for dead, and that was only slow, is there again under another name.
func TestANodeThatComesBackHasItsUsersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, one, two, _ := cluster(t, switchboard.Options{Heartbeat: patientBeat})
		alice, bob := one.watching(t, "alice"+seesTeam), two.watching(t, "bob"+seesTeam)
		phone := two.phone(t, "alice"+seesTeam, "phone")
		alice.follow()
		bob.follow()
		known := alice.hears("room/team", nil, 3*time.Second)
		own := phone.hears("user/alice", nil, time.Second)
		own.want(t, "before", "alice (active, phone active)")
		expire(t, b, "two")
		known = alice.hears("room/team", known, time.Minute)
		known.want(t, "after its lease was lost", "alice (active); bob (active)")
		phone.send(`{"type":"presence_update","payload":{"state":"idle"}}`)
		bob.send(`{"type":"presence_update","payload":{"state":"background"}}`)
		known = alice.hears("room/team", known, time.Minute)
		known.want(t, "then", "alice (active); bob (background)")
		p, err := one.Presence().User(t.Context(), "alice")
		if err != nil || len(p.Devices) != 2 {
			t.Errorf("got %+v, %v, want both devices", p, err)
		}
	})
}

// expire takes a node's lease away.
func expire(t *testing.T, d broker.Driver, node string) {
	t.Helper()
	for change, err := range d.Watch(t.Context(), "node/"+node) {
		if err != nil {
			t.Fatal(err)
		}
		if change.Synced {
			return
		}
		if err := d.Delete(t.Context(), change.Key, broker.Any); err != nil {
			t.Fatal(err)
		}
	}
}

// What nodes tell each other may be lost. It is noticed when they say how far they are.
func TestALostChangeOfPresenceIsFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, one, two, _ := cluster(t, switchboard.Options{Heartbeat: patientBeat})
		alice, bob := one.watching(t, "alice"+seesTeam), two.watching(t, "bob"+seesTeam)
		alice.follow()
		bob.follow()
		known := alice.hears("room/team", nil, 30*time.Second)
		known.want(t, "before", "alice (active); bob (active)")
		for _, lost := range []int{1, 2} { // the change, and that it is told again
			b.Faults().DropLive(roomKey("team"), lost)
			state := map[int]string{1: "idle", 2: "background"}[lost]
			bob.send(`{"type":"presence_update","payload":{"state":%q}}`, state)
			known = alice.hears("room/team", known, 15*time.Second)
			known.want(t, fmt.Sprint(lost, " lost"), "alice (active); bob ("+state+")")
		}
	})
}

// Of a large room the number is told, not the names, and not often.
func TestOfALargeRoomTheNumberIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		alice := s.watching(t, "alice"+seesTeam)
		alice.follow()
		var crowd []*device
		for n := range 300 {
			c := s.as(t, fmt.Sprint("u", n, " room:team:join"))
			c.follow()
			crowd = append(crowd, c)
		}
		counts, told := []int{}, 0
		for {
			b, err := alice.raw(10 * time.Second)
			if err != nil {
				break
			}
			env, err := wire.ParseAnswer(b)
			if err != nil {
				t.Fatal(err)
			}
			told++
			state := payload[wire.PresenceStatePayload](t, env)
			counts = append(counts, state.Count)
			if state.Count > 256 && strings.Contains(string(b), `"user_id"`) {
				t.Errorf("got %s, want a number", b)
			}
		}
		if n := len(counts); n == 0 || counts[n-1] != 301 {
			t.Errorf("got counts %v, want 301 at the end", counts)
		}
		for _, c := range crowd {
			c.write(8, []byte{0x03, 0xe8})
		}
		known := alice.hears("room/team", nil, 10*time.Second)
		known.want(t, "names again", "alice (active)")
	})
}

func TestWhoIsThereIsForTheTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two, _ := cluster(t, switchboard.Options{Heartbeat: patientBeat})
		alice := one.watching(t, "acme/alice"+seesTeam)
		other := two.watching(t, "alice"+seesTeam)
		alice.follow()
		other.follow()
		alice.hears("room/team", nil, 3*time.Second).want(t, "acme", "alice (active)")
		other.hears("room/team", nil, 3*time.Second).want(t, "the default tenant", "alice (active)")
		for tenant, want := range map[string]int{"acme": 1, "": 1, "nobody": 0} {
			n := 0
			for _, err := range two.Presence().Room(switchboard.WithTenant(context.Background(), tenant), "team") {
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
			p, err := one.Presence().User(switchboard.WithTenant(context.Background(), tenant), "alice")
			if err != nil || n != want || len(p.Devices) != want {
				t.Errorf("tenant %q: got %d in the room and %+v, %v; want %d", tenant, n, p, err, want)
			}
		}
	})
}

func TestABadPresenceUpdateIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice")
		for _, bad := range []string{
			`{}`, `{"state":"away"}`, `{"state":"idle","meta":"x"}`, `{"state":"idle","meta":[1]}`,
			`{"state":"idle","meta":{"x":"` + strings.Repeat("x", 1024) + `"}}`,
		} {
			a.send(`{"type":"presence_update","message_id":"u","payload":%s}`, bad)
			a.refused(wire.CodeInvalidMessage, "u")
		}
		a.send(`{"type":"presence_update","message_id":"u","payload":{"state":"idle","meta":null}}`)
		a.ack("u")
	})
}
