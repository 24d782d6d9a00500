package server

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	if err != nil || reports[0].Lines != 5 || reports[1].Lines != 1 {
		t.Errorf("got %+v, %v, want five lines of those who are known and one of a stranger", reports, err)
	}
	if one, _, _ := n.auditOf(t, "?action=ticket", shop); one[0].Hash != reports[0].Hash {
		t.Errorf("got hash %s, want %s, that of the newest line", one[0].Hash, reports[0].Hash)
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
