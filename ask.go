package switchboard

import (
	"context"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/presence"
	"github.com/netra-systems/switchboard/wire"
)

const (
	// askSilence is how long a node that is asked may say nothing, for who calls: until the first piece of its
	// answer, and between two.
	askSilence = 3 * time.Second
	// askLongest is how long who calls waits for all answers.
	askLongest = 10 * time.Second
	// askPatience is askSilence for the keeper of presence. A node that is busy has the question, and would
	// answer each further one as well.
	askPatience = 10 * time.Second
	// answerEntries is how many users one answer holds; larger ones come in pieces.
	answerEntries = 200
	// answerBegun is the number of users in an answer that has only begun.
	answerBegun = math.MaxInt32
	// silentWarns is how often it is logged at most that nodes do not answer.
	silentWarns = time.Minute
)

// presenceRecord is what nodes tell each other about who is where: the record's topic is the place.
// It passes by and is kept nowhere.
type presenceRecord struct {
	Node    string             `json:"n"`           // who says it
	Seq     uint64             `json:"s,omitzero"`  // its how many-th change of the place
	Entries []presence.Entry   `json:"u,omitempty"` // what has changed, or all in an answer
	Tell    bool               `json:"t,omitzero"`  // whoever has others there is to say so
	Gone    []presence.Goodbye `json:"g,omitempty"` // of the user that the place is

	Question uint64 `json:"q,omitzero"` // a question: what there is, to be answered to Node under this number
	Answer   uint64 `json:"a,omitzero"` // an answer, of Total entries in all, or less if more pieces come
	Total    int    `json:"c,omitzero"`
}

// answered is what a node has in a place.
type answered struct {
	node    string
	seq     uint64
	entries []presence.Entry
}

// questions are those that wait for answers of other nodes.
type questions struct {
	mu     sync.Mutex // guards the fields below, and what is open
	last   uint64
	open   map[uint64]*question
	warned time.Time
}

type question struct {
	place   wire.Topic
	kept    bool                // answers are for the keeper of presence, each when it is whole
	missing map[string]struct{} // nodes that have not answered as a whole
	parts   map[string]*pieces
	came    chan struct{} // capacity 1: something has come
	done    chan struct{} // closed when none is missing
}

// pieces are those of the answer of one node that have come.
type pieces struct {
	answer answered
	total  int                 // of users, or more: that is not known before the last piece
	first  map[string]struct{} // the first user of each: one may come twice
}

func (q *questions) begin(place wire.Topic, kept bool, nodes []string) (uint64, *question) {
	q.mu.Lock()
	defer q.mu.Unlock()
	asked := &question{
		place: place, kept: kept, missing: make(map[string]struct{}), parts: make(map[string]*pieces),
		came: make(chan struct{}, 1), done: make(chan struct{}),
	}
	for _, node := range nodes {
		asked.missing[node] = struct{}{}
	}
	q.last++
	if q.open == nil {
		q.open = make(map[uint64]*question)
	}
	q.open[q.last] = asked
	return q.last, asked
}

// take notes a piece of an answer, and returns the answer if it is for the keeper and whole with that.
func (q *questions) take(r presenceRecord) (place wire.Topic, a answered, whole bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	asked := q.open[r.Answer]
	if asked == nil {
		return place, a, false
	}
	if _, missing := asked.missing[r.Node]; !missing {
		return place, a, false
	}
	p := asked.parts[r.Node]
	if p == nil {
		p = &pieces{answer: answered{node: r.Node, seq: r.Seq}, total: r.Total, first: make(map[string]struct{})}
		asked.parts[r.Node] = p
	}
	if len(r.Entries) > 0 {
		if _, twice := p.first[r.Entries[0].User]; twice {
			return place, a, false
		}
		p.first[r.Entries[0].User] = struct{}{}
	}
	select {
	case asked.came <- struct{}{}:
	default:
	}
	p.total = min(p.total, r.Total)
	if p.answer.entries = append(p.answer.entries, r.Entries...); len(p.answer.entries) < p.total {
		return place, a, false
	}
	if delete(asked.missing, r.Node); len(asked.missing) == 0 {
		close(asked.done)
	}
	return asked.place, p.answer, asked.kept
}

// end returns the answers that are whole, and the nodes of which there is none.
func (q *questions) end(id uint64) (whole []answered, silent []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	asked := q.open[id]
	delete(q.open, id)
	for node, p := range asked.parts {
		if _, missing := asked.missing[node]; !missing {
			whole = append(whole, p.answer)
		}
	}
	return whole, slices.Sorted(maps.Keys(asked.missing))
}

// ask asks nodes what they have in a place, and returns what they answered, and who did not. It waits as long
// as pieces come, until ctx ends; if kept, the keeper of presence is given each answer when it is whole.
func (m *Manager) ask(ctx context.Context, place wire.Topic, kept bool, nodes ...string) (whole []answered, silent []string, err error) {
	self := m.nodes.id()
	if len(nodes) == 0 || self == "" { // then there is nowhere to answer to
		return nil, nodes, nil
	}
	id, asked := m.questions.begin(place, kept, nodes)
	to := m.nodes.everybody
	if len(nodes) == 1 {
		to = nodeInbox(nodes[0])
	}
	publish, cancel := context.WithTimeout(ctx, tellingWait)
	defer cancel()
	if err = m.tellNodes(publish, place, to, presenceRecord{Node: self, Question: id}); err == nil {
		silence := askSilence
		if kept {
			silence = askPatience
		}
		asked.await(ctx, silence)
	}
	whole, silent = m.questions.end(id)
	m.count.unanswered.Add(uint64(len(silent)))
	return whole, silent, err
}

// await waits until all have answered, or nothing has come for so long.
func (q *question) await(ctx context.Context, silence time.Duration) {
	timer := time.NewTimer(silence)
	defer timer.Stop()
	for {
		select {
		case <-q.done:
			return
		case <-q.came:
			timer.Reset(silence)
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// silent says in the log which nodes do not answer, if that was not said a moment ago.
func (m *Manager) silent(nodes []string) {
	m.questions.mu.Lock()
	now := time.Now()
	say := now.Sub(m.questions.warned) > silentWarns
	if say {
		m.questions.warned = now
	}
	m.questions.mu.Unlock()
	if say {
		m.log.LogAttrs(m.life, slog.LevelWarn, "nodes do not answer who is there", slog.Any("nodes", nodes))
	}
}

// tellNodes publishes to nodes: to all who follow a topic, if that is where it goes, or where nodes listen.
func (m *Manager) tellNodes(ctx context.Context, place wire.Topic, to broker.Key, r presenceRecord) error {
	body, err := wire.Marshal(r)
	if err != nil {
		return err
	}
	data, err := wire.AppendRecord(make([]byte, 0, len(body)+len(place.ID)+len(place.Tenant)+64), wire.Record{
		Kind: wire.RecordPresence, Topic: place, Body: body,
	})
	if err != nil {
		return err
	}
	_, err = m.driver.Publish(ctx, broker.Record{Topic: to, Class: wire.Volatile, Data: data})
	return err
}
