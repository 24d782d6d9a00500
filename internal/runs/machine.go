// Package runs holds the pure parts of runs: the state machine that every event passes,
// the payloads that the server itself writes, what viewers see of tool calls, and ids.
// Nothing here does I/O, reads a clock, starts a goroutine or keeps state of its own.
package runs

import (
	"maps"
	"slices"
	"strings"

	"github.com/netra-systems/switchboard/wire"
)

// Machine is the state of one run, as its events made it. The owner of a run asks Check
// before it appends an event and calls Apply once the append has succeeded; who wants to
// know what a run looked like at a position applies the events of the topic's log up to
// there to a new Machine.
//
// The zero value is a run that has not started. A Machine must not be used concurrently.
type Machine struct {
	run   wire.Run // without texts; in State "" until it starts
	steps int
}

// State is where the run is in its life; "" means that it has not started.
func (m *Machine) State() wire.RunState { return m.run.State }

// Steps is how many agent_thinking events there were.
func (m *Machine) Steps() int { return m.steps }

// Snapshot is the run as its viewers see it, but for the texts: of streams it has the
// lengths that the events told last. Tools are in order of their start, with a name as
// often as it is executing; streams are in order of opening. The caller may keep it.
func (m *Machine) Snapshot() wire.Run {
	run := m.run
	run.Tools, run.Streams, run.Approvals = slices.Clone(run.Tools), slices.Clone(run.Streams), slices.Clone(run.Approvals)
	return run
}

// Apply takes an event that is in the log; its timestamp is the one that it has there. It
// never fails: what cannot be, belongs to another run or follows the end changes nothing,
// and an end is one whatever was in progress. If the log begins in the middle of the run,
// what came before stays unknown; streams that only stream_lengths tell of count as open.
// Types of applications change nothing, since anybody may have labelled them with the run.
func (m *Machine) Apply(e wire.Envelope) {
	if !e.Type.RunEvent() || m.run.State.Ended() || m.run.State != "" && e.RunID != m.run.ID {
		return
	}
	if m.run.State == "" {
		m.run.State, m.run.ID, m.run.ThreadID, m.run.AgentName = wire.RunRunning, e.RunID, e.ThreadID, e.AgentName
		if e.Type == wire.AgentStarted {
			m.run.StartedAt = e.Timestamp
		}
	}
	m.measure(e.StreamLengths)
	switch e.Type {
	case wire.AgentThinking:
		m.steps++
	case wire.ToolExecuting, wire.ToolCompleted:
		m.applyTool(e)
	case wire.StreamOpen, wire.StreamComplete:
		m.applyStream(e)
	case wire.ApprovalRequested, wire.ApprovalResolved:
		m.applyApproval(e)
	}
	if state, ends := EndState(e.Type); ends {
		m.end(state)
	}
}

// measure notes the lengths that an event tells.
func (m *Machine) measure(lengths map[string]int) {
	for _, id := range slices.Sorted(maps.Keys(lengths)) {
		m.stream(id).Length = max(lengths[id], 0)
	}
}

// stream returns the stream of that id, which is opened if it is new.
func (m *Machine) stream(id string) *wire.Stream {
	i := m.findStream(id)
	if i < 0 {
		_, name, _ := strings.Cut(id, "/")
		m.run.Streams = append(m.run.Streams, wire.Stream{ID: id, Name: name, State: wire.StreamStateOpen})
		i = len(m.run.Streams) - 1
	}
	return &m.run.Streams[i]
}

// findStream returns the index of a stream, or -1.
func (m *Machine) findStream(id string) int {
	return slices.IndexFunc(m.run.Streams, func(s wire.Stream) bool { return s.ID == id })
}

// findApproval returns the index of an approval that waits for an answer, or -1.
func (m *Machine) findApproval(id string) int {
	return slices.IndexFunc(m.run.Approvals, func(a wire.Approval) bool { return a.ID == id })
}

func (m *Machine) applyTool(e wire.Envelope) {
	var p struct {
		Tool string `json:"tool_name"`
	}
	if e.Decode(&p) != nil {
		return
	}
	if e.Type == wire.ToolExecuting {
		m.run.Tools = append(m.run.Tools, p.Tool)
	} else if i := slices.Index(m.run.Tools, p.Tool); i >= 0 {
		m.run.Tools = slices.Delete(m.run.Tools, i, i+1)
	}
}

func (m *Machine) applyStream(e wire.Envelope) {
	if e.Type == wire.StreamOpen {
		var p struct {
			ID string `json:"stream_id"`
		}
		if e.Decode(&p) == nil {
			m.stream(p.ID)
		}
		return
	}
	var p wire.StreamCompletePayload
	if e.Decode(&p) != nil || !ended(p.State) {
		return
	}
	if s := m.stream(p.StreamID); s.State == wire.StreamStateOpen {
		s.State, s.Length = p.State, max(p.Length, 0)
	}
}

func (m *Machine) applyApproval(e wire.Envelope) {
	if e.Type == wire.ApprovalRequested {
		var p wire.Approval
		if e.Decode(&p) == nil && m.findApproval(p.ID) < 0 {
			m.run.Approvals = append(m.run.Approvals, p)
		}
	} else {
		var p struct {
			ID string `json:"approval_id"`
		}
		if e.Decode(&p) != nil {
			return
		}
		if i := m.findApproval(p.ID); i >= 0 {
			m.run.Approvals = slices.Delete(m.run.Approvals, i, i+1)
		}
	}
	m.run.State = wire.RunRunning
	if len(m.run.Approvals) > 0 {
		m.run.State = wire.RunWaiting
	}
}

// end leaves nothing in progress. Streams are complete by then, unless their event is lost.
func (m *Machine) end(state wire.RunState) {
	m.run.State, m.run.Tools, m.run.Approvals = state, nil, nil
	for i := range m.run.Streams {
		if s := &m.run.Streams[i]; s.State == wire.StreamStateOpen {
			s.State = StreamEnd(state)
		}
	}
}

// EndState returns the state of a run after an event of type typ, if that is one of those
// that end a run.
func EndState(typ wire.MessageType) (state wire.RunState, ends bool) {
	switch typ {
	case wire.AgentCompleted:
		return wire.RunCompleted, true
	case wire.AgentError:
		return wire.RunFailed, true
	case wire.AgentCancelled:
		return wire.RunCancelled, true
	case wire.AgentDeath:
		return wire.RunDead, true
	}
	return "", false
}

// StreamEnd returns the state of a stream that was open when its run ended in state.
func StreamEnd(state wire.RunState) string {
	switch state {
	case wire.RunCompleted:
		return wire.StreamStateComplete
	case wire.RunCancelled:
		return wire.StreamStateCancelled
	}
	return wire.StreamStateFailed
}

// Producible reports whether the producer of a run may emit events of type typ itself.
// What begins and ends runs, streams and approvals, and agent_stalled, are the server's to
// write; types of applications are free.
func Producible(typ wire.MessageType) bool {
	switch typ {
	case wire.AgentThinking, wire.ToolExecuting, wire.ToolCompleted, wire.ProgressUpdate, wire.PartialResult,
		wire.FinalReport, wire.SubagentStarted, wire.SubagentCompleted, wire.AgentLog:
		return true
	}
	return !typ.RunEvent()
}
