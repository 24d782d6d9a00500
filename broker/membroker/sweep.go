package membroker

// sweepTopics is how many records are looked at while the lock is held.
const sweepTopics = 256

// sweep frees the memory of what is past its time. Nothing depends on it: what is
// read is checked when it is read.
func (p *partition) sweep(now int64) {
	p.mu.Lock()
	p.dedupe.rotate(now)
	p.mu.Unlock()
	for from, more := uint32(1), true; more; from += sweepTopics {
		more = p.sweepTopics(from, now)
	}
	for from, more := uint32(1), true; more; from += sweepTopics {
		more = p.sweepItems(from, now)
	}
}

// sweepTopics looks at some records and reports whether there are more.
func (p *partition) sweepTopics(from uint32, now int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	end := min(from+sweepTopics, p.records.made+1)
	for slot := from; slot < end; slot++ {
		t := p.records.at(slot)
		if t.share == 0 {
			continue // a topic was forgotten here
		}
		p.trim(t, now)
		p.sweepLatest(t, "", now)
		p.settle(t, slot)
	}
	return end <= p.records.made
}

// sweepItems looks at some items and reports whether there are more.
func (p *partition) sweepItems(from uint32, now int64) bool {
	p.mu.Lock()
	s := &p.store
	end := min(from+sweepTopics, s.items.made+1)
	for slot := from; slot < end; slot++ {
		if it := s.items.at(slot); it.expires != 0 && it.expires <= now {
			b, mem := p.pool.at(it.mem)
			s.remove(p, string(mem[:b.first]))
		}
	}
	more := end <= s.items.made
	watchers := s.changed()
	p.mu.Unlock()
	wakeAll(watchers)
	return more
}
