package server

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/netra-systems/switchboard/wire"
)

func (n *node) member(t *testing.T, method, room, user string) answer {
	t.Helper()
	return n.call(t, request{method: method, path: "/api/v1/rooms/" + url.PathEscape(room) + "/members/" + url.PathEscape(user)})
}

func (n *node) membersOf(t *testing.T, room, query string) (members []string, next string) {
	t.Helper()
	var page struct {
		Members []string
		Next    string
	}
	n.get(t, "/api/v1/rooms/"+room+"/members"+query).decode(t, &page)
	return page.Members, page.Next
}

func TestABackEndPutsUsersIntoRoomsAndTakesThemOut(t *testing.T) {
	cfg := config()
	cfg.Data = t.TempDir()
	n := start(t, cfg)
	d := n.connect(t, "alice")
	defer d.Close()
	for range 2 { // the second time it is so already
		if got := n.member(t, http.MethodPut, "team", "alice"); got.status != http.StatusNoContent || len(got.body) != 0 {
			t.Fatalf("got %d %s, want 204", got.status, got.body)
		}
	}
	if env := d.next(t); env.Type != wire.RoomJoined {
		t.Errorf("got a %s, want room_joined", env.Type)
	}
	n.publish(t, `{"to":{"room":"team"},"type":"note"}`)
	if env := d.next(t); env.Type != "note" {
		t.Errorf("got a %s, want the note", env.Type)
	}
	info := n.get(t, "/api/v1/rooms/team").object(t)
	if info["room"] != "team" || info["member_count"] != 1.0 || info["follower_count"] != 1.0 || info["oldest"] == nil || info["last_activity"] == nil ||
		!strings.HasSuffix(fmt.Sprint(info["position"]), ":2") {
		t.Errorf("got %v, want 1 member and follower, and two records", info)
	}
	for range 2 {
		if got := n.member(t, http.MethodDelete, "team", "alice"); got.status != http.StatusNoContent {
			t.Fatalf("got %d %s, want 204", got.status, got.body)
		}
	}
	if env := d.next(t); env.Type != wire.RoomLeft {
		t.Errorf("got a %s, want room_left", env.Type)
	}
	if members, _ := n.membersOf(t, "team", ""); members == nil || len(members) != 0 {
		t.Errorf("got members %#v, want an empty list", members)
	}
	events, _, _ := n.auditOf(t, "?user=alice", nil)
	if got, want := says(events), "join alice test team added; leave alice test team removed"; got != want {
		t.Errorf("audit: got %s, want %s", got, want)
	}
}

func TestMembersAreListedInPages(t *testing.T) {
	n := start(t, config())
	for _, i := range []int{4, 0, 3, 1, 2} {
		n.member(t, http.MethodPut, "team", fmt.Sprint("user/", i))
	}
	n.member(t, http.MethodPut, "other", "somebody")
	var pages []string
	for next := ""; ; {
		page, after := n.membersOf(t, "team", "?limit=2&after="+url.QueryEscape(next))
		pages = append(pages, strings.Join(page, " "))
		if next = after; next == "" {
			break
		}
	}
	if got, want := strings.Join(pages, "|"), "user/0 user/1|user/2 user/3|user/4"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestARoomThatNobodyNamedIsEmpty(t *testing.T) {
	n := start(t, config())
	info := n.get(t, "/api/v1/rooms/nobodys").object(t)
	if info["member_count"] != 0.0 || info["follower_count"] != 0.0 || info["oldest"] != nil || info["last_activity"] != nil {
		t.Errorf("got %v, want nothing", info)
	}
}

func TestIDsOfRoomsAndMembersAreChecked(t *testing.T) {
	n := start(t, config())
	long := strings.Repeat("x", 129)
	for _, test := range []struct{ method, path, field string }{
		{http.MethodGet, "/api/v1/rooms/" + long, "room"},
		{http.MethodGet, "/api/v1/rooms/" + long + "/members", "room"},
		{http.MethodGet, "/api/v1/rooms/team/members?after=" + long, "after"},
		{http.MethodPut, "/api/v1/rooms/" + long + "/members/alice", "room"},
		{http.MethodPut, "/api/v1/rooms/team/members/a%00b", "user"},
		{http.MethodDelete, "/api/v1/rooms/team/members/" + long, "user"},
	} {
		got := n.call(t, request{method: test.method, path: test.path})
		if p := got.problem(t); got.status != http.StatusUnprocessableEntity || p.Details["field"] != test.field {
			t.Errorf("%s %.60s: got %d %v, want 422 of %s", test.method, test.path, got.status, p.Details, test.field)
		}
	}
}
