package switchboard_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
)

// facts decodes an answer of a public path, and takes the time out of it.
func (r reply) facts(t *testing.T, clock ...string) map[string]any {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal([]byte(r.body), &got); err != nil || r.status != 200 {
		t.Fatalf("got %d %s (%v), want 200 and an object", r.status, r.body, err)
	}
	in := got
	for _, name := range clock[:len(clock)-1] {
		in = in[name].(map[string]any)
	}
	last := clock[len(clock)-1]
	text, _ := in[last].(string)
	if at, err := time.Parse(time.RFC3339Nano, text); err != nil || !at.Equal(time.Now()) {
		t.Errorf("got %s %q, want now", last, text)
	}
	delete(in, last)
	return got
}

func TestPublicPathsTellWhatIsSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{
			Heartbeat: switchboard.Heartbeat{Interval: 15 * time.Second},
			Limits:    switchboard.Limits{ConnsPerUser: 3, MessagesPerMinute: 30, MessageBytes: 8192},
		})
		a := s.as(t, "alice")
		a.send(`{"type":"ping","message_id":"p"}`)
		a.expect("pong")
		s.web(t).stream("alice").cut()
		time.Sleep(10 * time.Second)
		c := s.web(t)
		wantEqual(t, "config", c.do(call{path: "/ws/config"}).facts(t, "server", "server_time"), map[string]any{
			"websocket": map[string]any{
				"endpoint": "/ws", "version": "switchboard.v1", "supported_auth_methods": []any{"header", "subprotocol", "ticket"},
				"features": map[string]any{
					"heartbeat": true, "message_routing": true, "json_rpc_support": false, "rate_limiting": true, "error_recovery": true,
				},
				"limits": map[string]any{
					"max_connections_per_user": 3.0, "max_message_rate_per_minute": 30.0, "max_message_size_bytes": 8192.0, "heartbeat_interval_seconds": 15.0,
				},
			},
			"server": map[string]any{"active_connections": 1.0, "uptime_seconds": 10.0},
		})
		wantEqual(t, "health", c.do(call{path: "/ws/health"}).facts(t, "timestamp"), map[string]any{
			"status": "healthy", "service": "websocket", "version": "switchboard.v1",
			"metrics": map[string]any{
				"websocket":  map[string]any{"active_connections": 1.0, "total_connections": 2.0, "messages_processed": 1.0},
				"monitoring": map[string]any{"monitored_connections": 1.0, "healthy_connections": 1.0},
			},
			"config": map[string]any{"max_connections_per_user": 3.0, "heartbeat_interval": 15.0},
		})
		wantEqual(t, "beacon", c.do(call{path: "/ws/beacon"}).facts(t, "timestamp"), map[string]any{
			"status": "healthy", "service": "websocket_beacon", "message": "the server answers",
		})
	})
}

func TestWhatHasNoLimitIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: unlimited})
		got := s.web(t).do(call{path: "/ws/config"}).facts(t, "server", "server_time")["websocket"].(map[string]any)
		wantEqual(t, "limits", got["limits"], any(map[string]any{"max_message_size_bytes": 65536.0, "heartbeat_interval_seconds": 25.0}))
		if got["features"].(map[string]any)["rate_limiting"] != false {
			t.Errorf("got %v, want no rate limiting", got["features"])
		}
	})
}

func TestHealthSaysWhatIsWrongAndNever5xx(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDriver(t)
		s := newServer(t, switchboard.Options{Broker: d, Heartbeat: switchboard.Heartbeat{
			Interval: 20 * time.Second, Timeout: 2 * time.Minute, MaxMissed: 5,
		}})
		c := s.web(t)
		dead := s.as(t, "alice") // answers no pings: two are missed
		health := func() map[string]any { return c.do(call{path: "/ws/health"}).facts(t, "timestamp") }
		if got := health(); got["status"] != "healthy" || got["errors"] != nil {
			t.Errorf("got %v, want healthy", got)
		}
		time.Sleep(75 * time.Second)
		watched := health()["metrics"].(map[string]any)["monitoring"]
		wantEqual(t, "monitoring", watched, any(map[string]any{"monitored_connections": 1.0, "healthy_connections": 0.0}))
		_ = dead.conn.Close()

		d.Faults().CutLink()
		synctest.Wait()
		if got := health(); got["status"] != "degraded" || len(got["errors"].([]any)) != 1 {
			t.Errorf("without the broker: got %v, want degraded", got)
		}
		time.Sleep(time.Second)
		if got := health(); got["status"] != "healthy" {
			t.Errorf("with the broker again: got %v, want healthy", got)
		}
		shutDown(t, s.Manager)
		got := c.do(call{path: "/ws/health"}).facts(t, "timestamp")
		if got["status"] != "degraded" || got["errors"].([]any)[0] != "this node is draining" {
			t.Errorf("after shutdown: got %v, want degraded", got)
		}
	})
}

func TestMethodsOfThePaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		c := s.web(t)
		for path, allow := range map[string]string{
			"/events": "GET, OPTIONS", "/messages": "POST, OPTIONS", "/websocket/ticket": "POST, OPTIONS",
			"/ws/config": "GET, HEAD, OPTIONS", "/ws/health": "GET, HEAD, OPTIONS", "/ws/beacon": "GET, HEAD, OPTIONS",
		} {
			if got := c.do(call{method: http.MethodOptions, path: path}); got.status != 204 || got.header.Get("Allow") != allow || got.body != "" {
				t.Errorf("OPTIONS %s: got %+v, want 204 and %s", path, got, allow)
			}
			got := c.do(call{method: http.MethodDelete, path: path})
			if p := got.problem(t); p.Status != 405 || got.header.Get("Allow") != allow {
				t.Errorf("DELETE %s: got %+v, want 405 and %s", path, got, allow)
			}
			if got := c.do(call{method: http.MethodHead, path: path}); strings.Contains(allow, "HEAD") && (got.status != 200 || got.body != "") {
				t.Errorf("HEAD %s: got %+v, want 200", path, got)
			}
		}
	})
}

func TestOnlyPagesOfAllowedOriginsMayReadAnswers(t *testing.T) {
	const app = "https://app.example.com"
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Origins: []string{app}})
		c := s.web(t)
		from := func(origin string) map[string]string {
			return map[string]string{"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
		}
		for _, path := range []string{"/events", "/messages", "/websocket/ticket", "/ws/config", "/ws"} {
			for origin, allowed := range map[string]bool{app: true, "http://switchboard.test": true, "https://evil.example": false, "null": false} {
				h := c.do(call{method: http.MethodOptions, path: path, header: from(origin)}).header
				want := ""
				if allowed {
					want = origin
				}
				if h.Get("Access-Control-Allow-Origin") != want || h.Get("Vary") != "Origin" || h.Get("Access-Control-Allow-Credentials") != "" {
					t.Errorf("%s from %s: got %v, want Access-Control-Allow-Origin %q", path, origin, h, want)
				}
				headers := h.Get("Access-Control-Allow-Headers")
				if has := headers == "Authorization, Content-Type, Last-Event-ID, Switchboard-Connection"; has != allowed {
					t.Errorf("%s from %s: got headers %q", path, origin, headers)
				}
			}
		}
		if got := c.do(call{method: http.MethodOptions, path: "/messages", header: from(app)}); !strings.Contains(got.header.Get("Access-Control-Allow-Methods"), "POST") {
			t.Errorf("got %v, want POST allowed", got.header)
		}
		a, resp := c.open(call{token: "alice", header: map[string]string{"Origin": app}})
		if resp.StatusCode != 200 || resp.Header.Get("Access-Control-Allow-Origin") != app {
			t.Errorf("event stream: got %d %v, want it shared with %s", resp.StatusCode, resp.Header, app)
		}
		a.expect("system_message")
		// A refusal can be read too, by whom it concerns.
		got := c.do(call{path: "/events", token: "bad", header: map[string]string{"Origin": app}})
		if got.status != 401 || got.header.Get("Access-Control-Allow-Origin") != app {
			t.Errorf("refusal: got %+v, want it shared with %s", got, app)
		}
		got = c.do(call{path: "/events", token: "alice", header: map[string]string{"Origin": "https://evil.example"}})
		if got.status != 403 || got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("another origin: got %+v, want 403, shared with nobody", got)
		}
	})
}
