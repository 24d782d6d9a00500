package server

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

func (n *node) revoke(t *testing.T, body string, header http.Header) answer {
	t.Helper()
	return n.call(t, request{method: http.MethodPost, path: "/api/v1/revocations", body: body, header: header})
}

func (n *node) revocations(t *testing.T, query string) (page listRevocationsOutput) {
	t.Helper()
	n.call(t, request{method: http.MethodGet, path: "/api/v1/revocations" + query}).decode(t, &page.Body)
	return page
}

func TestABackEndRevokesAndRestores(t *testing.T) {
	cfg := config()
	n := start(t, cfg)
	var ticket ticketAnswer
	n.ticket(t, `{"user":"alice"}`, nil).decode(t, &ticket)
	res, err := n.http.Get(n.URL() + "/events?ticket=" + ticket.Ticket)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	var made struct{ ID string }
	began := time.Now()
	n.revoke(t, fmt.Sprintf(`{"user":"alice","until":%q,"cancel_runs":true,"reason":"left the company"}`, until.Format(time.RFC3339)), nil).decode(t, &made)
	ended := false
	for in := bufio.NewScanner(res.Body); in.Scan(); {
		ended = ended || strings.Contains(in.Text(), "4002")
	}
	if !ended || time.Since(began) > time.Second {
		t.Errorf("the stream ended after %v, told 4002: %v; want within a second, and told", time.Since(began), ended)
	}
	page := n.revocations(t, "")
	if len(page.Body.Revocations) != 1 {
		t.Fatalf("got %+v, want one", page.Body)
	}
	got := page.Body.Revocations[0]
	if got.ID != made.ID || got.User != "alice" || got.NotBefore == nil || !got.Until.Equal(until) || !got.CancelRuns || got.Reason != "left the company" {
		t.Errorf("got %+v", got)
	}
	if got := n.call(t, request{method: http.MethodDelete, path: "/api/v1/revocations/" + made.ID}); got.status != http.StatusNoContent {
		t.Errorf("got %d %s, want 204", got.status, got.body)
	}
	if p := n.call(t, request{method: http.MethodDelete, path: "/api/v1/revocations/" + made.ID}).problem(t); p.Status != 404 || p.Details["field"] != "id" {
		t.Errorf("again: got %+v, want 404", p)
	}
	if page := n.revocations(t, ""); len(page.Body.Revocations) != 0 {
		t.Errorf("got %+v, want none", page.Body)
	}
}

func TestRevocationsComeInPages(t *testing.T) {
	n := start(t, config())
	var want, got []string
	for i := range 5 {
		var made struct{ ID string }
		n.revoke(t, fmt.Sprintf(`{"token_id":"t%d"}`, i), nil).decode(t, &made)
		want = append(want, made.ID)
	}
	for after := ""; ; {
		page := n.revocations(t, "?limit=2&after="+after).Body
		for _, r := range page.Revocations {
			got = append(got, r.ID)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestBadRevocationsAreRefusedWithTheFieldConcerned(t *testing.T) {
	n := start(t, config())
	for _, tt := range []struct{ name, body, field string }{
		{"nobody", `{}`, "user"},
		{"two names", `{"user":"alice","sid":"s"}`, "user"},
		{"control character", `{"user":"a\u0007"}`, "user"},
		{"session", `{"session":"mine"}`, "session"},
		{"long token", `{"token_id":"` + strings.Repeat("x", 257) + `"}`, "token_id"},
		{"long sid", `{"sid":"` + strings.Repeat("x", 257) + `"}`, "sid"},
		{"runs of a token", `{"token_id":"t","cancel_runs":true}`, "cancel_runs"},
		{"over", `{"user":"alice","until":"2001-01-01T00:00:00Z"}`, "until"},
		{"no time", `{"user":"alice","until":"tomorrow"}`, "until"},
		{"over, in seconds", `{"user":"alice","until":978307200}`, "until"},
		{"before 1970", `{"user":"alice","not_before":-1}`, "not_before"},
		{"in the year 10000", `{"user":"alice","not_before":253402300800}`, "not_before"},
		{"neither", `{"user":"alice","not_before":true}`, "not_before"},
		{"long reason", `{"user":"alice","reason":"` + strings.Repeat("x", 257) + `"}`, "reason"},
		{"unknown member", `{"user":"alice","ban":true}`, "ban"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := n.revoke(t, tt.body, nil).problem(t)
			if field, _ := p.Details["field"].(string); p.Status != 422 || p.Code != wire.CodeInvalidMessage || field != tt.field {
				t.Errorf("got %+v, want 422 and field %q", p, tt.field)
			}
		})
	}
}

func TestTimesOfARevocationAreSecondsOrText(t *testing.T) {
	n := start(t, config())
	for _, at := range []string{"4102444800.25", `"2100-01-01T00:00:00.25Z"`, `"2100-01-01T01:00:00.250+01:00"`} {
		made := n.revoke(t, `{"user":"alice","not_before":`+at+`,"until":`+at+`}`, nil)
		if made.status != 200 {
			t.Fatalf("%s: got %d %s", at, made.status, made.body)
		}
	}
	want := time.Date(2100, 1, 1, 0, 0, 0, 250e6, time.UTC)
	for _, r := range n.revocations(t, "").Body.Revocations {
		if !r.NotBefore.Equal(want) || !r.Until.Equal(want) {
			t.Errorf("got %v and %v, want %v", r.NotBefore, r.Until, want)
		}
	}
	if p := n.revoke(t, `{"user":"alice","until":"tomorrow"}`, nil).problem(t); p.Detail != `until: must be seconds since 1970, or a time as "2026-01-02T15:04:05Z"` {
		t.Errorf("got %q", p.Detail)
	}
}

func TestOnlyKeysThatManageMayRevoke(t *testing.T) {
	cfg := config()
	cfg.APIKeys[0].Scopes = []Scope{ScopePublish, ScopeRead, ScopeTickets, ScopeMonitor}
	n := start(t, cfg)
	for _, r := range []request{
		{method: http.MethodPost, path: "/api/v1/revocations", body: `{"user":"alice"}`},
		{method: http.MethodGet, path: "/api/v1/revocations"},
		{method: http.MethodDelete, path: "/api/v1/revocations/rev_1"},
	} {
		if got := n.call(t, r); got.status != http.StatusForbidden {
			t.Errorf("%s %s: got %d, want 403", r.method, r.path, got.status)
		}
	}
}
