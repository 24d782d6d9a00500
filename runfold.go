package switchboard

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

// folded is a run as the log of its topic tells it.
type folded struct {
	machine runs.Machine
	run     wire.Run          // what machine says at the end
	started Position          // of agent_started, if the log has it
	latest  Position          // of the last event that was applied
	at      Position          // the place in the log up to which it was read
	ids     seenIDs           // of its latest events
	texts   map[string]string // of streams that are complete, by stream id
	// next is how long streams are by the first event behind the place up to which was asked.
	next map[string]int
}

// foldRun reads what a run has done, from its node if that is this one.
func (m *Manager) foldRun(ctx context.Context, spec *runSpec) (*folded, error) {
	note := liveRun{ID: spec.ID}
	if _, err := m.getItem(ctx, spec.liveKey(), &note); err != nil {
		return nil, err
	}
	if note.From.IsZero() && !spec.Started.IsZero() {
		note.From = Position{Epoch: spec.Started.Epoch, Offset: spec.Started.Offset - 1}
	}
	found, err := m.foldRuns(ctx, spec.topic(), []liveRun{note}, Position{})
	if err != nil {
		return nil, err
	}
	return found[spec.ID], nil
}

// foldRuns reads what runs of a topic have done, up to a place; zero: all of it.
func (m *Manager) foldRuns(ctx context.Context, topic wire.Topic, notes []liveRun, upTo Position) (map[string]*folded, error) {
	if len(notes) == 0 {
		return nil, nil
	}
	found := make(map[string]*folded, len(notes))
	from := notes[0].From
	for _, note := range notes {
		found[note.ID] = new(folded)
		if note.From.Epoch != from.Epoch {
			from = Position{} // one of them is of a log that is gone
		} else if !from.IsZero() && note.From.Offset < from.Offset {
			from = note.From
		}
	}
	var head Position
	for at := from; ; {
		var entries []broker.Entry
		var err error
		entries, head, err = m.driver.Since(ctx, broker.KeyOf(topic), at, historyBatch)
		if _, gap := gapOf(err); err != nil && !gap {
			return nil, fmt.Errorf("runs of %s: %w", topic, err)
		}
		for _, e := range entries {
			if err := m.foldEntry(found, topic, e, upTo); err != nil {
				m.count.unreadable.Add(1)
			}
			at = e.Pos
		}
		if len(entries) == 0 || at.Epoch == head.Epoch && at.Offset >= head.Offset {
			break
		}
	}
	if !upTo.IsZero() {
		head = upTo
	}
	for _, f := range found {
		f.run, f.at = f.machine.Snapshot(), head
	}
	return found, nil
}

func (m *Manager) foldEntry(found map[string]*folded, topic wire.Topic, e broker.Entry, upTo Position) error {
	rec, ok := m.parseRecord(e)
	if !ok || rec.Kind != wire.RecordRun || rec.Topic != topic || found[rec.Run] == nil {
		return nil
	}
	f := found[rec.Run]
	env, err := wire.ParseAnswer(rec.Body)
	if err != nil {
		return err
	}
	if !upTo.IsZero() && (e.Pos.Epoch != upTo.Epoch || e.Pos.Offset > upTo.Offset) {
		for id, n := range env.StreamLengths {
			if _, known := f.next[id]; !known {
				if f.next == nil {
					f.next = make(map[string]int)
				}
				f.next[id] = n
			}
		}
		return nil
	}
	env.Timestamp = wire.Seconds(e.At)
	f.machine.Apply(env)
	f.ids.add(env.ID, e.Pos)
	if f.latest = e.Pos; env.Type == wire.AgentStarted {
		f.started = e.Pos
	}
	if env.Type == wire.StreamComplete {
		var p wire.StreamCompletePayload
		if err := env.Decode(&p); err != nil {
			return err
		}
		if p.Text != "" {
			if f.texts == nil {
				f.texts = make(map[string]string)
			}
			f.texts[p.StreamID] = p.Text
		}
	}
	return nil
}

// lengthsOf are the lengths of a run's streams, by stream id.
func lengthsOf(run wire.Run) map[string]int {
	lengths := make(map[string]int, len(run.Streams))
	for _, s := range run.Streams {
		lengths[s.ID] = s.Length
	}
	return lengths
}

// liveNow returns those of a topic's runs that have not ended by the log up to a place, in the
// order of their start.
func (m *Manager) liveNow(ctx context.Context, topic wire.Topic, upTo Position) ([]*folded, error) {
	notes, err := m.liveRuns(ctx, topic)
	if err != nil {
		return nil, err
	}
	found, err := m.foldRuns(ctx, topic, notes, upTo)
	if err != nil {
		return nil, err
	}
	var live []*folded
	for _, f := range found {
		switch state := f.machine.State(); {
		case state.Ended():
			// The note is going to be removed, unless who had to do that is gone.
			spec := runSpec{Tenant: topic.Tenant, ID: f.run.ID}
			_ = m.driver.Delete(ctx, livePrefix(topic)+spec.hash(), broker.Any) // the next one tries again
		case state != "":
			live = append(live, f)
		}
	}
	slices.SortFunc(live, func(a, b *folded) int {
		switch {
		case a.run.StartedAt < b.run.StartedAt:
			return -1
		case a.run.StartedAt > b.run.StartedAt:
			return 1
		}
		return 0
	})
	return live, nil
}

// runInfo is a run as watchers see it.
func (m *Manager) runInfo(ctx context.Context, spec runSpec, held *ownedRun) (RunInfo, error) {
	info := RunInfo{User: spec.User, Started: spec.Started, Target: User(spec.Owner)}
	if spec.Room != "" {
		info.Target = Room(spec.Room)
	}
	if held == nil {
		held = m.runs.find(spec.Tenant, spec.ID)
	}
	var record runRecord
	var known bool
	if held != nil {
		known = held.tell(ctx, &info, &record)
	}
	if !known {
		revision, err := m.getItem(ctx, spec.recordKey(), &record)
		if err != nil {
			return info, err
		}
		if revision == 0 {
			return info, errNoRun()
		}
		f, err := m.foldRun(ctx, &spec)
		if err != nil {
			return info, err
		}
		info.Run, info.Latest, info.Started = f.run, f.latest, cmp.Or(info.Started, f.started)
		if record.State.Ended() {
			record.End = cmp.Or(record.End, f.latest)
		}
	}
	info.ID, info.ThreadID, info.AgentName = spec.ID, spec.Thread, spec.Agent
	info.Owner, info.End = record.Node, record.End
	if record.State.Ended() || info.State == "" {
		info.State = record.State
	}
	if record.Ended != 0 {
		info.Ended = time.UnixMilli(int64(record.Ended * 1000))
	}
	return info, nil
}

// tell fills in what its owner knows of the run, if this node still is that or was the last one.
func (r *ownedRun) tell(ctx context.Context, info *RunInfo, record *runRecord) (known bool) {
	if r.turn.take(ctx) != nil {
		return false
	}
	defer r.turn.give()
	if r.unsure || r.gone() && !r.record.State.Ended() { // else another node has written on
		return false
	}
	info.Run, info.Latest, *record = r.machine.Snapshot(), r.latest, r.record
	lengths := r.lengths()
	for i := range info.Streams {
		if s := &info.Streams[i]; s.State == wire.StreamStateOpen {
			s.Length = lengths[s.ID]
		}
	}
	return true
}
