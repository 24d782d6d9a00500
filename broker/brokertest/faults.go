package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

func faultRules() []rule {
	return []rule{
		{"a lost link ends Run, which may be called again", linkIsLost},
		{"a lost link ends watches", linkEndsWatches},
		{"what was acknowledged outlives the leader", leaderIsKilled},
		{"what was not delivered is in the log and announced", notDelivered},
		{"a lost tail begins a new epoch", tailIsLost},
		{"a receiver that compares prev loses nothing", nothingIsLost},
	}
}

func linkIsLost(e *env) {
	if e.h.CutLink == nil {
		e.Skip("the link cannot be cut")
	}
	topic := e.topic("t")
	d := e.node()
	l := e.listen(d, topic)
	e.say(topic, "1")
	l.of(topic, "1")
	e.h.CutLink(e, d)
	l.end(broker.ErrUnavailable)
	e.say(topic, "2")
	again := e.listen(d)
	e.say(topic, "3")
	live := again.of(topic, "3")
	stored, _ := e.since(e.d, topic, wire.Position{})
	if got, want := live[len(live)-1].Prev, stored[1].Pos.Offset; got != want {
		e.Errorf("prev %d, want %d, which tells that a record was missed", got, want)
	}
}

func linkEndsWatches(e *env) {
	if e.h.CutLink == nil {
		e.Skip("the link cannot be cut")
	}
	d := e.node()
	key := e.key("k")
	e.put(key, "1", 0, 0)
	w := e.watch(d, e.key(""))
	w.synced()
	e.h.CutLink(e, d)
	w.ends(broker.ErrUnavailable)
	rev := e.put(key, "2", broker.Any, 0)
	e.until("a new watch works", func() bool {
		for c, err := range d.Watch(e.ctx, e.key("")) {
			if err != nil {
				return false
			}
			if !c.Synced {
				return c.Key == key && c.Revision == rev
			}
		}
		return false
	})
}

func leaderIsKilled(e *env) {
	if e.h.KillLeader == nil {
		e.Skip("the leader cannot be killed")
	}
	topic := e.topic("t")
	s := e.stream("s")
	kept := numbered(50)
	before := e.say(topic, kept...)
	s.add(0, "text", 1, 4, nil)
	rev := e.put(e.key("k"), "v", 0, 0)
	e.h.KillLeader(e)

	retry := withID(topic, "after", "id")
	var done broker.Published
	e.until("publishing works", func() bool {
		ctx, cancel := context.WithTimeout(e.ctx, e.h.Patience/4)
		defer cancel()
		var err error
		done, err = e.d.Publish(ctx, retry)
		if err != nil && !errors.Is(err, broker.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
			e.Fatalf("Publish in an outage: %v, want %v", err, broker.ErrUnavailable)
		}
		return err == nil
	})
	if again := e.publish(e.d, retry); !again.Duplicate || again.Pos != done.Pos {
		e.Errorf("a retry returned %+v, want the duplicate of %v", again, done.Pos)
	}
	if done.Pos.Epoch != before.Epoch {
		e.Errorf("epoch %q after %q, want the same: nothing was lost", done.Pos.Epoch, before.Epoch)
	}
	e.wantLog(e.d, topic, append(kept, "after")...)
	s.want(0, "text", 4)
	e.wantItem(e.key("k"), "v", rev)
}

func notDelivered(e *env) {
	if e.h.DropLive == nil {
		e.Skip("live records cannot be dropped")
	}
	topic := e.topic("t")
	l := e.listen(e.node(), topic)
	e.say(topic, "1")
	l.of(topic, "1")

	e.h.DropLive(e, topic, 1)
	missed := e.say(topic, "2")
	e.say(topic, "3")
	live := l.of(topic, "3")
	if got := texts(live); !slices.Equal(got, []string{"1", "3"}) {
		e.Fatalf("received %q, want 1 and 3", got)
	}
	if prev := live[1].Prev; prev != missed.Offset {
		e.Errorf("prev %d, want %d, which was not delivered", prev, missed.Offset)
	}
	e.wantLog(e.d, topic, "1", "2", "3")

	e.h.DropLive(e, topic, 1)
	first := e.publish(e.d, withID(topic, "4", "id"))
	if p := e.publish(e.d, withID(topic, "4", "id")); !p.Duplicate || p.Pos != first.Pos {
		e.Errorf("the retry returned %+v, want the duplicate of %v", p, first.Pos)
	}
	l.wait("the announced head", func() bool {
		return slices.ContainsFunc(l.entries, func(entry broker.Entry) bool { return entry.Pos == first.Pos })
	})
}

func tailIsLost(e *env) {
	if e.h.LoseTail == nil {
		e.Skip("acknowledged records cannot be lost")
	}
	topic := e.topic("t")
	l := e.listen(e.d, topic)
	var old []wire.Position
	for i := range 5 {
		s := fmt.Sprint(i + 1)
		old = append(old, e.publish(e.d, withID(topic, s, s)).Pos)
	}
	l.of(topic, "5")
	e.h.LoseTail(e, topic, 2)
	e.until("there is a new epoch", func() bool { return e.head(e.d, topic).Epoch != old[0].Epoch })
	head := e.head(e.d, topic)
	e.wantLog(e.d, topic, "1", "2", "3")
	for _, pos := range []wire.Position{old[1], old[4]} {
		entries, _, err := e.d.Since(e.ctx, topic, pos, 1)
		e.wantErr("Since of the old epoch", err, broker.ErrGap)
		if !slices.Equal(texts(entries), []string{"1"}) {
			e.Errorf("beside the gap there is %q, want the oldest", texts(entries))
		}
	}
	if p := e.publish(e.d, withID(topic, "3", "3")); !p.Duplicate || p.Pos != head {
		e.Errorf("what was kept is published again: %+v, want the duplicate of %v", p, head)
	}
	p := e.publish(e.d, withID(topic, "5 again", "5"))
	if p.Duplicate || p.Pos.Epoch != head.Epoch || p.Pos.Offset <= head.Offset {
		e.Errorf("what was lost is not published again: %+v, head %v", p, head)
	}
	if live := l.of(topic, "5 again"); live[len(live)-1].Pos != p.Pos {
		e.Errorf("received at %v, want %v", live[len(live)-1].Pos, p.Pos)
	}
	e.wantLog(e.d, topic, "1", "2", "3", "5 again")
}

// nothingIsLost publishes from several nodes through all faults that the engine
// knows, each record until it is acknowledged, and lets a Follower on each node
// tell a History.
func nothingIsLost(e *env) {
	var h History
	topics := []broker.Key{e.topic("a"), e.topic("b"), e.topic("c")}
	var names []string
	for _, topic := range topics {
		names = append(names, topic.String())
	}
	name := func(entry broker.Entry) string { return string(entry.Data) }
	nodes := []broker.Driver{e.node(), e.node()}
	var followers []*Follower
	ctx, cancel := context.WithCancel(e.ctx)
	done := make(chan error, len(nodes))
	for i, d := range nodes {
		f, err := NewFollower(e.ctx, d, h.Receiver(fmt.Sprint("node ", i), names...), name, topics...)
		if err != nil {
			e.Fatalf("NewFollower: %v", err)
		}
		followers = append(followers, f)
		go func() { done <- f.Run(ctx) }()
	}
	parallel(4, func(i int) {
		for n := range 60 {
			e.publishSurely(&h, nodes[i%2], topics[n%3], fmt.Sprintf("%d-%d", i, n))
			if i == 0 {
				e.disturb(n, nodes, topics)
			}
		}
	})
	for _, f := range followers {
		if err := f.Settle(e.ctx); err != nil {
			e.Errorf("Settle: %v", err)
		}
	}
	cancel()
	for range nodes {
		if err := <-done; err != nil {
			e.Errorf("Run of a follower: %v", err)
		}
	}
	h.Verify(e)
	e.Log(h.Summary())
}

// publishSurely publishes until it is acknowledged.
func (e *env) publishSurely(h *History, d broker.Driver, topic broker.Key, id string) {
	h.Attempted(topic.String(), id)
	for e.ctx.Err() == nil {
		p, err := d.Publish(e.ctx, withID(topic, id, id))
		if err == nil {
			h.Sent(topic.String(), id, p.Pos)
			return
		}
		if !errors.Is(err, broker.ErrUnavailable) {
			e.Errorf("Publish: %v", err)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	e.Error("a record was never acknowledged")
}

// disturb does what the engine knows of, now and then.
func (e *env) disturb(n int, nodes []broker.Driver, topics []broker.Key) {
	if e.h.DropLive != nil && n%7 == 3 {
		e.h.DropLive(e, topics[n%len(topics)], 2)
	}
	if e.h.CutLink != nil && n%20 == 10 {
		e.h.CutLink(e, nodes[n/20%len(nodes)])
	}
	if e.h.KillLeader != nil && n == 35 {
		e.h.KillLeader(e)
	}
}
