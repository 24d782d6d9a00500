package switchboard

import (
	"context"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/presence"
	"github.com/netra-systems/switchboard/wire"
)

const (
	// askTimeout is how long a node may take to answer. One that does not is left out.
	askTimeout = time.Second
	// answerEntries is how many users one answer holds; larger ones come in pieces.
	answerEntries = 200
)

// presenceRecord is what nodes tell each other about who is where: the record's topic is the place.
// It passes by and is kept nowhere.
type presenceRecord struct {
	Node    string           `json:"n"`           // who says it
	Seq     uint64           `json:"s,omitzero"`  // its how many-th change of the place
	Entries []presence.Entry `json:"u,omitempty"` // what has changed, or all in an answer
	Tell    bool             `json:"t,omitzero"`  // whoever has others there is to say so

	Question uint64 `json:"q,omitzero"` // a question: what there is, to be answered to Node under this number
	Answer   uint64 `json:"a,omitzero"` // an answer, of Total entries in all
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
	mu   sync.Mutex // guards the fields below
	last uint64
	open map[uint64]*question
}

type question struct {
	missing map[string]struct{} // nodes that have not answered as a whole
	parts   map[string][]presenceRecord
	done    chan struct{} // closed when none is missing
}

func (q *questions) begin(nodes []string) (uint64, *question) {
	q.mu.Lock()
	defer q.mu.Unlock()
	asked := &question{missing: make(map[string]struct{}), parts: make(map[string][]presenceRecord), done: make(chan struct{})}
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

// take notes a piece of an answer.
func (q *questions) take(r presenceRecord) {
	q.mu.Lock()
	defer q.mu.Unlock()
	asked := q.open[r.Answer]
	if asked == nil {
		return
	}
	if _, missing := asked.missing[r.Node]; !missing {
		return
	}
	for _, part := range asked.parts[r.Node] {
		if len(part.Entries) > 0 && len(r.Entries) > 0 && part.Entries[0].User == r.Entries[0].User {
			return // it came twice
		}
	}
	asked.parts[r.Node] = append(asked.parts[r.Node], r)
	n := 0
	for _, part := range asked.parts[r.Node] {
		n += len(part.Entries)
	}
	if n < r.Total {
		return
	}
	if delete(asked.missing, r.Node); len(asked.missing) == 0 {
		close(asked.done)
	}
}

// end returns the answers that are whole.
func (q *questions) end(id uint64) (whole []answered) {
	q.mu.Lock()
	defer q.mu.Unlock()
	asked := q.open[id]
	delete(q.open, id)
	for node, parts := range asked.parts {
		if _, missing := asked.missing[node]; missing {
			continue
		}
		a := answered{node: node, seq: parts[0].Seq}
		for _, part := range parts {
			a.entries = append(a.entries, part.Entries...)
		}
		whole = append(whole, a)
	}
	return whole
}

// ask asks nodes what they have in a place, and returns what they answered in time. Without self
// there is nowhere to answer to.
func (m *Manager) ask(ctx context.Context, place wire.Topic, nodes ...string) ([]answered, error) {
	self := m.nodes.id()
	if len(nodes) == 0 || self == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	id, asked := m.questions.begin(nodes)
	to := m.nodes.everybody
	if len(nodes) == 1 {
		to = nodeInbox(nodes[0])
	}
	err := m.tellNodes(ctx, place, to, presenceRecord{Node: self, Question: id})
	if err == nil {
		select {
		case <-asked.done:
		case <-ctx.Done():
		}
	}
	whole := m.questions.end(id)
	if n := len(nodes) - len(whole); n > 0 {
		m.count.unanswered.Add(uint64(n))
	}
	return whole, err
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
