package auth

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAnAnswerSaysForHowLongItMayBeUsedAgain(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "max-age=30": 30 * time.Second, "private, Max-Age=30": 30 * time.Second, "max-age=99999999": maxCached, "max-age=99999999999999999999": 0,
		"max-age=30, no-store": 0, "no-cache, max-age=30": 0, "max-age=-1": 0, "max-age=x": 0, "s-maxage=30": 0, `max-age="30"`: 30 * time.Second,
	} {
		if got := cacheFor(http.Header{"Cache-Control": {text}}); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

func TestOnlyTheLastAddressOfAWayIsKnownForSure(t *testing.T) {
	for before, want := range map[string]string{
		"": "192.0.2.1", "203.0.113.9": "203.0.113.9, 192.0.2.1", strings.Repeat("1", maxForwardedFor+1): "192.0.2.1",
	} {
		r := &http.Request{RemoteAddr: "192.0.2.1:5000", Header: http.Header{}}
		if before != "" {
			r.Header.Set("X-Forwarded-For", before)
		}
		if got := forwardedFor(r); got != want {
			t.Errorf("%.20q: got %q, want %q", before, got, want)
		}
	}
}

func FuzzForwardAnswer(f *testing.F) {
	a := &asker{Forward: Forward{Tenants: []string{"", "acme"}, Life: time.Hour, MaxLife: 24 * time.Hour}}
	for _, body := range []string{
		`{"user":"alice"}`, `{"user":"alice","tenant":"acme","permissions":["room:a:*"],"expires_at":4102444800,"issued_at":1.5,"claims":{"a":1}}`,
		`{"user":"alice","tenant":"other"}`, `{"user":"alice","expires_at":1e300}`, `{"user":"","User":"bob"}`, `null`, `[]`, ``, `{"user":"a\u0000b"}`,
	} {
		f.Add(200, []byte(body))
		f.Add(401, []byte(body))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		now := time.Now()
		id, err := a.read(status, body, now)
		if err != nil {
			if id.User != "" {
				t.Errorf("got both %+v and %v", id, err)
			}
			return
		}
		if status != http.StatusOK || id.User == "" || !slices.Contains(a.Tenants, id.Tenant) || !id.Expires.After(now) || id.Expires.After(now.Add(a.MaxLife)) {
			t.Errorf("%d %q: got %+v", status, body, id)
		}
	})
}
