package server

import (
	"bytes"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/internal/audit"
	"github.com/netra-systems/switchboard/wire"
)

// formerKey is one of which the test says when it ends.
const formerKey = "sk_former"

// TestAKeyIsRefusedFromItsEndOn, by all calls, and not as a guess: it was good.
func TestAKeyIsRefusedFromItsEndOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(time.Hour)
		cfg := config()
		cfg.APIKeys = append(cfg.APIKeys, APIKey{Name: "former", Hash: HashKey(formerKey), Expires: end, Tenants: []string{"acme"}})
		var err error
		if cfg.Audit, err = audit.Open(audit.Options{}); err != nil {
			t.Fatal(err)
		}
		defer cfg.Audit.Close()
		n, _ := inMemory(t, cfg)
		former := http.Header{"Authorization": {"Bearer " + formerKey}}
		counters := request{method: http.MethodGet, path: "/api/v1/tenant", header: former}
		time.Sleep(time.Until(end) - time.Nanosecond)
		if got := n.call(t, counters); got.status != http.StatusOK {
			t.Errorf("got %d before the end, want 200", got.status)
		}
		time.Sleep(time.Nanosecond)
		for range 2 * usualGuesses {
			got := n.call(t, counters)
			if p := got.problem(t); p.Status != http.StatusUnauthorized || p.Code != wire.CodeAuthError || got.header.Get("WWW-Authenticate") != "Bearer" {
				t.Fatalf("got %+v from the end on, want 401", p)
			}
		}
		if got := n.get(t, "/api/v1/stats"); got.status != http.StatusOK {
			t.Errorf("got %d %s with the key beside it, want 200", got.status, got.body)
		}
		page, err := cfg.Audit.Read(audit.Query{Tenant: "acme", Limit: 100})
		page.Entries = slices.DeleteFunc(page.Entries, func(e audit.Entry) bool { return e.Reason != "expired" })
		if err != nil || len(page.Entries) == 0 || page.Entries[0].Object != "former" || page.Entries[0].Tenant != "acme" || page.Entries[0].Actor != "" {
			t.Errorf("got %+v, %v in the audit log, want the refusal of former in acme, who is a stranger", page.Entries, err)
		}
	})
}

func TestABodyThatIsOpenAtTheEndOfItsKeyIsBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(time.Hour)
		cfg := config()
		cfg.APIKeys = append(cfg.APIKeys, APIKey{Name: "former", Hash: HashKey(formerKey), Expires: end})
		n, _ := inMemory(t, cfg)
		n.startRun(t, "R")
		u := n.upload(t, "/api/v1/runs/R/streams/answer", http.Header{"Authorization": {"Bearer " + formerKey}})
		u.write("Dear ")
		time.Sleep(time.Until(end) - time.Second)
		wantProblem(t, "open body", u.answer(), http.StatusUnauthorized, wire.CodeAuthError, `{}`)
		if got := time.Since(end); got < 0 || got > time.Second {
			t.Errorf("got the answer %v after the end, want at once", got)
		}
		wantObject(t, "text", n.get(t, "/api/v1/runs/R/streams/answer"), 200, `{"length":5,"state":"open","text":"Dear "}`)
	})
}

func TestKeysThatEndSoonAreLoggedAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := func(d time.Duration) time.Time { return time.Now().Add(d) }
		ring := keyring{
			{Name: "for good"},
			{Name: "far", Expires: in(keyEndsSoon + time.Nanosecond)},
			{Name: "soon", Expires: in(keyEndsSoon)},
			{Name: "gone", Expires: in(0)},
		}
		var log bytes.Buffer
		ring.warn(slog.New(slog.NewTextHandler(&log, nil)), time.Now())
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], `level=WARN msg="api key ends soon" key=soon expires=2000-01-15T00:00:00.000Z`) ||
			!strings.Contains(lines[1], `msg="api key has expired: it is refused" key=gone`) {
			t.Errorf("got %q, want a line for soon and one for gone", lines)
		}
	})
}

func TestTheServerLogsKeysThatEndSoon(t *testing.T) {
	cfg := config()
	cfg.APIKeys[0].Expires = time.Now().Add(time.Hour)
	log := new(bytes.Buffer)
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	t.Run("server", func(t *testing.T) { start(t, cfg) })
	if got := strings.Count(log.String(), "api key ends soon"); got != 1 {
		t.Errorf("got it %d times in %s, want once", got, log)
	}
}
