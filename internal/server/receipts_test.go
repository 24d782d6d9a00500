package server

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

type receiptsPage struct {
	Receipts []receipt
	Next     string
}

// receipts reads a page until it has so many receipts: they are written a second later.
func (n *node) receipts(t *testing.T, query string, count int) (page receiptsPage) {
	t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-look.C {
		page = receiptsPage{}
		n.get(t, "/api/v1/receipts?"+query).decode(t, &page)
		if len(page.Receipts) == count {
			return page
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %+v for %s, want %d receipts", page, query, count)
		}
	}
}

func TestReceiptsAreReadInPages(t *testing.T) {
	cfg := config()
	cfg.APIKeys[0].Tenants = []string{"", "acme"}
	n := start(t, cfg)
	for i := range 5 {
		d := n.connect(t, fmt.Sprintf("user%d", i), "team")
		n.await(t, `{"room":"team"}`, i+1)
		defer d.Close()
	}
	n.publish(t, `{"to":{"room":"team"},"type":"note"}`)
	all := n.receipts(t, "topic=room/team", 10).Receipts // each session and each user
	var read []receipt
	next := ""
	for {
		page := receiptsPage{}
		n.get(t, "/api/v1/receipts?topic=room/team&limit=3&after="+url.QueryEscape(next)).decode(t, &page)
		read = append(read, page.Receipts...)
		if next = page.Next; next == "" {
			break
		}
		if len(page.Receipts) != 3 {
			t.Errorf("got a page of %d, want 3", len(page.Receipts))
		}
	}
	if len(read) != len(all) {
		t.Fatalf("got %d receipts in pages, want %d", len(read), len(all))
	}
	users := map[string]int{}
	for i := range read {
		if read[i].User != all[i].User || read[i].Session != all[i].Session {
			t.Errorf("got %+v as number %d, want %+v", read[i], i, all[i])
		}
		if users[read[i].User]++; read[i].User != read[i/2*2].User || (read[i].Session == "") != (i%2 == 0) || read[i].Delivered.IsZero() {
			t.Errorf("got %+v as number %d", read[i], i)
		}
	}
	if len(users) != 5 {
		t.Errorf("got those of %v, want five users", users)
	}
	if got := n.call(t, request{method: http.MethodGet, path: "/api/v1/receipts?topic=room/team", header: http.Header{tenantHeader: {"acme"}}}); got.status != http.StatusOK || string(got.body) != "{\"receipts\":[]}\n" {
		t.Errorf("got %d %s in another tenant, want none", got.status, got.body)
	}
}

func TestConnectionsThatEndedAreListedWithTheReason(t *testing.T) {
	n := start(t, config())
	d := n.connect(t, "alice")
	n.publish(t, `{"to":{"user":"alice"},"type":"note"}`)
	d.next(t)
	if err := d.Do(context.Background(), wire.AckType, wire.AckRequest{}, nil); err != nil { // refused, and counted
		t.Fatal(err)
	}
	d.next(t)
	id := n.connections(t, "?user=alice")[0].ID
	if got := n.connections(t, "?user=alice&ended=true"); len(got) != 0 {
		t.Errorf("got %+v ended, want none", got)
	}
	n.call(t, request{method: http.MethodDelete, path: "/api/v1/connections/" + id})
	d.wantClosed(t, wire.CloseNormal)
	var got []connection
	for deadline := time.Now().Add(10 * time.Second); len(got) == 0 && time.Now().Before(deadline); {
		got = n.connections(t, "?user=alice&ended=true")
	}
	if len(got) != 1 || got[0].ID != id || got[0].Ended == nil || got[0].Ended.Code != wire.CloseNormal || got[0].Ended.Remote || len(got[0].Topics) != 2 {
		t.Errorf("got %+v, want the end of %s", got, id)
	}
}

func TestConnectionsThatEndedAreReadInPages(t *testing.T) {
	n := start(t, config())
	for range 5 {
		d := n.connect(t, "alice")
		n.call(t, request{method: http.MethodDelete, path: "/api/v1/users/alice/connections"})
		d.wantClosed(t, wire.CloseNormal)
	}
	var all []connection
	for deadline := time.Now().Add(10 * time.Second); len(all) < 5 && time.Now().Before(deadline); {
		all = n.connections(t, "?ended=true")
	}
	var read []connection
	for next, pages := "", 0; ; pages++ {
		var page struct {
			Connections []connection
			Next        string
		}
		n.get(t, "/api/v1/connections?ended=true&user=alice&limit=2&after="+url.QueryEscape(next)).decode(t, &page)
		read = append(read, page.Connections...)
		if next = page.Next; next == "" || pages > 5 {
			break
		}
		if len(page.Connections) != 2 {
			t.Errorf("got a page of %d, want 2", len(page.Connections))
		}
	}
	if len(read) != 5 || len(all) != 5 {
		t.Fatalf("got %d in pages and %d at once, want 5", len(read), len(all))
	}
	for i := range read {
		if read[i].ID != all[i].ID {
			t.Errorf("got %s as number %d, want %s", read[i].ID, i, all[i].ID)
		}
	}
	for _, query := range []string{"ended=true&after=x", "ended=true&limit=0", "ended=true&limit=1001", "after=MQBj"} {
		if got := n.get(t, "/api/v1/connections?"+query); got.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: got %d %s, want 422", query, got.status, got.body)
		}
	}
}
