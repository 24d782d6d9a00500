package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/netra-systems/switchboard/wire"
)

// Options configures a Client. URL is required; Token and Ticket exclude each other.
type Options struct {
	// URL is where the server accepts connections: ws://, wss://, http:// or https://, with
	// path. Its query is kept.
	URL string
	// Token returns the credential. It is asked for each connection that cannot resume the
	// session, and again before the credential expires.
	Token func(context.Context) (string, error)
	// Ticket returns a ticket, which is good for one connection: it is asked for each new
	// session, and again before the session expires. With neither of the two the client
	// offers no credential, which `switchboard dev` accepts from its own machine.
	Ticket func(context.Context) (string, error)
	// Device is a name for this device, which others see in its presence.
	Device string
	// Threads are opened at connect: only their text streams and volatile messages come.
	// Without any, those of all threads do.
	Threads []string
	// Rooms are followed from the start; Dial fails if one may not be read.
	Rooms []string
	// Since has the positions to start from, by topic address ("user/alice", "room/r1",
	// "all"); the zero position is the beginning of what is kept. Rooms named here are
	// followed too. Topics that are not named begin with what comes after Dial.
	Since map[string]wire.Position
	// Lengths has how much an earlier process has of text streams, by stream id
	// ("<run>/answer"), in code points: where the last chunk began and what it held. Their text
	// goes on from there; that of others comes from its beginning.
	Lengths map[string]int
	// Dial makes network connections, as [net.Dialer.DialContext] does, which is used if it
	// is nil. TLS is put on top for wss:// and https://.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// check returns the parsed URL.
func (o *Options) check() (*url.URL, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("options: URL: %w", err)
	}
	switch u.Scheme {
	case "ws", "wss", "http", "https":
	default:
		return nil, fmt.Errorf("options: URL must begin with ws://, wss://, http:// or https://, not %q", u.Scheme)
	}
	if u.Host == "" {
		return nil, errors.New("options: URL has no host")
	}
	if o.Token != nil && o.Ticket != nil {
		return nil, errors.New("options: Token and Ticket exclude each other")
	}
	for _, room := range o.Rooms {
		if err := wire.CheckID(room); err != nil {
			return nil, fmt.Errorf("options: Rooms: %q %w", room, err)
		}
	}
	for topic := range o.Since {
		if _, err := wire.ParseTopic("", topic); err != nil {
			return nil, fmt.Errorf("options: Since: %q %w", topic, err)
		}
	}
	for _, thread := range o.Threads {
		if err := wire.CheckID(thread); err != nil {
			return nil, fmt.Errorf("options: Threads: %q %w", thread, err)
		}
	}
	for stream, length := range o.Lengths {
		if run, name, _ := strings.Cut(stream, "/"); run == "" || name == "" || strings.Contains(name, "/") {
			return nil, fmt.Errorf(`options: Lengths: %q must be "<run>/<name>"`, stream)
		}
		if length < 0 {
			return nil, fmt.Errorf("options: Lengths: that of %q must not be negative", stream)
		}
	}
	return u, nil
}

// Client is one session. Its methods may be called concurrently. Make one with [Dial]; the
// caller must call [Client.Close].
type Client struct {
	opts  Options  // immutable
	url   *url.URL // immutable
	http  *http.Client
	feed  *feed
	calls *calls
	wg    sync.WaitGroup // all goroutines of the client

	life  context.Context    // ends with Close: no connection is made any more
	leave context.CancelFunc // ends life

	track *track // of the reading goroutine; of Dial before there is one
	texts *texts
	acks  *acks

	mu   sync.Mutex // guards link
	link *link      // the connection; nil while there is none
}

// Dial connects once; later losses are repaired until [Client.Close], also after ctx has
// ended. When it returns, all of Rooms and Since is followed. The error is an [*Error] when
// the server refused.
func Dial(ctx context.Context, opts Options) (*Client, error) {
	u, err := opts.check()
	if err != nil {
		return nil, err
	}
	c := &Client{
		opts: opts, url: u, http: newHTTPClient(opts.Dial),
		feed: newFeed(), calls: &calls{}, track: newTrack(opts.Since, opts.Threads), texts: newTexts(opts.Lengths),
		acks: newAcks(),
	}
	c.life, c.leave = context.WithCancel(context.Background())
	l, err := c.connect(ctx, false)
	if err != nil {
		c.leave()
		return nil, err
	}
	if err := c.beginFirst(ctx, l); err != nil {
		l.close(err)
		c.leave()
		return nil, err
	}
	c.attach(l)
	c.acks.open(l)
	c.wg.Go(c.acknowledge)
	c.wg.Go(func() { c.run(l) })
	return c, nil
}

// Messages yields what arrives from now on, in order per topic, until ctx ends, until
// [Client.Close], or until the server refuses the client for good; the last element then
// has ctx's error, none, or an [*Error]. A gap is a message like others; so are the
// system_message and the session_restored of a new connection. Answers to [Client.Send] and
// [Client.Do] are not. An error_message has its fields in its payload: see [AsError].
// Durable messages know their [wire.Envelope.Position].
//
// A stream_chunk holds what is new in it, and its start is where that begins: the chunks of a
// stream, behind what [Options.Lengths] or a thread_snapshot had of it, are its text, over any
// number of connections. [Client.Text] has them joined. If a client was so slow that the
// chunks are not kept any more, stream_complete brings the text.
//
// Each caller gets everything. One that does not read stops the socket, once a little has
// been read ahead for it, and catches up later: so range over the sequence, once, or end
// ctx. What comes after [Dial] is kept for a call of Messages that comes before any of Send
// and Do. Send and Do may be called from within the loop.
func (c *Client) Messages(ctx context.Context) iter.Seq2[wire.Envelope, error] {
	return c.feed.messages(ctx, c.feed.join())
}

// Close leaves for good and waits for the client's goroutines. Calls that wait return
// [ErrClosed]. It says goodbye to the server, for which it takes at most some seconds if
// that does not answer. It is idempotent, and its error is always nil.
func (c *Client) Close() error {
	c.leave()
	c.calls.end(ErrClosed)
	c.feed.end(nil)
	if l := c.current(); l != nil {
		c.acknowledgeLast()
		l.bye()
	}
	c.wg.Wait()
	c.http.CloseIdleConnections()
	return nil
}

// current returns the connection, or nil while there is none.
func (c *Client) current() *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link
}

// attach makes l the connection that calls use.
func (c *Client) attach(l *link) {
	c.mu.Lock()
	c.link = l
	c.mu.Unlock()
}
