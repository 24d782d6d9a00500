package hub

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// Errors that callers branch on.
var (
	ErrGone        = errors.New("connection is gone")
	ErrFull        = errors.New("too many answers wait on the connection")
	ErrUserLimit   = errors.New("too many connections of this user")
	ErrLimit       = errors.New("too many connections")
	ErrTenantLimit = errors.New("too many connections of this tenant")
	ErrTenantRooms = errors.New("too many rooms of this tenant")
	ErrRoomLimit   = errors.New("too many rooms on the connection")
	ErrClosed      = errors.New("hub is closed")
	ErrInfo        = errors.New("the owner's blob is too long")
	// ErrThreadLimit: a connection watches few threads, or all.
	ErrThreadLimit = errors.New("too many threads on the connection")
)

// Key is a topic's fixed-length name, the one that drivers use.
type Key [16]byte

// Handle names a connection: a slot of the table and its generation. The zero
// Handle names none. A stale one is harmless, also when the slot has a new
// owner: calls answer [ErrGone].
type Handle uint64

func handle(slot, gen uint32) Handle { return Handle(gen)<<32 | Handle(slot) }
func (c Handle) slot() uint32        { return uint32(c) }
func (c Handle) gen() uint32         { return uint32(c >> 32) }

// Topic names a topic record, as [Hub.Acquire] returns it.
type Topic uint64

func (t Topic) slot() uint32 { return uint32(t) }
func (t Topic) gen() uint32  { return uint32(t >> 32) }

// Session is a session id in its fixed-length form.
type Session [12]byte

const sessionPrefix = "ses_"

// NewSession makes an id that nobody can guess.
func NewSession() Session {
	var s Session
	rand.Read(s[:])
	return s
}

// String is the id as clients see it: ses_ and 24 hexadecimal digits.
func (s Session) String() string { return sessionPrefix + hex.EncodeToString(s[:]) }

// ParseSession reads what String wrote.
func ParseSession(text string) (s Session, ok bool) {
	digits, ok := strings.CutPrefix(text, sessionPrefix)
	if !ok || len(digits) != 2*len(s) {
		return s, false
	}
	_, err := hex.Decode(s[:], []byte(digits))
	return s, err == nil
}

// Events is what the owner of a [Hub] hears. No lock of the hub is held during
// a call.
type Events interface {
	// Message is one text message of c. Payload is valid until Message
	// returns. Calls for one connection come one at a time and in order; while
	// one runs the connection is not read. What it returns is [ws.Sink]'s.
	Message(c Handle, payload []byte) (more int)
	// Failed says that the client broke the protocol. What is sent to c before
	// Failed returns still goes out; then the hub closes c with err's code.
	Failed(c Handle, err *ws.CloseError)
	// Closing says that Closed will be called for a connection of a user, who is not a follower any more
	// by then. It comes from the same goroutine.
	Closing(user wire.Topic)
	// Closed says that c is gone, once for each connection that was opened.
	// Calls come one at a time, from one goroutine, and must be short.
	Closed(c Handle, end End)
	// Followed says that c, of user, begins to receive a room, or ceases to while it is open. Calls
	// come concurrently, those for one connection and room perhaps in another order than it happened,
	// or when c is closed already: what is true is to be asked. They must be short.
	Followed(c Handle, user wire.Topic, room Key)
}

// End says how a connection ended.
type End struct {
	Code      wire.CloseCode // what was sent to the client, else what it sent, else 1006
	Reason    string
	Remote    bool // the client or the network ended it
	Cut       bool // it was given up before our close was written
	View      View // its last state
	Topics    []Cursor
	Unwritten int    // answers that were not written
	Overfull  bool   // see Hub.Tell
	Info      []byte // its blob
}

// Source reads the logs that stand behind the windows. It may be called
// concurrently and may block; ctx ends with the hub.
type Source interface {
	// Since returns at most limit entries after pos, oldest first. That some
	// after pos are gone is said by Batch.Gap, not by an error.
	Since(ctx context.Context, topic Key, pos wire.Position, limit int) (Batch, error)
	// Text returns the text of a stream of topic from a length on. What is not kept any
	// more is no error: then there is none.
	Text(ctx context.Context, topic, stream Key, from uint64) (string, error)
	// Recall has [Hub.Recall] called with what is there of class Latest.
	Recall(ctx context.Context, topic Key) error
}

// Batch is a part of a log.
type Batch struct {
	Entries []Entry
	Head    wire.Position // of the log
	Gap     bool          // some after the asked position, and before Entries, are gone
	Lost    uint64        // how many; 0: not known
}

// Entry is a record with its place, encoded for sockets.
type Entry struct {
	Topic   Key
	Address wire.Topic // what the record itself says; one that differs from the topic's is an isolation fault
	Pos     wire.Position
	Prev    uint64    // offset before it in the log, 0: none is kept
	Frame   []byte    // a whole WebSocket frame, shared by all receivers and never changed; nil: it takes an offset and is not sent
	Except  []Session // sessions that do not get it
	Marks   []Mark    // of an event of a run: the run's streams at that moment
}

// Opening is a connection about to be registered.
type Opening struct {
	Conn              net.Conn      // after its handshake; the hub owns it from now on, also on error
	Buffered          []byte        // what was read from Conn beyond the handshake
	User, All         Topic         // one reference each passes to the hub
	UserFrom, AllFrom wire.Position // delivery begins with what comes after
	Session           Session
	TenantConns       int    // how many connections the tenant may have, this one included; 0: no bound
	Guest             bool   // it takes no place, of its user or the tenant
	Info              []byte // opaque to the hub, copied; at most 8,190 bytes
}

// Cursor is one topic that a connection follows.
type Cursor struct {
	Key     Key
	Address wire.Topic
	Pos     wire.Position // everything up to here has been written
	Behind  uint64        // offsets from there to the head

	Delivered, Seen wire.Position // as the client has acknowledged; zero: nothing so far
}

// View is a snapshot of a connection.
type View struct {
	Handle                 Handle
	ID                     string // conn_…
	Session                Session
	User                   wire.Topic
	Opened, Seen           time.Time
	Idle                   time.Duration // since Seen
	RoundTrip              time.Duration // of the last ping that was answered, 0: none
	Pinged, Ponged         time.Time     // the last of each; zero: none
	Pinging                bool          // a ping is under way
	Missed                 int           // pings in a row without an answer
	Health                 int           // 0 to HealthFull
	Behind                 uint64        // offsets not yet written, over all its topics
	Blocked                time.Time     // since when the socket takes nothing; zero: it does
	Received, Sent, Errors uint64        // messages; Errors as counted by CountError
	Held                   bool          // waits for Unhold
	Guest                  bool          // takes no place, of its user or the tenant
	Acked                  time.Time     // when the client last acknowledged something new; zero: never
}

// TopicHead is a topic and where it ends here.
type TopicHead struct {
	Key    Key
	Head   wire.Position
	Latest bool // it has had messages of class Latest here
	Texts  bool // it has streams that grow, as far as is known here
}

// Stats are counters since the start and gauges of now.
type Stats struct {
	Connections, Users, Rooms, Topics int
	Opened, Received, Sent, SentBytes uint64
	Gaps                              uint64 // gap messages sent
	Skipped                           uint64 // volatile messages that connections did not get, as their gaps told
	CatchUps                          uint64 // readings of a log for cursors behind their window
	Syncs                             uint64 // times a topic had to ask its log for what was not delivered here
	Blocked                           uint64 // times a socket took no more
	Isolation                         uint64 // entries that carried another address than their topic's; must be 0
	Refused                           uint64 // control frames refused with ErrFull
	ReadErrors                        uint64 // times a log could not be read and was asked again
	TextReads                         uint64 // readings of a stream for who is behind what is kept here
	Limited                           uint64 // frames beyond a control allowance
	Flooded                           uint64 // connections closed because they went on nevertheless
	Overfull                          uint64 // connections closed because too much waited that they had not asked for
	Pings, Pongs, Missed              uint64 // pongs are answers to pings of ours
	Late                              uint64 // pongs after which nothing could be said of the way
	Dropped                           uint64 // connections that a sweep closed
	Resurrected                       uint64 // times something came of a connection after a missed ping
	Pending, Missing                  int    // connections with a ping under way, with a missed one
	Health, Healthy                   int    // the sum over all connections; those with more than HealthGood
	MeanRTT, MinRTT, MaxRTT           time.Duration
	WindowBytes                       int64  // kept of topics, messages and texts, and of what waits on connections
	Evicted                           uint64 // messages and texts that were not kept for want of memory
}
