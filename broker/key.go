package broker

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/netra-systems/switchboard/wire"
)

// Key is the fixed-length hash of an address or a name. Drivers see nothing
// else of it. The zero Key is the hash of nothing that is known.
type Key [16]byte

// KeyOf returns the key of a topic. Every part is hashed with its length, so
// that no tenant and id can be another tenant's id.
func KeyOf(t wire.Topic) Key {
	return sum("topic", string([]byte{byte(t.Kind)}), t.Tenant, t.ID)
}

// NameKey returns the key of a name within a topic, such as a stream's. It is
// never the key of a topic.
func NameKey(name string) Key { return sum("name", name) }

// OwnerKey returns the key of a tenant, for [Owner]. It is never the key of a
// topic or a name, nor the zero Key, which is nobody's.
func OwnerKey(tenant string) Key { return sum("owner", tenant) }

// String returns the key as 32 lower-case hexadecimal digits.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// PlacedWith returns the topic that a Store item belongs to by its key, which
// then begins with the topic key's hex and "/". Drivers keep such items where
// the topic is, because a [Guard] changes both in one step.
func PlacedWith(itemKey string) (topic Key, ok bool) {
	const n = 2 * len(topic)
	if len(itemKey) <= n || itemKey[n] != '/' {
		return Key{}, false
	}
	for i := range topic {
		hi, lo := digit(itemKey[2*i]), digit(itemKey[2*i+1])
		if hi > 15 || lo > 15 {
			return Key{}, false
		}
		topic[i] = hi<<4 | lo
	}
	return topic, true
}

// digit returns the value of a lower-case hexadecimal digit, 16 for any other
// byte: upper case would be a second name of the same topic.
func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 16
}

// sum hashes parts with their lengths.
func sum(parts ...string) (k Key) {
	var room [256]byte // enough for the longest topic without an allocation
	b := room[:0]
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	h := sha256.Sum256(b)
	return Key(h[:len(k)])
}
