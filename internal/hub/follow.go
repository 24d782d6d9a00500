package hub

import "github.com/netra-systems/switchboard/wire"

// Terms say how a connection follows a room. The zero value is by a right of its own, at once.
type Terms struct {
	// Held: nothing of the room is written until [Hub.Begin]. Between the two the caller asks
	// whether the right is still there: who takes it back ends it first and then calls
	// [Hub.Leave], so that one of them finds the other.
	Held bool
	// Lent: the right may end otherwise than by the connection itself, see [Hub.Lent].
	Lent bool
	// Fresh: when the log begins anew the connection goes on with what comes then. The new log
	// may have kept what is older than the right. Of texts that grow it gets what is added from
	// where it begins.
	Fresh bool
}

func (t Terms) flags() uint32 {
	var flags uint32
	for _, term := range []struct {
		set  bool
		flag uint32
	}{{t.Held, cursorHeld}, {t.Lent, cursorLent}, {t.Fresh, cursorFresh}} {
		if term.set {
			flags |= term.flag
		}
	}
	return flags
}

// Follow makes c receive a room: what comes after pos. It takes over the
// caller's reference of t, also on error. For a room that c follows already it
// moves the cursor.
func (h *Hub) Follow(c Handle, t Topic, pos wire.Position) error {
	_, err := h.FollowOn(c, t, pos, Terms{})
	return err
}

// FollowOn is Follow on terms. The tag that it returns names what it has begun, for
// [Hub.Begin] and [Hub.Retract]; it is never 0.
func (h *Hub) FollowOn(c Handle, t Topic, pos wire.Position, terms Terms) (tag uint32, err error) {
	rec := h.lock(c)
	if rec == nil {
		h.Release(t)
		return 0, ErrGone
	}
	at := h.cursorAt(pos)
	at.flags |= terms.flags()
	if f := h.followed(rec, t.slot()); f != nil {
		f.at = at
		tag = f.tag
		if terms.Fresh {
			h.beginTextsHere(rec, t.slot(), at)
		}
		rec.wake.Store(1)
		h.unlock(rec, c.slot())
		h.Release(t)
		return tag, nil
	}
	if h.cfg.MaxRooms > 0 && h.rooms(rec) >= h.cfg.MaxRooms {
		h.unlock(rec, c.slot())
		h.Release(t)
		return 0, ErrRoomLimit
	}
	f := follow{topic: t.slot(), tag: h.nextTag(), at: at}
	if rec.room.topic == 0 {
		rec.room = f
	} else {
		if rec.more == 0 {
			rec.more = h.more.get()
		}
		m := h.more.at(rec.more)
		m.list = append(m.list, f)
	}
	h.addFollower(rec, c.slot(), f)
	if terms.Fresh {
		h.beginTextsHere(rec, t.slot(), at)
	}
	// What was appended between pos and now had no reason to wake c.
	rec.wake.Store(1)
	key, user := h.topics.at(t.slot()).key, h.userOf(rec)
	h.unlock(rec, c.slot())
	if !terms.Held {
		h.cfg.Events.Followed(c, user, key)
	}
	return f.tag, nil
}

// Begin sends frame, if it is not nil, and ends the hold of a follow, in one step. It is an answer if
// asked is set, else as with [Hub.Tell]. It is false if the follow with this tag has ended meanwhile;
// then nothing is sent.
func (h *Hub) Begin(c Handle, key Key, tag uint32, frame []byte, asked bool) bool {
	rec := h.lock(c)
	if rec == nil {
		return false
	}
	slot := h.index.find(key)
	f := h.followed(rec, slot)
	if slot == 0 || f == nil || f.tag != tag {
		h.unlock(rec, c.slot())
		return false
	}
	f.at.flags &^= cursorHeld
	h.say(rec, c, frame, asked)
	rec.wake.Store(1)
	user := h.userOf(rec)
	h.unlock(rec, c.slot())
	h.cfg.Events.Followed(c, user, key)
	return true
}

// userOf is whose connection it is. The caller holds rec.mu.
func (h *Hub) userOf(rec *conn) wire.Topic {
	t := h.topics.at(rec.user)
	t.mu.Lock()
	defer t.mu.Unlock()
	return h.addressOf(t)
}

// SendIn is Send of what is optional, for who follows a room that is not held: if the owner's blob agrees,
// which is asked in the same step. Else the error is [ErrGone].
func (h *Hub) SendIn(c Handle, key Key, frame []byte, agrees func(info []byte) bool) error {
	rec := h.lock(c)
	if rec == nil {
		return ErrGone
	}
	defer h.unlock(rec, c.slot())
	slot := h.index.find(key)
	f := h.followed(rec, slot)
	if slot == 0 || f == nil || f.at.flags&cursorHeld != 0 || !agrees(h.arena.get(rec.info)) {
		return ErrGone
	}
	return h.send(rec, frame, true)
}

// Tag names what c follows a room by, see [Hub.FollowOn]; 0: it does not follow it.
func (h *Hub) Tag(c Handle, key Key) uint32 {
	rec := h.lock(c)
	if rec == nil {
		return 0
	}
	defer h.unlock(rec, c.slot())
	slot := h.index.find(key)
	f := h.followed(rec, slot)
	if slot == 0 || f == nil {
		return 0
	}
	return f.tag
}

// Unfollow ends it and reports whether c followed the room. When it returns
// no further message of the room is begun on c.
func (h *Hub) Unfollow(c Handle, key Key) bool {
	return h.end(c, key, func(*conn, *follow) bool { return true })
}

// Retract is Unfollow for the follow with a tag only.
func (h *Hub) Retract(c Handle, key Key, tag uint32) bool {
	return h.end(c, key, func(_ *conn, f *follow) bool { return f != nil && f.tag == tag })
}

// Oust is Unfollow for a room that is held: who holds it will find that it has ended.
func (h *Hub) Oust(c Handle, key Key) bool {
	return h.end(c, key, func(_ *conn, f *follow) bool { return f != nil && f.at.flags&cursorHeld != 0 })
}

// Leave is Unfollow for who must not receive what is behind the place where a right ended, and
// says goodbye in the same step: with a gap, if something before that place was not written,
// and with frame. A connection that began to follow behind that place, in the same epoch, is
// left alone. The zero place is now, for everybody. One that is held hears nothing: who holds it
// will find that it has ended.
func (h *Hub) Leave(c Handle, key Key, at wire.Position, frame []byte) bool {
	return h.end(c, key, func(rec *conn, f *follow) bool {
		if f == nil {
			return false
		}
		from := wire.Position{Epoch: h.epochs.name(f.at.epoch), Offset: f.at.offset}
		last := from.Offset
		if mutantCut {
			last++
		}
		if !at.IsZero() && from.Epoch == at.Epoch && last >= at.Offset {
			return false
		}
		if f.at.flags&cursorHeld != 0 {
			return true
		}
		if gap := h.farewell(f.topic, from, at); gap != nil {
			h.say(rec, c, gap, false)
			h.count.gaps.Add(1)
		}
		h.say(rec, c, frame, false)
		return true
	})
}

// Quit sends frames that tell that a room is not followed any more, and makes that true in the
// same step. They are an answer if asked is set, else as with [Hub.Tell]. It reports whether the
// room was followed, and up to where it has been written.
func (h *Hub) Quit(c Handle, key Key, asked bool, frames ...[]byte) (at wire.Position, followed bool) {
	followed = h.end(c, key, func(rec *conn, f *follow) bool {
		if f != nil {
			at = wire.Position{Epoch: h.epochs.name(f.at.epoch), Offset: f.at.offset}
		}
		for _, frame := range frames {
			h.say(rec, c, frame, asked)
		}
		return true
	})
	return at, followed
}

// farewell tells what lies between a cursor and the record at a place, or the head if that is
// zero; nil: nothing does.
func (h *Hub) farewell(topicSlot uint32, from, at wire.Position) []byte {
	t := h.topics.at(topicSlot)
	t.mu.Lock()
	topic, head := h.addressOf(t).String(), h.headOf(t)
	t.mu.Unlock()
	last := at.Offset - 1
	if at.IsZero() {
		at, last = head, head.Offset
	}
	gap := wire.Gap{Topic: topic, From: from, To: at, Reason: wire.ReasonExpired}
	switch {
	case from.Epoch != at.Epoch:
		gap.Reason, gap.Epoch, gap.NewEpoch = wire.ReasonEpochChanged, from.Epoch, at.Epoch
	case from.Offset >= last:
		return nil
	}
	frame, err := messageFrame(wire.GapType, gap)
	if err != nil {
		return nil
	}
	return frame
}

// end is how a connection ceases to follow a room, if ends, which is called under its lock, also
// with nil for a room that it does not follow, agrees.
func (h *Hub) end(c Handle, key Key, ends func(*conn, *follow) bool) bool {
	rec := h.lock(c)
	if rec == nil {
		return false
	}
	topicSlot := h.index.find(key)
	var f *follow
	if topicSlot != 0 {
		f = h.followed(rec, topicSlot)
	}
	if !ends(rec, f) || f == nil {
		h.unlock(rec, c.slot())
		return false
	}
	if f == &rec.room {
		rec.room = follow{}
	} else {
		m := h.more.at(rec.more)
		last := len(m.list) - 1
		*f = m.list[last]
		m.list = m.list[:last]
		if last == 0 {
			m.list = nil
			h.more.put(rec.more)
			rec.more = 0
		}
	}
	h.leaveTexts(rec, topicSlot)
	h.dropAck(rec, topicSlot)
	user := h.userOf(rec)
	h.unlock(rec, c.slot())
	h.unfollowed(c.slot(), topicSlot)
	h.cfg.Events.Followed(c, user, key)
	return true
}

// Amend changes the terms of a room that c follows already: not whether it is held.
func (h *Hub) Amend(c Handle, key Key, terms Terms) {
	rec := h.lock(c)
	if rec == nil {
		return
	}
	defer h.unlock(rec, c.slot())
	if slot := h.index.find(key); slot != 0 {
		if f := h.followed(rec, slot); f != nil {
			f.at.flags = f.at.flags&^(cursorLent|cursorFresh) | terms.flags()&^cursorHeld
			if terms.Fresh {
				h.beginTextsHere(rec, slot, f.at)
			}
		}
	}
}

// Lent returns the connections that follow key by a right that is lent: after records were
// missed, one of which may have ended it.
func (h *Hub) Lent(key Key) []Handle {
	slot := h.index.find(key)
	var lent []Handle
	for _, c := range h.Followers(key) {
		rec := h.lock(c)
		if rec == nil {
			continue
		}
		if f := h.followed(rec, slot); slot != 0 && f != nil && f.at.flags&cursorLent != 0 {
			lent = append(lent, c)
		}
		h.unlock(rec, c.slot())
	}
	return lent
}
