package ws

import (
	"bytes"
	"testing"
)

func pauseWithin(t *testing.T, r *rig) {
	p, s := r.join(t, nil)
	r.sink.during = func(e event) {
		if e.Payload != "last" {
			r.engine.Pause(s)
		}
	}
	r.engine.Start(s, 1)
	// All in one segment, so that what follows has been read already, cut within a frame.
	all := bytes.Join([][]byte{masked(OpText, true, "one"), masked(OpPing, true, "two"), masked(OpText, true, "last")}, nil)
	p.send(all[:len(all)-2])
	r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "one"})
	r.sink.expectNone()
	r.engine.Resume(s)
	r.sink.expect(event{Kind: "ping", Tag: 1, Payload: "two"})
	p.send(all[len(all)-2:])
	r.sink.expectNone()
	r.engine.Resume(s)
	r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "last"})
}

func pausedBeforeStart(t *testing.T, r *rig) {
	_, s := r.join(t, masked(OpText, true, "waits"))
	r.engine.Pause(s)
	r.engine.Resume(s)
	r.engine.Pause(s)
	r.engine.Start(s, 1)
	r.sink.expectNone()
	r.engine.Resume(s)
	r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "waits"})
}

func pauseKeepsBytes(t *testing.T, r *rig) {
	p, s := r.join(t, nil)
	other, o := r.join(t, nil)
	r.sink.during = func(e event) {
		if e.Payload == "one" {
			r.engine.Pause(s)
		}
	}
	r.engine.Start(s, 1)
	r.engine.Start(o, 2)
	p.send(append(masked(OpText, true, "one"), masked(OpText, true, "two")...))
	r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "one"})
	for range 10 { // into the same buffers, if they were free
		other.send(masked(OpText, true, "overwritten?"))
		r.sink.expect(event{Kind: "message", Tag: 2, Op: OpText, Payload: "overwritten?"})
	}
	r.engine.Resume(s)
	r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "two"})
}

func resumeWithin(t *testing.T, r *rig) {
	p, s := r.join(t, nil)
	r.sink.during = func(event) {
		r.engine.Pause(s)
		r.engine.Resume(s)
	}
	r.engine.Start(s, 1)
	p.send(append(masked(OpText, true, "one"), masked(OpText, true, "two")...))
	r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "one"})
	r.sink.expect(event{Kind: "message", Tag: 1, Op: OpText, Payload: "two"})
}
