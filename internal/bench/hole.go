package bench

import (
	"context"
	"net"
	"sync"
	"time"
)

// hole forwards TCP connections to a server until it is cut. Then it takes nothing on and closes
// nothing: as a cable that was pulled far from both ends, with the difference that somebody
// acknowledges what is sent.
type hole struct {
	ln  net.Listener
	to  string
	cut chan struct{} // closed when it is
	wg  sync.WaitGroup
}

// dig makes a hole before the server at to. It is there until ctx ends; the caller waits for wg.
func dig(ctx context.Context, to string) (*hole, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h := &hole{ln: ln, to: to, cut: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	h.wg.Go(func() {
		defer stop()
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			h.wg.Go(func() { h.join(ctx, near) })
		}
	})
	return h, nil
}

// join forwards both ways.
func (h *hole) join(ctx context.Context, near net.Conn) {
	defer near.Close()
	far, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", h.to)
	if err != nil {
		return
	}
	defer far.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = near.Close()
		_ = far.Close()
	})
	defer stop()
	var ways sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		ways.Go(func() { h.forward(ctx, way[1], way[0]) })
	}
	ways.Wait()
}

// forward takes what comes from one end to the other. Of what ends while the hole is cut the other
// end hears nothing.
func (h *hole) forward(ctx context.Context, to, from net.Conn) {
	piece := make([]byte, 4<<10)
	for {
		n, err := from.Read(piece)
		select {
		case <-h.cut:
			<-ctx.Done()
			return
		default:
		}
		if err == nil {
			_, err = to.Write(piece[:n])
		}
		if err != nil {
			_ = to.Close()
			_ = from.Close()
			return
		}
	}
}
