package auth

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/netra-systems/switchboard"
)

func hashOf(text string) hash { return sha256.Sum256([]byte(text)) }

func someone(user string) switchboard.Identity {
	return switchboard.Identity{User: user, Permissions: []string{"room:a:join"}, Claims: []byte(`{}`)}
}

func TestOneUserDoesNotPushOthersOutOfTheMemory(t *testing.T) {
	m, now := newMemory(), time.Now()
	later := now.Add(time.Hour)
	for i := range maxRemembered {
		m.put(hashOf(fmt.Sprint("user ", i)), someone(fmt.Sprint(i)), 300, 0, later)
	}
	for i := range 10 * maxRemembered {
		m.put(hashOf(fmt.Sprint("of mallory ", i)), someone("mallory"), 300, 0, later)
	}
	lost := 0
	for i := range maxRemembered {
		if _, ok := m.get(hashOf(fmt.Sprint("user ", i)), 0, now); !ok {
			lost++
		}
	}
	if lost > maxOfUser {
		t.Errorf("got %d of %d forgotten, want %d at most", lost, maxRemembered, maxOfUser)
	}
}

func TestTheMemoryIsBounded(t *testing.T) {
	m, later := newMemory(), time.Now().Add(time.Hour)
	for i := range 2 * maxRemembered {
		m.put(hashOf(fmt.Sprint(i)), someone(fmt.Sprint(i)), MaxTokenBytes, 0, later)
	}
	if n, sum := len(m.all), 0; n == 0 || n > maxRemembered || n*MaxTokenBytes > maxRememberedBytes || m.size != n*MaxTokenBytes || len(m.of) != n || len(m.users) != n {
		t.Errorf("got %d of size %d, %d, %d, %d", n, m.size, len(m.of), len(m.users), sum)
	}
	for i, r := range m.all {
		if r.at != i || m.of[r.key] != r {
			t.Fatalf("number %d is not where it is said to be", i)
		}
	}
	for _, r := range slices.Clone(m.all) {
		m.get(r.key, 1, time.Now()) // checked by other keys
	}
	if len(m.all)+len(m.of)+len(m.users)+m.size != 0 {
		t.Error("got something left")
	}
}

func TestWhatIsRememberedEnds(t *testing.T) {
	m, now := newMemory(), time.Now()
	m.put(hashOf("a"), someone("alice"), 1, 7, now.Add(time.Minute))
	for _, tt := range []struct {
		name    string
		version uint64
		at      time.Time
		want    bool
	}{
		{"before", 7, now.Add(time.Minute - 1), true},
		{"at its end", 7, now.Add(time.Minute), false},
		{"afterwards it is not there", 7, now, false},
	} {
		if _, got := m.get(hashOf("a"), tt.version, tt.at); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestARememberedIdentityIsItsCallersOwn(t *testing.T) {
	m, now := newMemory(), time.Now()
	given := someone("alice")
	m.put(hashOf("a"), given, 1, 0, now.Add(time.Minute))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			id, ok := m.get(hashOf("a"), 0, now)
			if !ok || id.Permissions[0] != "room:a:join" || string(id.Claims) != "{}" {
				t.Errorf("got %+v, %v", id, ok)
				return
			}
			id.Permissions[0], id.Claims[0] = "room:*:*", 'x'
		})
	}
	given.Permissions[0] = "room:*:*"
	all.Wait()
}

func TestTheMemoryHoldsNoToken(t *testing.T) {
	m := newMemory()
	m.put(hashOf("secret.token.text"), someone("alice"), 1, 0, time.Now().Add(time.Minute))
	if text := fmt.Sprintf("%+v %+v", m.of, *m.all[0]); strings.Contains(text, "secret.token") {
		t.Errorf("got %s", text)
	}
}
