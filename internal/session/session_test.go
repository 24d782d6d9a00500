package session_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/netra-systems/switchboard/internal/session"
	"pgregory.net/rapid"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, session.KeyBytes) }

func sealer(t testing.TB, keys ...[]byte) *session.Sealer {
	t.Helper()
	s, err := session.NewSealer(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func seal(t testing.TB, s *session.Sealer, tok session.Token) string {
	t.Helper()
	text, err := s.Seal(tok)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func alice(expires time.Time) session.Token {
	return session.Token{Session: [12]byte{1, 2, 3}, User: "alice", Expires: expires}
}

func TestWhatIsSealedIsOpened(t *testing.T) {
	s := sealer(t, key(1))
	now := time.Now()
	rapid.Check(t, func(t *rapid.T) {
		want := session.Token{
			Session:     [12]byte(rapid.SliceOfN(rapid.Byte(), 12, 12).Draw(t, "session")),
			Lineage:     drawLineage(t),
			Tenant:      rapid.String().Draw(t, "tenant"),
			User:        rapid.String().Draw(t, "user"),
			Permissions: rapid.SliceOfN(rapid.String(), 1, 5).Draw(t, "permissions"),
			TokenID:     rapid.String().Draw(t, "jti"),
			SID:         rapid.String().Draw(t, "sid"),
			Claims:      json.RawMessage(`{"a":1}`),
			Expires:     now.Add(time.Hour).Truncate(time.Millisecond),
			Shown:       now.Truncate(time.Millisecond),
		}
		if rapid.Bool().Draw(t, "issue time known") {
			want.Issued = now.Add(-time.Hour).Truncate(time.Millisecond)
		}
		if rapid.Bool().Draw(t, "credential ends") {
			want.Credential = want.Expires
		}
		text, err := s.Seal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Open(text, now)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("opened token differs (-sealed +opened):\n%s", diff)
		}
	})
}

func drawLineage(t *rapid.T) (l session.Lineage) {
	for range rapid.IntRange(0, session.MaxLineage).Draw(t, "generations") {
		l, _ = l.And([12]byte(rapid.SliceOfN(rapid.Byte(), 12, 12).Draw(t, "of")))
	}
	return l
}

// TestATokenOfBeforeLineagesIsOpened: it was sealed by a version that knew none.
func TestATokenOfBeforeLineagesIsOpened(t *testing.T) {
	const text = "swt_AWGMkY0sggVQrrR9J3RJBCZHYUbbzPQX0Z3WQZRJAyER6oJe7BmJtemxhFrbVqeD0z6-npNsv-6c7z-lvis6BcDx3Vwvnc1eVFwl9xY5Nzg8eC-teUyoQyKjGz7RTMHy0gg2kCeEDfNqAoFjHPIpyHJZVjRZgShwDtx4roJVNoFZvtLXvJ3_OizbKmUFfqX-ZoeT6YrHxsncD8m-WRgCV2xpVtcgPIOqjw3U6XuslVnULLZIkrhGz3KP0ll0qEG0jGjx8DsCCU0i0YirwrbuMDo-"
	end := time.UnixMilli(4102444800000)
	want := session.Token{
		Session: [12]byte{1, 2, 3}, Tenant: "acme", User: "alice", Permissions: []string{"a", "b"}, TokenID: "jti", SID: "sid",
		Claims: json.RawMessage(`{"a":1}`), Issued: time.UnixMilli(1700000000000), Shown: time.UnixMilli(1700000001000), Credential: end, Expires: end,
	}
	got, err := sealer(t, key(1)).Open(text, end.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("opened token differs (-sealed +opened):\n%s", diff)
	}
}

func TestAnExpiredTokenIsRefused(t *testing.T) {
	s := sealer(t, key(1))
	end := time.Now().Add(time.Minute)
	text := seal(t, s, alice(end))
	if _, err := s.Open(text, end.Add(-time.Second)); err != nil {
		t.Errorf("a second before its end: got %v, want none", err)
	}
	if _, err := s.Open(text, end); !errors.Is(err, session.ErrExpired) {
		t.Errorf("at its end: got %v, want %v", err, session.ErrExpired)
	}
}

func TestAnyChangedByteMakesATokenInvalid(t *testing.T) {
	s := sealer(t, key(1))
	now := time.Now()
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(seal(t, s, alice(now.Add(time.Hour))), session.Prefix))
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		changed := bytes.Clone(raw)
		changed[i] ^= 1
		text := session.Prefix + base64.RawURLEncoding.EncodeToString(changed)
		if _, err := s.Open(text, now); !errors.Is(err, session.ErrInvalid) {
			t.Errorf("byte %d changed: got %v, want %v", i, err, session.ErrInvalid)
		}
	}
}

func TestTheFirstKeySealsAndAllOpen(t *testing.T) {
	now := time.Now()
	older, newer := sealer(t, key(1)), sealer(t, key(2), key(1))
	text := seal(t, older, alice(now.Add(time.Hour)))
	if _, err := newer.Open(text, now); err != nil {
		t.Errorf("token of the former key: got %v, want none", err)
	}
	if _, err := older.Open(seal(t, newer, alice(now.Add(time.Hour))), now); !errors.Is(err, session.ErrInvalid) {
		t.Errorf("token of a key that is not there: got %v, want %v", err, session.ErrInvalid)
	}
}

func TestTokensOfTheSameContentDiffer(t *testing.T) {
	s := sealer(t, key(1))
	tok := alice(time.Now().Add(time.Hour))
	if a, b := seal(t, s, tok), seal(t, s, tok); a == b {
		t.Errorf("got the same token twice: %s", a)
	}
}

func TestATokenEndsWithItsCredentialOrAfterADay(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name                    string
		credential, shown, want time.Time
	}{
		{"credential without expiry", time.Time{}, now, now.Add(24 * time.Hour)},
		{"credential with expiry", now.Add(time.Minute), now, now.Add(time.Minute)},
		{"credential of a year", now.Add(365 * 24 * time.Hour), now, now.Add(30 * 24 * time.Hour)},
		{"session of 29 days and a half", time.Time{}, now.Add(-59 * 12 * time.Hour), now.Add(12 * time.Hour)},
		{"session of a month", time.Time{}, now.Add(-30 * 24 * time.Hour), now},
	} {
		if got := session.Expiry(tt.credential, tt.shown, now); !got.Equal(tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestATokenLivesNoLongerThanTheKeysThatOpenIt(t *testing.T) {
	now := time.Now()
	if got, want := session.Expiry(now.Add(365*24*time.Hour), now, now), now.Add(session.Longest); !got.Equal(want) {
		t.Errorf("credential of a year: got %v, want %v", got, want)
	}
}

func TestATokenOfAnotherClusterIsInvalid(t *testing.T) {
	now := time.Now()
	text := seal(t, sealer(t, key(1)), alice(now.Add(time.Hour)))
	for name, change := range map[string]func(raw []byte){
		"as it is":                 func([]byte) {},
		"with the id of our key":   func(raw []byte) { copy(raw[1:5], rawToken(t, seal(t, sealer(t, key(2)), alice(now)))[1:5]) },
		"of the version before":    func(raw []byte) { raw[0] = 0 },
		"of a version of tomorrow": func(raw []byte) { raw[0] = 2 },
	} {
		raw := rawToken(t, text)
		change(raw)
		if _, err := sealer(t, key(2)).Open(session.Prefix+base64.RawURLEncoding.EncodeToString(raw), now); !errors.Is(err, session.ErrInvalid) {
			t.Errorf("%s: got %v, want %v", name, err, session.ErrInvalid)
		}
	}
}

func rawToken(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(text, session.Prefix))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestKeysMustHave32Bytes(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33} {
		if _, err := session.NewSealer(make([]byte, n)); err == nil {
			t.Errorf("key of %d bytes: got no error", n)
		}
	}
	if _, err := session.NewSealer(); err == nil {
		t.Error("no key: got no error")
	}
}

func FuzzSessionToken(f *testing.F) {
	s := sealer(f, key(1))
	now := time.Now()
	f.Add(seal(f, s, alice(now.Add(time.Hour))))
	f.Add(seal(f, s, alice(now.Add(-time.Hour))))
	child := alice(now.Add(time.Hour))
	child.Lineage, _ = child.Lineage.And([12]byte{9})
	f.Add(seal(f, s, child))
	f.Add(seal(f, sealer(f, key(2)), alice(now.Add(time.Hour))))
	f.Add(session.Prefix)
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := s.Open(text, now)
		if err == nil && tok.User != "alice" {
			t.Errorf("opened %q, which was never sealed: %+v", text, tok)
		}
	})
}
