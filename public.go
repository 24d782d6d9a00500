package switchboard

import (
	"net/http"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// What anybody may know, in the words of the system that clients in the field were written
// for. It holds what is so and what was counted; what this server does not count is left out.

type publicConfig struct {
	WebSocket publicWebSocket `json:"websocket"`
	Server    publicServer    `json:"server"`
}

type publicWebSocket struct {
	Endpoint string         `json:"endpoint"`
	Version  string         `json:"version"`
	Auth     []string       `json:"supported_auth_methods"`
	Features publicFeatures `json:"features"`
	Limits   publicLimits   `json:"limits"`
}

type publicFeatures struct {
	Heartbeat      bool `json:"heartbeat"`
	MessageRouting bool `json:"message_routing"`
	JSONRPC        bool `json:"json_rpc_support"`
	RateLimiting   bool `json:"rate_limiting"`
	ErrorRecovery  bool `json:"error_recovery"`
}

// publicLimits leaves out what has no limit.
type publicLimits struct {
	ConnsPerUser      int     `json:"max_connections_per_user,omitzero"`
	MessagesPerMinute int     `json:"max_message_rate_per_minute,omitzero"`
	MessageBytes      int     `json:"max_message_size_bytes"`
	HeartbeatInterval float64 `json:"heartbeat_interval_seconds"`
}

type publicServer struct {
	Connections int     `json:"active_connections"`
	Uptime      float64 `json:"uptime_seconds"`
	Time        string  `json:"server_time"`
}

type publicHealth struct {
	Status    string             `json:"status"`
	Service   string             `json:"service"`
	Version   string             `json:"version"`
	Timestamp string             `json:"timestamp"`
	Metrics   publicMetrics      `json:"metrics"`
	Config    publicHealthConfig `json:"config"`
	Errors    []string           `json:"errors,omitempty"`
}

type publicMetrics struct {
	WebSocket struct {
		Connections int    `json:"active_connections"`
		Accepted    uint64 `json:"total_connections"`
		Received    uint64 `json:"messages_processed"`
	} `json:"websocket"`
	Monitoring struct {
		Watched int `json:"monitored_connections"`
		Healthy int `json:"healthy_connections"`
	} `json:"monitoring"`
}

type publicHealthConfig struct {
	ConnsPerUser int     `json:"max_connections_per_user,omitzero"`
	Interval     float64 `json:"heartbeat_interval"`
}

type publicBeacon struct {
	Status    string `json:"status"`
	Service   string `json:"service"`
	Timestamp string `json:"timestamp"`
	Message   string `json:"message"`
}

const (
	statusHealthy  = "healthy"
	statusDegraded = "degraded"
)

func isoTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// getConfig tells what a client has to know before it connects.
func (m *Manager) getConfig(w http.ResponseWriter, _ *http.Request) {
	limits := m.opts.Limits
	writeJSON(w, http.StatusOK, publicConfig{
		WebSocket: publicWebSocket{
			Endpoint: "/ws", Version: wire.Subprotocol, Auth: []string{"header", "subprotocol", "ticket"},
			Features: publicFeatures{
				Heartbeat: true, MessageRouting: true, RateLimiting: limits.MessagesPerMinute > 0, ErrorRecovery: true,
			},
			Limits: publicLimits{
				ConnsPerUser: limits.ConnsPerUser, MessagesPerMinute: limits.MessagesPerMinute, MessageBytes: limits.MessageBytes,
				HeartbeatInterval: m.opts.Heartbeat.Interval.Seconds(),
			},
		},
		Server: publicServer{
			Connections: m.hub.Stats().Connections, Uptime: time.Since(m.started).Seconds(), Time: isoTime(time.Now()),
		},
	})
}

// getHealth tells how the node is. The status is 200 in any case: an answer of this kind is no
// reason to take the node out of service, which ends every connection that still works.
func (m *Manager) getHealth(w http.ResponseWriter, _ *http.Request) {
	health := publicHealth{
		Status: statusHealthy, Service: "websocket", Version: wire.Subprotocol, Timestamp: isoTime(time.Now()),
		Config: publicHealthConfig{ConnsPerUser: m.opts.Limits.ConnsPerUser, Interval: m.opts.Heartbeat.Interval.Seconds()},
	}
	stats := m.hub.Stats()
	ws, watch := &health.Metrics.WebSocket, &health.Metrics.Monitoring
	ws.Connections, ws.Accepted, ws.Received = stats.Connections, m.count.accepted.Load(), stats.Received
	watch.Watched = stats.Connections
	watch.Healthy = stats.Healthy
	if m.gate.shut() {
		health.Errors = append(health.Errors, "this node is draining")
	}
	if m.unlinked.Load() {
		health.Errors = append(health.Errors, "the broker cannot be reached")
	}
	if len(health.Errors) > 0 {
		health.Status = statusDegraded
	}
	writeJSON(w, http.StatusOK, health)
}

// publicState is the answer to those who watch over processes.
type publicState struct {
	Status string `json:"status"`
}

// getAlive answers as long as the process does.
func (m *Manager) getAlive(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, publicState{Status: "alive"})
}

// getReady says whether new clients should be sent here.
func (m *Manager) getReady(w http.ResponseWriter, _ *http.Request) {
	switch {
	case m.gate.shut():
		writeJSON(w, http.StatusServiceUnavailable, publicState{Status: string(NodeDraining)})
	case m.unlinked.Load():
		writeJSON(w, http.StatusServiceUnavailable, publicState{Status: "broker unavailable"})
	default:
		writeJSON(w, http.StatusOK, publicState{Status: string(NodeReady)})
	}
}

// getBeacon answers as long as the process does.
func (m *Manager) getBeacon(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, publicBeacon{
		Status: statusHealthy, Service: "websocket_beacon", Timestamp: isoTime(time.Now()), Message: "the server answers",
	})
}
