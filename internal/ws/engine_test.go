package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestGoroutineEngine(t *testing.T) {
	testEngine(t, func(sink Sink, cfg Config) Engine { return NewGoroutineEngine(sink, cfg) })
}

// rig is an engine with a recorder, and the means to connect to it.
type rig struct {
	engine    Engine
	sink      *recorder
	transport transport
	newEngine func(Sink, Config) Engine
}

// connect makes a connected pair whose client end is closed with the test.
func (r *rig) connect(t *testing.T) (*peer, net.Conn) {
	t.Helper()
	client, server, err := r.transport.connect()
	if err != nil {
		t.Fatal(err)
	}
	return newPeer(t, client), server
}

// join attaches a new connection without starting it.
func (r *rig) join(t *testing.T, buffered []byte) (*peer, Socket) {
	t.Helper()
	p, server := r.connect(t)
	s, err := r.engine.Attach(server, buffered)
	if err != nil {
		t.Fatal(err)
	}
	return p, s
}

// testEngine holds an engine to what [Engine] says, over every transport.
func testEngine(t *testing.T, newEngine func(Sink, Config) Engine) {
	cases := []struct {
		name string
		cfg  Config
		run  func(*testing.T, *rig)
	}{
		{"EventsComeInOrderWithTheirTag", Config{Binary: true}, eventsInOrder},
		{"BytesReadByTheHandshakeComeFirst", Config{}, bufferedFirst},
		{"NothingIsReadBeforeStart", Config{}, nothingBeforeStart},
		{"LargeMessagesAndCutFramesArrive", Config{}, largeMessages},
		{"WriteWithoutBytesIsNotBlocked", Config{}, emptyWrite},
		{"SlowReaderGetsEverythingOnceInOrder", Config{}, slowReader},
		{"PauseStopsAfterTheMessageAndResumeGoesOn", Config{}, pauseWithin},
		{"PausedBeforeStart", Config{}, pausedBeforeStart},
		{"WhatPauseLeftIsSafeFromOtherSockets", Config{}, pauseKeepsBytes},
		{"ResumeWithinAnEvent", Config{}, resumeWithin},
		{"EndOfInputIsEOFAndLeavesWriting", Config{}, endOfInput},
		{"CloseFrameOfThePeerIsReported", Config{}, peerCloses},
		{"ViolationLeavesTheSocketWritable", Config{Message: 1000}, violationIsAnswered},
		{"IncompleteFrameTimesOut", Config{FrameTimeout: 20 * time.Millisecond}, frameTimeout},
		{"ReleaseClosesAndSilences", Config{}, releaseSilences},
		{"ReleaseWithinAnEvent", Config{}, releaseWithin},
		{"ReleaseOfABlockedSocket", Config{}, releaseBlocked},
		{"BrokenSocketFailsWrites", Config{}, brokenSocket},
		{"BrokenWhilePausedIsToldAfterResume", Config{}, brokenWhilePaused},
		{"NameIsReusedForAnotherConnection", Config{}, reuse},
		{"UnknownNamesAreHarmless", Config{}, unknownNames},
		{"CloseReleasesEverythingAndRefusesMore", Config{}, closeEngine},
		{"TrafficBothWaysAtOnce", Config{}, echoBothWays},
	}
	for _, tr := range transports(t) {
		t.Run(tr.name, func(t *testing.T) {
			for _, tt := range cases {
				t.Run(tt.name, func(t *testing.T) {
					sink := newRecorder(t)
					r := &rig{engine: newEngine(sink, tt.cfg), sink: sink, transport: tr, newEngine: newEngine}
					t.Cleanup(func() { _ = r.engine.Close() })
					tt.run(t, r)
				})
			}
			t.Run("StormOfConnectionsMixesNothingUp", func(t *testing.T) { storm(t, tr, newEngine) })
		})
	}
}

func eventsInOrder(t *testing.T, r *rig) {
	p, s := r.join(t, nil)
	r.engine.Start(s, 42)
	p.send(masked(OpText, true, "one"), masked(OpPing, true, "p"), masked(OpBinary, false, "tw"),
		masked(OpPong, true, ""), masked(OpContinuation, true, "o"))
	r.sink.expect(event{Kind: "message", Tag: 42, Op: OpText, Payload: "one"})
	r.sink.expect(event{Kind: "ping", Tag: 42, Payload: "p"})
	r.sink.expect(event{Kind: "pong", Tag: 42})
	r.sink.expect(event{Kind: "message", Tag: 42, Op: OpBinary, Payload: "two"})
}

func bufferedFirst(t *testing.T, r *rig) {
	all := append(masked(OpText, true, "early"), masked(OpText, true, "late")...)
	p, s := r.join(t, all[:15])
	p.send(all[15:])
	r.engine.Start(s, 1)
	r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "early"})
	r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "late"})
}

func nothingBeforeStart(t *testing.T, r *rig) {
	first, a := r.join(t, masked(OpText, true, "a"))
	second, b := r.join(t, nil)
	first.send(masked(OpText, true, "b"))
	second.send(masked(OpText, true, "c"))
	r.engine.Start(b, 2)
	r.sink.expect(event{Kind: "message", Tag: 2, Op: OpText, Payload: "c"})
	r.sink.expectNone()
	r.engine.Start(a, 1)
	r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "a"})
	r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "b"})
}

func largeMessages(t *testing.T, r *rig) {
	p, s := r.join(t, nil)
	r.engine.Start(s, 1)
	large := strings.Repeat("0123456789abcdef", DefaultMessageBytes/16)
	p.send(masked(OpText, true, large), masked(OpText, true, "small"))
	frame := masked(OpText, true, "slowly")
	for i := range frame {
		p.send(frame[i : i+1])
	}
	for _, want := range []string{large, "small", "slowly"} {
		r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: want})
	}
}

func emptyWrite(t *testing.T, r *rig) {
	_, s := r.join(t, nil)
	r.engine.Start(s, 1)
	for _, bufs := range [][][]byte{nil, {}, {nil, {}}} {
		if n, blocked, err := r.engine.Write(s, bufs); n != 0 || blocked || err != nil {
			t.Errorf("got %d, %v, %v for %v, want nothing", n, blocked, err, bufs)
		}
	}
}

// numbered is a stream of which every eight bytes say where they are.
func numbered(size int) []byte {
	b := make([]byte, 0, size)
	for i := 0; i < size; i += 8 {
		b = binary.LittleEndian.AppendUint64(b, uint64(i))
	}
	return b
}

// pieces cuts b into buffers of uneven sizes, some of them empty.
func pieces(b []byte) [][]byte {
	var bufs [][]byte
	for i := 0; len(b) > 0; i++ {
		n := min(len(b), i*i%9001)
		bufs, b = append(bufs, b[:n]), b[n:]
	}
	return bufs
}

func slowReader(t *testing.T, r *rig) {
	p, s := r.join(t, nil)
	r.engine.Start(s, 7)
	want := numbered(16 << 20)
	rest := pieces(want)
	write := func() (int, bool, error) {
		bufs := slices.Clone(rest)
		n, blocked, err := r.engine.Write(s, bufs)
		clear(bufs) // the outer slice is the caller's
		return n, blocked, err
	}
	n, blocked, err := write()
	if err != nil || !blocked {
		t.Fatalf("got %d, %v, %v with nobody reading, want it blocked", n, blocked, err)
	}

	got := make(chan []byte, 1)
	go func() {
		b := make([]byte, len(want))
		n, _ := io.ReadFull(p.nc, b)
		got <- b[:n]
	}()
	for {
		if blocked {
			r.sink.expect(event{Kind: "writable", Tag: 7})
		}
		if rest = advance(rest, n); len(rest) == 0 {
			break
		}
		if n, blocked, err = write(); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			t.Fatal("got Writable without room for a byte")
		}
		if !blocked && n < total(rest) {
			t.Fatalf("got %d of %d bytes taken and not blocked", n, total(rest))
		}
	}
	if b := <-got; !bytes.Equal(b, want) {
		t.Errorf("got %d bytes that differ from the %d written", len(b), len(want))
	}
	r.sink.expectNone()
}

// mustWrite writes all of b and waits until it is gone.
func (r *rig) mustWrite(t *testing.T, s Socket, tag uint64, b []byte) {
	t.Helper()
	n, blocked, err := r.engine.Write(s, [][]byte{b})
	if n != len(b) || err != nil {
		t.Fatalf("got %d, %v, want %d bytes taken", n, err, len(b))
	}
	if blocked {
		r.sink.expect(event{Kind: "writable", Tag: tag})
	}
}

func endOfInput(t *testing.T, r *rig) {
	p, s := r.join(t, nil)
	r.engine.Start(s, 1)
	p.send(masked(OpText, true, "last"), masked(OpText, true, "cut")[:7])
	if err := p.nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "last"})
	r.sink.expect(event{Kind: "closed", Tag: 1, Err: io.EOF})
	r.mustWrite(t, s, 1, AppendFrame(nil, OpText, []byte("bye")))
	p.expect(OpText, "bye")
	r.engine.Release(s)
	p.expectEnd()
}

func peerCloses(t *testing.T, r *rig) {
	p, s := r.join(t, nil)
	r.engine.Start(s, 1)
	p.send(append(masked(OpClose, true, "\x03\xe9gone"), masked(OpText, true, "too late")...))
	got := r.sink.next()
	ce, ok := errors.AsType[*CloseError](got.Err)
	if want := (CloseError{Code: 1001, Reason: "gone", Remote: true}); got.Kind != "closed" || !ok || *ce != want {
		t.Fatalf("got %+v, want closed by %v", got, &want)
	}
	r.mustWrite(t, s, 1, AppendClose(nil, 1001, ""))
	p.expect(OpClose, "\x03\xe9")
	r.engine.Release(s)
	p.expectEnd()
	r.sink.expectNone()
}

func violationIsAnswered(t *testing.T, r *rig) {
	p, s := r.join(t, nil)
	r.engine.Start(s, 1)
	// The message is far larger than what the engine reads of it: what is left must
	// not turn the end of the connection into a reset.
	sent := make(chan error, 1)
	go func() {
		_, err := p.nc.Write(masked(OpText, true, strings.Repeat("x", 300_000)))
		sent <- err
	}()
	got := r.sink.next()
	if ce, _ := errors.AsType[*CloseError](got.Err); got.Kind != "closed" || ce == nil || ce.Code != 1009 || ce.Remote {
		t.Fatalf("got %+v, want closed with 1009", got)
	}
	if err := <-sent; err != nil {
		t.Errorf("got %v from the client's write, want it to be read and thrown away", err)
	}
	r.mustWrite(t, s, 1, AppendClose(nil, 1009, "too long"))
	p.expect(OpClose, "\x03\xf1too long")
	r.engine.Release(s)
	p.expectEnd()
	r.sink.expectNone()
}

func frameTimeout(t *testing.T, r *rig) {
	p, s := r.join(t, nil)
	r.engine.Start(s, 1)
	p.send(masked(OpText, true, "complete"), masked(OpText, true, "cut")[:7])
	r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "complete"})
	got := r.sink.next()
	ce, ok := errors.AsType[*CloseError](got.Err)
	if want := (CloseError{Code: 1008, Reason: "incomplete frame"}); got.Kind != "closed" || !ok || *ce != want {
		t.Fatalf("got %+v, want closed with %v", got, &want)
	}
	r.mustWrite(t, s, 1, AppendClose(nil, 1008, ""))
	p.expect(OpClose, "\x03\xf0")
}

func releaseSilences(t *testing.T, r *rig) {
	p, s := r.join(t, nil)
	other, o := r.join(t, nil)
	r.engine.Start(s, 1)
	r.engine.Start(o, 2)
	p.send(masked(OpText, true, "before"))
	r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "before"})
	r.engine.Release(s)
	if n, blocked, err := r.engine.Write(s, [][]byte{{1}}); n != 0 || blocked || !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %d, %v, %v, want net.ErrClosed", n, blocked, err)
	}
	p.expectEnd()
	other.send(masked(OpText, true, "alive"))
	r.sink.expect(event{Kind: "message", Tag: 2, Op: OpText, Payload: "alive"})
	_ = r.engine.Close()
	r.sink.expectNone()
}

func releaseWithin(t *testing.T, r *rig) {
	p, s := r.join(t, nil)
	r.sink.during = func(event) { r.engine.Release(s) }
	r.engine.Start(s, 1)
	p.send(append(masked(OpText, true, "one"), masked(OpText, true, "two")...))
	r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "one"})
	p.expectEnd()
	_ = r.engine.Close()
	r.sink.expectNone()
}

func releaseBlocked(t *testing.T, r *rig) {
	_, s := r.join(t, nil)
	r.engine.Start(s, 1)
	if _, blocked, err := r.engine.Write(s, [][]byte{make([]byte, 16<<20)}); !blocked || err != nil {
		t.Fatalf("got %v, %v, want it blocked", blocked, err)
	}
	r.engine.Release(s)
	_ = r.engine.Close() // nothing may be left waiting
	select {
	case got := <-r.sink.events:
		// The network may have taken some more before, or at that very moment.
		if want := (event{Kind: "writable", Tag: 1}); got != want {
			t.Fatalf("got event %+v, want %+v or none", got, want)
		}
	default:
	}
	r.sink.expectNone()
}

func brokenSocket(t *testing.T, r *rig) {
	p, s := r.join(t, nil)
	r.engine.Start(s, 1)
	_ = p.nc.Close()
	if got := r.sink.next(); got.Kind != "closed" {
		t.Fatalf("got %+v, want closed", got)
	}
	r.writeUntilBroken(t, s)
}

// Whoever writes to a socket that is not read finds first that it is broken.
func brokenWhilePaused(t *testing.T, r *rig) {
	p, s := r.join(t, nil)
	r.engine.Pause(s)
	r.engine.Start(s, 1)
	_ = p.nc.Close()
	r.writeUntilBroken(t, s)
	r.sink.expectNone()
	r.engine.Resume(s)
	if got := r.sink.next(); got.Kind != "closed" || got.Err == nil {
		t.Fatalf("got %+v, want closed", got)
	}
}

func (r *rig) writeUntilBroken(t *testing.T, s Socket) {
	t.Helper()
	for range 1000 {
		n, blocked, err := r.engine.Write(s, [][]byte{make([]byte, 100_000)})
		if err != nil {
			return
		}
		if blocked {
			r.sink.expect(event{Kind: "writable", Tag: 1})
		} else if n < 100_000 {
			t.Fatalf("got %d bytes taken, not blocked and no error", n)
		}
	}
	t.Error("got no error from writes to a peer that is gone")
}

func reuse(t *testing.T, r *rig) {
	old, a := r.join(t, nil)
	r.engine.Start(a, 1)
	r.engine.Release(a)
	p, b := r.join(t, nil)
	if a == 0 || b == 0 {
		t.Error("got 0 for the name of a socket")
	}
	r.engine.Start(b, 2)
	r.mustWrite(t, b, 2, AppendFrame(nil, OpText, []byte("new")))
	p.expect(OpText, "new")
	old.expectEnd()
}

func unknownNames(t *testing.T, r *rig) {
	for _, s := range []Socket{0, 1, 5000, 1<<32 - 1} {
		r.engine.Start(s, 1)
		r.engine.Pause(s)
		r.engine.Resume(s)
		r.engine.Release(s)
		if _, _, err := r.engine.Write(s, [][]byte{{1}}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v for socket %d, want net.ErrClosed", err, s)
		}
	}
}

func closeEngine(t *testing.T, r *rig) {
	var peers []*peer
	for tag := range uint64(5) {
		p, s := r.join(t, nil)
		if tag > 0 { // one was never started
			r.engine.Start(s, tag)
		}
		peers = append(peers, p)
	}
	for range 2 {
		if err := r.engine.Close(); err != nil {
			t.Errorf("got %v, want nil", err)
		}
	}
	for _, p := range peers {
		p.expectEnd()
	}
	p, server := r.connect(t)
	if _, err := r.engine.Attach(server, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
	p.expectEnd()
	r.sink.expectNone()
}

// echoBothWays has traffic in both directions at once, both larger than what the
// buffers in between hold.
func echoBothWays(t *testing.T, r *rig) {
	sink := newEcho()
	e := r.newEngine(sink, Config{})
	sink.engine = e
	t.Cleanup(func() { _ = e.Close() })
	p, server := r.connect(t)
	s, err := e.Attach(server, nil)
	if err != nil {
		t.Fatal(err)
	}
	sink.add(s)
	const messages = 300
	body := func(i int) string { return fmt.Sprint(i, strings.Repeat("y", i*37)) }
	go func() {
		for i := range messages {
			_, _ = p.nc.Write(masked(OpText, true, body(i)))
		}
	}()
	for i := range messages {
		p.expect(OpText, body(i))
	}
}
