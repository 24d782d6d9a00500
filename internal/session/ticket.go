package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/netra-systems/switchboard/broker"
)

// TicketPrefix begins every ticket, so that one can be told from other credentials and found
// in a log where it does not belong.
const TicketPrefix = "tk_"

const (
	ticketBytes = 24 // random ones, before base64url
	// storedTicket begins the keys of tickets. The hash of the ticket follows: who reads the
	// store cannot use what is there.
	storedTicket = "switchboard/ticket/"
	// maxTicket bounds what is stored of one, in bytes.
	maxTicket = 16 << 10
)

// What is wrong with a ticket. Whether it was used, has expired or never was is not told.
var (
	ErrTicket    = errors.New("not a ticket that can be used")
	ErrTicketBig = errors.New("the identity is too large for a ticket")
)

// IssueTicket stores what t says until t.Expires, and returns the ticket for it. A ticket begins
// a new session; that of t is the one it was asked for from, or zero, and the lineage is that
// one's. Besides the store's errors there is [ErrTicketBig].
func IssueTicket(ctx context.Context, store broker.Store, t Token, now time.Time) (string, error) {
	if !now.Before(t.Expires) { // a store would keep it for good
		return "", errors.New("issue ticket: it has expired already")
	}
	value, err := encode(t)
	if err != nil {
		return "", fmt.Errorf("issue ticket: %w", err)
	}
	if len(value) > maxTicket {
		return "", ErrTicketBig
	}
	secret := make([]byte, ticketBytes)
	_, _ = rand.Read(secret) // it never fails
	text := TicketPrefix + base64.RawURLEncoding.EncodeToString(secret)
	if _, err := store.Put(ctx, ticketKey(text), value, 0, t.Expires.Sub(now)); err != nil {
		return "", fmt.Errorf("issue ticket: %w", err)
	}
	return text, nil
}

// RedeemTicket returns what a ticket was issued for, once: of all who redeem it on any node
// one gets it, the others get [ErrTicket]. After another error, which is the store's, the
// ticket may or may not be good still.
func RedeemTicket(ctx context.Context, store broker.Store, text string, now time.Time) (Token, error) {
	coded, ok := strings.CutPrefix(text, TicketPrefix)
	if secret, err := base64.RawURLEncoding.Strict().DecodeString(coded); !ok || err != nil || len(secret) != ticketBytes {
		return Token{}, ErrTicket
	}
	key := ticketKey(text)
	item, err := store.Get(ctx, key)
	if errors.Is(err, broker.ErrNotFound) {
		// The node that was asked may be a moment behind the one that issued it.
		if err = pause(ctx); err == nil {
			item, err = store.Get(ctx, key)
		}
	}
	if err == nil {
		revision := item.Revision
		if mutantRedeem {
			revision = broker.Any
		}
		err = store.Delete(ctx, key, revision) // who succeeds has it
	}
	switch {
	case errors.Is(err, broker.ErrNotFound), errors.Is(err, broker.ErrConflict):
		return Token{}, ErrTicket
	case err != nil:
		return Token{}, fmt.Errorf("redeem ticket: %w", err)
	}
	t, err := decode(item.Value, now)
	if err != nil {
		return Token{}, ErrTicket
	}
	return t, nil
}

// AwaitTicket returns when a ticket cannot be used any more: because somebody has redeemed it,
// or because it has expired. An error is ctx's or the store's, and says nothing about the ticket.
func AwaitTicket(ctx context.Context, store broker.Store, text string) error {
	key, there := ticketKey(text), false
	for change, err := range store.Watch(ctx, key) {
		switch {
		case err != nil:
			return fmt.Errorf("await ticket: %w", err)
		case change.Key == key:
			there = !change.Deleted
		case !change.Synced:
			continue
		}
		if !there {
			return nil
		}
	}
	return ctx.Err()
}

func ticketKey(text string) string {
	sum := sha256.Sum256([]byte(text))
	return storedTicket + hex.EncodeToString(sum[:])
}

// pause waits before a store that may be stale is asked again.
func pause(ctx context.Context) error {
	timer := time.NewTimer(retry)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
