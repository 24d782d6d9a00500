package brokertest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

func liveRules() []rule {
	return []rule{
		{"after Follow everything is delivered", followIsSure},
		{"Follow waits for Run", followWaits},
		{"every node gets what it follows", everyNodeGets},
		{"Unfollow is a hint and Follow holds again", unfollowIsAHint},
		{"one topic is never delivered concurrently", neverConcurrently},
		{"a receiver may publish", receiverPublishes},
		{"records of many topics keep their order", manyTopics},
	}
}

func followIsSure(e *env) {
	other := e.node()
	l := e.listen(other)
	for i := range 100 {
		topic := e.topic(fmt.Sprint(i))
		if err := other.Follow(e.ctx, topic); err != nil {
			e.Fatalf("Follow: %v", err)
		}
		e.say(topic, "first")
		l.of(topic, "first")
	}
	many := make([]broker.Key, 2000)
	for i := range many {
		many[i] = e.topic(fmt.Sprint("many ", i))
	}
	if err := other.Follow(e.ctx, many...); err != nil {
		e.Fatalf("Follow: %v", err)
	}
	for _, i := range []int{0, 999, 1999} {
		e.say(many[i], "first")
		l.of(many[i], "first")
	}
}

func followWaits(e *env) {
	ctx, cancel := context.WithTimeout(e.ctx, 50*time.Millisecond)
	defer cancel()
	e.wantErr("Follow without Run", e.d.Follow(ctx, e.topic("t")), context.DeadlineExceeded)
	e.wantErr("Follow of nothing without Run", e.d.Follow(ctx), context.DeadlineExceeded)
	followed := make(chan error, 1)
	go func() { followed <- e.d.Follow(e.ctx, e.topic("t")) }()
	l := e.listen(e.d)
	if err := <-followed; err != nil {
		e.Fatalf("Follow: %v", err)
	}
	e.say(e.topic("t"), "first")
	l.of(e.topic("t"), "first")
}

func everyNodeGets(e *env) {
	topic, second := e.topic("t"), e.topic("second")
	nodes := []broker.Driver{e.d, e.node(), e.node()}
	var taps []*tap
	for _, d := range nodes {
		taps = append(taps, e.listen(d, topic))
	}
	if err := nodes[2].Follow(e.ctx, second); err != nil {
		e.Fatalf("Follow: %v", err)
	}
	for i, d := range nodes {
		e.publish(d, record(topic, fmt.Sprint("from ", i)))
	}
	e.publish(nodes[1], record(second, "second"))
	e.publish(nodes[1], record(topic, "last"))
	for _, l := range taps {
		got := texts(l.of(topic, "last"))
		if want := []string{"from 0", "from 1", "from 2", "last"}; !slices.Equal(got, want) {
			e.Errorf("received %q, want %q", got, want)
		}
	}
	taps[2].of(second, "second")
}

func unfollowIsAHint(e *env) {
	topic := e.topic("t")
	l := e.listen(e.d, topic)
	e.say(topic, "1")
	l.of(topic, "1")
	for range 2 {
		if err := e.d.Unfollow(e.ctx, topic, e.topic("never followed")); err != nil {
			e.Fatalf("Unfollow: %v", err)
		}
	}
	e.say(topic, "2")
	if err := e.d.Follow(e.ctx, topic, topic); err != nil {
		e.Fatalf("Follow: %v", err)
	}
	e.say(topic, "3")
	l.of(topic, "3")
}

func neverConcurrently(e *env) {
	topics := []broker.Key{e.topic("a"), e.topic("b")}
	l := e.listenWith(e.d, func(broker.Entry) {
		time.Sleep(time.Microsecond) // gives a second delivery the time to collide
	}, topics...)
	other := e.node()
	parallel(8, func(i int) {
		for range 50 {
			d := e.d
			if i%2 == 1 {
				d = other
			}
			if _, err := d.Publish(e.ctx, record(topics[i%4/2], "x")); err != nil {
				e.Errorf("Publish: %v", err)
			}
			if _, err := d.Append(e.ctx, topics[i%4/2], broker.NameKey("s"), -1, "x", 0); err != nil {
				e.Errorf("Append: %v", err)
			}
		}
	})
	for _, topic := range topics { // tap checks that no two deliveries overlap
		e.say(topic, "last")
		live := l.of(topic, "last")
		for i := range live[1:] {
			if live[i].Pos.Offset >= live[i+1].Pos.Offset {
				e.Fatalf("received %v before %v", live[i].Pos, live[i+1].Pos)
			}
		}
	}
}

func receiverPublishes(e *env) {
	topic, other := e.topic("t"), e.topic("other")
	var inside atomic.Bool
	l := e.listenWith(e.d, func(entry broker.Entry) {
		if string(entry.Data) != "question" || !inside.CompareAndSwap(false, true) {
			return
		}
		for _, to := range []broker.Key{topic, other} {
			if _, err := e.d.Publish(e.ctx, record(to, "answer")); err != nil {
				e.Errorf("Publish: %v", err)
			}
		}
	}, topic, other)
	e.say(topic, "question")
	if got := texts(l.of(topic, "answer")); !slices.Equal(got, []string{"question", "answer"}) {
		e.Errorf("received %q, want the question and then the answer", got)
	}
	l.of(other, "answer")
}

func manyTopics(e *env) {
	topics := make([]broker.Key, 64)
	for i := range topics {
		topics[i] = e.topic(fmt.Sprint(i))
	}
	l := e.listen(e.node(), topics...)
	data := numbered(30)
	parallel(4, func(i int) {
		for _, s := range data {
			for _, topic := range topics[16*i : 16*(i+1)] {
				if _, err := e.d.Publish(e.ctx, record(topic, s)); err != nil {
					e.Errorf("Publish: %v", err)
				}
			}
		}
	})
	for _, topic := range topics {
		if got := texts(l.of(topic, data[len(data)-1])); !slices.Equal(got, data) {
			e.Fatalf("received %q, want %q", got, data)
		}
	}
}

func linkRules() []rule {
	return []rule{
		{"Run ends with its context and may be called again", runAgain},
		{"when Run has returned nothing is delivered", nothingAfterRun},
		{"a second Run is refused", secondRun},
		{"Close ends everything", closeEndsEverything},
		{"Close is idempotent and leaves other nodes alone", closeIsIdempotent},
		{"a receiver may close", receiverCloses},
	}
}

func runAgain(e *env) {
	topic := e.topic("t")
	l := e.listen(e.d, topic)
	e.say(topic, "1")
	l.of(topic, "1")
	l.end(context.Canceled) // tap checks that nothing is delivered from here on
	e.say(topic, "2")
	again := e.listen(e.d) // what was followed stays followed
	e.say(topic, "3")
	if got := texts(again.of(topic, "3")); got[len(got)-1] != "3" {
		e.Errorf("received %q, want 3 at the end", got)
	}
	e.wantLog(e.d, topic, "1", "2", "3")
}

func nothingAfterRun(e *env) {
	topic := e.topic("t")
	d := e.node()
	ctx, cancel := context.WithCancel(e.ctx)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := e.d.Publish(ctx, record(topic, "x")); err != nil && ctx.Err() == nil {
					e.Errorf("Publish: %v", err)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	defer wg.Wait()
	defer cancel()
	for range 10 {
		l := e.listenWith(d, func(broker.Entry) { time.Sleep(200 * time.Microsecond) }, topic)
		l.wait("a record", func() bool { return len(l.entries) > 0 })
		l.end(context.Canceled) // tap checks that nothing is delivered from here on
	}
}

func secondRun(e *env) {
	topic := e.topic("t")
	l := e.listen(e.d, topic)
	e.wantRefused("a second Run", e.d.Run(e.ctx, &tap{e: e}))
	e.say(topic, "1")
	l.of(topic, "1")
}

func closeEndsEverything(e *env) {
	topic := e.topic("t")
	d, idle := e.node(), e.node()
	l := e.listen(d, topic)
	followed := make(chan error, 1)
	go func() { followed <- idle.Follow(e.ctx, topic) }()
	w := e.watch(d, e.key(""))
	w.synced()
	for _, c := range []broker.Driver{d, idle} {
		if err := c.Close(); err != nil {
			e.Fatalf("Close: %v", err)
		}
	}
	l.end(broker.ErrClosed)
	e.wantErr("Follow", <-followed, broker.ErrClosed)
	w.ends(broker.ErrClosed)

	_, publish := d.Publish(e.ctx, record(topic, "x"))
	_, _, since := d.Since(e.ctx, topic, wire.Position{}, 1)
	_, before := d.Before(e.ctx, topic, wire.Position{}, 1)
	_, latest := d.Latest(e.ctx, topic)
	_, heads := d.Heads(e.ctx, true, topic)
	_, app := d.Append(e.ctx, topic, broker.NameKey("s"), 0, "x", 0)
	_, seal := d.Seal(e.ctx, topic, broker.NameKey("s"), 1)
	_, _, read := d.Read(e.ctx, topic, broker.NameKey("s"), 0, math.MaxInt)
	_, get := d.Get(e.ctx, e.key("k"))
	_, put := d.Put(e.ctx, e.key("k"), nil, 0, 0)
	for name, err := range map[string]error{
		"Publish": publish, "Since": since, "Before": before, "Latest": latest, "Heads": heads,
		"Append": app, "Seal": seal, "Read": read, "Get": get, "Put": put,
		"Drop":     d.Drop(e.ctx, topic),
		"Remove":   d.Remove(e.ctx, topic, broker.NameKey("s")),
		"Delete":   d.Delete(e.ctx, e.key("k"), broker.Any),
		"Follow":   d.Follow(e.ctx, topic),
		"Unfollow": d.Unfollow(e.ctx, topic),
		"Run":      d.Run(e.ctx, &tap{e: e}),
	} {
		e.wantErr(name, err, broker.ErrClosed)
	}
	e.watch(d, e.key("")).ends(broker.ErrClosed)
}

func closeIsIdempotent(e *env) {
	topic := e.topic("t")
	other := e.node()
	l := e.listen(other, topic)
	pos := e.say(topic, "1")
	parallel(4, func(int) {
		if err := e.d.Close(); err != nil {
			e.Errorf("Close: %v", err)
		}
	})
	p := e.publish(other, record(topic, "2"))
	if p.Pos.Epoch != pos.Epoch {
		e.Errorf("epoch %q after %q: closing a node is no reason for a new one", p.Pos.Epoch, pos.Epoch)
	}
	l.of(topic, "2")
	e.wantLog(e.node(), topic, "1", "2")
}

func receiverCloses(e *env) {
	topic := e.topic("t")
	d := e.node()
	l := e.listenWith(d, func(broker.Entry) {
		if err := d.Close(); err != nil {
			e.Errorf("Close: %v", err)
		}
	}, topic)
	e.say(topic, "1")
	l.of(topic, "1")
	l.end(broker.ErrClosed)
}
