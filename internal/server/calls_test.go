package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// device is a connected client, message by message.
type device struct {
	*client.Client
	messages chan wire.Envelope // closed at the end
	end      chan error         // what Messages ended with; nil if with nothing
}

// connect connects a user, who follows rooms.
func (n *node) connect(t *testing.T, token string, rooms ...string) *device {
	t.Helper()
	c, err := client.Dial(t.Context(), client.Options{
		URL: n.URL() + "/ws", Token: func(context.Context) (string, error) { return token, nil }, Rooms: rooms, Device: token + "'s",
	})
	if err != nil {
		t.Fatal(err)
	}
	d := &device{Client: c, messages: make(chan wire.Envelope, 100), end: make(chan error, 1)}
	messages := c.Messages(context.Background())
	go func() {
		defer close(d.messages)
		for msg, err := range messages {
			if err != nil {
				d.end <- err
				return
			}
			d.messages <- msg
		}
		d.end <- nil
	}()
	t.Cleanup(func() {
		c.Close()
		for range d.messages {
		}
	})
	return d
}

// marker is a message type that only waits for followers.
const marker = "test_marker"

// await publishes markers until one has reached so many connections: a client hears that
// it follows a room a moment before it counts.
func (n *node) await(t *testing.T, to string, connections int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		var got publishAnswer
		n.publish(t, fmt.Sprintf(`{"to":%s,"type":%q}`, to, marker)).decode(t, &got)
		if got.Receivers.Connections == connections {
			return
		}
	}
	t.Fatalf("%s has not got %d connections after 10 s", to, connections)
}

// next returns the next message that is no marker.
func (d *device) next(t *testing.T) wire.Envelope {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case msg, ok := <-d.messages:
			if !ok {
				t.Fatalf("the connection ended with %v, want a message", <-d.end)
			}
			if msg.Type != marker {
				return msg
			}
		case <-deadline:
			t.Fatal("nothing came for 10 s, want a message")
		}
	}
}

// wantClosed waits for the end of the connection.
func (d *device) wantClosed(t *testing.T, code wire.CloseCode) {
	t.Helper()
	select {
	case err := <-d.end:
		refused, ok := errors.AsType[*client.Error](err)
		if !ok || refused.Close != code {
			t.Errorf("got end %v, want close code %d", err, code)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("the connection lives after 10 s, want close code %d", code)
	}
}

// object decodes the members of a success.
func (a answer) object(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	a.decode(t, &m)
	return m
}

func TestAPublishReachesWhomItNamesAndSaysWhereItIs(t *testing.T) {
	for _, tt := range []struct {
		name, to, topic string
	}{
		{"user", `{"user":"alice"}`, "user/alice"},
		{"room", `{"room":"r 1/ü"}`, "room/r 1/ü"},
		{"all", `{"all":true}`, "all"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := start(t, config())
			alice := n.connect(t, "alice", "r 1/ü")
			n.await(t, tt.to, 1)
			body := fmt.Sprintf(`{"to":%s,"type":"order_shipped","payload":{"order":1042},"message_id":"m-%s","thread_id":"t1","run_id":"R"}`, tt.to, tt.name)
			got := n.publish(t, body).object(t)
			msg := alice.next(t)
			if msg.Topic != tt.topic || msg.Type != "order_shipped" || msg.ID != "m-"+tt.name || msg.ThreadID != "t1" || msg.RunID != "R" || msg.UserID != "" || string(msg.Payload) != `{"order":1042}` {
				t.Errorf("got message %+v, want what was published to %s", msg, tt.topic)
			}
			want := map[string]any{
				"message_id": "m-" + tt.name, "topic": tt.topic, "position": msg.Position().String(), "duplicate": false,
				"receivers": map[string]any{"nodes": 1.0, "connections": 1.0},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			want["duplicate"], want["receivers"] = true, map[string]any{"nodes": 0.0, "connections": 0.0}
			if diff := cmp.Diff(want, n.publish(t, body).object(t)); diff != "" {
				t.Errorf("answer to the same again (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAPublishToNobodyIsStored(t *testing.T) {
	n := start(t, config())
	got := n.publish(t, `{"to":{"user":"nobody"},"type":"x"}`).object(t)
	if got["position"] == nil || got["message_id"] == "" {
		t.Errorf("got %v, want a position and an id", got)
	}
	if diff := cmp.Diff(map[string]any{"nodes": 0.0, "connections": 0.0}, got["receivers"]); diff != "" {
		t.Errorf("receivers (-want +got):\n%s", diff)
	}
}

func TestAPublishToOneConnectionIsNotStored(t *testing.T) {
	n := start(t, config())
	first, second := n.connect(t, "alice"), n.connect(t, "alice")
	id := n.connections(t, "?user=alice")[0].ID
	got := n.publish(t, fmt.Sprintf(`{"to":{"connection":%q},"type":"hint","message_id":"h1","class":"volatile"}`, id)).object(t)
	want := map[string]any{"message_id": "h1", "duplicate": false, "receivers": map[string]any{"nodes": 1.0, "connections": 1.0}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	n.publish(t, `{"to":{"user":"alice"},"type":"end"}`)
	hints := 0
	for _, d := range []*device{first, second} {
		msg := d.next(t)
		if msg.Type == "hint" {
			hints++
			if msg.Topic != "" || msg.Offset != 0 {
				t.Errorf("got topic %q, offset %d, want none", msg.Topic, msg.Offset)
			}
			msg = d.next(t)
		}
		if msg.Type != "end" {
			t.Errorf("got %s, want end", msg.Type)
		}
	}
	if hints != 1 {
		t.Errorf("got the hint at %d connections, want 1", hints)
	}
}

func TestExceptLeavesOutASession(t *testing.T) {
	n := start(t, config())
	n.connect(t, "alice")
	session := n.connections(t, "?user=alice")[0].Session
	left := n.connect(t, "alice")
	for _, c := range n.connections(t, "?user=alice") {
		if c.Session != session {
			session = c.Session
			break
		}
	}
	n.publish(t, fmt.Sprintf(`{"to":{"user":"alice"},"type":"not_for_all","except":[%q]}`, session))
	n.publish(t, `{"to":{"user":"alice"},"type":"end"}`)
	if msg := left.next(t); msg.Type != "end" {
		t.Errorf("got %s at the session that was left out, want end", msg.Type)
	}
}

// connections lists connections.
func (n *node) connections(t *testing.T, query string) []connection {
	t.Helper()
	var body struct{ Connections []connection }
	n.call(t, request{method: http.MethodGet, path: "/api/v1/connections" + query}).decode(t, &body)
	return body.Connections
}

func TestConnectionsAreListedByUserAndRoom(t *testing.T) {
	n := start(t, config())
	empty := n.call(t, request{method: http.MethodGet, path: "/api/v1/connections"})
	if got := string(empty.body); !strings.HasPrefix(got, `{"connections":[],`) {
		t.Errorf("got %s, want an empty list", got)
	}
	n.connect(t, "alice", "team")
	n.connect(t, "bob", "team")
	n.connect(t, "carol")
	n.connect(t, "acme/alice", "team")
	n.await(t, `{"room":"team"}`, 2)
	for query, want := range map[string]int{"": 3, "?user=alice": 1, "?user=nobody": 0, "?room=team": 2, "?room=other": 0} {
		if got := n.connections(t, query); len(got) != want {
			t.Errorf("got %d connections for %q, want %d", len(got), query, want)
		}
	}
	c := n.connections(t, "?user=alice")[0]
	if c.User != "alice" || c.ID == "" || c.Session == "" || c.Node == "" || c.Device != "alice's" || c.Transport != "websocket" || c.Address != "127.0.0.1" || c.Health != 100 || time.Since(c.Opened) > time.Minute {
		t.Errorf("got %+v, want alice's connection", c)
	}
}

// A page goes on behind the last of the one before, also if that has ended since.
func TestConnectionsAreReadInPages(t *testing.T) {
	n := start(t, config())
	var all []string
	for range 5 {
		n.connect(t, "alice", "team")
	}
	n.connect(t, "bob")
	n.await(t, `{"room":"team"}`, 5)
	for _, c := range n.connections(t, "?room=team") {
		all = append(all, c.ID)
	}
	for _, of := range []string{"user=alice", "room=team"} {
		var read []string
		for next, pages := "", 0; pages < 5; pages++ {
			var page struct {
				Connections []connection
				Summary     connectionsSummary
				Next        string
			}
			n.get(t, "/api/v1/connections?"+of+"&limit=2&after="+next).decode(t, &page)
			for _, c := range page.Connections {
				read = append(read, c.ID)
			}
			if page.Summary.Total != len(page.Connections) || page.Summary.ByUser["alice"] != len(page.Connections) {
				t.Errorf("got %+v of %d, want the summary of the page", page.Summary, len(page.Connections))
			}
			if next = page.Next; next == "" {
				break
			}
			if of == "room=team" {
				n.call(t, request{method: http.MethodDelete, path: "/api/v1/connections/" + next})
				for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
					if !slices.ContainsFunc(n.connections(t, ""), func(c connection) bool { return c.ID == next }) {
						break
					}
				}
			}
		}
		if !slices.Equal(read, all) {
			t.Errorf("%s: got %v in pages, want %v", of, read, all)
		}
	}
}

func TestAConnectionIsClosedByItsID(t *testing.T) {
	n := start(t, config())
	alice, bob := n.connect(t, "alice"), n.connect(t, "bob")
	path := "/api/v1/connections/" + n.connections(t, "?user=alice")[0].ID
	got := n.call(t, request{method: http.MethodDelete, path: path})
	if got.status != http.StatusNoContent || len(got.body) != 0 {
		t.Errorf("got %d with %q, want 204 and nothing", got.status, got.body)
	}
	alice.wantClosed(t, wire.CloseNormal)
	n.publish(t, `{"to":{"all":true},"type":"end"}`)
	if msg := bob.next(t); msg.Type != "end" {
		t.Errorf("got %s at the other connection, want end", msg.Type)
	}
}

func TestAllConnectionsOfAUserAreClosed(t *testing.T) {
	n := start(t, config())
	devices := []*device{n.connect(t, "alice"), n.connect(t, "alice")}
	for range 2 { // the second time there is nothing to close, which is as good
		got := n.call(t, request{method: http.MethodDelete, path: "/api/v1/users/alice/connections"})
		if got.status != http.StatusNoContent || len(got.body) != 0 {
			t.Errorf("got %d with %q, want 204 and nothing", got.status, got.body)
		}
	}
	for _, d := range devices {
		d.wantClosed(t, wire.CloseNormal)
	}
}

func TestAKeyOfAnotherTenantReachesNobodyHere(t *testing.T) {
	cfg := config()
	cfg.APIKeys[0].Tenants = []string{"", "acme"}
	n := start(t, cfg)
	here, there := n.connect(t, "alice"), n.connect(t, "acme/alice")
	inAcme := http.Header{tenantHeader: {"acme"}}
	const body = `{"to":{"user":"alice"},"type":"for_acme"}`
	n.call(t, request{method: http.MethodPost, path: "/api/v1/publish", body: body, header: inAcme})
	n.publish(t, `{"to":{"user":"alice"},"type":"for_default"}`)
	if msg := there.next(t); msg.Type != "for_acme" {
		t.Errorf("got %s in acme, want for_acme", msg.Type)
	}
	if msg := here.next(t); msg.Type != "for_default" {
		t.Errorf("got %s in the default tenant, want for_default", msg.Type)
	}
	id := n.connections(t, "?user=alice")[0].ID
	got := n.call(t, request{method: http.MethodDelete, path: "/api/v1/connections/" + id, header: inAcme})
	if got.status != http.StatusNotFound {
		t.Errorf("got %d for a connection of another tenant, want 404", got.status)
	}
}

func TestHistoryIsReadInPages(t *testing.T) {
	n := start(t, config())
	for i := range 5 {
		thread := []string{"even", "odd"}[i%2]
		n.publish(t, fmt.Sprintf(`{"to":{"user":"alice"},"type":"x","payload":{"n":%d},"thread_id":%q}`, i, thread))
	}
	read := func(query string) (page struct {
		Messages []wire.Envelope
		Head     wire.Position
		HasMore  bool `json:"has_more"`
		Gap      *wire.Gap
	}) {
		t.Helper()
		n.call(t, request{method: http.MethodGet, path: "/api/v1/history?topic=user/alice" + query}).decode(t, &page)
		return page
	}
	numbers := func(messages []wire.Envelope) (all []int) {
		for _, m := range messages {
			var p struct{ N int }
			if err := json.Unmarshal(m.Payload, &p); err != nil {
				t.Fatal(err)
			}
			all = append(all, p.N)
		}
		return all
	}
	all := read("")
	if diff := cmp.Diff([]int{0, 1, 2, 3, 4}, numbers(all.Messages)); diff != "" || all.HasMore || all.Gap != nil {
		t.Errorf("got more %v, gap %v and messages (-want +got):\n%s", all.HasMore, all.Gap, diff)
	}
	epoch := all.Head.Epoch
	first := fmt.Sprintf("%s:%d", epoch, all.Messages[0].Offset)
	if page := read("&since=" + first + "&limit=2"); !page.HasMore || !cmp.Equal(numbers(page.Messages), []int{1, 2}) {
		t.Errorf("got %v, more %v after the first, want 1 and 2 and more", numbers(page.Messages), page.HasMore)
	}
	if page := read("&before=" + all.Head.String() + "&limit=2"); !cmp.Equal(numbers(page.Messages), []int{2, 3}) {
		t.Errorf("got %v before the last, want 2 and 3", numbers(page.Messages))
	}
	if page := read("&thread_id=odd"); !cmp.Equal(numbers(page.Messages), []int{1, 3}) {
		t.Errorf("got %v of thread odd, want 1 and 3", numbers(page.Messages))
	}
	if page := read("&since=lost:7"); page.Gap == nil || page.Gap.Reason != wire.ReasonEpochChanged {
		t.Errorf("got gap %+v for a position of another epoch, want epoch_changed", page.Gap)
	}
}

func TestStatsCount(t *testing.T) {
	n := start(t, config())
	alice := n.connect(t, "alice", "team")
	n.await(t, `{"room":"team"}`, 1)
	n.publish(t, `{"to":{"user":"alice"},"type":"x"}`)
	alice.next(t)
	var got statsAnswer
	for deadline := time.Now().Add(10 * time.Second); got.MessagesSent == 0 && time.Now().Before(deadline); { // counted after the write
		n.call(t, request{method: http.MethodGet, path: "/api/v1/stats"}).decode(t, &got)
	}
	if got.ActiveConnections != 1 || got.ActiveUsers != 1 || got.TotalConnections != 1 || got.MessagesPublished < 2 || got.MessagesSent < 1 || got.Rooms != 1 || got.UptimeSeconds <= 0 {
		t.Errorf("got %+v, want one connection, user, room and message", got)
	}
	if diff := cmp.Diff(statsHeartbeat{Interval: 25, Timeout: 75, MaxMissed: 2}, got.Heartbeat); diff != "" {
		t.Errorf("heartbeat_config (-want +got):\n%s", diff)
	}
}

func TestClientsAreToldWhenTheServerStops(t *testing.T) {
	s, err := New(config())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	<-s.Ready()
	n := &node{Server: s, http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	alice := n.connect(t, "alice")
	// One that does not answer the close stays until it is given up.
	mute, err := new(net.Dialer).DialContext(t.Context(), "tcp", n.address())
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	exchange(t, mute, "GET /ws HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer mute\r\n\r\n")
	stop()
	if msg := alice.next(t); msg.Type != wire.ServerShutdown {
		t.Errorf("got %s, want %s", msg.Type, wire.ServerShutdown)
	}
	// Until the clients are gone a load balancer and back ends still get answers.
	if got := n.call(t, request{method: http.MethodGet, path: "/api/v1/stats"}); got.status != http.StatusOK {
		t.Errorf("got status %d while clients are moved away, want 200", got.status)
	}
	_ = mute.Close()
	if err := <-ended; err != nil {
		t.Errorf("got %v from Run, want nil", err)
	}
}

// away is a broker that cannot be reached.
type away struct{ broker.Driver }

func (away) Publish(context.Context, broker.Record) (broker.Published, error) {
	return broker.Published{}, fmt.Errorf("dial tcp 10.0.0.7: %w", broker.ErrUnavailable)
}

func TestABrokerThatIsAwayIsToldWithAPause(t *testing.T) {
	memory := membroker.New(membroker.Options{})
	t.Cleanup(func() { memory.Close() })
	cfg := config()
	cfg.Broker = away{memory}
	n := start(t, cfg)
	got := n.publish(t, `{"to":{"user":"alice"},"type":"x"}`)
	p := got.problem(t)
	if p.Status != http.StatusServiceUnavailable || p.Code != wire.CodeUnavailable || got.header.Get("Retry-After") != "1" || p.Details["retry_after_ms"] != 1000.0 {
		t.Errorf("got %s with Retry-After %q, want 503 UNAVAILABLE and 1", got.body, got.header.Get("Retry-After"))
	}
	if strings.Contains(string(got.body), "10.0.0.7") {
		t.Errorf("got %s, want nothing of the error's own text", got.body)
	}
}

func TestTheDescriptionOfTheAPIIsComplete(t *testing.T) {
	n := start(t, config())
	got := n.call(t, request{method: http.MethodGet, path: "/api/openapi.json"})
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]struct{ OperationID string }
		Components struct{ Schemas map[string]any }
	}
	got.decode(t, &doc)
	if doc.OpenAPI != "3.1.0" || len(doc.Paths) != 30 || doc.Components.Schemas["Problem"] == nil {
		t.Errorf("got OpenAPI %s with %d paths and %d schemas, want 3.1.0, 30 and Problem", doc.OpenAPI, len(doc.Paths), len(doc.Components.Schemas))
	}
	if text := string(got.body); strings.Contains(text, "ErrorModel") || strings.Contains(text, "octet-stream") || strings.Contains(text, `"ThreadID"`) {
		t.Errorf("got %s, want nothing that the API does not do", text)
	}
	var raw any
	if err := json.Unmarshal(got.body, &raw); err != nil {
		t.Fatal(err)
	}
	for _, ref := range refs(raw) {
		if name, ok := strings.CutPrefix(ref, "#/components/schemas/"); !ok || doc.Components.Schemas[name] == nil {
			t.Errorf("got reference %s to nothing", ref)
		}
	}
}

// refs returns every reference below a JSON value.
func refs(v any) (all []string) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if ref, ok := value.(string); ok && key == "$ref" {
				all = append(all, ref)
			}
			all = append(all, refs(value)...)
		}
	case []any:
		for _, value := range v {
			all = append(all, refs(value)...)
		}
	}
	return all
}

func TestConnectionsAreShownWithTheirHealthAndSummedUp(t *testing.T) {
	cfg := config()
	cfg.Heartbeat = switchboard.Heartbeat{Interval: 20 * time.Millisecond, Timeout: time.Minute, MaxMissed: 255}
	n := start(t, cfg)
	n.connect(t, "alice")
	n.connect(t, "alice")
	n.connect(t, "acme/bob")
	var got struct {
		Connections []map[string]any
		Summary     map[string]any
	}
	pinged := func(c map[string]any) bool { return c["last_pong_received"] != nil }
	for deadline := time.Now().Add(10 * time.Second); len(got.Connections) != 2 || !pinged(got.Connections[0]) || !pinged(got.Connections[1]); {
		if time.Now().After(deadline) {
			t.Fatalf("got %v, want two connections that answered pings", got)
		}
		n.call(t, request{method: http.MethodGet, path: "/api/v1/connections"}).decode(t, &got)
	}
	for _, c := range got.Connections {
		for _, field := range []string{"connection_id", "transport", "opened_at", "address", "last_activity", "idle_seconds", "last_ping_sent", "has_pending_ping", "round_trip_ms", "missed_heartbeats", "health", "received", "sent", "errors"} {
			if c[field] == nil {
				t.Errorf("got %v, want it with %s", c, field)
			}
		}
		if c["healthy"] != true || c["stale"] != false || c["idle_seconds"].(float64) > 30 {
			t.Errorf("got %v, want it well", c)
		}
	}
	want := map[string]any{"total": 2.0, "healthy": 2.0, "stale": 0.0, "errors": 0.0, "by_user": map[string]any{"alice": 2.0}}
	if diff := cmp.Diff(want, got.Summary); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	for _, path := range []string{"/api/v1/stats", "/ws/stats"} {
		var st statsAnswer
		n.call(t, request{method: http.MethodGet, path: path}).decode(t, &st)
		if h := st.Health; h.Pings < 2 || h.Pongs < 2 || h.Healthy != 3 || h.MeanHealth <= 50 || h.Sweeps == 0 || h.MeanRTT <= 0 || h.Dropped != 0 {
			t.Errorf("%s: got %+v, want three connections well", path, h)
		}
	}
}
