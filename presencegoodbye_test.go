package switchboard_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// lostAndBack cuts a device off that follows a room, and has it come back a second later.
func (s *server) lostAndBack(t *testing.T, c *device, follows bool) *device {
	t.Helper()
	_ = c.conn.Close()
	time.Sleep(time.Second)
	c = s.resume(t, c)
	if follows {
		c.follow()
	}
	time.Sleep(time.Second)
	return c
}

// Whatever way somebody leaves a room who was lost for a moment before, or is lost now: it counts at once.
func TestWhoLeavesARoomHasGoneAlsoAsWhoWasLost(t *testing.T) {
	const bob = "bob jti=token sid=login iat=1000" + seesTeam
	back := func(end func(t *testing.T, s *server, b *device)) func(*testing.T, *server, *device) {
		return func(t *testing.T, s *server, b *device) { end(t, s, s.lostAndBack(t, b, true)) }
	}
	lost := func(end func(t *testing.T, s *server, b *device)) func(*testing.T, *server, *device) {
		return func(t *testing.T, s *server, b *device) {
			_ = b.conn.Close()
			time.Sleep(time.Second)
			end(t, s, b)
		}
	}
	sends := func(message string) func(*testing.T, *server, *device) {
		return func(_ *testing.T, _ *server, b *device) { b.send("%s", message) }
	}
	remove := func(t *testing.T, s *server, _ *device) {
		if err := s.Rooms().Remove(t.Context(), "team", "bob"); err != nil {
			t.Error(err)
		}
	}
	revoke := func(r switchboard.Revocation) func(*testing.T, *server, *device) {
		return func(t *testing.T, s *server, b *device) {
			if r == (switchboard.Revocation{}) {
				r.Session = b.welcome.Session.ID
			}
			if _, err := s.Access().Revoke(t.Context(), r); err != nil {
				t.Error(err)
			}
		}
	}
	for name, leave := range map[string]func(*testing.T, *server, *device){
		"back: unsubscribe": back(sends(`{"type":"unsubscribe","payload":{"rooms":["team"]}}`)),
		"back: leave_room":  back(sends(`{"type":"leave_room","payload":{"room":"team"}}`)),
		"back, and not in the room: unsubscribe": func(t *testing.T, s *server, b *device) {
			s.lostAndBack(t, b, false).send(`{"type":"unsubscribe","payload":{"rooms":["team"]}}`)
		},
		"back, and not in the room: leave_room": func(t *testing.T, s *server, b *device) {
			s.lostAndBack(t, b, false).send(`{"type":"leave_room","payload":{"room":"team"}}`)
		},
		"back: Unfollow": back(func(_ *testing.T, s *server, b *device) {
			s.Handle("quit", func(ctx context.Context, c *switchboard.Conn, _ switchboard.Envelope) error {
				return c.Unfollow(ctx, "team")
			})
			b.send(`{"type":"quit","message_id":"q"}`)
		}),
		"back: a credential without the right": back(sends(`{"type":"auth","payload":{"token":"bob"}}`)),
		"back: Remove":                         back(remove),
		"back: logout":                         back(sends(`{"type":"logout"}`)),
		"back: Revoke":                         back(revoke(switchboard.Revocation{User: "bob"})),
		"lost: Remove":                         lost(remove),
		"lost: Revoke the user":                lost(revoke(switchboard.Revocation{User: "bob"})),
		"lost: Revoke the session":             lost(revoke(switchboard.Revocation{})),
		"lost: Revoke the token":               lost(revoke(switchboard.Revocation{TokenID: "token"})),
		"lost: Revoke the login":               lost(revoke(switchboard.Revocation{SID: "login"})),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, switchboard.Options{Heartbeat: patientBeat})
				alice, b := s.watching(t, "alice"+seesTeam), s.as(t, bob)
				alice.follow()
				b.join("team")
				known := alice.hears("room/team", nil, time.Second)
				known.want(t, "before", "alice (active); bob (active)")
				leave(t, s, b)
				alice.hears("room/team", known, time.Second).want(t, "after", "alice (active)")
			})
		})
	}
}

// What ends concerns what was there then: who is a member again, who has another session or another
// login, and who comes back only to be lost again, is waited for.
func TestWhoWasLostIsWaitedForUnlessItIsMeant(t *testing.T) {
	for name, happens := range map[string]func(t *testing.T, s *server, b *device){
		"lost twice": func(t *testing.T, s *server, b *device) {
			_ = s.lostAndBack(t, b, false).conn.Close()
		},
		"replaced": func(t *testing.T, s *server, b *device) {
			c := s.resume(t, b)
			c.send(`{"type":"session_restore","payload":{"replace":%q}}`, b.welcome.ConnectionID)
			b.ends(wire.CloseReplaced)
			_ = b.conn.Close()
		},
		"removed, and a member again": func(t *testing.T, s *server, b *device) {
			if err := s.Rooms().Remove(t.Context(), "team", "bob"); err != nil {
				t.Error(err)
			}
			b.expect(wire.RoomLeft)
			b.join("team")
			_ = b.conn.Close()
		},
		"another session's goodbye": func(t *testing.T, s *server, b *device) {
			c := s.as(t, "bob"+seesTeam)
			c.follow()
			_ = b.conn.Close()
			c.send(`{"type":"unsubscribe","payload":{"rooms":["team"]}}`)
			c.goodbye()
		},
		"another user is revoked": func(t *testing.T, s *server, b *device) {
			_ = b.conn.Close()
			time.Sleep(time.Second)
			for _, r := range []switchboard.Revocation{{User: "carol"}, {SID: "other"}} {
				if _, err := s.Access().Revoke(t.Context(), r); err != nil {
					t.Error(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, switchboard.Options{Heartbeat: patientBeat})
				alice, bob := s.watching(t, "alice"+seesTeam), s.as(t, "bob sid=login"+seesTeam)
				alice.follow()
				bob.join("team")
				alice.hears("room/team", nil, time.Second).want(t, "before", "alice (active); bob (active)")
				happens(t, s, bob)
				for end := time.Now().Add(25 * time.Second); ; {
					b, err := alice.raw(time.Until(end))
					if err != nil {
						break
					}
					if env, err := wire.ParseAnswer(b); err == nil && env.Type == wire.PresenceDiff {
						if diff := payload[wire.PresenceDiffPayload](t, env); len(diff.Leaves) > 0 {
							t.Errorf("got %s", b)
						}
					}
				}
				alice.hears("room/team", who{"alice": {}, "bob": {}}, 10*time.Second).want(t, "in the end", "alice ()")
			})
		})
	}
}

// What a lost connection said of a device is hidden by what one says that is there, whatever their clocks:
// here the one that was lost is the newer one.
func TestADeviceIsAsItsConnectionSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, one, two, _ := cluster(t, switchboard.Options{Heartbeat: patientBeat})
		alice, b := one.watching(t, "alice"+seesTeam), two.as(t, "bob"+seesTeam)
		alice.follow()
		b.follow()
		b.is("idle")
		known := alice.hears("room/team", nil, time.Second)
		known.want(t, "on one node", "alice (active); bob (idle)")
		newer := one.resume(t, b)
		newer.follow()
		known = alice.hears("room/team", known, time.Second)
		known.want(t, "on both", "alice (active); bob (active)")
		_ = newer.conn.Close()
		alice.hears("room/team", known, time.Second).want(t, "on one again", "alice (active); bob (idle)")
		if p, err := one.Presence().User(t.Context(), "bob"); err != nil || len(p.Devices) != 1 || p.Devices[0].State != wire.StateIdle {
			t.Errorf("got %+v, %v, want one that is idle", p, err)
		}
	})
}

// What is said on one node counts on the one where the device was lost.
func TestAGoodbyeCountsOnTheNodeWhereADeviceWasLost(t *testing.T) {
	const leaves, stops = `{"type":"leave_room","payload":{"room":"team"}}`, `{"type":"unsubscribe","payload":{"rooms":["team"]}}`
	for name, leave := range map[string]func(t *testing.T, two *server, c *device){
		"a close":        func(t *testing.T, two *server, c *device) { two.lostAndBack(t, c, true).goodbye() },
		"elsewhere only": func(t *testing.T, two *server, c *device) { two.lostAndBack(t, c, false).goodbye() },
		"leave_room":     func(t *testing.T, two *server, c *device) { two.lostAndBack(t, c, true).send(leaves) },
		"unsubscribe":    func(t *testing.T, two *server, c *device) { two.lostAndBack(t, c, true).send(stops) },
		"logout": func(t *testing.T, two *server, c *device) {
			two.lostAndBack(t, c, true).send(`{"type":"logout"}`)
		},
		"Remove": func(t *testing.T, two *server, c *device) {
			two.lostAndBack(t, c, true)
			if err := two.Rooms().Remove(t.Context(), "team", "bob"); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, one, two, _ := cluster(t, switchboard.Options{Heartbeat: patientBeat})
				alice, carol, bob := one.watching(t, "alice"+seesTeam), two.watching(t, "carol"+seesTeam), one.as(t, "bob"+seesTeam)
				alice.follow()
				carol.follow()
				bob.join("team")
				const before, after = "alice (active); bob (active); carol (active)", "alice (active); carol (active)"
				near := alice.hears("room/team", nil, 2*time.Second)
				near.want(t, "where it was lost, before", before)
				far := carol.hears("room/team", nil, 2*time.Second)
				far.want(t, "where it came back, before", before)
				leave(t, two, bob)
				alice.hears("room/team", near, time.Second).want(t, "where it was lost", after)
				carol.hears("room/team", far, 100*time.Millisecond).want(t, "where it came back", after)
				for user, err := range one.Presence().Room(t.Context(), "team") {
					if err != nil || user.User == "bob" {
						t.Errorf("got %+v, %v in the room", user, err)
					}
				}
			})
		})
	}
}

// A goodbye passes by, and so is told again; who comes back meanwhile, and is lost, is waited for all the same.
func TestAGoodbyeThatWasLostIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, one, two, _ := cluster(t, switchboard.Options{Heartbeat: patientBeat})
		alice, bob := one.watching(t, "alice"+seesTeam), one.as(t, "bob"+seesTeam)
		alice.follow()
		bob.follow()
		known := alice.hears("room/team", nil, 2*time.Second)
		known.want(t, "before", "alice (active); bob (active)")
		user := broker.KeyOf(wire.Topic{Kind: wire.KindUser, ID: "bob"})
		for lost, after := range map[int]time.Duration{1: 2 * time.Second, 2: 11 * time.Second} {
			bob = two.lostAndBack(t, bob, true)
			known = alice.hears("room/team", known, time.Second)
			b.Faults().DropLive(user, lost)
			bob.goodbye()
			known = alice.hears("room/team", known, after)
			known.want(t, "after it was told again", "alice (active)")
			bob = one.resume(t, bob)
			bob.follow()
			known = alice.hears("room/team", known, time.Second)
			known.want(t, "back", "alice (active); bob (active)")
		}

		bob = two.lostAndBack(t, bob, true)
		bob.goodbye()
		known = alice.hears("room/team", known, time.Second)
		known.want(t, "after a goodbye", "alice (active)")
		bob = one.resume(t, bob)
		bob.follow()
		time.Sleep(time.Second)
		_ = bob.conn.Close()
		known = alice.hears("room/team", known, 25*time.Second)
		known.want(t, "lost since", "alice (active); bob (active)")
	})
}

// The node where a device was lost hears of its goodbye as long as it waits for it.
func TestAGoodbyeCountsAsLongAsADeviceIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		beat := patientBeat
		beat.OfflineAfter = 5 * time.Minute
		_, one, two, _ := cluster(t, switchboard.Options{Heartbeat: beat})
		alice, bob := one.watching(t, "alice"+seesTeam), one.as(t, "bob"+seesTeam)
		alice.follow()
		bob.follow()
		known := alice.hears("room/team", nil, 2*time.Second)
		bob = two.lostAndBack(t, bob, true)
		known = alice.hears("room/team", known, 2*time.Minute)
		known.want(t, "before", "alice (active); bob (active)")
		bob.goodbye()
		known = alice.hears("room/team", known, time.Second)
		known.want(t, "after", "alice (active)")
	})
}

// The users of a node that has gone stay for a while. Who says goodbye elsewhere has gone at once.
func TestAGoodbyeCountsForWhoWasOnANodeThatHasGone(t *testing.T) {
	for name, leave := range map[string]func(*device){
		"a close":     func(c *device) { c.goodbye() },
		"unsubscribe": func(c *device) { c.send(`{"type":"unsubscribe","payload":{"rooms":["team"]}}`) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, one, two, second := cluster(t, switchboard.Options{Heartbeat: patientBeat})
				alice, bob, carol := one.watching(t, "alice"+seesTeam), two.as(t, "bob"+seesTeam), two.as(t, "carol"+seesTeam)
				phone := one.phone(t, "bob"+seesTeam, "phone")
				for _, c := range []*device{alice, bob, carol} {
					c.follow()
				}
				known := alice.hears("room/team", nil, 3*time.Second)
				known.want(t, "before", "alice (active); bob (active); carol (active)")
				_ = second.Close() // as if it were dead
				bob = one.resume(t, bob)
				bob.follow()
				known = alice.hears("room/team", known, 15*time.Second)
				known.want(t, "on another node", "alice (active); bob (active); carol (active)")
				own := phone.hears("user/bob", nil, time.Second)
				own.want(t, "for another device", "bob (active, phone active)")
				leave(bob)
				known = alice.hears("room/team", known, time.Second)
				known.want(t, "after a goodbye", "alice (active); carol (active)")
				if name == "a close" {
					phone.hears("user/bob", own, time.Second).want(t, "for another device", "bob (phone active)")
				}
				alice.hears("room/team", known, time.Minute).want(t, "in the end", "alice (active)")
			})
		})
	}
}

// stuck is a log that holds up who tells it of an end.
type stuck struct {
	slog.Handler
	at, goOn chan struct{}
}

func (h stuck) Enabled(context.Context, slog.Level) bool { return true }

func (h stuck) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "connection closed" {
		select {
		case h.at <- struct{}{}:
		default:
		}
		<-h.goOn
	}
	return nil
}

// Between the end of a connection and what it means nobody hears that the user has gone.
func TestWhoWasCutOffThisMomentIsNotGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := stuck{slog.DiscardHandler, make(chan struct{}, 1), make(chan struct{})}
		s := newServer(t, switchboard.Options{Heartbeat: patientBeat, Log: slog.New(h)})
		alice, bob, carol := s.watching(t, "alice"+seesTeam), s.as(t, "bob"+seesTeam), s.as(t, "carol")
		alice.follow()
		bob.follow()
		known := alice.hears("room/team", nil, time.Second)
		known.want(t, "before", "alice (active); bob (active)")
		_ = carol.conn.Close()
		goOn := sync.OnceFunc(func() { close(h.goOn) })
		defer goOn()
		<-h.at // who takes note of ends is held up
		bob.is("idle")
		synctest.Wait() // it is to be told with the next tick
		_ = bob.conn.Close()
		synctest.Wait()
		answer := make(chan switchboard.UserPresence, 1)
		go func() {
			p, err := s.Presence().User(t.Context(), "bob")
			if err != nil {
				t.Error(err)
			}
			answer <- p
		}()
		known = alice.hears("room/team", known, time.Second)
		if _, there := known["bob"]; !there {
			t.Error("bob has left")
		}
		select {
		case p := <-answer:
			t.Fatalf("got %+v before it is known that bob was lost", p)
		default:
		}
		goOn()
		if p := <-answer; !p.Online || len(p.Devices) != 1 {
			t.Errorf("got %+v, want bob, who was lost", p)
		}
		alice.hears("room/team", known, time.Second).want(t, "after", "alice (active); bob (idle)")
	})
}
