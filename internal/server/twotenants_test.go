package server

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// changing is what changes by itself, or with what the whole node does.
var changing = regexp.MustCompile(`"(last_activity|round_trip_ms|health|missed_heartbeats|last_ack|next)":("[^"]*"|[0-9.]+)`)

// twin is a tenant with the ids of another. What is said in it has its mark.
type twin struct {
	n            *node
	tenant, mark string
	revocation   string // its id
	connection   string
}

func (w *twin) call(t *testing.T, method, path, body string, kind ...string) answer {
	t.Helper()
	h := http.Header{"Authorization": {"Bearer key of " + w.tenant}, "Content-Type": append(kind, "application/json")[:1]}
	return w.n.call(t, request{method: method, path: path, body: body, header: h})
}

// fill makes what the other one has as well.
func (w *twin) fill(t *testing.T) {
	t.Helper()
	w.n.connect(t, w.tenant+"/u", "r")
	for _, c := range [][3]string{
		{"/api/v1/publish", `{"to":{"user":"u"},"type":"note","message_id":"m1","thread_id":"t","payload":{"text":%q}}`},
		{"/api/v1/publish", `{"to":{"room":"r"},"type":"note","message_id":"m2","thread_id":"t","payload":{"text":%q}}`},
		{"/api/v1/publish", `{"to":{"all":true},"type":"note","message_id":"m3","payload":{"text":%q}}`},
		{"/api/v1/runs", `{"to":{"user":"u"},"agent_name":%q,"run_id":"R","thread_id":"t"}`},
		{"/api/v1/runs/R/streams/answer", "%s", "text/plain"},
		{"/api/v1/revocations", `{"token_id":"j","reason":%q}`},
	} {
		kind := []string{c[2]}
		if c[2] == "" {
			kind = nil
		}
		got := w.call(t, http.MethodPost, c[0], fmt.Sprintf(c[1], w.mark), kind...)
		if got.status/100 != 2 {
			t.Fatalf("%s: got %d %s", c[0], got.status, got.body)
		}
		if c[0] == "/api/v1/revocations" {
			w.revocation = parseObject(t, got.body)["id"].(string)
		}
	}
	var list struct{ Connections []connection }
	for deadline := time.Now().Add(10 * time.Second); ; { // until it follows the room as well
		list.Connections = nil
		w.call(t, http.MethodGet, "/api/v1/connections", "").decode(t, &list)
		if len(list.Connections) == 1 && len(list.Connections[0].Topics) == 3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got connections %+v, want one that follows three topics", list.Connections)
		}
	}
	w.connection = list.Connections[0].ID
}

// state is all that the tenant can read of itself.
func (w *twin) state(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, path := range []string{
		"/api/v1/history?topic=user/u", "/api/v1/history?topic=room/r", "/api/v1/history?topic=all", "/api/v1/connections?ended=true",
		"/api/v1/revocations", "/api/v1/tenant", "/api/v1/audit", "/api/v1/runs/R", "/api/v1/runs/R/streams/answer",
		"/api/v1/threads/t?user=u", "/api/v1/threads/t?room=r",
		"/api/v1/rooms/r", "/api/v1/rooms/r/members", "/api/v1/presence/users/u", "/api/v1/presence/rooms/r",
	} {
		got := w.call(t, http.MethodGet, path, "")
		if got.status != http.StatusOK {
			t.Fatalf("%s: got %d %s", path, got.status, got.body)
		}
		fmt.Fprintf(&b, "%s %s", path, changing.ReplaceAll(got.body, nil))
	}
	var list struct{ Connections []connection }
	w.call(t, http.MethodGet, "/api/v1/connections", "").decode(t, &list)
	for _, c := range list.Connections {
		fmt.Fprintln(&b, "connection", c.ID)
	}
	return b.String()
}

// TestNoCallOfTheAPIShowsOrChangesWhatIsAnotherTenants makes every call of the API's own
// description with the key of one tenant while another has the same ids. A call without a case
// fails.
func TestNoCallOfTheAPIShowsOrChangesWhatIsAnotherTenants(t *testing.T) {
	cfg := config()
	for _, tenant := range []string{"a", "b"} {
		cfg.APIKeys = append(cfg.APIKeys, APIKey{Name: "key of " + tenant, Hash: HashKey("key of " + tenant), Tenants: []string{tenant}})
	}
	n := start(t, cfg)
	a, b := &twin{n: n, tenant: "a", mark: "mark-of-a"}, &twin{n: n, tenant: "b", mark: "mark-of-b"}
	a.fill(t)
	b.fill(t)
	type try struct {
		path, body string
		status     int
	}
	note := `{"to":{%s},"type":"note","message_id":"m1","payload":{"text":"of a"}}`
	toTheirs := fmt.Sprintf(note, `"connection":"`+b.connection+`"`)
	cases := map[string][]try{
		"POST /api/v1/publish": {
			{"/api/v1/publish", fmt.Sprintf(note, `"user":"u"`), 200}, {"/api/v1/publish", fmt.Sprintf(note, `"room":"r"`), 200},
			{"/api/v1/publish", fmt.Sprintf(note, `"all":true`), 200}, {"/api/v1/publish", toTheirs, 404},
		},
		"POST /api/v1/publish/batch":       {{"/api/v1/publish/batch", `{"messages":[` + fmt.Sprintf(note, `"room":"r"`) + `,` + toTheirs + `]}`, 200}},
		"POST /api/v1/tickets":             {{"/api/v1/tickets", `{"user":"u"}`, 200}},
		"GET /api/v1/history":              {{"/api/v1/history?topic=user/u", "", 200}, {"/api/v1/history?topic=room/r", "", 200}, {"/api/v1/history?topic=all", "", 200}},
		"GET /api/v1/receipts":             {{"/api/v1/receipts?topic=user/u", "", 200}, {"/api/v1/receipts?topic=room/r", "", 200}},
		"GET /api/v1/connections":          {{"/api/v1/connections", "", 200}, {"/api/v1/connections?ended=true", "", 200}, {"/api/v1/connections?user=u", "", 200}, {"/api/v1/connections?room=r", "", 200}},
		"DELETE /api/v1/connections/xid":   {{"/api/v1/connections/" + b.connection, "", 404}},
		"POST /api/v1/revocations":         {{"/api/v1/revocations", `{"token_id":"j"}`, 200}, {"/api/v1/revocations", `{"user":"u","cancel_runs":false}`, 200}},
		"GET /api/v1/revocations":          {{"/api/v1/revocations", "", 200}},
		"DELETE /api/v1/revocations/xid":   {{"/api/v1/revocations/" + b.revocation, "", 404}, {"/api/v1/revocations/" + a.revocation, "", 204}},
		"GET /api/v1/nodes":                {{"/api/v1/nodes", "", 403}},
		"POST /api/v1/nodes/xid/drain":     {{"/api/v1/nodes/x/drain", "", 403}},
		"GET /api/v1/stats":                {{"/api/v1/stats", "", 403}},
		"GET /api/v1/tenant":               {{"/api/v1/tenant", "", 200}},
		"GET /api/v1/audit":                {{"/api/v1/audit", "", 200}, {"/api/v1/audit?user=u", "", 200}},
		"POST /api/v1/runs":                {{"/api/v1/runs", `{"to":{"user":"u"},"agent_name":"mark-of-a","run_id":"R","thread_id":"t"}`, 200}},
		"GET /api/v1/runs/xrun":            {{"/api/v1/runs/R", "", 200}},
		"POST /api/v1/runs/xrun/events":    {{"/api/v1/runs/R/events", `{"type":"note"}`, 200}},
		"POST /api/v1/runs/xrun/heartbeat": {{"/api/v1/runs/R/heartbeat", "", 200}},
		"GET /api/v1/presence/users/xuser": {{"/api/v1/presence/users/u", "", 200}},
		"GET /api/v1/presence/rooms/xroom": {{"/api/v1/presence/rooms/r", "", 200}},
		"GET /api/v1/rooms/xroom":          {{"/api/v1/rooms/r", "", 200}},
		"GET /api/v1/rooms/xroom/members":  {{"/api/v1/rooms/r/members", "", 200}},
		"GET /ws/stats":                    {{"/ws/stats", "", 403}},

		"PUT /api/v1/rooms/xroom/members/xuser":    {{"/api/v1/rooms/r/members/u", "", 204}},
		"DELETE /api/v1/rooms/xroom/members/xuser": {{"/api/v1/rooms/r/members/u", "", 204}},

		"GET /api/v1/threads/xid": {{"/api/v1/threads/t?user=u", "", 200}, {"/api/v1/threads/t?room=r", "", 200}},

		"POST /api/v1/runs/xrun/streams/xstream": {{"/api/v1/runs/R/streams/answer", "more of a", 200}},
		"GET /api/v1/runs/xrun/streams/xstream":  {{"/api/v1/runs/R/streams/answer", "", 200}},
		// The first of them ends the run; what comes after it is told so.
		"POST /api/v1/runs/xrun/complete":        {{"/api/v1/runs/R/complete", `{}`, 0}},
		"POST /api/v1/runs/xrun/fail":            {{"/api/v1/runs/R/fail", `{"error_message":"x"}`, 0}},
		"POST /api/v1/runs/xrun/cancel":          {{"/api/v1/runs/R/cancel", `{}`, 0}},
		"DELETE /api/v1/users/xuser/connections": {{"/api/v1/users/u/connections", "", 204}},
	}
	described, _ := newTestAPI(t)
	ends := func(op string) bool {
		return strings.HasSuffix(op, "/complete") || strings.HasSuffix(op, "/fail") || strings.HasSuffix(op, "/cancel")
	}
	before := b.state(t)
	var answers []string
	for _, last := range []bool{false, true} {
		for _, op := range described.operations() {
			name := op[0] + " " + op[1]
			if ends(name) != last {
				continue
			}
			tries, ok := cases[name]
			if !ok {
				t.Errorf("%s is new: what does it with the ids of another tenant?", name)
			}
			for _, c := range tries {
				var kind []string
				if strings.Contains(c.path, "/streams/") {
					kind = []string{"text/plain"}
				}
				got := a.call(t, op[0], c.path, c.body, kind...)
				answers = append(answers, name+" "+string(got.body))
				if c.status != 0 && got.status != c.status {
					t.Errorf("%s %s: got %d %s, want %d", op[0], c.path, got.status, got.body, c.status)
				}
				if now := b.state(t); now != before {
					t.Fatalf("%s %s has changed what is another tenant's:\n%s\nwas\n%s", op[0], c.path, now, before)
				}
			}
		}
	}
	for _, got := range answers {
		if strings.Contains(got, b.mark) || strings.Contains(got, b.connection) || strings.Contains(got, b.revocation) {
			t.Errorf("got %s, which is another tenant's", got)
		}
	}
	if own := strings.Join(answers, "\n"); !strings.Contains(own, a.mark) {
		t.Error("no call has shown what is its own tenant's: they prove nothing")
	}
	if got := a.call(t, http.MethodGet, "/api/v1/runs/R", ""); got.status != http.StatusOK || strings.Contains(string(got.body), string(wire.RunRunning)) {
		t.Errorf("got %d %s of the own run, want an end", got.status, got.body)
	}
}
