package switchboard

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// keepEvery is how often leases and limits of runs are looked at.
const keepEvery = 250 * time.Millisecond

// keeper cleans up behind runs that have ended. Runs and texts are in the order of their times,
// since all of a list wait equally long.
type keeper struct {
	mu    sync.Mutex // guards the fields below
	runs  []endedRun
	texts []endedText
	gone  []endedText // to be removed now
}

// endedRun is a run that is remembered for who asks, and for devices in the middle of its text.
type endedRun struct {
	at  time.Time
	run *ownedRun
}

// endedText is a text that is too long to be in the log, and goes with that.
type endedText struct {
	at            time.Time
	topic, stream broker.Key
}

func (k *keeper) add(r *ownedRun) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.runs = append(k.runs, endedRun{at: time.Now().Add(textDelay), run: r})
}

// dueRuns takes the runs that are to be forgotten now.
func (k *keeper) dueRuns(now time.Time) (runs []*ownedRun) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for n < len(k.runs) && !now.Before(k.runs[n].at) {
		runs = append(runs, k.runs[n].run)
		n++
	}
	clear(k.runs[:n])
	if k.runs = k.runs[n:]; len(k.runs) == 0 {
		k.runs = nil
	}
	return runs
}

// dueTexts takes the texts that are to be removed now.
func (k *keeper) dueTexts(now time.Time) []endedText {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for n < len(k.texts) && !now.Before(k.texts[n].at) {
		n++
	}
	due := append(k.gone, k.texts[:n]...)
	k.gone = nil
	if k.texts = k.texts[n:]; len(k.texts) == 0 {
		k.texts = nil
	}
	return due
}

// keepRuns ends runs that are due and forgets those that have ended, until ctx ends.
func (m *Manager) keepRuns(ctx context.Context) {
	for sleep(ctx, keepEvery) {
		now := time.Now()
		m.endSome(now)
		for _, r := range m.keeper.dueRuns(now) {
			m.foldTexts(r, now)
			r.drop()
		}
	}
}

// removeTexts removes texts of runs that have ended, until ctx ends.
func (m *Manager) removeTexts(ctx context.Context) {
	for sleep(ctx, keepEvery) {
		for _, t := range m.keeper.dueTexts(time.Now()) {
			if err := m.driver.Remove(ctx, t.topic, t.stream); err != nil && ctx.Err() == nil {
				m.keeper.again(t)
			}
		}
	}
}

// again tries to remove a text later.
func (k *keeper) again(t endedText) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gone = append(k.gone, t)
}

// foldTexts lets the texts of a run go: those that are in the log as well now, the others with
// the log.
func (m *Manager) foldTexts(r *ownedRun, now time.Time) {
	age := m.opts.Retention.Age
	r.mu.Lock()
	defer r.mu.Unlock()
	m.keeper.mu.Lock()
	defer m.keeper.mu.Unlock()
	for _, s := range r.streams {
		t := endedText{at: now.Add(age), topic: r.key(), stream: s.key}
		switch {
		case !s.opened:
		case s.folded:
			m.keeper.gone = append(m.keeper.gone, t)
		case age > 0:
			m.keeper.texts = append(m.keeper.texts, t)
		}
	}
}

// strays are topics with streams of which this node may not know, or not how long they are: of
// runs that began before the topic was followed here, or that went on while the link was lost.
type strays struct {
	wake chan struct{} // capacity 1

	mu sync.Mutex // guards of
	of map[broker.Key]struct{}
}

func (s *strays) hear(topic broker.Key) {
	s.mu.Lock()
	if s.of == nil {
		s.of = make(map[broker.Key]struct{})
	}
	s.of[topic] = struct{}{}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// strayRetry is how long nobody is looked for after the broker has failed.
const strayRetry = 2 * time.Second

// findStrays tells the hub of the streams that it does not know, until ctx ends.
func (m *Manager) findStrays(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.strays.wake:
		}
		failed := 0
		for key := range m.strays.take() {
			topic, known := m.hub.Address(hub.Key(key))
			if !known {
				continue
			}
			if err := m.addStreams(ctx, topic); err != nil && ctx.Err() == nil {
				if failed++; failed == 1 {
					m.log.LogAttrs(ctx, slog.LevelWarn, "streams not found, they are looked for again",
						slog.String("topic", topic.String()), slog.Any("err", err))
				}
				m.strays.hear(key) // nothing else may ever ask for it
			}
		}
		if failed > 0 {
			sleep(ctx, strayRetry)
		}
	}
}

// addStreams tells the hub of all streams of a topic that are written.
func (m *Manager) addStreams(ctx context.Context, topic wire.Topic) error {
	live, err := m.liveNow(ctx, topic, Position{})
	if err != nil {
		return err
	}
	for _, f := range live {
		for _, s := range f.run.Streams {
			if s.State != wire.StreamStateOpen {
				continue
			}
			length, err := m.lengthOf(ctx, topic, s.ID)
			if err != nil {
				return err
			}
			m.hub.AddStream(hubKey(topic), hubStream(f.run.ID, f.run.ThreadID, s.Name), uint64(length), f.at)
		}
	}
	return nil
}

// lengthOf is how long a stream is now.
func (m *Manager) lengthOf(ctx context.Context, topic wire.Topic, stream string) (int, error) {
	_, length, err := m.driver.Read(ctx, broker.KeyOf(topic), broker.NameKey(stream), 0, 0)
	if errors.Is(err, broker.ErrNotFound) {
		return 0, nil
	}
	return length, err
}

func (s *strays) take() map[broker.Key]struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.of
	s.of = nil
	return of
}
