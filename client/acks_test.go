package client_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/wire"
)

// acks reads until the client leaves and returns what its acknowledgements said.
func (p *peer) acks() (all []wire.AckRequest) {
	for {
		_, frame, err := p.conn.Read(context.Background())
		if err != nil {
			_ = p.conn.CloseNow()
			return all
		}
		env, err := wire.Parse(frame)
		var req wire.AckRequest
		if err != nil || env.Type != wire.AckType || env.Decode(&req) != nil {
			p.t.Errorf("got %s, want an ack", frame)
		}
		all = append(all, req)
	}
}

func delivered(topic, pos string) wire.AckRequest {
	return wire.AckRequest{Positions: map[string]wire.Position{topic: position(pos)}}
}

func TestOfManyMessagesFewAcksAreSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 50 * time.Millisecond // 100 messages in 5 s
		opts := serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			go func() {
				for n := range uint64(100) {
					p.note("user/alice", n+1)
					time.Sleep(each)
				}
			}()
			got := p.acks()
			if len(got) < 2 || len(got) > 4 {
				t.Errorf("got %d acks, want one in 2 s", len(got))
			}
			if diff := cmp.Diff(got[len(got)-1], delivered("user/alice", "e1:100")); diff != "" {
				t.Errorf("last ack (-got +want):\n%s", diff)
			}
		})
		c := dial(t, opts)
		in := messages(t, c)
		for n := range 100 {
			in.expect(fmt.Sprintf("user/alice-%d", n+1))
		}
		time.Sleep(time.Minute) // nothing new comes, so nothing is told
	})
}

func TestCloseTellsWhatHasArrivedBeforeItLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			p.note("user/alice", 1)
			if diff := cmp.Diff(p.acks(), []wire.AckRequest{{
				Positions: map[string]wire.Position{"user/alice": position("e1:1")},
				Seen:      map[string]wire.Position{"user/alice": position("e1:1")},
			}}); diff != "" {
				t.Errorf("acks (-got +want):\n%s", diff)
			}
		})
		c := dial(t, opts)
		env := messages(t, c).expect("user/alice-1")
		c.Seen(env)
		c.Seen(wire.Envelope{Type: "note", Topic: "user/alice"}) // has no place
		began := time.Now()
		_ = c.Close()
		if d := time.Since(began); d > time.Second {
			t.Errorf("got %v to close, want no wait", d)
		}
	})
}

func TestWhatWasSeenIsToldOnceAndNeverGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			p.note("user/alice", 1)
			p.note("user/alice", 2)
			got := p.acks()
			want := []wire.AckRequest{
				delivered("user/alice", "e1:2"),
				{Positions: map[string]wire.Position{}, Seen: map[string]wire.Position{"user/alice": position("e1:2")}},
			}
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("acks (-got +want):\n%s", diff)
			}
		})
		c := dial(t, opts)
		in := messages(t, c)
		first, second := in.expect("user/alice-1"), in.expect("user/alice-2")
		time.Sleep(10 * time.Second)
		c.Seen(second)
		time.Sleep(10 * time.Second)
		c.Seen(first)
		c.Seen(second)
		time.Sleep(10 * time.Second)
	})
}

func TestWhatWasToldOnAConnectionThatWasLostIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := serve(t,
			func(p *peer) {
				p.welcome("c1", "user/alice", "e1:0")
				p.note("user/alice", 1)
				p.expect(wire.AckType, nil)
				p.cut()
			},
			func(p *peer) {
				p.welcome("c2", "user/alice", "e1:1")
				time.Sleep(10 * time.Second)
				p.restore() // nothing is told before it is answered
				if diff := cmp.Diff(p.acks(), []wire.AckRequest{delivered("user/alice", "e1:1")}); diff != "" {
					t.Errorf("acks (-got +want):\n%s", diff)
				}
			})
		c := dial(t, opts)
		messages(t, c).expect("user/alice-1")
		time.Sleep(time.Minute)
	})
}

func TestARefusedAckIsNobodysConcern(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := serve(t, func(p *peer) {
			p.welcome("c1", "user/alice", "e1:0")
			p.note("user/alice", 1)
			p.error(p.expect(wire.AckType, nil).ID, wire.CodeForbidden, nil)
			p.note("user/alice", 2)
			p.acks()
		})
		c := dial(t, opts)
		in := messages(t, c)
		in.expect("user/alice-1")
		in.expect("user/alice-2")
	})
}
