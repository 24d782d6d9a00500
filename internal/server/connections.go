package server

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// connection is one connection as the API shows it.
type connection struct {
	ID              string     `json:"connection_id"`
	Session         string     `json:"session_id" doc:"Stays the same when the client comes back"`
	User            string     `json:"user_id"`
	Node            string     `json:"node"`
	Device          string     `json:"device,omitempty" doc:"What the client calls itself"`
	Transport       string     `json:"transport"`
	Address         string     `json:"address,omitempty"`
	Opened          time.Time  `json:"opened_at"`
	LastActivity    time.Time  `json:"last_activity" doc:"Its last frame of any kind"`
	IdleSeconds     float64    `json:"idle_seconds" doc:"Since then"`
	Stale           bool       `json:"stale" doc:"Idle for more than 300 seconds"`
	LastPing        *time.Time `json:"last_ping_sent,omitempty"`
	LastPong        *time.Time `json:"last_pong_received,omitempty"`
	Pinging         bool       `json:"has_pending_ping"`
	RoundTripMS     float64    `json:"round_trip_ms" doc:"0: not measured yet"`
	Missed          int        `json:"missed_heartbeats" doc:"In a row"`
	Health          int        `json:"health" doc:"0 to 100: each pong adds 10, each missed ping takes 25"`
	Healthy         bool       `json:"healthy" doc:"Above 50"`
	Behind          int        `json:"behind" doc:"Messages that are not written yet"`
	UnwritableSince *time.Time `json:"unwritable_since,omitempty" doc:"Absent: the socket takes what is written"`
	Lag             int        `json:"lag" doc:"Messages that the client has not acknowledged, of topics of which it has acknowledged any"`
	LastAck         *time.Time `json:"last_ack,omitempty" doc:"When it last acknowledged something new"`
	Received        uint64     `json:"received"`
	Sent            uint64     `json:"sent"`
	Errors          uint64     `json:"errors" doc:"Messages refused"`

	Topics []connectionTopic `json:"topics" nullable:"false" doc:"What it follows, and how far it is"`
	Ended  *connectionEnd    `json:"ended,omitempty" doc:"Absent: it is live"`
}

type connectionTopic struct {
	Topic     string        `json:"topic"`
	Written   wire.Position `json:"written" doc:"Everything up to here has been written to the socket"`
	Behind    int           `json:"behind" doc:"Offsets from there to the newest message"`
	Delivered wire.Position `json:"delivered,omitzero" doc:"As the client has acknowledged on this connection"`
	Seen      wire.Position `json:"seen,omitzero"`
	Lag       int           `json:"lag" doc:"Offsets from delivered to the newest message"`
}

type connectionEnd struct {
	At     time.Time      `json:"at"`
	Code   wire.CloseCode `json:"code" doc:"1006: it was lost"`
	Reason string         `json:"reason,omitempty"`
	Remote bool           `json:"remote" doc:"The client or the network ended it"`
}

func showConnection(c switchboard.ConnInfo) connection {
	shown := connection{
		ID: c.ID, Session: c.Session, User: c.User, Node: c.Node, Device: c.Device, Transport: c.Transport,
		Opened: c.Opened.UTC(), LastActivity: c.LastActivity.UTC(), IdleSeconds: c.Idle.Seconds(), Stale: c.Stale(),
		LastPing: timeOrNone(c.LastPing), LastPong: timeOrNone(c.LastPong), Pinging: c.Pinging,
		RoundTripMS: float64(c.RoundTrip) / float64(time.Millisecond),
		Missed:      c.Missed, Health: c.Health, Healthy: c.Healthy(), Behind: c.Behind, Lag: c.Lag, Received: c.Received, Sent: c.Sent, Errors: c.Errors,
	}
	if c.Address.IsValid() {
		shown.Address = c.Address.String()
	}
	shown.UnwritableSince, shown.LastAck = timeOrNone(c.UnwritableSince), timeOrNone(c.LastAck)
	shown.Topics = make([]connectionTopic, len(c.Topics))
	for i, t := range c.Topics {
		shown.Topics[i] = connectionTopic(t)
	}
	return shown
}

func timeOrNone(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

type listConnectionsInput struct {
	User  string `query:"user" doc:"Only those of a user"`
	Room  string `query:"room" doc:"Only those that follow a room"`
	Ended bool   `query:"ended" doc:"Those that ended within the last 10 minutes instead, newest first"`
	After string `query:"after" doc:"Go on behind a page: its next"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"1000" doc:"At most so many"`
}

type listConnectionsOutput struct {
	Body struct {
		Connections []connection       `json:"connections" nullable:"false"`
		Summary     connectionsSummary `json:"summary"`
		Next        string             `json:"next,omitempty" doc:"For after; absent: there are no more"`
	}
}

// connectionsSummary is about the connections of one answer.
type connectionsSummary struct {
	Total   int            `json:"total"`
	Healthy int            `json:"healthy" doc:"Whose health is above 50"`
	Stale   int            `json:"stale" doc:"Idle for more than 300 seconds"`
	Errors  uint64         `json:"errors" doc:"Messages refused"`
	ByUser  map[string]int `json:"by_user" nullable:"false" doc:"How many each user has"`
}

// add puts a connection into an answer.
func (o *listConnectionsOutput) add(c connection) {
	o.Body.Connections = append(o.Body.Connections, c)
	s := &o.Body.Summary
	s.Total++
	s.Errors += c.Errors
	s.ByUser[c.User]++
	if c.Healthy {
		s.Healthy++
	}
	if c.Stale {
		s.Stale++
	}
}

func (a *api) listConnections(ctx context.Context, in *listConnectionsInput) (*listConnectionsOutput, error) {
	to := switchboard.All()
	switch {
	case in.User != "" && in.Room != "":
		return nil, invalid("room", "does not go with user")
	case in.User != "":
		if err := wire.CheckID(in.User); err != nil {
			return nil, invalid("user", err.Error())
		}
		to = switchboard.User(in.User)
	case in.Room != "":
		if err := wire.CheckID(in.Room); err != nil {
			return nil, invalid("room", err.Error())
		}
		to = switchboard.Room(in.Room)
	}
	out := new(listConnectionsOutput)
	out.Body.Summary.ByUser = make(map[string]int)
	if in.Ended {
		return out, a.listEnded(ctx, to, in, out)
	}
	for c, err := range a.m.Connections().ListAfter(ctx, to, in.After) {
		if err != nil {
			return nil, err
		}
		if n := len(out.Body.Connections); n == in.Limit {
			out.Body.Next = out.Body.Connections[n-1].ID
			break
		}
		out.add(showConnection(c))
	}
	return out, nil
}

// listEnded is a page of them. Those that leave the list meanwhile are older than all of the page.
func (a *api) listEnded(ctx context.Context, to switchboard.Target, in *listConnectionsInput, out *listConnectionsOutput) error {
	id, at, err := endedCursor(in.After)
	if err != nil {
		return err
	}
	skip := in.After != ""
	for c, err := range a.m.Connections().Ended(ctx, to) {
		switch {
		case err != nil:
			return err
		case skip && c.Ended.UnixNano() >= at: // up to the last of the page before, or to its place
			skip = c.ID != id
			continue
		case len(out.Body.Connections) == in.Limit:
			last := out.Body.Connections[in.Limit-1]
			next := strconv.FormatInt(last.Ended.At.UnixNano(), 10) + cursorBreak + last.ID
			out.Body.Next = base64.RawURLEncoding.EncodeToString([]byte(next))
			return nil
		}
		skip = false
		shown := showConnection(c.ConnInfo)
		shown.Ended = &connectionEnd{At: c.Ended.UTC(), Code: c.Code, Reason: c.Reason, Remote: c.Remote}
		out.add(shown)
	}
	return nil
}

// endedCursor reads what a page's next says.
func endedCursor(after string) (id string, at int64, err error) {
	if after == "" {
		return "", 0, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(after)
	when, id, ok := strings.Cut(string(raw), cursorBreak)
	if err == nil {
		at, err = strconv.ParseInt(when, 10, 64)
	}
	if err != nil || !ok {
		return "", 0, invalid("after", "must be the next of a page")
	}
	return id, at, nil
}

// closedByKey is what a client hears whose connection a back end closes. It may come
// back if its credential is still good; revoking that is another call.
func closedByKey() switchboard.CloseError {
	return switchboard.CloseError{Code: wire.CloseNormal, Reason: "closed by the application"}
}

type closeConnectionInput struct {
	ID string `path:"id" doc:"A connection_id"`
}

func (a *api) closeConnection(ctx context.Context, in *closeConnectionInput) (*struct{}, error) {
	if err := wire.CheckID(in.ID); err != nil {
		return nil, invalid("id", err.Error())
	}
	n, err := a.m.Connections().Close(ctx, switchboard.Connection(in.ID), closedByKey())
	if err == nil && n == 0 {
		err = switchboard.ErrNotFound
	}
	return nil, err
}

type closeUserInput struct {
	User string `path:"user"`
}

// closeUser succeeds also if there was nothing to close: afterwards there is not.
func (a *api) closeUser(ctx context.Context, in *closeUserInput) (*struct{}, error) {
	if err := wire.CheckID(in.User); err != nil {
		return nil, invalid("user", err.Error())
	}
	_, err := a.m.Connections().Close(ctx, switchboard.User(in.User), closedByKey())
	return nil, err
}
