package switchboard_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// publicRoutes tell everybody the same.
var publicRoutes = []string{"/ws/config", "/ws/health", "/ws/beacon", "/healthz", "/readyz"}

// twin is a tenant with the ids of another. What is said in it has its mark.
type twin struct {
	s      *server
	tenant string
	mark   string
	phone  *device
	run    *switchboard.Run
	pos    switchboard.Position // of the newest in the room
}

func newTwin(t *testing.T, s *server, tenant string) *twin {
	t.Helper()
	w := &twin{s: s, tenant: tenant, mark: "mark-of-" + tenant}
	ctx := w.ctx(t)
	w.phone = s.as(t, tenant+"/u room:*:*")
	w.phone.send(`{"type":"join_room","message_id":"j","payload":{"room":"r"}}`)
	w.phone.await(wire.RoomJoined)
	say := func(to switchboard.Target, id string) switchboard.Delivery {
		d, err := s.Publish(ctx, to, switchboard.Message{Type: "note", ID: id, Thread: "t", Payload: map[string]string{"text": w.mark}})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	say(switchboard.User("u"), "m1")
	w.pos = say(switchboard.Room("r"), "m2").Position
	say(switchboard.All(), "m3")
	var err error
	if w.run, err = s.Runs().Start(ctx, switchboard.RunOptions{ID: "R", Agent: w.mark, Thread: "t", To: switchboard.User("u"), Lease: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.run.Stream("answer").AppendAt(ctx, -1, w.mark); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *twin) ctx(t *testing.T) context.Context {
	return switchboard.WithTenant(t.Context(), w.tenant)
}

// state is everything that the tenant has, as the application sees it.
func (w *twin) state(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	ctx := w.ctx(t)
	for _, to := range []switchboard.Target{switchboard.User("u"), switchboard.Room("r"), switchboard.All()} {
		page, err := w.s.History(ctx, to, switchboard.Query{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, env := range page.Messages {
			line, err := wire.Append(nil, env)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s\n", line)
		}
		fmt.Fprintf(&b, "%v %v\n", to, w.s.receiptsIn(t, w.tenant, to))
	}
	for user, err := range w.s.Rooms().Members(ctx, "r") {
		fmt.Fprintln(&b, "member", user, err)
	}
	for c, err := range w.s.Connections().List(ctx, switchboard.All()) {
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, "connection", c.ID, c.Session, c.Received, c.Sent, c.Errors, c.Topics)
	}
	info, err := w.run.Info(ctx)
	stream, streamErr := w.run.Stream("answer").Snapshot(ctx)
	fmt.Fprintln(&b, "run", info, err, stream, streamErr, len(w.s.ended(t, w.tenant, switchboard.All())))
	stats := w.s.tenantStats(t, w.tenant)
	history := *stats.History
	stats.History = nil
	fmt.Fprintf(&b, "%+v %+v", stats, history)
	for p, err := range w.s.Presence().Room(ctx, "r") {
		p.Devices[0].LastActivity = time.Time{}
		fmt.Fprintln(&b, "present", p, err)
	}
	for marker, err := range w.s.ReadMarkers(ctx, "u") {
		fmt.Fprintln(&b, "read", marker, err)
	}
	return b.String()
}

// TestNoCallOfClientsShowsOrChangesWhatIsAnotherTenants makes every call and says every verb with a
// credential of one tenant while another has the same ids. A route or verb without a case fails.
func TestNoCallOfClientsShowsOrChangesWhatIsAnotherTenants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Heartbeat: switchboard.Heartbeat{Interval: 10 * time.Hour}})
		a, b := newTwin(t, s, "a"), newTwin(t, s, "b")
		web, page := s.web(t).http, s.web(t).stream("b/u room:*:*")
		var answers []string
		call := func(method, path, body string, header ...string) int {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, method, "http://switchboard.test"+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer a/u room:*:*")
			for i := 0; i < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			res, err := web.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			got, _ := io.ReadAll(res.Body) // an event stream lasts until ctx ends
			answers = append(answers, method+" "+path+" "+string(got))
			return res.StatusCode
		}
		want := func(got, want int) {
			t.Helper()
			if got != want {
				t.Errorf("got %d %s, want %d", got, answers[len(answers)-1], want)
			}
		}
		routes := map[string]func(){
			"GET /events": func() {
				want(call("GET", "/events", ""), 200)
				call("GET", "/events", "", "Last-Event-ID", "room/r="+b.pos.String())
			},
			"POST /messages": func() {
				// The streams of the other tenant's user of the same name are not there.
				for _, id := range []string{b.phone.welcome.ConnectionID, page.welcome.ConnectionID} {
					want(call("POST", "/messages", `{"type":"user_message","payload":{}}`, "Switchboard-Connection", id), 404)
				}
			},
			"GET /threads/{id}": func() {
				want(call("GET", "/threads/t", ""), 200)
				want(call("GET", "/threads/t?room=r", ""), 200)
				want(call("GET", "/threads/t?before="+b.pos.String(), ""), 200)
			},
			"POST /websocket/ticket": func() { want(call("POST", "/websocket/ticket", `{"ttl_seconds":60}`), 200) },
			"GET /ws":                func() {},
			"GET /websocket":         func() {},
		}
		verbs := map[wire.MessageType]string{
			wire.Ping: `{}`, wire.Heartbeat: `{}`, wire.Pong: `{}`, wire.HeartbeatAck: `{}`,
			wire.AckType:        fmt.Sprintf(`{"positions":{"room/r":%q,"user/u":%q}}`, b.pos, b.pos),
			wire.Auth:           `{"token":"b/u room:*:*"}`,
			wire.SessionRestore: fmt.Sprintf(`{"positions":{"room/r":%q,"user/u":%q,"all":%q}}`, b.pos, b.pos, b.pos),
			wire.Subscribe:      fmt.Sprintf(`{"rooms":["r"],"since":{"room/r":%q}}`, b.pos),
			wire.Unsubscribe:    `{"rooms":["r"]}`,
			wire.JoinRoom:       `{"room":"r"}`,
			wire.LeaveRoom:      `{"room":"r"}`,
			wire.RoomMessage:    `{"room":"r","text":"of a"}`,
			wire.History:        `{"topic":"room/r","limit":100}`,
			wire.ThreadOpen:     `{"thread_id":"t","room":"r"}`,
			wire.SwitchThread:   `{"thread_id":"t"}`,
			wire.StopAgent:      `{"run_id":"R"}`,
			wire.PresenceUpdate: `{"state":"idle","meta":{"of":"a"}}`,
			wire.TypingStarted:  `{"room":"r"}`,
			wire.TypingStopped:  `{"room":"r"}`,
			wire.MarkRead:       fmt.Sprintf(`{"room":"r","position":%q}`, b.pos),
			wire.Logout:         `{"everywhere":true}`,
		}
		settle := func() {
			synctest.Wait()
			time.Sleep(2 * time.Second) // what is written later is written
		}
		settle()
		before := b.state(t)
		unchanged := func(what string) {
			t.Helper()
			settle()
			if got := b.state(t); got != before {
				t.Errorf("%s has changed what is another tenant's:\n%s\nwas\n%s", what, got, before)
			}
		}
		for path, methods := range s.ClientRoutes() {
			if slices.Contains(publicRoutes, path) {
				continue
			}
			if len(methods) == 0 {
				methods = []string{"GET"}
			}
			for _, method := range methods {
				try, ok := routes[method+" "+path]
				if !ok {
					t.Errorf("%s %s is new: what does it with the ids of another tenant?", method, path)
					continue
				}
				try()
				unchanged(method + " " + path)
			}
		}
		for _, verb := range switchboard.Verbs() {
			body, ok := verbs[verb]
			if !ok {
				t.Errorf("%s is new: what does it with the ids of another tenant?", verb)
				continue
			}
			c := s.as(t, "a/u room:*:*")
			c.send(`{"type":%q,"message_id":"v","payload":%s}`, verb, body)
			for {
				raw, err := c.raw(time.Second)
				if err != nil {
					break
				}
				answers = append(answers, string(verb)+" "+string(raw))
			}
			c.conn.Close()
			unchanged(string(verb))
		}
		if own := strings.Join(answers, "\n"); !strings.Contains(own, a.mark) {
			t.Error("no call has shown what is its own tenant's: they prove nothing")
		}
		for _, got := range answers {
			if strings.Contains(got, b.mark) || strings.Contains(got, b.phone.welcome.ConnectionID) || strings.Contains(got, b.phone.welcome.Session.ID) {
				t.Errorf("got %s, which is another tenant's", got)
			}
		}
		if info, err := a.run.Info(a.ctx(t)); err != nil || info.State != wire.RunCancelled {
			t.Errorf("got %s %v of the own run, want that it was stopped", info.State, err)
		}
	})
}
