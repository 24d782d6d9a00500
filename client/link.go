package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/netra-systems/switchboard/wire"
)

const (
	// writeTimeout ends a connection whose peer does not read.
	writeTimeout = 30 * time.Second
	// missedHeartbeats is after how many intervals without a sign of life from the server a
	// connection is taken for dead.
	missedHeartbeats = 3
	// maxFrameBytes bounds what one message of the server may be.
	maxFrameBytes = 64 << 20
)

var errSilent = errors.New("the server has been silent for too long")

// link is one connection. One goroutine reads it, and owns what is not said to be guarded.
type link struct {
	conn    *websocket.Conn
	welcome wire.Welcome
	hello   wire.Envelope   // that had the welcome
	ctx     context.Context // ends with the connection; the cause says why
	cancel  context.CancelCauseFunc
	opened  time.Time

	silence *time.Timer // runs while the reader waits for a frame; nil: no watch
	patient time.Duration

	restore     *call     // the session_restore that is not answered yet
	reconnectAt time.Time // as server_shutdown asked for
	refreshing  bool      // a new credential has been asked for

	wake chan struct{} // capacity 1: the writer looks again
	wg   sync.WaitGroup

	mu     sync.Mutex // guards outbox
	outbox [][]byte   // frames to write
}

// open takes over conn, whose welcome has been read. The caller must call close.
func (l *link) open(conn *websocket.Conn, hello wire.Envelope, w wire.Welcome) {
	l.conn, l.hello, l.welcome, l.opened = conn, hello, w, time.Now()
	l.wake = make(chan struct{}, 1)
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.watch(w.Config.HeartbeatInterval)
	l.wg.Go(l.write)
}

// watch ends l when the server, which pings at every interval, is silent.
func (l *link) watch(interval float64) {
	if interval <= 0 {
		return
	}
	l.patient = time.Duration(missedHeartbeats * interval * float64(time.Second))
	l.silence = time.AfterFunc(l.patient, func() { l.cancel(errSilent) })
}

// alive is called for every sign of life while the reader waits.
func (l *link) alive() {
	if l.silence != nil {
		l.silence.Reset(l.patient)
	}
}

// read returns the next frame. It watches the silence only while it waits for the socket,
// not while somebody does not take what was read.
func (l *link) read() ([]byte, error) {
	l.alive()
	typ, frame, err := l.conn.Read(l.ctx)
	if l.silence != nil {
		l.silence.Stop()
	}
	if err != nil {
		if cause := context.Cause(l.ctx); cause != nil && websocket.CloseStatus(err) < 0 {
			err = cause
		}
		return nil, closed(err)
	}
	if typ != websocket.MessageText {
		return nil, errors.New("the server sent a binary frame")
	}
	return frame, nil
}

// push has frame written. It does not wait.
func (l *link) push(frame []byte) {
	l.mu.Lock()
	l.outbox = append(l.outbox, frame)
	l.mu.Unlock()
	signal(l.wake)
}

// write writes what was pushed until l ends. A peer that does not read ends it: a write
// that runs out of time closes the socket.
func (l *link) write() {
	for {
		l.mu.Lock()
		frames := l.outbox
		l.outbox = nil
		l.mu.Unlock()
		for _, frame := range frames {
			ctx, cancel := context.WithTimeout(l.ctx, writeTimeout)
			err := l.conn.Write(ctx, websocket.MessageText, frame)
			cancel()
			if err != nil {
				return // the reader finds out too, and may still find a close code
			}
		}
		select {
		case <-l.wake:
		case <-l.ctx.Done():
			return
		}
	}
}

// fits reports whether the server takes a frame of that size, by what its welcome says.
func (l *link) fits(frame []byte) bool {
	limit := l.welcome.Config.MaxMessageSize
	return limit <= 0 || len(frame) <= limit
}

// bye closes the connection in the polite way. The reader sees the end.
func (l *link) bye() {
	_ = l.conn.Close(websocket.StatusNormalClosure, "") // either way it is closed now
	l.cancel(ErrClosed)
}

// close ends l at once and waits for its goroutines.
func (l *link) close(cause error) {
	l.cancel(cause)
	if l.silence != nil {
		l.silence.Stop()
	}
	_ = l.conn.CloseNow()
	l.wg.Wait()
}
