package switchboard

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// notingDriver does something once before or after a note of a membership is written or deleted.
type notingDriver struct {
	broker.Driver
	notes              []string // what their keys begin with
	beforePut, deleted func()
}

func (d *notingDriver) note(key string, do *func()) {
	for _, prefix := range d.notes {
		if strings.HasPrefix(key, prefix) && *do != nil {
			hook := *do
			*do = nil
			hook()
		}
	}
}

func (d *notingDriver) Put(ctx context.Context, key string, value []byte, ifRev uint64, ttl time.Duration) (uint64, error) {
	d.note(key, &d.beforePut)
	return d.Driver.Put(ctx, key, value, ifRev, ttl)
}

func (d *notingDriver) Delete(ctx context.Context, key string, ifRev uint64) error {
	err := d.Driver.Delete(ctx, key, ifRev)
	d.note(key, &d.deleted)
	return err
}

// TestAMembershipThatEndsWhileItIsCountedIsCountedNoMore: nothing stays that is a place less for
// others, however a join and the end of the same membership overtake each other, and whoever is
// a member is counted.
func TestAMembershipThatEndsWhileItIsCountedIsCountedNoMore(t *testing.T) {
	room := wire.Topic{Tenant: "t", Kind: wire.KindRoom, ID: "r"}
	user := wire.Topic{Tenant: "t", Kind: wire.KindUser, ID: "u"}
	for name, hooks := range map[string]func(d *notingDriver, join, leave func()){
		"the end is first":         func(d *notingDriver, _, leave func()) { d.beforePut = leave },
		"the end and a new join":   func(d *notingDriver, join, leave func()) { d.beforePut = func() { leave(); join() } },
		"a note behind a deletion": func(d *notingDriver, join, leave func()) { d.beforePut = func() { d.deleted = join; leave() } },
	} {
		t.Run(name, func(t *testing.T) {
			shared := membroker.New(membroker.Options{})
			t.Cleanup(func() { _ = shared.Close() })
			d := &notingDriver{Driver: shared, notes: []string{ownPrefix(user), tenantPrefix("t")}}
			m, err := New(Options{
				Auth:   func(context.Context, Credential) (Identity, error) { return Identity{}, ErrUnauthenticated },
				Broker: d, Quota: func(string) Quota { return Quota{Memberships: 10} },
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = m.Shutdown(context.Background()) })
			join := func() {
				if _, _, err := m.setMember(t.Context(), room, user.ID, memberJoined, ""); err != nil {
					t.Error(err)
				}
			}
			hooks(d, join, func() {
				if err := m.endMembership(t.Context(), room, user.ID, reasonLeft); err != nil {
					t.Error(err)
				}
			})
			join()
			state, err := m.memberState(t.Context(), room, user.ID)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range m.memberNotes(room, user.ID, memberJoined) {
				there, err := m.roomBelow(t.Context(), n.prefix, n.hash, 1)
				if err != nil || there != (state.kind == memberNone) {
					t.Errorf("room for one more is %v, %v, and the membership %q", there, err, state.kind)
				}
			}
		})
	}
}
