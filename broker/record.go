package broker

import (
	"errors"
	"fmt"

	"github.com/netra-systems/switchboard/wire"
)

// Check returns an error for a record that no driver takes, before anything is
// done with it: an unknown class, a Latest record without Key or TTL, a Key or
// TTL on any other, a negative retention or bound, a bound of nobody, a guard on a
// Volatile record or with a key that is not placed with the topic. Such an error is
// a mistake of the caller and never one of this package's sentinels.
func (r *Record) Check() error {
	switch r.Class {
	case wire.Durable, wire.Volatile:
		if r.Key != "" || r.TTL != 0 {
			return errors.New("publish: key and ttl are for latest records only")
		}
	case wire.Latest:
		if r.Key == "" || r.TTL <= 0 {
			return errors.New("publish: a latest record needs a key and a ttl")
		}
	default:
		return fmt.Errorf("publish: unknown class %d", r.Class)
	}
	if r.Keep.Messages < 0 || r.Keep.Age < 0 {
		return errors.New("publish: negative retention")
	}
	if r.Owner.Bytes < 0 || r.Owner.Bytes > 0 && r.Owner.Key == (Key{}) {
		return errors.New("publish: a negative bound of the owner, or one of nobody")
	}
	return r.checkGuard()
}

func (r *Record) checkGuard() error {
	if r.Guard.Key == "" {
		if r.Guard.Revision != 0 || len(r.Guard.Put) > 0 {
			return errors.New("publish: a guard needs a key")
		}
		return nil
	}
	if r.Class == wire.Volatile {
		return errors.New("publish: a volatile record takes no guard")
	}
	if topic, ok := PlacedWith(r.Guard.Key); !ok || topic != r.Topic {
		return fmt.Errorf("publish: guard %q is not placed with the topic", r.Guard.Key)
	}
	return nil
}
