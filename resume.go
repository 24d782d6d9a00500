package switchboard

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// holdFor is how long a connection that comes back waits for its session_restore before
// delivery goes on without one.
const holdFor = 2 * time.Second

// maxPositions bounds how many topics one message may ask about.
const maxPositions = 1024

// holds are the connections that wait. Who takes a connection out ends its hold: the
// session_restore or the clock, never both.
type holds struct {
	mu sync.Mutex // guards of
	of map[hub.Handle]struct{}
}

// add notes that c waits.
func (h *holds) add(c hub.Handle) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = make(map[hub.Handle]struct{})
	}
	h.of[c] = struct{}{}
}

// release reports whether c waited, and makes the caller the one who ends that.
func (h *holds) release(c hub.Handle) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, held := h.of[c]
	delete(h.of, c)
	return held
}

// restoreVerb moves the cursors of a connection to where its client says that it is.
func restoreVerb(ctx context.Context, in *inbound) error {
	m := in.m
	sender, err := in.conn()
	if err != nil {
		return err
	}
	var req wire.Restore
	if err := in.env.Decode(&req); err != nil {
		return err
	}
	held := m.holds.release(in.c)
	if !held {
		if s, _, ok := m.stateOf(in.c); ok && s.flags&flagRestored != 0 {
			return fieldError(wire.CodeConflict, "type", "session_restore is allowed once")
		}
	}
	plan, err := m.planRestore(ctx, sender, req)
	in.more += len(plan)
	var told []wire.RestoredRun
	var markers [][]byte
	if err == nil {
		if told, err = m.restoredRuns(ctx, sender.view.User, plan); err == nil {
			markers, err = m.markFrames(ctx, sender.view.User, maxMarksTold, func(k wire.ReadMarkerPayload) bool {
				return k.Room == "" || planned(plan, k.Room)
			})
		}
		if err != nil {
			releasePlan(m, plan)
		}
	}
	if err != nil {
		if held {
			m.hold(in.c)
		}
		return err
	}
	if !held {
		m.changeState(in.c, func(s *state) { s.flags |= flagRestored })
		m.hub.Hold(in.c) // until all its cursors are where they belong
	}
	m.replace(sender, req.Replace)
	m.answer(in.c, wire.SessionRestored, in.env.ID, m.followRestored(ctx, sender, plan, told, !held)) // before the first replayed message
	m.tell(in.c, markers)
	for _, p := range plan {
		if p.gap != nil && (p.followed.c != 0 || p.key != hub.Key{}) {
			m.gap(in.c, *p.gap)
		}
		switch {
		case p.followed.c != 0:
			m.beginOrLeave(ctx, p.followed)
		case p.left != hub.Key{}:
			m.stayAway(in.c, sender.view.User, p.topic, true)
		case p.key != hub.Key{}:
			if mutantResume {
				p.from.Offset++
			}
			_ = m.hub.Seek(in.c, p.key, p.from) // a connection that has ended needs none
		}
	}
	if !held { // of what it got already, only the client knows what it has
		for _, p := range plan {
			m.hub.ForgetTexts(in.c, cmp.Or(p.key, p.room.key))
		}
	}
	err = m.seekTexts(ctx, sender, plan, told, req.Streams)
	m.hub.Unhold(in.c)
	return err
}

// followRestored makes the connection follow the rooms of a plan, held, and returns the answer. A
// room that it may follow no more, or cannot because handlers have filled it with others, is
// forbidden, and its runs are not told.
func (m *Manager) followRestored(ctx context.Context, sender *Conn, plan []restored, runs []wire.RestoredRun, rewind bool) wire.Restored {
	answer := wire.Restored{Topics: make(map[string]wire.RestoredTopic, len(plan)), Runs: runs, Rewind: rewind}
	for i := range plan {
		p := &plan[i]
		if p.left != (hub.Key{}) {
			m.hub.Unfollow(sender.handle, p.left) // the answer says so, and nothing of it comes behind
			m.ceases(sender.handle, sender.view, p.topic)
		}
		if p.room.key != (hub.Key{}) {
			f, err := m.followFor(ctx, sender, p.room, p.from, true, p.claim)
			if err != nil || f.lost {
				p.told, p.left = wire.RestoredTopic{Reason: wire.ReasonForbidden}, p.room.key
			} else {
				p.followed = f
				answer.Runs = append(answer.Runs, p.runs...)
			}
		}
		answer.Topics[p.name] = p.told
	}
	return answer
}

// restoredRuns returns the live runs of the user, and puts those of the rooms that a client comes
// back to into the plan.
func (m *Manager) restoredRuns(ctx context.Context, own wire.Topic, plan []restored) (told []wire.RestoredRun, err error) {
	for i := range plan {
		p := &plan[i]
		if p.room.key != (hub.Key{}) {
			if p.runs, err = m.runsOf(ctx, p.room.address); err != nil {
				return nil, err
			}
		}
	}
	return m.runsOf(ctx, own)
}

// runsOf are the live runs of a topic as a client that comes back is told them.
func (m *Manager) runsOf(ctx context.Context, topic wire.Topic) ([]wire.RestoredRun, error) {
	told := []wire.RestoredRun{}
	live, err := m.liveNow(ctx, topic, Position{})
	if err != nil {
		return nil, err
	}
	for _, f := range live {
		run := wire.RestoredRun{
			RunID: f.run.ID, ThreadID: f.run.ThreadID, AgentName: f.run.AgentName, State: f.run.State,
			StreamLengths: lengthsOf(f.run),
		}
		for _, s := range f.run.Streams {
			if s.State != wire.StreamStateOpen {
				continue
			}
			length, err := m.lengthOf(ctx, topic, s.ID)
			if err != nil {
				return nil, err
			}
			run.StreamLengths[s.ID] = max(length, s.Length)
			m.hub.AddStream(hubKey(topic), hubStream(f.run.ID, f.run.ThreadID, s.Name), uint64(length), f.at)
		}
		told = append(told, run)
	}
	return told, nil
}

// seekTexts moves the text cursors of a connection to the lengths that its client has. Streams
// of topics that it does not follow, and of runs that are not known, are nothing to it. A room
// counts only if the client came back to it: what it has of one that it only follows was decided
// when it began to, and a length that it makes up must not open what was before. live are the runs
// of the user.
//
// What a client has not got yet of a stream that was complete before the place where it left, as a
// snapshot may tell of it, no event will bring: it is owed.
func (m *Manager) seekTexts(ctx context.Context, sender *Conn, plan []restored, live []wire.RestoredRun, lengths map[string]int) error {
	open := make(map[hub.Key]bool)
	for _, p := range plan {
		if p.followed.c == 0 {
			continue
		}
		if p.past {
			open[p.room.key] = true
		} else if err := m.seekTextsSince(ctx, sender, p, lengths); err != nil {
			return err
		}
	}
	for id, length := range lengths {
		run, name, ok := strings.Cut(id, "/")
		if !ok || length <= 0 {
			continue
		}
		spec, err := m.findRun(ctx, sender.view.User.Tenant, run)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		topic := spec.topic()
		key := hubKey(topic)
		if topic.Kind == wire.KindRoom && !open[key] {
			continue
		}
		whole, err := m.wholeLengths(ctx, &spec, plan, live)
		if err != nil {
			return err
		}
		stream := hubStream(spec.ID, spec.Thread, name)
		_ = m.hub.OweText(sender.handle, key, stream, uint64(length), uint64(max(0, whole[id])), false) // one that does not follow the topic
	}
	return nil
}

// wholeLengths is how long the streams of a run are, by stream id: a live one that is told to who
// comes back, or one that has ended.
func (m *Manager) wholeLengths(ctx context.Context, spec *runSpec, plan []restored, live []wire.RestoredRun) (map[string]int, error) {
	is := func(run wire.RestoredRun) bool { return run.RunID == spec.ID }
	if i := slices.IndexFunc(live, is); i >= 0 {
		return live[i].StreamLengths, nil
	}
	for _, p := range plan {
		if i := slices.IndexFunc(p.runs, is); i >= 0 {
			return p.runs[i].StreamLengths, nil
		}
	}
	var record runRecord
	_, err := m.getItem(ctx, spec.recordKey(), &record)
	return record.Lengths, err
}

// seekTextsSince does that for a room whose past is not the client's to read: of a text that was
// growing when the user joined, it gets what is behind the first event since, or now if there was
// none, whatever it says that it has.
func (m *Manager) seekTextsSince(ctx context.Context, sender *Conn, room restored, lengths map[string]int) error {
	notes, err := m.liveRuns(ctx, room.room.address)
	if err != nil {
		return err
	}
	found, err := m.foldRuns(ctx, room.room.address, notes, room.since)
	if err != nil {
		return err
	}
	for _, f := range found {
		first := lengthsOf(f.run)
		maps.Copy(first, f.next)
		for id := range first {
			length, err := m.lengthOf(ctx, room.room.address, id)
			if err != nil {
				return err
			}
			if next, later := f.next[id]; later && !room.since.IsZero() {
				length = min(length, next)
			}
			length = max(length, lengths[id])
			_ = m.hub.SeekText(sender.handle, room.room.key, hub.Key(broker.NameKey(id)), uint64(length)) // a connection that has ended needs none
		}
	}
	return nil
}

// hold makes c wait for its session_restore.
func (m *Manager) hold(c hub.Handle) {
	m.holds.add(c)
	m.deadlines.add(m.deadlines.in(holdFor), c, endHold)
}

// restored is what becomes of one topic of a session_restore. Neither key nor room: nothing.
type restored struct {
	name string // as the client wrote it
	told wire.RestoredTopic
	key  hub.Key  // of a topic that every connection follows
	room acquired // with a reference
	claim
	runs  []wire.RestoredRun // of the room
	topic wire.Topic
	left  hub.Key // of a room that must not be followed any more
	from  Position
	gap   *wire.Gap // what comes before from and is not the user's to read; or back from a place that never was

	followed followed // the room, once it is
}

// planRestore finds out what becomes of each topic, without changing anything for the
// connection.
func (m *Manager) planRestore(ctx context.Context, sender *Conn, req wire.Restore) (plan []restored, err error) {
	defer func() {
		if err == nil {
			return
		}
		releasePlan(m, plan)
	}()
	if n := len(req.Streams); n > maxPositions {
		return nil, &Error{
			Code: wire.CodeInvalidMessage, Message: "too many streams", Details: map[string]any{"field": "streams", "limit": maxPositions},
		}
	}
	if n := len(req.Positions); n > maxPositions {
		return nil, &Error{
			Code: wire.CodeInvalidMessage, Message: "too many positions", Details: map[string]any{"field": "positions", "limit": maxPositions},
		}
	}
	var rooms []hub.Key
	for name, pos := range req.Positions {
		topic, err := wire.ParseTopic(sender.view.User.Tenant, name)
		if err != nil {
			return plan, fieldError(wire.CodeInvalidMessage, "positions", "a topic "+err.Error())
		}
		p, err := m.planTopic(ctx, sender, topic, pos)
		if err != nil {
			return plan, err
		}
		p.name, p.topic = name, topic
		plan = append(plan, p)
		if p.room.key != (hub.Key{}) {
			rooms = append(rooms, p.room.key)
		}
		if err := m.roomsLeft(sender.handle, rooms...); err != nil {
			return plan, err
		}
	}
	return plan, nil
}

// planned reports whether a room is among those to be followed again.
func planned(plan []restored, room string) bool {
	return slices.ContainsFunc(plan, func(p restored) bool { return p.room.key != hub.Key{} && p.topic.ID == room })
}

// releasePlan gives back the references of a plan that is not carried out.
func releasePlan(m *Manager, plan []restored) {
	for _, p := range plan {
		if p.room.key != (hub.Key{}) {
			m.hub.Release(p.room.topic)
		}
	}
}

func (m *Manager) planTopic(ctx context.Context, sender *Conn, topic wire.Topic, pos Position) (p restored, err error) {
	forbidden := restored{told: wire.RestoredTopic{Reason: wire.ReasonForbidden}}
	if topic.Kind == wire.KindAll || topic == sender.view.User {
		p.key = hubKey(topic)
		r, err := m.reach(ctx, p.key, pos)
		p.from, p.told, p.gap = r.from, r.told(), r.gap(topic, pos)
		return p, err
	}
	denied := AuditEvent{Action: AuditRoom, Reason: string(wire.SessionRestore), Code: wire.CodeForbidden}
	if topic.Kind != wire.KindRoom {
		sender.audit(denied)
		return forbidden, nil
	}
	denied.Object = topic.ID
	forbidden.left = hubKey(topic)
	lent, err := m.mayRead(ctx, sender.identity, sender.allowed, topic.ID)
	if err != nil {
		if errors.Is(err, ErrForbidden) {
			sender.audit(denied)
			return forbidden, nil
		}
		return restored{}, err
	}
	history := m.authorize(ctx, sender.identity, sender.allowed, ActHistory, topic.ID)
	if history != nil && !errors.Is(history, ErrForbidden) {
		return restored{}, history
	}
	p.claim = claim{lent: lent, past: history == nil}
	if p.room, err = m.acquireRoom(ctx, topic); err != nil {
		return restored{}, err
	}
	start := pos
	if !p.past {
		if start, p.since, err = m.clampToJoin(ctx, sender, p.room, pos); err != nil {
			m.hub.Release(p.room.topic)
			return restored{}, err
		}
	}
	r, err := m.reach(ctx, p.room.key, start)
	if err != nil {
		m.hub.Release(p.room.topic)
		return restored{}, err
	}
	p.gap = r.gap(topic, pos)
	if start != pos {
		r.reason = wire.ReasonExpired
		p.gap = &wire.Gap{Topic: topic.String(), From: pos, To: start, Reason: r.reason}
		if pos.Epoch != start.Epoch && !pos.IsZero() {
			r.reason = wire.ReasonEpochChanged
			p.gap.Reason, p.gap.Epoch, p.gap.NewEpoch = r.reason, pos.Epoch, start.Epoch
		}
	}
	p.from, p.told = r.from, r.told()
	return p, nil
}

// reached says how much of what comes after a position is there.
type reached struct {
	from   Position // where delivery begins
	head   Position
	reason string // "": all of it is there
	beyond bool   // the position is behind the head
}

func (r reached) told() wire.RestoredTopic {
	if r.reason != "" {
		return wire.RestoredTopic{Reason: r.reason, Head: r.head}
	}
	return wire.RestoredTopic{Recovered: true, From: r.from, Head: r.head}
}

// reach asks the log whether it has everything after pos. If not, the hub will say what is
// missing when it delivers from there.
func (m *Manager) reach(ctx context.Context, key hub.Key, pos Position) (reached, error) {
	entries, head, err := m.driver.Since(ctx, broker.Key(key), pos, 1)
	if err == nil {
		r := reached{from: pos, head: head}
		if pos.IsZero() { // from the beginning of what is kept
			r.from = head
			if len(entries) > 0 {
				r.from.Offset = entries[0].Pos.Offset - 1
			}
		}
		return r, nil
	}
	if _, ok := gapOf(err); !ok {
		return reached{}, err
	}
	switch {
	case pos.Epoch != head.Epoch:
		return reached{from: pos, head: head, reason: wire.ReasonEpochChanged}, nil
	case pos.Offset > head.Offset:
		return reached{from: head, head: head, reason: wire.ReasonExpired, beyond: true}, nil
	}
	return reached{from: pos, head: head, reason: wire.ReasonExpired}, nil
}

// gap tells of a place that was never reached. Nothing is missing, but whoever believes to have been
// there takes what comes next for known, unless it is told to go back.
func (r reached) gap(topic wire.Topic, pos Position) *wire.Gap {
	if !r.beyond {
		return nil
	}
	return &wire.Gap{Topic: topic.String(), From: pos, To: r.head, Reason: r.reason}
}

// replace closes the connection that the client of sender had before, if it is one of the
// same session.
func (m *Manager) replace(sender *Conn, id string) {
	old, ok := m.hub.Find(id)
	if !ok || old == sender.handle {
		return
	}
	view, ok := m.hub.View(old)
	if !ok || (view.Session != sender.view.Session || view.User != sender.view.User) && !mutantReplace {
		return
	}
	_ = m.hub.Close(old, wire.CloseReplaced, "replaced by a newer connection: do not reconnect", false)
}
