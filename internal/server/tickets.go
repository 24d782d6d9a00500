package server

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// How long a ticket can be used, in seconds.
const (
	ticketShortest = 30
	ticketLongest  = 3600
	ticketUsual    = 300
)

// ticketRequest is the body of a call that makes a ticket.
type ticketRequest struct {
	User        string   `json:"user" minLength:"1" maxLength:"128" doc:"Who connects with it"`
	TTL         *int     `json:"ttl_seconds,omitempty" minimum:"30" maximum:"3600" default:"300" doc:"How long it can be used"`
	Permissions []string `json:"permissions,omitempty" nullable:"false" doc:"What its user may do on the connection; default: nothing in rooms"`
}

type ticketAnswer struct {
	Ticket       string  `json:"ticket" doc:"Good for one connection, to any node"`
	ExpiresAt    float64 `json:"expires_at" doc:"Seconds since 1970"`
	WebSocketURL string  `json:"websocket_url" doc:"Where to use it, with the ticket"`
}

type ticketOutput struct{ Body ticketAnswer }

// issueTicket makes a ticket. The connection that is opened with it has no end of its own:
// closing it is up to the back end.
func (a *api) issueTicket(ctx context.Context, r *ticketRequest) (*ticketOutput, error) {
	if err := wire.CheckID(r.User); err != nil {
		return nil, invalid("user", err.Error())
	}
	ttl := ticketUsual
	if r.TTL != nil {
		ttl = *r.TTL
	}
	if ttl < ticketShortest || ttl > ticketLongest {
		return nil, invalid("ttl_seconds", fmt.Sprintf("must be from %d to %d", ticketShortest, ticketLongest))
	}
	call, life := callerOf(ctx), time.Duration(ttl)*time.Second
	expires := time.Now().Add(life)
	ticket, err := a.m.Access().Ticket(ctx, switchboard.Identity{Tenant: call.tenant, User: r.User, Permissions: r.Permissions}, life)
	if err != nil {
		return nil, err
	}
	return &ticketOutput{Body: ticketAnswer{
		Ticket: ticket, ExpiresAt: wire.Seconds(expires), WebSocketURL: ws.URL(call.request, "/ws", url.Values{"ticket": {ticket}}),
	}}, nil
}
