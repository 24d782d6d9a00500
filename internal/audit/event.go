// Package audit keeps a log of events that concern security, in which nothing can be changed
// without a trace: each line has the hash of the line before.
//
// A line is one JSON object without spaces and a newline. It ends with its own hash, which is
// the SHA-256 of all bytes before that member:
//
//	{"seq":7,"time":"2026-03-01T12:00:00Z","action":"join",…,"prev":"<hash of the line before>","hash":"<64 hex digits>"}
//	└──────────────────────────── SHA-256 of this ──────────────────────────────────────────┘
//
// There are two series of such lines, each a chain of its own in files of its own, so that what
// is refused to those whom nobody knows can never take the place of what known ones did. A
// series is bounded: its oldest file is removed when there are too many, and what is left begins
// with a line that names the hash of one that is gone. Sequence numbers rise over both series.
package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Event is what happened. It is comparable: equal ones are folded.
type Event struct {
	Action     string     `json:"action"`
	Tenant     string     `json:"tenant,omitempty"`
	User       string     `json:"user,omitempty"`
	Actor      string     `json:"actor,omitempty"` // of the application, that did it; "": the user
	Connection string     `json:"connection,omitempty"`
	Address    netip.Addr `json:"address,omitzero"`
	Object     string     `json:"object,omitempty"`
	Reason     string     `json:"reason,omitempty"`
	Code       string     `json:"code,omitempty"` // why it was refused; "": it was done
}

// The actions that the log itself adds.
const (
	ActionLost = "lost" // events that there was no room for, or that could not be written
	ActionCut  = "cut"  // a line that a crash had left half written
)

// Entry is a line of the log.
type Entry struct {
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"`
	Event
	// Count is of how many equal refusals this line tells; 0 is one.
	Count int `json:"count,omitempty"`
	// Lost is how many events are missing here.
	Lost uint64 `json:"lost,omitempty"`
	Prev string `json:"prev"`
	Hash string `json:"hash"`
}

// maxField bounds each text of an event, in bytes. Ids are shorter.
const maxField = 256

// maxLine bounds a line, in bytes: nine texts, of which each byte may take six.
const maxLine = 16 << 10

// bounded returns e with no text that is too long for a line.
func (e Event) bounded() Event {
	for _, text := range []*string{&e.Action, &e.Tenant, &e.User, &e.Actor, &e.Connection, &e.Object, &e.Reason, &e.Code} {
		if len(*text) > maxField {
			*text = strings.ToValidUTF8((*text)[:maxField], "")
		}
	}
	e.Address = e.Address.WithZone("") // which is text, too
	return e
}

// begin is what is before the first line of a chain.
const begin = "0000000000000000000000000000000000000000000000000000000000000000"

// What stands around the hash at the end of a line.
const (
	hashBegin = `,"hash":"`
	hashEnd   = "\"}\n"
	hashBytes = len(hashBegin) + 2*sha256.Size + len(hashEnd)
)

// line appends the line of e, whose Prev is set, to b, and sets its hash.
func (e *Entry) line(b []byte) ([]byte, error) {
	e.Hash = ""
	text, err := json.Marshal(e)
	if err != nil {
		return b, fmt.Errorf("encode an event: %w", err)
	}
	body := text[:len(text)-len(hashBegin)-len(hashEnd)+1]
	sum := sha256.Sum256(body)
	e.Hash = hex.EncodeToString(sum[:])
	return append(append(append(append(b, body...), hashBegin...), e.Hash...), hashEnd...), nil
}

// parseLine reads a line and checks its hash. line ends with a newline.
func parseLine(line []byte) (Entry, error) {
	var e Entry
	if len(line) <= hashBytes {
		return e, errors.New("is too short for an event")
	}
	body, tail := line[:len(line)-hashBytes], string(line[len(line)-hashBytes:])
	sum := sha256.Sum256(body)
	if tail != hashBegin+hex.EncodeToString(sum[:])+hashEnd {
		return e, errors.New("does not have the hash that it states")
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return e, errors.New("is no event")
	}
	return e, nil
}

// seqBegin stands before the sequence number of every line.
const seqBegin = `{"seq":`

// seqOf reads the sequence number of a line and nothing else of it.
func seqOf(line []byte) (uint64, bool) {
	digits, _, found := strings.Cut(string(line[:min(len(line), len(seqBegin)+21)]), ",")
	digits, ok := strings.CutPrefix(digits, seqBegin)
	seq, err := strconv.ParseUint(digits, 10, 64)
	return seq, found && ok && err == nil
}
