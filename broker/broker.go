// Package broker is the contract between the manager and what stores and
// carries records: a log of records per topic, growing texts that belong to a
// topic, and a small linearizable store.
//
// Each sentence of this package's documentation is a case of package
// brokertest; what does not pass it is not a driver. A driver is used by one
// manager, closes nothing that it did not open, never retries a publish, and
// keeps no slice that it is given. It sees no address and no id, only a [Key],
// so that no id can become a wildcard, a subject or a hash tag.
//
// What a driver does not promise: that a record was delivered when Publish
// returns, that a live record comes at all or only once (Entry.Prev tells what
// is missing, the log has it), atomicity across topics or between a topic and a
// text, and dedupe beyond its window.
package broker

import (
	"context"
	"iter"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// Driver is everything that a manager needs from a broker, in one interface so
// that the compiler checks it. All methods may be called concurrently and
// honour ctx: one that waits returns ctx's error, wrapped, and one that is
// called with a ctx that is done does nothing. A lost link is [ErrUnavailable];
// after [Driver.Close] every method returns [ErrClosed].
type Driver interface {
	// Publish appends r to its topic, numbers it and fans it out, as one atomic
	// step per topic: what a receiver gets, Since has, as long as r.Keep keeps
	// it. Offsets begin above 0, rise, and are never reused in an epoch; they
	// need not be consecutive and are never compared across topics.
	//
	// A record whose DedupeID the topic saw within the window is not appended
	// again: the first result comes back with Duplicate, also when the guard
	// has moved on since. And because a record that is stored was perhaps not
	// delivered, the driver then announces the topic's head: it delivers the
	// newest record, if one is retained, again to all who follow the topic. The
	// same id on two topics is two records. An id is forgotten with its record
	// when the topic is dropped or its tail is lost, and is not taken by a
	// publish that was refused.
	//
	// With r.Guard see [Guard]. A Latest record has no offset and replaces the
	// one with its Key. A Volatile one is only fanned out; its DedupeID counts
	// for nothing and it takes no guard. What [Record.Check] refuses is refused.
	//
	// After an error other than [ErrFenced] the record may have been appended;
	// repeating the call is safe if DedupeID is set. A topic and its window
	// live in the engine: any node may repeat it.
	Publish(ctx context.Context, r Record) (Published, error)

	// Follow returns once every record and text published afterwards is sure to
	// be delivered to the active Run. While no Run is active nothing is sure, so
	// it waits for one: call it beside Run, not before it in the same goroutine.
	// With no topics it does nothing but that wait; a manager that lost its link
	// calls Run again, then Follow, then compares heads, and has missed nothing.
	//
	// More than what is followed may be delivered. What is followed stays
	// followed when Run returns. After an error nothing is known.
	Follow(ctx context.Context, topics ...Key) error

	// Unfollow is a hint that topics need not be delivered any more. Follow and
	// Unfollow of one topic are not counted: the last call holds.
	Unfollow(ctx context.Context, topics ...Key) error

	// Run delivers to in, in order per topic and per stream, never concurrently
	// for one topic, until ctx is done (ctx's error), the link is lost
	// ([ErrUnavailable]) or the driver is closed ([ErrClosed]). It never returns
	// nil. When it returns, no delivery is in progress any more, and it may be
	// called again; what was published meanwhile is in the log, not delivered. A
	// second Run beside an active one is refused.
	Run(ctx context.Context, in Receiver) error

	Log
	Streams
	Store

	// Close ends Run and every waiting call with ErrClosed. It is idempotent,
	// does not wait for Run to return, and may be called by a Receiver.
	Close() error
}

// Receiver takes what other nodes and this one published. It is called by the
// goroutines of publishers or of the driver, for different topics concurrently,
// so it must not block. It may publish: what it publishes to the same topic is
// delivered after it has returned, what it publishes elsewhere perhaps before.
// Any record may be missing or repeated; see [Entry].
type Receiver interface {
	// Record takes one record. e.Data may be kept and is shared: it must not be
	// changed.
	Record(e Entry)

	// Text takes what was added to a stream of topic at start, counted in
	// Unicode code points. Text never overlaps or goes back, unless it is
	// repeated; a hole means that text was missed and is there to be read.
	Text(topic, stream Key, start int, text string)
}

// Record is what is published. Its zero fields ask for nothing.
type Record struct {
	Topic    Key
	Class    wire.Class
	Key      string        // names what a Latest record replaces; Latest only, and then required
	TTL      time.Duration // how long a Latest record is kept; Latest only, and then required
	DedupeID string        // "": none
	Guard    Guard
	Keep     Retention // Durable only
	Owner    Owner     // Durable and Latest

	// Data is a format version, the address and the encoded envelope without
	// topic, offset and timestamp. It is opaque to drivers, and the caller's again when
	// Publish returns.
	Data []byte
}

// Entry is a record with its place in the log. Data may be kept but not
// changed.
type Entry struct {
	Topic Key
	Class wire.Class
	Key   string        // Latest only
	Pos   wire.Position // zero unless Durable

	// Prev is the offset of the record before it in the topic: a receiver whose
	// head is another one has missed something. It is 0 if none is retained, and
	// may be 0 in the first of the entries that a [Log] returns.
	Prev uint64

	// At is when the record was appended (a Volatile one: fanned out), to the
	// millisecond, by the driver's clock. It is the same wherever and whenever
	// the record is read, and never falls within a topic and epoch.
	At time.Time

	Data []byte
}

// Published says where a record is.
type Published struct {
	Pos       wire.Position // zero unless Durable
	Duplicate bool          // the topic has seen DedupeID; Pos and Revision are those of the first
	Revision  uint64        // of the guard's item after a guarded publish, else 0
}

// Guard makes single writers. The record is appended only if the [Store] item
// Key has Revision; with Put the item takes that value in the same step, for
// good, and its new revision comes back. Otherwise the publish is [ErrFenced],
// nothing is appended and the item stays as it is.
//
// At most one guarded publish is in flight per guard; the driver queues the
// rest, so that any number of them with the right revision succeed. The zero
// Guard asks nothing.
type Guard struct {
	Key      string // begins with the topic key's hex and "/", which places it with the topic
	Revision uint64 // 0: the item must not exist
	Put      []byte // empty: the item stays as it is
}

// Retention is how much of a topic is kept: at most Messages records, none
// older than Age. The zero value keeps nothing: its records are numbered and
// fanned out only. Else a zero field is no bound. The newest record's retention
// holds for its whole topic. Records leave oldest first, never singly out of the
// middle; a driver that can bound only classes of topics may keep them longer.
type Retention struct {
	Messages int
	Age      time.Duration
}

// Owner is whose quota pays for what is kept. A topic is that of the first record
// that names an owner, for good; before that it is nobody's, the zero Key's. All
// that is kept of the topic counts for its owner: records, Latest ones too, texts,
// and what the driver needs beside them.
//
// Where an owner has more than Bytes, as its newest record says, what came first
// leaves first: records, whole texts, and Latest records like those that are one
// too many. It is the owner's own, and never another's. Nothing is refused because
// of it but text, see [Streams.Append]: a record for which there is no room leaves
// at once. Whoever asks for what has left gets the answers that [Log] and [Streams]
// give for it, and epochs stay. A driver may leave a little room free, and may
// count a publish that is under way later.
//
// The driver as a whole may have a bound too: there the owner that has most loses
// what came first, until it has no more than others. A driver that can bound only
// classes of topics may keep more, of an owner and as a whole.
type Owner struct {
	Key   Key   // of the tenant, as [OwnerKey] makes it
	Bytes int64 // of all its topics together; 0: no bound
}

// Log reads history. What it returns is a snapshot and the caller's, except
// that Data may be shared and must not be changed.
type Log interface {
	// Since returns at most limit entries after pos, oldest first and without a
	// hole, and the topic's head. It has reached everything acknowledged before
	// the call. It may return fewer, but not none, when they are large: the head
	// tells whether there are more. A zero pos is the beginning of what is kept;
	// limit 0 asks for the head only.
	//
	// The error is [ErrGap] (a [*GapError], which may know the count), beside
	// the oldest entries that there are and the head, when some after pos are
	// gone, when pos is of another epoch, or above the head.
	Since(ctx context.Context, topic Key, pos wire.Position, limit int) ([]Entry, wire.Position, error)

	// Before returns at most limit entries before pos, newest first and without
	// a hole; with a zero pos the newest there are. Fewer than limit means that
	// no older ones are kept. For a pos of another epoch the error is [ErrGap],
	// beside the newest entries.
	Before(ctx context.Context, topic Key, pos wire.Position, limit int) ([]Entry, error)

	// Latest returns the newest Latest record per key that has not expired,
	// oldest first. A topic keeps at most [LatestKeys] of them, fewer if its
	// [Owner] has no room; the one published longest ago leaves first.
	Latest(ctx context.Context, topic Key) ([]Entry, error)

	// Heads returns one head per topic, in order. A topic that has no record yet
	// stands at offset 0 of the epoch that its first record will get. Without
	// exact they may be seconds old. Of a topic of which nothing is kept any more a
	// driver may forget all but that it had records: in the same epoch it then
	// stands at an offset that is not below its last one.
	Heads(ctx context.Context, exact bool, topics ...Key) ([]wire.Position, error)

	// Drop erases the records and texts of a topic; the next record begins a new
	// epoch, which Heads tells at once. Store items stay, also those that are
	// placed with the topic. A topic that does not exist may be dropped.
	Drop(ctx context.Context, topic Key) error

	// Kept tells what is kept of an owner's topics; it may be seconds old.
	Kept(ctx context.Context, owner Key) (Kept, error)
}

// Kept is what counts for an [Owner].
type Kept struct {
	Bytes int64
	// Evicted is how many records and texts have left because the owner, or the
	// driver as a whole, had more than its bound. It begins anew when nothing is
	// kept of the owner, or with the driver.
	Evicted uint64
}

// LatestKeys is how many keys of Latest records a topic keeps.
const LatestKeys = 64

// Streams are growing texts that belong to a topic. Lengths and starts count
// Unicode code points; a text may have more than 1 MiB.
type Streams interface {
	// Append adds text at start and fans out what was new to who follows topic,
	// atomically per stream. Equal overlap is skipped (what is more than 64 KiB
	// back may be refused as [ErrConflict]); different overlap is ErrConflict; a
	// start beyond the end is [ErrHole]; start -1 is the end; a token below the
	// stream's seal is [ErrFenced]. The first append makes the stream. The
	// length comes back in each of these cases. Text that is not valid UTF-8 and
	// a start below -1 are refused.
	//
	// A stream is open from an append until a seal above that append's token, and
	// what is open does not leave for want of room, see [Owner]. So that this does
	// not take all, an append that adds text is [ErrFull], and changes nothing,
	// while open ones have half of what the owner may have. A driver that has a
	// bound as a whole does the same with half of that, of which each owner with
	// open texts has an equal share.
	//
	// One append per stream is in flight; the driver queues the rest. After
	// [ErrUnavailable] nothing is known: repeat it with the same start.
	Append(ctx context.Context, topic, stream Key, start int, text string, token uint64) (length int, err error)

	// Seal refuses appends with a lower token from now on and returns the
	// length, which only appends with this token or a higher one can change. A
	// seal never goes down; it may come before the first append.
	Seal(ctx context.Context, topic, stream Key, token uint64) (length int, err error)

	// Read returns the text from a length on, as many whole code points as are in
	// limit bytes, and the length of all of it. From the end on the text is empty,
	// and so it is with a limit of 0. A negative limit is refused. The error is
	// [ErrNotFound] when there is no such stream, or it has left, with its seal,
	// for want of room.
	Read(ctx context.Context, topic, stream Key, from, limit int) (text string, length int, err error)

	// Remove forgets a stream and its seal, once it is folded into the log. One
	// that does not exist is no error.
	Remove(ctx context.Context, topic, stream Key) error
}

// Store is a small linearizable map. Every write of a key raises its revision,
// also across deletion and expiry.
type Store interface {
	// Get returns the item, or [ErrNotFound] for what is missing or past its
	// deadline, by the deadline stored with it and not by when it is swept. It
	// may be stale for seconds in a partition: what must be exact is decided by
	// a Put.
	Get(ctx context.Context, key string) (Item, error)

	// Put writes if the key's revision is ifRev (0: it does not exist; [Any]:
	// whatever), else the error is [ErrConflict] and nothing changes. Of several
	// with the same ifRev one wins. ttl is rounded up to seconds; a zero ttl
	// keeps the item for good, a negative one is refused.
	Put(ctx context.Context, key string, value []byte, ifRev uint64, ttl time.Duration) (rev uint64, err error)

	// Delete removes the item if its revision is ifRev, else the error is
	// ErrConflict. With Any or 0 a missing item is no error.
	Delete(ctx context.Context, key string, ifRev uint64) error

	// Watch yields what is below prefix, then one [Change] with Synced, then
	// changes, in order per key; expiry is a change. A change may be repeated.
	// The sequence ends after an error: ErrUnavailable when the link is lost (or
	// the caller reads too slowly), [ErrClosed], or ctx's. The caller may stop
	// at any time, such as at Synced, which makes a list, and a driver should not
	// have read much more by then than the caller has taken. Each range over the
	// sequence is a watch of its own.
	Watch(ctx context.Context, prefix string) iter.Seq2[Change, error]
}

// Any is an ifRev that always matches.
const Any = ^uint64(0)

// Item is a key's value now. Value may be kept but not changed.
type Item struct {
	Key      string
	Value    []byte
	Revision uint64    // never 0
	Expires  time.Time // zero: never
}

// Change is an item as it is now. With Deleted it has Key and Revision only,
// with Synced nothing at all: everything that was there has been yielded.
type Change struct {
	Item
	Deleted, Synced bool
}
