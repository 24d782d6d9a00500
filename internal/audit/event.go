// Package audit keeps a log of events that concern security, in which nothing can be changed
// without a trace: each line has the hash of the line before.
//
// A line is one JSON object without spaces and a newline. It ends with its own hash, which is
// the SHA-256 of all bytes before that member:
//
//	{"seq":7,"time":"2026-03-01T12:00:00Z","action":"join",…,"prev":"<hash of the line before>","hash":"<64 hex digits>"}
//	└──────────────────────────── SHA-256 of this ──────────────────────────────────────────┘
//
// Each tenant has a series of such lines, a chain of its own in files of its own, and what is
// refused to those whom nobody knows has one, so that nobody's lines can ever take the place of
// another's. A series is bounded: its oldest file is removed when there are too many, and what is
// left begins with a line that names the hash of one that is gone. Sequence numbers rise over all
// series.
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

// bounded returns e with no text that is too long for a line, and with a tenant that is in the line
// as it is here.
func (e Event) bounded() Event {
	e.Tenant = strings.ToValidUTF8(e.Tenant, "\ufffd")
	for _, text := range e.texts() {
		if len(*text) > maxField {
			*text = strings.ToValidUTF8((*text)[:maxField], "")
		}
	}
	e.Address = e.Address.WithZone("") // which is text, too
	return e
}

func (e *Event) texts() [8]*string {
	return [...]*string{&e.Action, &e.Tenant, &e.User, &e.Actor, &e.Connection, &e.Object, &e.Reason, &e.Code}
}

// begin is what is before the first line of a chain.
const begin = "0000000000000000000000000000000000000000000000000000000000000000"

// What stands around the hash at the end of a line.
const (
	hashBegin = `,"hash":"`
	hashEnd   = "\"}\n"
	hashBytes = len(hashBegin) + 2*sha256.Size + len(hashEnd)

	prevBegin = `,"prev":"` // and before that
	prevBytes = len(prevBegin) + 2*sha256.Size + len(`"`)

	tenantBegin = `,"tenant":"` // in the lines of a tenant with a name, once
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

var (
	errShort   = errors.New("is too short for an event")
	errHash    = errors.New("does not have the hash that it states")
	errNoEvent = errors.New("is no event")
)

// checkHash returns the hash that a line states, if it has it. line ends with a newline.
func checkHash(line []byte) (string, error) {
	if len(line) <= hashBytes {
		return "", errShort
	}
	body, tail := line[:len(line)-hashBytes], string(line[len(line)-hashBytes:])
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	if tail != hashBegin+hash+hashEnd {
		return "", errHash
	}
	return hash, nil
}

// parseLine reads a line and checks its hash. line ends with a newline.
func parseLine(line []byte) (Entry, error) {
	var e Entry
	if _, err := checkHash(line); err != nil {
		return e, err
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return e, errNoEvent
	}
	return e, nil
}

// link is what of a line makes the chain.
type link struct {
	seq        uint64
	prev, hash string
}

// parseLink reads and checks the link of a line. A server does so with all that it has when it
// starts, and decoding takes ten times as long.
func parseLink(line []byte) (link, error) {
	hash, err := checkHash(line)
	if err != nil {
		return link{}, err
	}
	body := line[:len(line)-hashBytes]
	prev, isLink := strings.CutPrefix(string(body[max(0, len(body)-prevBytes):]), prevBegin)
	seq, isNumber := seqOf(line)
	if !isLink || !isNumber || !json.Valid(line) {
		return link{}, errNoEvent
	}
	return link{seq: seq, prev: strings.TrimSuffix(prev, `"`), hash: hash}, nil
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

// member is how a line has a text that is not empty. Within a text there is a backslash before each
// quotation mark, so nothing in it looks like this.
func member(name, value string) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic("audit: a text that cannot be encoded: " + err.Error())
	}
	return fmt.Appendf(nil, ",%q:%s", name, text)
}
