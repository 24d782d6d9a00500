package switchboard

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

func counting(t testing.TB) *Manager {
	m, err := New(Options{Auth: func(context.Context, Credential) (Identity, error) { return Identity{}, ErrUnauthenticated }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m
}

func TestWhatIsCountedNeverExceedsItsBoundAndGetsThreeQuartersOfIt(t *testing.T) {
	m := counting(t)
	for _, most := range []int{1, 10, 1000, 4096, 4097, 70_000} {
		prefix := broker.NameKey(strconv.Itoa(most)).String() + "/m/"
		n := 0
		for ; ; n++ {
			hash := broker.NameKey(fmt.Sprint(most, n)).String()
			if n >= most*7/10 && (n < 5000 || n%16 == 0) {
				there, err := m.roomBelow(t.Context(), prefix, hash, most)
				if err != nil {
					t.Fatal(err)
				}
				if !there {
					break
				}
			}
			if _, err := m.driver.Put(t.Context(), prefix+hash, []byte("x"), 0, 0); err != nil {
				t.Fatal(err)
			}
		}
		if n > most || n < most*3/4 {
			t.Errorf("%d had room, want up to %d", n, most)
		}
	}
}

// BenchmarkRoomBelow is what is asked for a membership that begins, in a room with many members.
func BenchmarkRoomBelow(b *testing.B) {
	for _, members := range []int{10, 1000, 100_000} {
		b.Run(strconv.Itoa(members), func(b *testing.B) {
			m := counting(b)
			prefix := broker.NameKey("room").String() + "/m/"
			for n := range members {
				if _, err := m.driver.Put(b.Context(), prefix+broker.NameKey(strconv.Itoa(n)).String(), []byte("x"), 0, 0); err != nil {
					b.Fatal(err)
				}
			}
			for n := 0; b.Loop(); n++ {
				if _, err := m.roomBelow(b.Context(), prefix, broker.NameKey(strconv.Itoa(-n)).String(), maxRoomMembers); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReceipts is what a page of receipts costs, in a room of many.
func BenchmarkReceipts(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			m := counting(b)
			topic := wire.Topic{Kind: wire.KindRoom, ID: "r"}
			for i := range n {
				k := mark{User: fmt.Sprint("u", i), Session: hub.NewSession().String(), Epoch: "e", Delivered: 7, At: 1}
				name := receiptName{topic: hubKey(topic), session: hub.NewSession()}
				if _, err := m.putItem(b.Context(), name.key(k.User), k, 0, time.Hour); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				got := 0
				for _, err := range m.Receipts(b.Context(), Room("r")) {
					if got++; err != nil || got == 1000 {
						break
					}
				}
			}
		})
	}
}

func TestALongListOfReceiptsIsReadInPagesWithoutOneTwice(t *testing.T) {
	m := counting(t)
	topic := wire.Topic{Kind: wire.KindRoom, ID: "r"}
	const users, sessions = 3000, 2
	for i := range users * sessions {
		session := hub.NewSession()
		k := mark{User: fmt.Sprint("u", i/sessions), Session: session.String(), Epoch: "e", Delivered: uint64(1 + i%sessions), At: 1}
		if _, err := m.putItem(t.Context(), receiptName{hubKey(topic), session}.key(k.User), k, 0, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	seen, user, session := map[[2]string]bool{}, "", ""
	for more := true; more; {
		more = false
		n := 0
		for r, err := range m.ReceiptsAfter(t.Context(), Room("r"), user, session) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n > 701 {
				more = true
				break
			}
			if id := [2]string{r.User, r.Session}; seen[id] {
				t.Fatalf("%v twice", id)
			}
			seen[[2]string{r.User, r.Session}] = true
			if r.Session != "" && r.User != user {
				t.Fatalf("a session of %s behind those of %s", r.User, user)
			}
			if r.Session == "" && r.Delivered.Offset != sessions {
				t.Fatalf("got %+v, want the furthest", r)
			}
			user, session = r.User, r.Session
		}
	}
	if len(seen) != users*(sessions+1) {
		t.Errorf("got %d receipts, want %d", len(seen), users*(sessions+1))
	}
}

func TestWhoJoinsALargeRoomIsToldAThousandMembers(t *testing.T) {
	m := counting(t)
	room := wire.Topic{Kind: wire.KindRoom, ID: "r"}
	for i := range 6000 {
		user := fmt.Sprint("u", i)
		if _, err := m.driver.Put(t.Context(), memberKey(room, user), memberValue(memberJoined, user, Position{}), 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	frame, err := m.roomJoined(t.Context(), room, Position{}, "", math.MaxInt)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(frame, []byte(`"u`)); n != maxMembersTold {
		t.Errorf("got %d members, want %d", n, maxMembersTold)
	}
	// Who has not asked is told fewer.
	frame, err = m.roomJoined(t.Context(), room, Position{}, "", 500)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(frame, []byte(`"u`)); n < 500/len(`"u9999",`) || n > 500/len(`"u0",`) {
		t.Errorf("got %d members, want those of about 500 bytes", n)
	}
}

func TestAUsersReceiptsBeginNoFasterThanTheyMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := counting(t)
		begin := func(user string, i int) bool {
			topic := hubKey(wire.Topic{Kind: wire.KindRoom, ID: strconv.Itoa(i)})
			name := receiptName{topic: topic, session: hub.NewSession()}
			there, err := m.roomForReceipt(t.Context(), name, mark{User: user, Session: name.session.String(), Epoch: "e", Delivered: 1})
			if err != nil {
				t.Fatal(err)
			}
			return there
		}
		n := 0
		for begin("alice", n) {
			n++
		}
		if n != receiptsAtOnce || m.Stats().ReceiptsDropped != 1 {
			t.Errorf("%d began, and %d were dropped, want %d and 1", n, m.Stats().ReceiptsDropped, receiptsAtOnce)
		}
		if !begin("bob", 0) {
			t.Error("another user paid for it")
		}
		time.Sleep(time.Minute / receiptsPerMinute)
		if !begin("alice", 0) {
			t.Error("none may begin later")
		}
	})
}
