package client

import (
	"context"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/netra-systems/switchboard/wire"
)

const (
	// ackDelay is how long what has arrived waits for more, to be told together.
	ackDelay = 2 * time.Second
	// lastAckTimeout bounds the writing of the last acknowledgement, before a goodbye.
	lastAckTimeout = time.Second
	// ackTopics is how many topics are told in one message, which must not be too large.
	ackTopics = 64
)

// acks is what the server does not know yet: how far messages have arrived, and have been
// seen, by topic. It is told at most once in ackDelay, and only where there is something new.
type acks struct {
	wake chan struct{} // capacity 1: there is something to tell, and a connection

	mu        sync.Mutex // guards the fields below
	delivered map[string]wire.Position
	seen      map[string]wire.Position
	told      map[string]wire.Position // the latest that was told as delivered
	shown     map[string]wire.Position // the same as seen
	link      *link                    // that knows where this client is; nil: there is none
	id        string                   // of the latest message that told
	latest    wire.AckRequest          // what it told
}

func newAcks() *acks {
	return &acks{
		wake:      make(chan struct{}, 1),
		delivered: map[string]wire.Position{}, seen: map[string]wire.Position{},
		told: map[string]wire.Position{}, shown: map[string]wire.Position{},
	}
}

// after reports whether a is news to who knows b.
func after(a, b wire.Position) bool { return a.Epoch != b.Epoch || a.Offset > b.Offset }

// arrived notes that everything up to env has.
func (a *acks) arrived(env wire.Envelope) { a.note(a.delivered, a.told, env) }

// saw notes that a user has seen everything up to env.
func (a *acks) saw(env wire.Envelope) { a.note(a.seen, a.shown, env) }

func (a *acks) note(news, known map[string]wire.Position, env wire.Envelope) {
	pos := env.Position()
	if pos.Epoch == "" || pos.Offset == 0 || env.Topic == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if after(pos, known[env.Topic]) && after(pos, news[env.Topic]) {
		news[env.Topic] = pos
		a.signal()
	}
}

// signal wakes the teller if there is something to tell and somebody to hear it. The caller
// holds mu.
func (a *acks) signal() {
	if a.link != nil && len(a.delivered)+len(a.seen) > 0 {
		signal(a.wake)
	}
}

// open says that l takes acknowledgements: what was restored on it is where the client is.
func (a *acks) open(l *link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.link = l
	a.signal()
}

// lost says that the connection is gone, and with it perhaps what was told last: that is news
// again.
func (a *acks) lost() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.link = nil
	restoreNews(a.delivered, a.told, a.latest.Positions)
	restoreNews(a.seen, a.shown, a.latest.Seen)
	a.latest = wire.AckRequest{}
}

// restoreNews undoes pick, where nothing newer has come.
func restoreNews(news, known, picked map[string]wire.Position) {
	for topic, pos := range picked {
		if known[topic] != pos {
			continue // forgotten since
		}
		delete(known, topic)
		if _, newer := news[topic]; !newer {
			news[topic] = pos
		}
	}
}

// forget drops a topic that is not followed any more.
func (a *acks) forget(topic string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, of := range []map[string]wire.Position{a.delivered, a.seen, a.told, a.shown} {
		delete(of, topic)
	}
}

// ours reports whether id is that of the latest message that told: a room may be gone by
// the time that the server reads of it, which is nobody's concern.
func (a *acks) ours(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return id != "" && id == a.id
}

// take returns the frame that tells what is new, and where to write it; none if there is
// nothing or nobody.
func (a *acks) take() (*link, []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.link == nil || len(a.delivered)+len(a.seen) == 0 {
		return nil, nil
	}
	req := wire.AckRequest{Positions: pick(a.delivered, a.told), Seen: pick(a.seen, a.shown)}
	env, frame, err := encode(wire.Envelope{Type: wire.AckType}, req)
	if err != nil {
		return nil, nil // positions came from the server: they can be told
	}
	a.id, a.latest = env.ID, req
	a.signal()
	return a.link, frame
}

// pick moves some of news to what is known.
func pick(news, known map[string]wire.Position) map[string]wire.Position {
	picked := map[string]wire.Position{}
	for topic, pos := range news {
		if len(picked) == ackTopics {
			break
		}
		picked[topic], known[topic] = pos, pos
		delete(news, topic)
	}
	return picked
}

// acknowledge tells what is new until Close.
func (c *Client) acknowledge() {
	for {
		select {
		case <-c.acks.wake:
		case <-c.life.Done():
			return
		}
		select {
		case <-time.After(ackDelay):
		case <-c.life.Done():
			return
		}
		if l, frame := c.acks.take(); l != nil {
			l.push(frame)
		}
	}
}

// acknowledgeLast tells what is new before a goodbye.
func (c *Client) acknowledgeLast() {
	for {
		l, frame := c.acks.take()
		if l == nil {
			return
		}
		ctx, cancel := context.WithTimeout(l.ctx, lastAckTimeout)
		err := l.conn.Write(ctx, websocket.MessageText, frame)
		cancel()
		if err != nil {
			return // it is lost, and the goodbye will find out
		}
	}
}

// Seen says that the user of this device has seen env and everything before it in its topic.
// It is told to the server with the next acknowledgement, within seconds, also on another
// connection. That messages have arrived is told without being asked. Of messages without a
// place in a topic there is nothing to say.
func (c *Client) Seen(env wire.Envelope) { c.acks.saw(env) }
