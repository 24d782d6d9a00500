package ws

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// waiting is a pipe that cannot be written without waiting.
type waiting struct{ net.Conn }

func (w waiting) CloseWrite() error { return w.Conn.(*PipeConn).CloseWrite() }

// bubble runs f with an engine and a started connection over a [Pipe], in fake time. Its writes
// are the writer's.
func bubble(t *testing.T, cfg Config, f func(t *testing.T, r *rig, p *peer, s Socket)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sink := newRecorder(t)
		e := NewGoroutineEngine(sink, cfg)
		client, server := Pipe(4 << 10)
		s, err := e.Attach(waiting{server}, nil)
		if err != nil {
			t.Fatal(err)
		}
		e.Start(s, 1)
		f(t, &rig{engine: e, sink: sink}, newPeer(t, client), s)
		_ = e.Close()
	})
}

func TestTrickleOfBytesDoesNotExtendTheFrameTimeout(t *testing.T) {
	bubble(t, Config{FrameTimeout: 10 * time.Second}, func(t *testing.T, r *rig, p *peer, _ Socket) {
		p.send(masked(OpText, true, "before"))
		r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "before"})
		start := time.Now()
		var trickle sync.WaitGroup
		defer trickle.Wait()
		trickle.Go(func() {
			for _, b := range masked(OpText, true, "a message that comes far too slowly") {
				p.send([]byte{b})
				time.Sleep(time.Second)
			}
		})
		got := r.sink.next()
		if ce, ok := errors.AsType[*CloseError](got.Err); !ok || ce.Code != 1008 {
			t.Errorf("got %+v, want closed with 1008", got)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("got it after %v, want 10s", took)
		}
		// More than the pipe holds: until it is released the socket is read, into nothing.
		p.send(make([]byte, 64<<10))
	})
}

func TestFrameTimeoutIsPerMessage(t *testing.T) {
	bubble(t, Config{FrameTimeout: 10 * time.Second}, func(t *testing.T, r *rig, p *peer, _ Socket) {
		// Never between messages, but each takes 6 s.
		one := masked(OpText, true, "x")
		p.send(one[:3])
		for range 10 {
			time.Sleep(6 * time.Second)
			p.send(one[3:], one[:3])
			r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "x"})
		}
		p.send(one[3:])
		r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "x"})
		// Fragments and pings between them belong to one message.
		p.send(masked(OpText, false, "x"))
		time.Sleep(6 * time.Second)
		p.send(masked(OpPing, true, ""), masked(OpContinuation, false, "y"))
		r.sink.expect(event{Kind: "ping", Tag: 1})
		time.Sleep(6 * time.Second)
		if got := r.sink.next(); got.Kind != "closed" {
			t.Errorf("got %+v, want closed", got)
		}
	})
}

func TestSilenceBetweenMessagesHasNoTimeout(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig, p *peer, _ Socket) {
		p.send(masked(OpText, true, "a"), masked(OpText, true, "b")[:3])
		r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "a"})
		p.send(masked(OpText, true, "b")[3:])
		r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "b"})
		time.Sleep(24 * time.Hour)
		r.sink.expectNone()
	})
}

func TestFrameTimeoutRestsWhilePaused(t *testing.T) {
	bubble(t, Config{FrameTimeout: 10 * time.Second}, func(t *testing.T, r *rig, p *peer, s Socket) {
		frame := masked(OpText, true, "late")
		p.send(frame[:3])
		time.Sleep(9 * time.Second)
		r.engine.Pause(s)
		time.Sleep(time.Hour)
		r.sink.expectNone()
		r.engine.Resume(s)
		time.Sleep(9 * time.Second)
		p.send(frame[3:])
		r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "late"})

		p.send(frame[:3])
		time.Sleep(9 * time.Second)
		r.engine.Pause(s)
		p.send(frame[3:4]) // ends the read that had begun
		synctest.Wait()
		r.engine.Resume(s)
		time.Sleep(9 * time.Second)
		p.send(frame[4:])
		r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "late"})

		p.send(frame[:3])
		r.engine.Pause(s)
		r.engine.Resume(s)
		time.Sleep(11 * time.Second)
		if got := r.sink.next(); got.Kind != "closed" {
			t.Errorf("got %+v, want closed", got)
		}
	})
}

func TestPausedSocketIsNotRead(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig, p *peer, s Socket) {
		r.engine.Pause(s)
		stuck := make(chan int, 1)
		go func() {
			n, _ := p.nc.Write(bytes.Repeat(masked(OpText, true, "x"), 10_000))
			stuck <- n
		}()
		synctest.Wait()
		r.sink.expectNone()
		_ = p.nc.SetWriteDeadline(time.Now())
		// What the pipe holds, and the read that had begun before the pause.
		if n := <-stuck; n > 4<<10+streamReadBytes {
			t.Errorf("got %d bytes read from a paused socket", n)
		}
	})
}

func TestCutConnectionIsReported(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig, p *peer, s Socket) {
		frames := append(masked(OpText, true, "whole"), masked(OpText, true, "cut")...)
		p.nc.(*PipeConn).CutAfter(len(frames) - 1)
		_, _ = p.nc.Write(frames)
		r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "whole"})
		if got := r.sink.next(); got.Kind != "closed" || got.Err == nil {
			t.Errorf("got %+v, want closed with an error", got)
		}
		r.engine.Release(s)
	})
}

func TestWritableIsCalledOnceForEachBlockedWrite(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig, p *peer, s Socket) {
		frame := AppendFrame(nil, OpText, []byte("x"))
		for range 5 {
			if _, blocked, err := r.engine.Write(s, [][]byte{frame, frame}); !blocked || err != nil {
				t.Fatalf("got %v, %v, want blocked until the writer is done", blocked, err)
			}
			r.sink.expect(event{Kind: "writable", Tag: 1})
			synctest.Wait()
			r.sink.expectNone()
			p.expect(OpText, "x")
			p.expect(OpText, "x")
		}
	})
}

func TestWriteWithinWritable(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig, p *peer, s Socket) {
		frame, left := AppendFrame(nil, OpText, []byte("x")), 3
		r.sink.during = func(event) {
			if left--; left > 0 {
				_, _, _ = r.engine.Write(s, [][]byte{frame})
			}
		}
		_, _, _ = r.engine.Write(s, [][]byte{frame})
		for range 3 {
			r.sink.expect(event{Kind: "writable", Tag: 1})
			p.expect(OpText, "x")
		}
	})
}

func TestResumeIsNotStart(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig, _ *peer, _ Socket) {
		_, server := Pipe(1)
		s, err := r.engine.Attach(server, masked(OpText, true, "waits"))
		if err != nil {
			t.Fatal(err)
		}
		r.engine.Resume(s)
		synctest.Wait()
		r.sink.expectNone()
		r.engine.Start(s, 2)
		r.sink.expect(event{Kind: "message", Tag: 2, Op: OpText, Payload: "waits"})
	})
}

func TestEventsOfASocketComeOneAtATime(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig, p *peer, s Socket) {
		var running atomic.Int32
		r.sink.during = func(event) {
			if n := running.Add(1); n != 1 {
				t.Errorf("got %d events at once, want 1", n)
			}
			r.engine.Resume(s) // without need
			r.engine.Pause(s)
			r.engine.Resume(s)
			time.Sleep(time.Second)
			running.Add(-1)
		}
		p.send(slices.Concat(masked(OpText, true, "1"), masked(OpText, true, "2"), masked(OpText, true, "3")))
		for _, want := range []string{"1", "2", "3"} {
			r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: want})
		}
	})
}

func TestReleaseSilencesAWriterThatWaits(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig, _ *peer, s Socket) {
		if _, blocked, err := r.engine.Write(s, [][]byte{make([]byte, 64<<10)}); !blocked || err != nil {
			t.Fatalf("got %v, %v, want it blocked", blocked, err)
		}
		synctest.Wait()
		r.engine.Release(s)
		synctest.Wait()
		r.sink.expectNone()
	})
}

func TestReleaseAfterAViolationDoesNotReset(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig, p *peer, s Socket) {
		r.sink.during = func(event) {
			r.engine.Release(s)
			synctest.Wait() // now whatever wanted to close the socket has done so
		}
		p.send(append([]byte{0xFF, 0xFF}, make([]byte, 4<<10-2)...)) // more than one read
		r.sink.next()
		start := time.Now()
		p.expectEnd()
		if took := time.Since(start); took != 0 {
			t.Errorf("got the end after %v, want it at once", took)
		}
		// The client does not close, and so is not waited for longer than this.
		_ = r.engine.Close()
		if took := time.Since(start); took != lingerTimeout {
			t.Errorf("got the socket closed after %v, want %v", took, lingerTimeout)
		}
	})
}

func TestIdleConnectionHoldsNoReadBuffer(t *testing.T) {
	e := NewGoroutineEngine(newRecorder(t), Config{})
	defer func() { _ = e.Close() }()
	c := &conn{engine: e, buf: new(buffer)}
	c.rest = c.buf[:copy(c.buf[:], masked(OpText, true, "hello"))]
	if stop, err := c.deliver(); stop || err != nil {
		t.Fatalf("got %v, %v, want everything delivered", stop, err)
	}
	if c.buf != nil || c.rest != nil {
		t.Errorf("got a buffer of %d bytes held, want none", cap(c.rest))
	}
}
