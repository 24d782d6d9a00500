package server

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

func (n *node) ticket(t *testing.T, body string, header http.Header) answer {
	t.Helper()
	return n.call(t, request{method: http.MethodPost, path: "/api/v1/tickets", body: body, header: header})
}

func TestABackEndMakesTicketsForItsUsers(t *testing.T) {
	cfg := config()
	cfg.APIKeys[0].Tenants = []string{"", "acme"}
	n := start(t, cfg)
	var got ticketAnswer
	n.ticket(t, `{"user":"alice","ttl_seconds":60,"permissions":["room:r:join"]}`, http.Header{tenantHeader: {"acme"}}).decode(t, &got)
	want := strings.Replace(n.URL(), "http", "ws", 1) + "/ws?ticket=" + got.Ticket
	if left := time.Until(time.UnixMilli(int64(got.ExpiresAt * 1000))); got.WebSocketURL != want || left > time.Minute || left < 50*time.Second {
		t.Errorf("got %+v with %v left, want URL %s and a minute", got, left, want)
	}
	c, err := client.Dial(t.Context(), client.Options{
		URL: n.URL() + "/ws", Ticket: func(context.Context) (string, error) { return got.Ticket, nil }, Rooms: []string{"r"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	call := n.call(t, request{method: http.MethodGet, path: "/api/v1/connections?user=alice", header: http.Header{tenantHeader: {"acme"}}})
	if !strings.Contains(string(call.body), `"user_id":"alice"`) {
		t.Errorf("got %s, want alice of acme connected", call.body)
	}
	if _, err := client.Dial(t.Context(), client.Options{
		URL: n.URL() + "/ws", Ticket: func(context.Context) (string, error) { return got.Ticket, nil },
	}); err == nil {
		t.Error("the ticket was good twice")
	}
}

func TestBadTicketRequestsAreRefusedWithTheFieldConcerned(t *testing.T) {
	n := start(t, config())
	for _, tt := range []struct {
		name, body string
		field      string
	}{
		{"no user", `{}`, "user"},
		{"empty user", `{"user":""}`, "user"},
		{"control character", `{"user":"a\u0007"}`, "user"},
		{"short", `{"user":"alice","ttl_seconds":29}`, "ttl_seconds"},
		{"long", `{"user":"alice","ttl_seconds":3601}`, "ttl_seconds"},
		{"huge", `{"user":"alice","ttl_seconds":9223372036854775807}`, "ttl_seconds"},
		{"text", `{"user":"alice","ttl_seconds":"60"}`, "ttl_seconds"},
		{"permissions", `{"user":"alice","permissions":{}}`, "permissions"},
		{"too many permissions", `{"user":"alice","permissions":["` + strings.Repeat("x", 17<<10) + `"]}`, "permissions"},
		{"unknown member", `{"user":"alice","ttl":60}`, "ttl"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := n.ticket(t, tt.body, nil).problem(t)
			if field, _ := p.Details["field"].(string); p.Status != 422 || p.Code != wire.CodeInvalidMessage || field != tt.field {
				t.Errorf("got %+v, want 422 and field %q", p, tt.field)
			}
		})
	}
}

// TestAnEventStreamPassesTheServer: behind everything that wraps the manager.
func TestAnEventStreamPassesTheServer(t *testing.T) {
	var log lines
	cfg := config()
	cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	n := start(t, cfg)
	var ticket ticketAnswer
	n.ticket(t, `{"user":"alice"}`, nil).decode(t, &ticket)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.URL()+"/events?ticket="+ticket.Ticket, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := n.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	in := bufio.NewReader(res.Body)
	data := func() wire.Envelope {
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if text, ok := strings.CutPrefix(line, "data: "); ok {
				env, err := wire.ParseAnswer([]byte(text))
				if err != nil {
					t.Fatal(err)
				}
				return env
			}
		}
	}
	var welcome wire.Welcome
	if err := data().Decode(&welcome); err != nil || welcome.UserID != "alice" {
		t.Fatalf("got %+v, %v, want the welcome of alice", welcome, err)
	}
	n.publish(t, `{"to":{"user":"alice"},"type":"x","message_id":"m"}`)
	if env := data(); env.ID != "m" {
		t.Errorf("got %+v, want the message", env)
	}
	got := n.call(t, request{method: http.MethodPost, path: "/messages", body: `{"type":"ping","message_id":"p"}`, header: http.Header{
		"Authorization": {"Bearer " + welcome.Session.Token}, "Switchboard-Connection": {welcome.ConnectionID},
	}})
	if got.status != http.StatusOK || !strings.Contains(string(got.body), `"type":"pong"`) {
		t.Errorf("got %d %s, want a pong", got.status, got.body)
	}
	if list := n.connections(t, "?user=alice"); len(list) != 1 || list[0].Transport != "sse" {
		t.Errorf("got %+v, want one event stream", list)
	}
	for name, secret := range map[string]string{"ticket": ticket.Ticket, "session token": welcome.Session.Token} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the %s is in the log:\n%s", name, log.String())
		}
	}
	if fmt.Sprint(res.Header["Cache-Control"]) != "[no-store, no-transform]" {
		t.Errorf("got Cache-Control %q", res.Header["Cache-Control"])
	}
}
