package switchboard

import (
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
)

// standstills are times in which the sweep of the heartbeat got no turn: the process was stopped, or
// had no processor. What peers sent meanwhile is still to be read, and they were not pinged, so
// their silence says nothing. Only the sweep uses it.
type standstills struct {
	looked time.Time
	list   []standstill // in order
}

type standstill struct {
	from, to time.Time
}

// maxStandstills is how many are remembered: who was silent through more is dropped a little early.
const maxStandstills = 32

// turn notes that the sweep has its turn, or still has it, after usual if all is well, and returns how
// long nothing could be done: 0 if that is less than slack. What ended before a time is forgotten.
func (s *standstills) turn(now time.Time, usual, slack time.Duration, before time.Time) time.Duration {
	late := now.Sub(s.looked) - usual
	if late < slack {
		late = 0
	}
	s.looked = now
	for len(s.list) > 0 && (s.list[0].to.Before(before) || len(s.list) == maxStandstills) {
		s.list = s.list[1:]
	}
	if late > 0 {
		s.list = append(s.list, standstill{from: now.Add(-late), to: now})
	}
	return late
}

// excuse takes them off the times of a connection.
func (s *standstills) excuse(b hub.Beat) hub.Beat {
	if len(s.list) == 0 {
		return b
	}
	for _, d := range []*time.Duration{&b.Silent, &b.Unwritable, &b.PingAge} {
		if *d > 0 {
			*d = max(*d-s.within(*d), 1) // 0 has a meaning
		}
	}
	return b
}

// within is how much of a time that ends now they take.
func (s *standstills) within(d time.Duration) (sum time.Duration) {
	since := s.looked.Add(-d)
	for _, one := range s.list {
		if one.to.After(since) {
			sum += min(one.to.Sub(one.from), one.to.Sub(since))
		}
	}
	return sum
}
