package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// RecordKind says what the body of a record is.
type RecordKind uint8

// The kinds of records. The values are stored and never change.
const (
	// RecordMessage has an encoded envelope without topic and offset as its body.
	RecordMessage RecordKind = 1
	// RecordMember has the JSON of a [Member] as its body; its topic is a room.
	RecordMember RecordKind = 2
)

// Record is what drivers store and carry: a message with its full address, which drivers
// do not look into. The address is compared at delivery, because drivers know topics by
// hashes only.
type Record struct {
	Kind  RecordKind
	Topic Topic
	// Thread is the message's thread, so that a node can select without decoding Body.
	Thread string
	// Except are the sessions that do not get the message.
	Except []string
	// Body is JSON; see the kinds.
	Body []byte
}

// Member is a change of a room's membership, as a record of the room's log.
type Member struct {
	User   string `json:"user"`
	Joined bool   `json:"joined"` // false: left or removed
}

// recordVersion is the first byte of every record. A reader knows this version and the
// one before it; there is none before the first.
const recordVersion = 1

var errRecord = errors.New("not a record")

// AppendRecord appends r: the version, the kind, then tenant, topic kind, topic id,
// thread and the excepted sessions, each with its length, and the body to the end. It
// fails, with dst as it was, for a kind or a topic that is none.
func AppendRecord(dst []byte, r Record) ([]byte, error) {
	if r.Kind != RecordMessage && r.Kind != RecordMember {
		return dst, fmt.Errorf("record kind %d is unknown", r.Kind)
	}
	if err := r.Topic.Check(); err != nil {
		return dst, fmt.Errorf("topic %w", err)
	}
	b := append(dst, recordVersion, byte(r.Kind), byte(r.Topic.Kind))
	b = appendText(b, r.Topic.Tenant)
	b = appendText(b, r.Topic.ID)
	b = appendText(b, r.Thread)
	b = binary.AppendUvarint(b, uint64(len(r.Except)))
	for _, session := range r.Except {
		b = appendText(b, session)
	}
	return append(b, r.Body...), nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// ParseRecord reads what [AppendRecord] wrote. Strings are copies; Body aliases data. A
// record of an unknown version or kind is an error, never a panic, and what is allocated is
// in proportion to len(data), whatever the lengths in it say.
func ParseRecord(data []byte) (Record, error) {
	if len(data) < 3 {
		return Record{}, errRecord
	}
	if data[0] != recordVersion {
		return Record{}, fmt.Errorf("record version %d is unknown", data[0])
	}
	r := Record{Kind: RecordKind(data[1]), Topic: Topic{Kind: Kind(data[2])}}
	if r.Kind != RecordMessage && r.Kind != RecordMember {
		return Record{}, fmt.Errorf("record kind %d is unknown", r.Kind)
	}
	rest := data[3:]
	ok := true
	text := func() string {
		n, size := binary.Uvarint(rest)
		if size <= 0 || n > uint64(len(rest)-size) {
			ok, rest = false, nil
			return ""
		}
		s := string(rest[size : size+int(n)])
		rest = rest[size+int(n):]
		return s
	}
	r.Topic.Tenant, r.Topic.ID, r.Thread = text(), text(), text()
	count, size := binary.Uvarint(rest)
	if !ok || size <= 0 {
		return Record{}, errRecord
	}
	rest = rest[size:]
	for range count { // ends with the bytes, whatever count says
		r.Except = append(r.Except, text())
		if !ok {
			return Record{}, errRecord
		}
	}
	if err := r.Topic.Check(); err != nil {
		return Record{}, fmt.Errorf("record topic %w", err)
	}
	r.Body = rest
	return r, nil
}
