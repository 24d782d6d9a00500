package server

import (
	"context"
)

// tenantAnswer has the counters of one tenant on one node, and nothing of any other tenant.
type tenantAnswer struct {
	Connections      int         `json:"connections" doc:"Now"`
	Accepted         uint64      `json:"total_connections" doc:"Accepted"`
	Refused          uint64      `json:"refused_connections" doc:"Because of the quota"`
	Rooms            int         `json:"rooms" doc:"Followed now, or within half a minute"`
	RoomsRefused     uint64      `json:"refused_rooms" doc:"Because of the quota"`
	Runs             int         `json:"runs_live" doc:"Owned by this node, now"`
	RunsRefused      uint64      `json:"refused_runs" doc:"Because of the quota"`
	MembersRefused   uint64      `json:"refused_memberships" doc:"Because of the quota"`
	TicketsRefused   uint64      `json:"refused_tickets" doc:"Because of the quota"`
	Published        uint64      `json:"messages_published" doc:"By users"`
	Bytes            uint64      `json:"bytes_published" doc:"Payloads of these"`
	Limited          uint64      `json:"messages_limited" doc:"Messages of users that the quota refused"`
	BackendPublished uint64      `json:"backend_messages_published" doc:"By the application"`
	BackendBytes     uint64      `json:"backend_bytes_published" doc:"Payloads of these"`
	BackendLimited   uint64      `json:"backend_messages_limited" doc:"Messages of the application that the quota refused"`
	HistoryBytes     *int64      `json:"history_bytes,omitempty" doc:"What the broker keeps of messages and texts, with what it needs beside them; absent: it does not answer"`
	HistoryEvicted   *uint64     `json:"history_evicted,omitempty" doc:"Messages and texts that left early because there was no room"`
	TextsRefused     uint64      `json:"texts_refused" doc:"Text of runs for which there was no room"`
	Quota            tenantQuota `json:"quota" doc:"What is absent has no bound"`
}

type tenantQuota struct {
	Conns                    int `json:"connections,omitzero"`
	ConnsPerSecond           int `json:"connections_per_second,omitzero"`
	Rooms                    int `json:"rooms,omitzero"`
	Runs                     int `json:"runs,omitzero"`
	Memberships              int `json:"memberships,omitzero"`
	TicketsPerMinute         int `json:"tickets_per_minute,omitzero"`
	MessagesPerMinute        int `json:"messages_per_minute,omitzero"`
	BytesPerMinute           int `json:"bytes_per_minute,omitzero"`
	BackendMessagesPerMinute int `json:"backend_messages_per_minute,omitzero"`
	BackendBytesPerMinute    int `json:"backend_bytes_per_minute,omitzero"`
	HistoryBytes             int `json:"history_bytes,omitzero"`
}

type tenantOutput struct{ Body tenantAnswer }

func (a *api) tenant(ctx context.Context, _ *struct{}) (*tenantOutput, error) {
	s, err := a.m.TenantStats(ctx)
	if err != nil {
		return nil, err
	}
	out := &tenantOutput{Body: tenantAnswer{
		Connections: s.Connections, Accepted: s.Accepted, Refused: s.Refused,
		Rooms: s.Rooms, RoomsRefused: s.RoomsRefused, Runs: s.Runs, RunsRefused: s.RunsRefused,
		MembersRefused: s.MembershipsRefused, TicketsRefused: s.TicketsRefused,
		Published: s.Published, Bytes: s.Bytes, Limited: s.Limited,
		BackendPublished: s.BackendPublished, BackendBytes: s.BackendBytes, BackendLimited: s.BackendLimited,
		TextsRefused: s.TextsRefused, Quota: tenantQuota(s.Quota),
	}}
	if s.History != nil {
		out.Body.HistoryBytes, out.Body.HistoryEvicted = &s.History.Bytes, &s.History.Evicted
	}
	return out, nil
}
