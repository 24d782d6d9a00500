package server

import (
	"context"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// statsAnswer has the counters of one node since it started, under the names that
// dashboards of the old system know. All of them count; what is not counted is not here.
type statsAnswer struct {
	ActiveConnections int                  `json:"active_connections"`
	ActiveUsers       int                  `json:"active_users"`
	TotalConnections  uint64               `json:"total_connections" doc:"Accepted"`
	Refused           uint64               `json:"refused_connections"`
	First             uint64               `json:"first_connections" doc:"Handshakes let in before others, because of a live run"`
	MessagesSent      uint64               `json:"messages_sent" doc:"Written to connections"`
	MessagesReceived  uint64               `json:"messages_received" doc:"From connections"`
	MessagesPublished uint64               `json:"messages_published" doc:"By the application and by users"`
	Unhandled         uint64               `json:"messages_unhandled" doc:"That no handler took"`
	Errors            uint64               `json:"errors_handled" doc:"Of message handlers"`
	Gaps              uint64               `json:"gaps" doc:"Announced losses"`
	Skipped           uint64               `json:"messages_skipped" doc:"Volatile messages that clients did not get because they were behind, as gaps told"`
	Isolation         uint64               `json:"isolation_violations" doc:"Must be 0"`
	Unreadable        uint64               `json:"records_unreadable" doc:"Records that this version could not read"`
	CatchUps          uint64               `json:"catch_ups" doc:"Readings of logs for clients that were behind"`
	Syncs             uint64               `json:"syncs" doc:"Readings of logs for records that were missed"`
	RunsLive          int                  `json:"runs_live" doc:"Owned by this node, now"`
	RunsStarted       uint64               `json:"runs_started"`
	RunsEnded         map[string]uint64    `json:"runs_ended" doc:"By state"`
	RunRetries        uint64               `json:"run_retries" doc:"Times a run waited for the broker"`
	TextReads         uint64               `json:"text_reads" doc:"Readings of text streams for clients that were behind"`
	Unwritten         uint64               `json:"writes_unfinished" doc:"Writes that a socket took only in part"`
	ReceiptsWaiting   int                  `json:"receipts_waiting" doc:"To be written, now"`
	ReceiptErrors     uint64               `json:"receipt_errors" doc:"Times a receipt could not be written, and was tried again"`
	ReceiptsDropped   uint64               `json:"receipts_dropped" doc:"That found no room to wait"`
	Acks              uint64               `json:"acks_received" doc:"Acknowledgements from clients, which are among messages_received"`
	AcksDoubted       uint64               `json:"acks_doubted" doc:"Positions in acknowledgements that could not be true"`
	WindowBytes       int64                `json:"window_bytes" doc:"Recent messages and texts in memory, and what waits on connections"`
	Limited           uint64               `json:"frames_limited" doc:"Frames of clients beyond their allowance for all that is no message of the application"`
	MembersRefused    uint64               `json:"memberships_refused" doc:"Because the user or the room has too many"`
	UserLimited       uint64               `json:"messages_limited_by_user" doc:"Messages of users beyond what all their connections may send"`
	Flooded           uint64               `json:"connections_flooded" doc:"Connections closed because they went on beyond it"`
	Overfull          uint64               `json:"connections_overfull" doc:"Connections closed because too much waited that they had not asked for"`
	Evicted           uint64               `json:"messages_evicted" doc:"Recent messages and texts that left memory early for want of it"`
	Revocations       int                  `json:"revocations" doc:"In force, as this node knows, in all tenants"`
	RevokedClosed     uint64               `json:"revoked_closed" doc:"Connections closed because of a revocation"`
	RevokedRefused    uint64               `json:"revoked_refused" doc:"Credentials refused because of a revocation"`
	ErrorsByCode      map[wire.Code]uint64 `json:"errors_by_code" doc:"Error messages sent to clients"`
	RefusalsByReason  map[string]uint64    `json:"refusals_by_reason" doc:"Connections refused"`
	CallsRefused      map[string]uint64    `json:"calls_refused_by_reason" doc:"Calls of clients refused at the door"`
	ReadsRefused      uint64               `json:"reads_refused" doc:"Calls of the application that found too many of their tenant under way"`
	Canaries          statsCanaries        `json:"canaries"`
	Presence          statsPresence        `json:"presence"`
	Typing            statsTyping          `json:"typing"`
	Audit             statsAudit           `json:"audit"`
	Rooms             int                  `json:"rooms_active"`
	Topics            int                  `json:"topics_active"`
	UptimeSeconds     float64              `json:"uptime_seconds"`
	Health            statsHealth          `json:"health_monitoring"`
	Heartbeat         statsHeartbeat       `json:"heartbeat_config"`
}

type statsPresence struct {
	Nodes      int    `json:"nodes" doc:"That are there, this one included"`
	Told       uint64 `json:"told" doc:"presence_state and presence_diff to clients"`
	Asked      uint64 `json:"asked" doc:"Times another node was asked who is in a room"`
	Unanswered uint64 `json:"unanswered" doc:"Questions to nodes without an answer"`

	Probes       uint64  `json:"probes" doc:"Times a user that the server made up was cut off, to measure how long it is shown online"`
	ProbesLate   uint64  `json:"probes_late" doc:"Of them: longer than a lost user may be, and a second"`
	ProbesFailed uint64  `json:"probes_failed" doc:"Times that could not be measured"`
	ProbeLast    float64 `json:"probe_last" doc:"Seconds from the cut until it was told, the last time"`
	ProbeWorst   float64 `json:"probe_worst" doc:"The longest of these"`
}

func presenceStats(s switchboard.PresenceStats) statsPresence {
	return statsPresence{
		Nodes: s.Nodes, Told: s.Told, Asked: s.Asked, Unanswered: s.Unanswered, Probes: s.Probes, ProbesLate: s.ProbesLate,
		ProbesFailed: s.ProbesFailed, ProbeLast: s.ProbeLast.Seconds(), ProbeWorst: s.ProbeWorst.Seconds(),
	}
}

type statsCanaries struct {
	Rounds uint64 `json:"rounds" doc:"Of one tenant"`
	Tries  uint64 `json:"tries" doc:"To read what is another's, that were answered"`
	Leaks  uint64 `json:"leaks" doc:"Must be 0"`
	Missed uint64 `json:"missed" doc:"Rounds that did not end, or in which a canary did not get what is its own"`
}

type statsTyping struct {
	Now     int    `json:"now" doc:"In how many rooms and threads connections type"`
	Relayed uint64 `json:"relayed" doc:"Times others were told that a user types, or types no more"`
	Lost    uint64 `json:"lost" doc:"Times others could not be told"`
}

type statsAudit struct {
	Tenants int    `json:"tenants" doc:"That have a series of their own in the audit log, now"`
	Shared  uint64 `json:"shared" doc:"Events of tenants for which there was none left: these share one"`
	Lost    uint64 `json:"lost" doc:"Events without a line of their own, as lines of the action lost tell"`
}

type statsHealth struct {
	Pings         uint64  `json:"pings_sent"`
	Pongs         uint64  `json:"pongs_received" doc:"Answers to them"`
	Late          uint64  `json:"pongs_late" doc:"Answers after more than 30 seconds, which are no round trips"`
	Pending       int     `json:"pending_pings" doc:"Under way, now"`
	Timeouts      uint64  `json:"timeouts_detected" doc:"Pings missed"`
	Dropped       uint64  `json:"connections_dropped" doc:"Connections closed because of it, each once"`
	Resurrections uint64  `json:"resurrection_count" doc:"Connections that came back after a missed heartbeat"`
	Healthy       int     `json:"healthy_connections" doc:"Whose health is above 50, now"`
	Missing       int     `json:"missing_connections" doc:"With a missed ping and nothing since, now"`
	Stale         int     `json:"stale_connections" doc:"Idle for more than 300 seconds, as of the last sweep"`
	MeanHealth    float64 `json:"avg_health_score" doc:"Of all connections, now; 0: there is none"`
	Sweeps        uint64  `json:"cleanup_runs" doc:"Looks at all connections"`
	MeanRTT       float64 `json:"avg_ping_time" doc:"Seconds; follows the latest"`
	MinRTT        float64 `json:"min_ping_time" doc:"Seconds"`
	MaxRTT        float64 `json:"max_ping_time" doc:"Seconds"`
}

type statsHeartbeat struct {
	Interval  float64 `json:"interval_seconds"`
	Timeout   float64 `json:"timeout_seconds"`
	MaxMissed int     `json:"max_missed_heartbeats"`
}

type statsOutput struct{ Body statsAnswer }

func (a *api) stats(ctx context.Context, _ *struct{}) (*statsOutput, error) {
	if err := nodeIsEverybodys(ctx); err != nil {
		return nil, err
	}
	s := a.m.Stats()
	return &statsOutput{Body: statsAnswer{
		ActiveConnections: s.Connections, ActiveUsers: s.Users, TotalConnections: s.Accepted, Refused: s.Refused, First: s.First,
		MessagesSent: s.Sent, MessagesReceived: s.Received, MessagesPublished: s.Published,
		Unhandled: s.Unhandled, Errors: s.HandlerErrors, Gaps: s.Gaps, Skipped: s.Skipped, Isolation: s.Isolation,
		Unreadable: s.Unreadable, CatchUps: s.CatchUps, Syncs: s.Syncs, Unwritten: s.Unwritten,
		RunsLive: s.RunsLive, RunsStarted: s.RunsStarted, RunsEnded: byState(s.RunsEnded), RunRetries: s.RunRetries, TextReads: s.TextReads,
		ReceiptsWaiting: s.ReceiptsWaiting, ReceiptErrors: s.ReceiptErrors, ReceiptsDropped: s.ReceiptsDropped, Acks: s.Acks, AcksDoubted: s.AcksDoubted,
		WindowBytes: s.WindowBytes, Evicted: s.Evicted, Limited: s.Limited, Flooded: s.Flooded, Overfull: s.Overfull,
		UserLimited: s.UserLimited, MembersRefused: s.MembershipsRefused,
		Revocations: s.Revocations, RevokedClosed: s.RevokedClosed, RevokedRefused: s.RevokedRefused, ErrorsByCode: s.Errors, RefusalsByReason: s.Refusals,
		CallsRefused: s.CallRefusals, ReadsRefused: a.reads.total(),
		Canaries: statsCanaries(s.Canaries),
		Presence: presenceStats(s.Presence),
		Typing:   statsTyping(s.Typing),
		Audit:    statsAudit(a.audit.Stats()),
		Rooms:    s.Rooms, Topics: s.Topics, UptimeSeconds: s.Uptime.Seconds(),
		Health: showHealth(s.Heartbeat),
		Heartbeat: statsHeartbeat{
			Interval: a.heartbeat.Interval.Seconds(), Timeout: a.heartbeat.Timeout.Seconds(), MaxMissed: a.heartbeat.MaxMissed,
		},
	}}, nil
}

func byState(ended map[wire.RunState]uint64) map[string]uint64 {
	byName := make(map[string]uint64, len(ended))
	for state, n := range ended {
		byName[string(state)] = n
	}
	return byName
}

func showHealth(h switchboard.HeartbeatStats) statsHealth {
	return statsHealth{
		Pings: h.Pings, Pongs: h.Pongs, Late: h.Late, Pending: h.Pending, Timeouts: h.Missed, Dropped: h.Dropped, Resurrections: h.Resurrected,
		Healthy: h.Healthy, Missing: h.Missing, Stale: h.Stale, MeanHealth: h.MeanHealth, Sweeps: h.Sweeps,
		MeanRTT: h.MeanRTT.Seconds(), MinRTT: h.MinRTT.Seconds(), MaxRTT: h.MaxRTT.Seconds(),
	}
}
