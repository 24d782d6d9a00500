package membroker

// dedupe remembers the ids of a partition's records for a window. It has two
// maps without pointers: ids are added to young, and when that spans a window,
// it becomes old and the former old one is gone as a whole.
type dedupe struct {
	window int64 // millis
	most   int   // ids per map
	began  int64 // when young was made
	young  map[recordID]seen
	old    map[recordID]seen
}

// recordID is the hash of a topic and a DedupeID, by two seeds that nobody knows:
// ids come from clients, and a collision would be a lost message.
type recordID [2]uint64

// seen is what the first publish of an id returned.
type seen struct {
	offset   uint64 // 0: not durable
	revision uint64
	at       int64
	slot     uint32 // of the topic
	gen      uint32 // of the topic at that time
}

// find returns what was published under id within the window. What a topic
// published before it was dropped does not count. Of one that has been forgotten
// there is nothing of that kind, and nobody knows what gen was.
func (d *dedupe) find(id recordID, gen uint32, forgotten bool, now int64) (seen, bool) {
	s, ok := d.young[id]
	if !ok {
		s, ok = d.old[id]
	}
	return s, ok && (forgotten || s.gen == gen) && now < s.at+d.window
}

// add remembers an id.
func (d *dedupe) add(id recordID, s seen) {
	d.rotate(s.at)
	if d.young == nil {
		d.young, d.began = map[recordID]seen{}, s.at
	}
	d.young[id] = s
}

// rotate forgets what is out of the window, as far as whole maps tell: ids in
// young are of the window after began, those in old were added before it.
func (d *dedupe) rotate(now int64) {
	if now-d.began >= d.window || len(d.young) >= d.most {
		d.old, d.young = d.young, nil
		if now-d.began >= 2*d.window {
			d.old = nil
		}
		d.began = now
	}
}

// rollback forgets the ids of a topic whose offsets are above head, and moves
// the others to generation gen.
func (d *dedupe) rollback(slot uint32, head uint64, gen uint32) {
	for _, m := range []map[recordID]seen{d.young, d.old} {
		for id, s := range m {
			switch {
			case s.slot != slot || s.gen+1 != gen:
			case s.offset > head:
				delete(m, id)
			default:
				s.gen = gen
				m[id] = s
			}
		}
	}
}
