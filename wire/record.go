package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// RecordKind says what the body of a record is.
type RecordKind uint8

// The kinds of records. The values are stored and never change.
const (
	// RecordMessage has an encoded envelope without topic and offset as its body.
	RecordMessage RecordKind = 1
	// RecordMember has the JSON of a [Member] as its body; its topic is a room.
	RecordMember RecordKind = 2
	// RecordRun is a message that is an event of a run: Run and Streams are in its header.
	RecordRun RecordKind = 3
	// RecordLatest is a message that replaces another one: TTL is in its header.
	RecordLatest RecordKind = 4
	// RecordPresence is what nodes tell each other about who is where; its body is theirs.
	RecordPresence RecordKind = 5
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
	// Run is the run's id, and Streams are those of its text streams that grow, as they were
	// at the event, and one that the event ends, so that a node can keep text and events in
	// order without decoding Body. RecordRun only.
	Run     string
	Streams []RecordStream
	// TTL is how long the message is kept, in milliseconds at the finest. RecordLatest only.
	TTL time.Duration
	// Body is JSON; see the kinds.
	Body []byte
}

// RecordStream is a text stream of a run, at the moment of an event.
type RecordStream struct {
	Name   string // within the run
	Length int    // in Unicode code points
	Ended  bool   // it does not grow any more
}

// Member is a change of a room's membership, as a record of the room's log.
type Member struct {
	User   string `json:"user"`
	Joined bool   `json:"joined"` // false: left or removed
}

// recordVersion is the first byte of every record. A reader knows this version and the
// one before it; there is none before the first.
const recordVersion = 1

// maxTTL is more milliseconds than any message is kept, and fits a Duration.
const maxTTL = 1 << 40

var errRecord = errors.New("not a record")

func (k RecordKind) known() bool { return k >= RecordMessage && k <= RecordPresence }

// AppendRecord appends r: the version, the kind, then topic kind, tenant, topic id, thread
// and the excepted sessions, each with its length; of a run the id, the number of streams
// and each one's name and twice its length, plus one if it has ended; of a message of class
// latest the milliseconds of its TTL; and the body to the end. It fails, with dst as it was, for
// a kind or a topic that is none and for a length or a TTL that is negative.
func AppendRecord(dst []byte, r Record) ([]byte, error) {
	if !r.Kind.known() {
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
	if r.Kind == RecordRun {
		b = binary.AppendUvarint(appendText(b, r.Run), uint64(len(r.Streams)))
		for _, stream := range r.Streams {
			if stream.Length < 0 {
				return dst, fmt.Errorf("stream length %d is negative", stream.Length)
			}
			n := uint64(stream.Length) << 1
			if stream.Ended {
				n |= 1
			}
			b = binary.AppendUvarint(appendText(b, stream.Name), n)
		}
	}
	if r.Kind == RecordLatest {
		if r.TTL < 0 {
			return dst, fmt.Errorf("ttl %v is negative", r.TTL)
		}
		b = binary.AppendUvarint(b, uint64(r.TTL.Milliseconds())) //nolint:gosec // it is not negative
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
	if !r.Kind.known() {
		return Record{}, fmt.Errorf("record kind %d is unknown", r.Kind)
	}
	in := recordReader{rest: data[3:]}
	r.Topic.Tenant, r.Topic.ID, r.Thread = in.text(), in.text(), in.text()
	for range in.count() { // ends with the bytes, whatever the count says
		r.Except = append(r.Except, in.text())
		if in.bad {
			break
		}
	}
	if r.Kind == RecordRun {
		r.Run = in.text()
		for range in.count() {
			stream := RecordStream{Name: in.text()}
			n := in.count()
			stream.Length, stream.Ended = int(n>>1), n&1 != 0
			if in.bad {
				break
			}
			r.Streams = append(r.Streams, stream)
		}
	}
	if r.Kind == RecordLatest {
		ttl := in.count()
		in.bad = in.bad || ttl > maxTTL
		r.TTL = time.Duration(ttl) * time.Millisecond //nolint:gosec // maxTTL fits, and others make it bad
	}
	if in.bad {
		return Record{}, errRecord
	}
	if err := r.Topic.Check(); err != nil {
		return Record{}, fmt.Errorf("record topic %w", err)
	}
	r.Body = in.rest
	return r, nil
}

// recordReader reads the header of a record. Once something is wrong all that it returns
// is empty.
type recordReader struct {
	rest []byte
	bad  bool
}

func (r *recordReader) count() uint64 {
	n, size := binary.Uvarint(r.rest)
	if r.bad || size <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *recordReader) text() string {
	n := r.count()
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}
