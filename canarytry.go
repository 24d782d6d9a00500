package switchboard

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

// canaryText is the name of the text that the run of a canary writes.
const canaryText = "text"

// tryAll tries each way to what is victim's.
func (c *canary) tryAll(ctx context.Context, victim *canary) {
	user, room := victim.home.String(), victim.room().String()
	place := Position{}
	if head, err := c.m.headOf(ctx, victim.home); err == nil {
		place = Position{Epoch: head.Epoch}
	}
	had := wire.Restore{
		Positions: map[string]Position{user: place, room: place},
		Streams:   map[string]int{runs.StreamID(victim.run.ID(), canaryText): 1},
	}
	if stranger := victim.home != (wire.Topic{Tenant: victim.home.Tenant, Kind: wire.KindUser, ID: c.home.ID}); stranger { // else the words mean one's own
		c.tryNames(ctx, victim.home.ID, victim.room(), place)
	}
	c.try(Envelope{Type: wire.ThreadOpen}, map[string]any{"thread_id": victim.home.ID})
	c.try(Envelope{Type: wire.SessionRestore}, map[string]any{"positions": had.Positions, "streams": had.Streams, "replace": victim.id})
	c.stop("run_id", victim.run.ID())
	if ticket, err := (&flock{m: c.m}).ticket(ctx, victim.home); err == nil {
		if c.try(Envelope{Type: wire.Auth}, map[string]any{"ticket": ticket}).Type == wire.AuthOK {
			c.m.leaked(c, c.way)
		}
	}
	c.call(ctx, http.MethodGet, "/threads/"+victim.home.ID, "")
	c.call(ctx, http.MethodGet, "/threads/"+victim.home.ID+"?room="+victim.home.ID, "")
	c.call(ctx, http.MethodPost, "/messages", victim.id)
	c.follow(ctx, had)
	if _, there := c.m.hub.Find(victim.id); !there && victim.failed == nil {
		c.way, victim.way = "replace", "stay"
		victim.await(func(string, Envelope, []byte) bool { return false }) // what it was told last
		if victim.ended == wire.CloseReplaced {
			c.m.leaked(c, c.way)
		}
		victim.failed = errEnded
	}
}

// tryNames tries what a client can name that is another's of the same tenant.
func (c *canary) tryNames(ctx context.Context, victim string, room wire.Topic, place Position) {
	c.try(Envelope{Type: wire.History}, map[string]any{"topic": "user/" + victim})
	c.try(Envelope{Type: wire.History}, map[string]any{"topic": room.String()})
	c.try(Envelope{Type: wire.Subscribe}, map[string]any{"rooms": []string{victim}, "since": map[string]any{room.String(): place}})
	c.try(Envelope{Type: wire.ThreadOpen}, map[string]any{"thread_id": victim, "room": victim})
	c.stop("thread_id", victim)
	if c.m.opts.Authorize == nil { // one that lets everybody in would make it a member
		c.try(Envelope{Type: wire.JoinRoom}, map[string]any{"room": victim})
		c.try(Envelope{Type: wire.RoomMessage}, map[string]any{"room": victim})
		if c.try(Envelope{Type: wire.UserMessage, Topic: room.String()}, map[string]any{}).Type == wire.AckType {
			c.m.leaked(c, c.way)
		}
	}
}

// try is send, and counts what was answered.
func (c *canary) try(env Envelope, payload map[string]any) Envelope {
	answer := c.send(env, payload)
	if answer.Type != "" {
		c.m.count.canaryTries.Add(1)
	}
	return answer
}

// stop tries to stop what is another's, which is not to be found.
func (c *canary) stop(field, id string) {
	var ack wire.Ack
	answer := c.try(Envelope{Type: wire.StopAgent}, map[string]any{field: id})
	if answer.Type == wire.AckType && (answer.Decode(&ack) != nil || ack.Status != wire.StatusNotFound) {
		c.m.leaked(c, c.way)
	}
}

// call tries a call over HTTP, as the session of the canary.
func (c *canary) call(ctx context.Context, method, path, connection string) {
	if c.failed != nil {
		return
	}
	c.way = path
	r, err := http.NewRequestWithContext(ctx, method, "http://canary.invalid"+path, strings.NewReader(`{"type":"ping"}`))
	if err != nil {
		return
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	if connection != "" {
		r.Header.Set(connectionHeader, connection)
	}
	w := &canaryResponse{header: http.Header{}}
	c.m.ClientAPI().ServeHTTP(w, r)
	if w.status == http.StatusUnauthorized || w.status == http.StatusTooManyRequests || w.status >= http.StatusInternalServerError {
		c.failed = fmt.Errorf("the call is refused with %d", w.status)
		return
	}
	c.m.count.canaryTries.Add(1)
	if method == http.MethodPost && w.status < http.StatusBadRequest {
		c.m.leaked(c, path)
	}
	c.look(w.body.Bytes())
}

// canaryResponse is where a canary is answered: a body, or a connection that is taken over.
type canaryResponse struct {
	header http.Header
	status int
	body   bytes.Buffer
	conn   net.Conn // nil: a call
	taken  bool
}

func (w *canaryResponse) Header() http.Header { return w.header }

func (w *canaryResponse) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *canaryResponse) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// Hijack implements [http.Hijacker].
func (w *canaryResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.conn == nil {
		return nil, nil, http.ErrNotSupported
	}
	w.taken = true
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}
