package switchboard

import (
	"context"
	"log/slog"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

const (
	// tellingLanes is how many publishes of presence are under way, of different places.
	tellingLanes = 8
	// tellingWaits is how many wait behind each. What is one too many is told later as it is then.
	tellingWaits = 1024
	// tellingWait is how long the broker may take for one.
	tellingWait = time.Second
	// tellingRetry is after how long what was not told is told again.
	tellingRetry = time.Second
	// tellingWarns is how often that is logged at most.
	tellingWarns = time.Minute
)

// telling is the way of presence to other nodes: the keeper never waits for the broker. What was said of
// one place goes in order.
type telling struct {
	lanes  [tellingLanes]chan toTell
	missed map[hub.Key]wire.Topic // places of which something did not get through
	retry  time.Time              // when they are told of again
	warned time.Time
}

// toTell is a record on its way.
type toTell struct {
	place  wire.Topic
	to     broker.Key
	record presenceRecord
}

// beginTelling starts what publishes, until the keeper ends.
func (k *presenceKeeper) beginTelling() {
	k.telling.missed = make(map[hub.Key]wire.Topic)
	for i := range k.telling.lanes {
		lane := make(chan toTell, tellingWaits)
		k.telling.lanes[i] = lane
		k.asks.Go(func() {
			for {
				select {
				case <-k.ctx.Done():
					return
				case t := <-lane:
					k.m.tellNow(k.ctx, t)
				}
			}
		})
	}
}

// tellNow publishes a record. What does not get through is told to the keeper; who has asked asks again.
func (m *Manager) tellNow(ctx context.Context, t toTell) {
	try, cancel := context.WithTimeout(ctx, tellingWait)
	defer cancel()
	if err := m.tellNodes(try, t.place, t.to, t.record); err == nil || ctx.Err() != nil {
		return
	} else if m.log.Enabled(ctx, slog.LevelDebug) {
		m.log.LogAttrs(ctx, slog.LevelDebug, "presence not told to other nodes", slog.Any("err", err))
	}
	if t.record.Answer == 0 {
		m.presence.post(presenceEvent{what: notTold, topic: t.place})
	}
}

// send puts a record on its way, and reports whether there is room.
func (k *presenceKeeper) send(t toTell) bool {
	key := hubKey(t.place)
	select {
	case k.telling.lanes[key[0]%tellingLanes] <- t:
		return true
	default:
		return false
	}
}

// say tells all nodes that follow a topic.
func (k *presenceKeeper) say(topic wire.Topic, r presenceRecord) {
	if !k.send(toTell{topic, broker.KeyOf(topic), r}) {
		k.notTold(topic)
	}
}

// answer tells a node what this one has in a place, each piece when it is put together: that may take a
// while, so it says first that it begins. If there is no room the node asks again.
func (k *presenceKeeper) answer(place wire.Topic, asked presenceRecord) {
	r := presenceRecord{Node: k.m.nodes.id(), Seq: k.seqOf(place), Answer: asked.Question, Total: answerBegun}
	to, total := nodeInbox(asked.Node), 0
	if _, followers, _ := k.m.hub.Lookup(hubKey(place)); followers > answerEntries && !k.send(toTell{place, to, r}) {
		return
	}
	for e := range k.here(place) {
		if r.Entries = append(r.Entries, e); len(r.Entries) == answerEntries {
			if total += len(r.Entries); !k.send(toTell{place, to, r}) {
				return
			}
			r.Entries = nil
		}
	}
	r.Total = total + len(r.Entries)
	k.send(toTell{place, to, r})
}

// notTold takes note of a place of which other nodes may not know what was said.
func (k *presenceKeeper) notTold(topic wire.Topic) {
	t, now := &k.telling, time.Now()
	if len(t.missed) == 0 {
		t.retry = now.Add(tellingRetry)
	}
	t.missed[hubKey(topic)] = topic
	if now.Sub(t.warned) > tellingWarns {
		t.warned = now
		k.m.log.LogAttrs(k.ctx, slog.LevelWarn, "presence not told to other nodes, it is told again until it is")
	}
}

// tellMissed tells of those places again.
func (k *presenceKeeper) tellMissed(now time.Time) {
	for key, topic := range k.telling.missed {
		if !k.sayPlace(topic) {
			break
		}
		delete(k.telling.missed, key)
	}
	k.telling.retry = now.Add(tellingRetry)
}

// sayPlace says what there is of a user, or how far this node is in a room: who does not know it asks. It
// reports whether there is room for that.
func (k *presenceKeeper) sayPlace(topic wire.Topic) bool {
	if k.m.nodes.alone() {
		return true
	}
	if topic.Kind == wire.KindUser {
		for _, r := range k.userRecords(topic, k.devices(topic, nil), true) {
			if !k.send(toTell{topic, broker.KeyOf(topic), r}) {
				return false
			}
		}
		return true
	}
	r := presenceRecord{Node: k.m.nodes.id(), Seq: k.said}
	if room := k.rooms[hubKey(topic)]; room != nil {
		r.Seq = room.seq
	}
	return k.send(toTell{topic, broker.KeyOf(topic), r})
}
