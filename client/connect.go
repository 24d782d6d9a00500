package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/coder/websocket"

	"github.com/netra-systems/switchboard/wire"
)

// connectTimeout bounds one attempt, from the name lookup to the welcome.
const connectTimeout = 15 * time.Second

// newHTTPClient returns the client for handshakes. It follows no redirect, because the
// credential is for the host that the caller named.
func newHTTPClient(dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	if dial == nil {
		transport.Proxy = http.ProxyFromEnvironment
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// connect makes one connection, up to its welcome: with the session's token if resume is
// set and there is one, else with the credential.
func (c *Client) connect(ctx context.Context, resume bool) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	target, opts, err := c.handshake(ctx, resume)
	if err != nil {
		return nil, err
	}
	l := &link{}
	opts.OnPingReceived = func(context.Context, []byte) bool {
		l.alive()
		return true
	}
	conn, resp, err := websocket.Dial(ctx, target, opts)
	if err != nil {
		return nil, dialError(resp, err)
	}
	conn.SetReadLimit(maxFrameBytes)
	hello, welcome, err := greeting(ctx, conn)
	if err != nil {
		_ = conn.CloseNow()
		return nil, err
	}
	l.open(conn, hello, welcome)
	return l, nil
}

// handshake says how to connect.
func (c *Client) handshake(ctx context.Context, resume bool) (string, *websocket.DialOptions, error) {
	target := *c.url
	query := target.Query()
	opts := &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: http.Header{}}
	switch {
	case resume && c.track.session.Token != "":
		token := base64.RawURLEncoding.EncodeToString([]byte(c.track.session.Token))
		opts.Subprotocols = []string{wire.Subprotocol, wire.SessionProtocol + token}
	case c.opts.Token != nil:
		token, err := c.opts.Token(ctx)
		if err != nil {
			return "", nil, fmt.Errorf("token: %w", err)
		}
		opts.HTTPHeader.Set("Authorization", "Bearer "+token)
	case c.opts.Ticket != nil:
		ticket, err := c.opts.Ticket(ctx)
		if err != nil {
			return "", nil, fmt.Errorf("ticket: %w", err)
		}
		query.Set("ticket", ticket)
	}
	if (len(c.track.positions) > 0 || len(c.opts.Lengths) > 0) && opts.Subprotocols == nil {
		query.Set("resume", "1")
	}
	if c.opts.Device != "" {
		query.Set("device", c.opts.Device)
	}
	// A query cannot name the default thread: with it among others, all are watched.
	if len(c.track.threads) > 0 && !slices.Contains(c.track.threads, "") {
		query["thread"] = c.track.threads
	}
	target.RawQuery = query.Encode()
	return target.String(), opts, nil
}

// dialError says why there is no connection. It leaves out the URL, which may hold a ticket.
func dialError(resp *http.Response, err error) error {
	if resp != nil {
		if refused := refusedHandshake(resp); refused != nil {
			return refused
		}
		if resp.StatusCode != http.StatusSwitchingProtocols {
			return fmt.Errorf("connect: the server answered %q", resp.Status)
		}
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return fmt.Errorf("connect: %w", err)
}

// greeting reads the first message: the welcome, or why there is none.
func greeting(ctx context.Context, conn *websocket.Conn) (env wire.Envelope, w wire.Welcome, err error) {
	_, frame, err := conn.Read(ctx)
	if err != nil {
		return env, w, fmt.Errorf("connect: %w", closed(err))
	}
	if env, err = wire.ParseAnswer(frame); err != nil {
		return env, w, fmt.Errorf("connect: the server's first message: %w", err)
	}
	if env.Type == wire.ErrorMessageType {
		return env, w, refusedGreeting(ctx, conn, frame)
	}
	if err := env.Decode(&w); err != nil || env.Type != wire.SystemMessage || w.Event != wire.WelcomeEvent {
		return env, w, fmt.Errorf("connect: the server's first message is no welcome but %q", env.Type)
	}
	return env, w, nil
}

// refusedGreeting completes a refusal with the close code that follows it.
func refusedGreeting(ctx context.Context, conn *websocket.Conn, frame []byte) error {
	m, err := wire.ParseErrorMessage(frame)
	if err != nil {
		return fmt.Errorf("connect: the server's first message: %w", err)
	}
	refused := refusal(m)
	if _, _, err := conn.Read(ctx); err != nil {
		refused.Close = wire.CloseCode(max(websocket.CloseStatus(err), 0)) //nolint:gosec // two bytes of a frame
	}
	return refused
}

// begin makes a new connection go on where the last one ended.
func (c *Client) begin(l *link) error {
	replace := c.track.connection
	if c.track.session.ID != l.welcome.Session.ID {
		replace = "" // another session's, now that the credential made a new one
	}
	c.track.welcome(l.welcome)
	return c.restore(l, replace)
}

// beginFirst is begin for the connection that Dial makes. It reads until all that the
// options name is followed, or is refused.
func (c *Client) beginFirst(ctx context.Context, l *link) error {
	stop := context.AfterFunc(ctx, func() { l.cancel(context.Cause(ctx)) })
	defer stop()
	c.feed.await(1)
	defer c.feed.await(-1)
	c.track.welcome(l.welcome)
	// The rooms come first: as long as the connection is held, no message of a topic comes.
	if len(c.opts.Rooms) > 0 {
		order, err := c.order(wire.Subscribe, wire.SubscribeRequest{Rooms: c.opts.Rooms})
		if err != nil {
			return err
		}
		l.push(order.frame)
		if err := c.readUntil(l, order); err != nil {
			return err
		}
	}
	if len(c.opts.Since) == 0 && len(c.opts.Lengths) == 0 {
		return nil
	}
	if err := c.restore(l, ""); err != nil {
		return err
	}
	order := l.restore
	if err := c.readUntil(l, order); err != nil {
		return err
	}
	var answer wire.Restored
	if err := order.answer.Decode(&answer); err != nil {
		return fmt.Errorf("session_restored: %w", err)
	}
	for topic := range c.opts.Since {
		if answer.Topics[topic].Reason == wire.ReasonForbidden {
			return &Error{Code: wire.CodeForbidden, Message: fmt.Sprintf("topic %q may not be read", topic)}
		}
	}
	return nil
}

// restore tells l what the client has. Of text streams it tells what the server takes in
// one message: it may be that many never ended for this client.
func (c *Client) restore(l *link, replace string) error {
	what := c.track.restore(replace)
	for most := openTexts; ; most /= 2 {
		what.Streams = c.texts.lengths(most)
		order, err := c.order(wire.SessionRestore, what)
		if err != nil {
			return err
		}
		if len(what.Streams) > 0 && !l.fits(order.frame) {
			c.calls.leave(order)
			continue
		}
		l.restore = order
		l.push(order.frame)
		return nil
	}
}

// readUntil reads until order is answered.
func (c *Client) readUntil(l *link, order *call) error {
	defer c.calls.leave(order)
	for {
		select {
		case <-order.done:
			return order.err
		default:
		}
		if err := c.receive(l); err != nil {
			return err
		}
	}
}
