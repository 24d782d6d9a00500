package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/netra-systems/switchboard/broker"
)

// storedKeys is the item that holds the keys of a cluster without configured ones.
const storedKeys = "switchboard/session-keys"

// How long a key is what. They are measured by the clocks of nodes, which may differ by lead.
const (
	// sealFor is how long a key seals.
	sealFor = 30 * 24 * time.Hour
	// lead is how long a key is there before it seals: until then each node has seen it.
	lead = time.Hour
	// look is how often a node sees what keys there are.
	look = 5 * time.Minute
)

// retry is the pause before a store that may be stale is asked again.
const retry = 100 * time.Millisecond

// storedKey is a key as it is stored. A key seals from From until the next one does, and opens
// for so long after that that no token of it can live.
type storedKey struct {
	Secret []byte    `json:"k"`
	From   time.Time `json:"f"`
}

// NewStoredSealer makes a sealer of the keys that all nodes of store share. The first node makes
// one; which node that is a compare-and-swap decides. Somebody must call [Sealer.Keep].
func NewStoredSealer(ctx context.Context, store broker.Store) (*Sealer, error) {
	s := &Sealer{stored: true}
	for {
		err := s.see(ctx, store, time.Now())
		if err == nil {
			return s, nil
		}
		if !errors.Is(err, broker.ErrConflict) {
			return nil, fmt.Errorf("session keys: %w", err)
		}
		// Another node was first. Get may not know that yet, which ends within seconds.
		if err := pause(ctx); err != nil {
			return nil, fmt.Errorf("session keys: %w", err)
		}
	}
}

// Keep makes a new key when it is time for one, and learns those that other nodes have made,
// until ctx ends. While the store cannot be reached the keys that are known go on; trouble is
// told of that. Of a sealer of configured keys it does nothing.
func (s *Sealer) Keep(ctx context.Context, store broker.Store, trouble func(error)) {
	if !s.stored {
		return
	}
	ticks := time.NewTicker(look)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		err := s.see(ctx, store, time.Now())
		if err != nil && ctx.Err() == nil && !errors.Is(err, broker.ErrConflict) { // after a conflict the next look sees it
			trouble(fmt.Errorf("session keys: %w", err))
		}
	}
}

// see reads the keys, and changes them if it is time for that. [broker.ErrConflict] means that
// another node has changed them meanwhile.
func (s *Sealer) see(ctx context.Context, store broker.Store, now time.Time) error {
	item, err := store.Get(ctx, storedKeys)
	var there []storedKey
	switch {
	case err == nil:
		if there, err = decodeKeys(item.Value); err != nil {
			return err
		}
		if !s.adopt(there) {
			return nil // what was read is older than what is known
		}
	case errors.Is(err, broker.ErrNotFound):
		there = s.known() // somebody has emptied the store: sessions go on
	default:
		return err
	}
	wanted := rotated(there, now)
	if len(wanted) == len(there) && err == nil && (len(there) == 0 || wanted[0].From.Equal(there[0].From)) {
		return nil
	}
	value, err := json.Marshal(wanted) //nolint:gosec // the store is where nodes share them
	if err != nil {
		return err
	}
	if _, err := store.Put(ctx, storedKeys, value, item.Revision, 0); err != nil {
		return err
	}
	s.adopt(wanted)
	return nil
}

// rotated returns the keys that there should be, of those that there are, the oldest first. The
// first key of all seals at once; each other one is there before it does.
func rotated(keys []storedKey, now time.Time) []storedKey {
	wanted := keys
	for len(wanted) > 1 && now.After(wanted[1].From.Add(Longest+lead)) {
		wanted = wanted[1:]
	}
	from := now
	if n := len(wanted); n > 0 {
		from = wanted[n-1].From.Add(sealFor)
		if now.Before(from.Add(-lead)) {
			return wanted
		}
		if from.Before(now.Add(lead)) { // nobody was there at the time
			from = now.Add(lead)
		}
		if mutantLead {
			from = now
		}
	}
	fresh := storedKey{Secret: make([]byte, KeyBytes), From: from.UTC().Truncate(time.Millisecond)}
	_, _ = rand.Read(fresh.Secret) // it never fails
	return append(wanted[:len(wanted):len(wanted)], fresh)
}

func decodeKeys(value []byte) ([]storedKey, error) {
	var keys []storedKey
	if err := json.Unmarshal(value, &keys); err != nil || len(keys) == 0 {
		return nil, errors.New("the stored ones cannot be read")
	}
	for i, k := range keys {
		if len(k.Secret) != KeyBytes || i > 0 && k.From.Before(keys[i-1].From) {
			return nil, errors.New("the stored ones are not valid")
		}
	}
	return keys, nil
}

// adopt makes keys count, unless a newer one is known than the newest of them: a store may be
// behind for a moment.
func (s *Sealer) adopt(keys []storedKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if former := s.ring.Load(); former != nil && keys[len(keys)-1].From.Before((*former)[0].from) {
		return false
	}
	ring := make([]key, 0, len(keys))
	for i := len(keys) - 1; i >= 0; i-- {
		ring = append(ring, newKey(keys[i].Secret, keys[i].From))
	}
	s.ring.Store(&ring)
	return true
}

// known returns what adopt was told.
func (s *Sealer) known() (keys []storedKey) {
	ring := s.ring.Load()
	if ring == nil {
		return nil
	}
	for i := len(*ring) - 1; i >= 0; i-- {
		keys = append(keys, storedKey{Secret: bytes.Clone((*ring)[i].secret), From: (*ring)[i].from})
	}
	return keys
}
