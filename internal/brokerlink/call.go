// Package brokerlink carries a [broker.Driver] between processes over a local socket, so that
// the server processes of a bench share one broker. It trusts who connects, and has no answer
// to a link that is lost but [broker.ErrUnavailable]: it is for benches and tests only.
package brokerlink

import (
	"errors"
	"fmt"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// method says what a call asks for.
type method uint8

const (
	publish method = iota
	follow
	unfollow
	run
	since
	before
	latest
	heads
	drop
	kept
	appendText
	seal
	read
	remove
	get
	put
	deleteItem
	watch
	cancel // ends the call with the same number
)

// call is a question. Only the fields that its method has are set.
type call struct {
	ID     uint64
	Method method

	Record broker.Record
	Topics []broker.Key
	Stream broker.Key
	Pos    wire.Position
	Number int // limit, start, from
	Limit  int // of bytes
	Exact  bool
	Text   string
	Token  uint64 // token or revision
	Key    string
	Value  []byte
	TTL    time.Duration
}

// answer answers a call, or is one of what it yields.
type answer struct {
	ID    uint64
	More  bool // others follow
	Error *failure

	Published broker.Published
	Entries   []broker.Entry
	Head      wire.Position
	Heads     []wire.Position
	Kept      broker.Kept
	Number    int
	Text      string
	Item      broker.Item
	Change    broker.Change
	Live      *broker.Entry
	Piece     *piece
}

// piece is text that was added to a stream.
type piece struct {
	Topic, Stream broker.Key
	Start         int
	Text          string
}

// failure is an error on its way.
type failure struct {
	Text string
	Kind int    // index in kinds, from 1; 0: none of them
	Lost uint64 // of a gap
}

// kinds are the errors that callers branch on.
func kinds() []error {
	return []error{
		broker.ErrClosed, broker.ErrUnavailable, broker.ErrFenced, broker.ErrHole, broker.ErrConflict, broker.ErrNotFound,
		broker.ErrFull,
	}
}

func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Text: err.Error()}
	if gap, ok := errors.AsType[*broker.GapError](err); ok {
		f.Kind, f.Lost = -1, gap.Lost
		return f
	}
	if errors.Is(err, broker.ErrGap) {
		f.Kind = -1
	}
	for i, kind := range kinds() {
		if errors.Is(err, kind) {
			f.Kind = i + 1
		}
	}
	return f
}

func (f *failure) err() error {
	switch {
	case f == nil:
		return nil
	case f.Kind < 0:
		return &broker.GapError{Lost: f.Lost}
	case f.Kind == 0:
		return errors.New(f.Text)
	}
	return fmt.Errorf("%s: %w", f.Text, kinds()[f.Kind-1])
}
