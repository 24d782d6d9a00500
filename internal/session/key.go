package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/netra-systems/switchboard/broker"
)

// storedKey is the item that holds the key of a cluster without configured ones.
const storedKey = "switchboard/session-key"

// retry is the pause before a store that may be stale is asked again.
const retry = 100 * time.Millisecond

// StoredKey returns the key that all nodes of store share. The first node makes it; which
// one that is a compare-and-swap decides.
func StoredKey(ctx context.Context, store broker.Store) ([]byte, error) {
	for {
		item, err := store.Get(ctx, storedKey)
		if err == nil {
			if len(item.Value) != KeyBytes {
				return nil, fmt.Errorf("session key: the stored one has %d bytes, not %d", len(item.Value), KeyBytes)
			}
			return item.Value, nil
		}
		if !errors.Is(err, broker.ErrNotFound) {
			return nil, fmt.Errorf("session key: %w", err)
		}
		fresh := make([]byte, KeyBytes)
		_, _ = rand.Read(fresh) // it never fails
		_, err = store.Put(ctx, storedKey, fresh, 0, 0)
		if err == nil {
			return fresh, nil
		}
		if !errors.Is(err, broker.ErrConflict) {
			return nil, fmt.Errorf("session key: %w", err)
		}
		// Another node was first. Get may not know that yet, which ends within seconds.
		if err := pause(ctx); err != nil {
			return nil, fmt.Errorf("session key: %w", err)
		}
	}
}
