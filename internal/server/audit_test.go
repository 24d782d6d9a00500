package server

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/audit"
)

func (n *node) auditOf(t *testing.T, query string, header http.Header) (events []auditEntry, next uint64, more bool) {
	t.Helper()
	var got struct {
		Events  []auditEntry `json:"events"`
		Next    uint64       `json:"next"`
		HasMore bool         `json:"has_more"`
	}
	n.call(t, request{method: http.MethodGet, path: "/api/v1/audit" + query, header: header}).decode(t, &got)
	return got.Events, got.Next, got.HasMore
}

func says(events []auditEntry) string {
	var all []string
	for _, e := range events {
		if e.Seq == 0 || e.Time.IsZero() || len(e.Hash) != 64 {
			all = append(all, "(without number, time or hash)")
		}
		all = append(all, strings.TrimSpace(strings.Join([]string{e.Action, e.User, e.Actor, e.Object, e.Reason, e.Code}, " ")))
	}
	return strings.Join(all, "; ")
}

// TestTheAuditLogTellsWhatBackEndsDoAndAreRefused: by the name of the key, and each tenant its own.
func TestTheAuditLogTellsWhatBackEndsDoAndAreRefused(t *testing.T) {
	dir := t.TempDir()
	cfg := config()
	cfg.Data = dir
	cfg.APIKeys = append(cfg.APIKeys,
		APIKey{Name: "shop", Hash: HashKey("sk_shop"), Tenants: []string{"acme"}},
		APIKey{Name: "watch", Hash: HashKey("sk_watch"), Scopes: []Scope{ScopeMonitor}, Tenants: []string{"acme"}},
	)
	n := start(t, cfg)
	shop := http.Header{"Authorization": {"Bearer sk_shop"}}
	n.connect(t, "acme/alice")
	n.connect(t, "bob")
	n.call(t, request{method: http.MethodGet, path: "/api/v1/stats", header: http.Header{"Authorization": {"Bearer wrong"}}})
	n.call(t, request{method: http.MethodDelete, path: "/api/v1/users/alice/connections", header: http.Header{"Authorization": {"Bearer sk_watch"}}})
	n.call(t, request{method: http.MethodGet, path: "/api/v1/stats", header: http.Header{"Authorization": {"Bearer sk_shop"}, tenantHeader: {"ajax"}}})
	n.call(t, request{method: http.MethodDelete, path: "/api/v1/users/alice/connections", header: shop})
	n.call(t, request{method: http.MethodDelete, path: "/api/v1/users/bob/connections"})
	n.call(t, request{method: http.MethodPost, path: "/api/v1/tickets", body: `{"user":"carol"}`, header: shop})

	events, next, more := n.auditOf(t, "", shop)
	want := "api  watch close-user-connections scope FORBIDDEN; api  shop  tenant FORBIDDEN; close alice shop user/alice; ticket carol shop"
	if got := says(events); got != want || more {
		t.Errorf("acme:\ngot  %s\nwant %s", got, want)
	}
	mine, _, _ := n.auditOf(t, "", nil)
	if got, want := says(mine), "api    key AUTH_ERROR; close bob test user/bob"; got != want {
		t.Errorf("the tenant without a name:\ngot  %s\nwant %s", got, want)
	}
	if events, _, _ := n.auditOf(t, fmt.Sprintf("?since=%d", next), shop); len(events) != 0 {
		t.Errorf("got %s after the last, want nothing", says(events))
	}
	if one, next, more := n.auditOf(t, "?limit=1", shop); len(one) != 1 || !more || next != one[0].Seq {
		t.Errorf("got %s, next %d, more %v, want the first and that there are more", says(one), next, more)
	}
	if one, _, _ := n.auditOf(t, "?action=ticket", shop); says(one) != "ticket carol shop" {
		t.Errorf("got %s, want the ticket", says(one))
	}
	if one, _, _ := n.auditOf(t, "?user=alice&since=1", shop); says(one) != "close alice shop user/alice" {
		t.Errorf("got %s, want what concerns alice", says(one))
	}
	if got := n.call(t, request{method: http.MethodGet, path: "/api/v1/audit?limit=1001"}); got.status != http.StatusUnprocessableEntity {
		t.Errorf("got %d for too many, want 422", got.status)
	}
	reports, err := audit.Verify(filepath.Join(dir, "audit"))
	if err != nil || len(reports) != 3 || reports[0].Lines != 1 || reports[1].Lines != 1 || reports[2].Lines != 4 || reports[2].Tenant != "acme" {
		t.Fatalf("got %+v, %v, want a line of the tenant without a name, one of a stranger and four of acme", reports, err)
	}
	if one, _, _ := n.auditOf(t, "?action=ticket", shop); one[0].Hash != reports[2].Hash {
		t.Errorf("got hash %s, want %s, that of the newest line", one[0].Hash, reports[2].Hash)
	}
}

func TestTheAuditLogOutlastsTheServer(t *testing.T) {
	cfg := config()
	cfg.Data = t.TempDir()
	t.Run("before", func(t *testing.T) {
		start(t, cfg).ticket(t, `{"user":"carol"}`, nil)
	})
	n := start(t, cfg)
	if events, _, _ := n.auditOf(t, "", nil); says(events) != "ticket carol test" {
		t.Errorf("got %s, want the ticket", says(events))
	}
}

func TestALogThatDoesNotVerifyKeepsTheServerFromStarting(t *testing.T) {
	cfg := config()
	cfg.Data = t.TempDir()
	t.Run("before", func(t *testing.T) {
		start(t, cfg).ticket(t, `{"user":"carol"}`, nil)
	})
	files, err := filepath.Glob(filepath.Join(cfg.Data, "audit", "actors-*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[0], []byte(strings.Replace(string(text), "carol", "david", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), files[0]+":1: does not have the hash") {
		t.Errorf("got %v, want the file and the line", err)
	}
}

// TestAFloodOfOneTenantsKeyLeavesTheAuditLogOfAnother: and what it did first in its own, which counts
// what is lost.
func TestAFloodOfOneTenantsKeyLeavesTheAuditLogOfAnother(t *testing.T) {
	for name, dir := range map[string]string{"memory": "", "files": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			log, err := audit.Open(audit.Options{Dir: dir, FileBytes: 128 << 10})
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			cfg := config()
			cfg.Audit = log
			cfg.APIKeys = append(cfg.APIKeys,
				APIKey{Name: "acme", Hash: HashKey("sk_acme"), Tenants: []string{"acme"}},
				APIKey{Name: "evil", Hash: HashKey("sk_evil"), Tenants: []string{"evil"}},
			)
			n := start(t, cfg)
			acme, evil := http.Header{"Authorization": {"Bearer sk_acme"}}, http.Header{"Authorization": {"Bearer sk_evil"}}
			revoke := func(header http.Header, reason string) {
				body := fmt.Sprintf(`{"user":"mallory","reason":%q}`, reason)
				if got := n.call(t, request{method: http.MethodPost, path: "/api/v1/revocations", body: body, header: header}); got.status >= 300 {
					t.Fatalf("got %d %s", got.status, got.body)
				}
			}
			revoke(acme, "fraud case 17")
			revoke(evil, "my own")
			record := recordIn(log) // what 9,000 calls do, in less time
			for n := range 9000 {
				record(switchboard.AuditEvent{Action: switchboard.AuditTicket, Tenant: "evil", User: fmt.Sprint("u", n), Actor: "evil"})
				if n%500 == 0 {
					if _, err := log.Read(audit.Query{Tenant: "evil", Limit: 1}); err != nil { // waits until it is written
						t.Fatal(err)
					}
				}
			}
			for header, want := range map[*http.Header]string{&acme: "fraud case 17", &evil: "my own"} {
				events, _, _ := n.auditOf(t, "?limit=10&action=revoke", *header)
				if len(events) != 1 || events[0].Reason != want {
					t.Errorf("got %s, want the revocation for %s", says(events), want)
				}
			}
			var stats statsAnswer
			n.get(t, "/api/v1/stats").decode(t, &stats)
			if stats.Audit.Tenants != 2 || stats.Audit.Lost < 7000 || stats.Audit.Shared != 0 {
				t.Errorf("got %+v in the counters, want two tenants and most of the flood lost", stats.Audit)
			}
		})
	}
}

// TestThatTenantsShareASeriesOfTheAuditLogIsLoggedOnce: those for which there was none left.
func TestThatTenantsShareASeriesOfTheAuditLogIsLoggedOnce(t *testing.T) {
	var out strings.Builder
	log, err := openAudit("", slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	record := recordIn(log)
	for n := range 70 {
		record(switchboard.AuditEvent{Action: switchboard.AuditTicket, Tenant: fmt.Sprint("t", n), Actor: "shop"})
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if text, stats := out.String(), log.Stats(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "level=WARN") ||
		!strings.Contains(text, fmt.Sprint("tenants=", stats.Tenants)) || stats.Shared != uint64(70-stats.Tenants) || stats.Shared == 0 {
		t.Errorf("got %q and %+v, want that more tenants came than there are series", text, stats)
	}
}
