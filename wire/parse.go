package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"sync"
)

// Parse reads one frame from a client. It is strict: duplicate keys at any depth, invalid
// UTF-8, more than [MaxLevels] levels, trailing bytes, and anything but an object are
// INVALID_JSON; a type that is missing, and any known field with a wrong type or a bad id,
// are INVALID_MESSAGE. Names are case-sensitive; null is the same as absent; "data" is
// read as "payload"; unknown fields are ignored. The error is a [*ParseError].
//
// The frame is neither retained nor changed.
func Parse(frame []byte) (Envelope, error) { return parse(frame, MaxLevels) }

// ParseAnswer is [Parse] for what a server sends: snapshots and pages of history hold
// envelopes of up to [MaxLevels] levels each, so the frame may have a few more.
func ParseAnswer(frame []byte) (Envelope, error) { return parse(frame, MaxLevels+answerLevels) }

func parse(frame []byte, levels int) (Envelope, error) {
	if deeper(frame, levels) {
		return Envelope{}, errTooDeep()
	}
	p := parsers.Get().(*parser)
	env, err := p.parse(frame)
	p.reset()
	parsers.Put(p)
	if err != nil {
		return Envelope{}, err
	}
	return env, nil
}

// parsers saves the allocation of parsers, which hold nothing between two frames.
var parsers = sync.Pool{New: func() any { return &parser{in: newObjectReader()} }}

// parser reads one frame at a time.
type parser struct {
	in      *objectReader
	env     Envelope
	strings [stringFields]span // the string fields of env, in text
	text    []byte
	err     *ParseError // the first field that does not fit
	rpc     bool        // it has a member jsonrpc
}

// span is a part of parser.text.
type span struct{ from, to int }

// The string fields of an envelope, as indexes of parser.strings.
const (
	typeField = iota
	idField
	topicField
	userField
	threadField
	runField
	agentField
	stringFields
)

// reset makes p ready for the next frame and drops what it holds of this one.
func (p *parser) reset() {
	const keep = 4096
	p.in.reset()
	text := p.text[:0]
	if cap(text) > keep {
		text = nil
	}
	*p = parser{in: p.in, text: text}
}

// parse reads the frame to its end, whatever it finds: bad syntax wins over a field that
// does not fit, and the message id may come last.
func (p *parser) parse(frame []byte) (Envelope, *ParseError) {
	if err := p.in.open(frame); err != nil {
		return Envelope{}, err
	}
	for {
		name, value, err := p.in.next()
		if err != nil {
			return Envelope{}, err
		}
		if name == nil {
			return p.finish()
		}
		if bytes.IndexByte(name, '\\') >= 0 { // the same name in other letters
			plain, _ := appendQuoted(nil, string(appendString(nil, name)))
			name = plain
		}
		p.member(name, value)
	}
}

// member takes a member of the envelope; its name is in quotes.
func (p *parser) member(name, value []byte) {
	if string(name) == `"type"` {
		p.string("type", typeField, value)
		return
	}
	if value[0] == 'n' { // null
		return
	}
	switch string(name) {
	case `"message_id"`:
		p.string("message_id", idField, value)
	case `"topic"`:
		p.string("topic", topicField, value)
	case `"user_id"`:
		p.string("user_id", userField, value)
	case `"thread_id"`:
		p.string("thread_id", threadField, value)
	case `"run_id"`:
		p.string("run_id", runField, value)
	case `"agent_name"`:
		p.string("agent_name", agentField, value)
	case `"payload"`:
		p.payload("payload", value)
	case `"data"`:
		p.payload("data", value)
	case `"trace"`:
		p.env.Trace = p.object("trace", value)
	case `"timestamp"`:
		p.timestamp(value)
	case `"offset"`:
		p.offset(value)
	case `"stream_lengths"`:
		p.lengths(value)
	case `"jsonrpc"`:
		p.rpc = true
	}
}

func (p *parser) refuse(field, rule string) {
	if p.err == nil {
		p.err = &ParseError{Code: CodeInvalidMessage, Field: field, Message: field + " " + rule}
	}
}

// string adds a string field to p.text. Those that are ids must be good ones.
func (p *parser) string(name string, field int, value []byte) {
	if value[0] != '"' {
		p.refuse(name, "must be a string")
		return
	}
	from := len(p.text)
	p.text = appendString(p.text, value)
	switch field {
	case typeField, idField, threadField, runField:
		if err := checkID(p.text[from:]); err != nil {
			p.refuse(name, err.Error())
			return
		}
	}
	p.strings[field] = span{from, len(p.text)}
}

func (p *parser) payload(name string, value []byte) {
	if p.env.Payload != nil {
		p.refuse("data", "is another name of payload: send one of them")
		return
	}
	p.env.Payload = p.object(name, value)
}

func (p *parser) object(name string, value []byte) json.RawMessage {
	if value[0] != '{' {
		p.refuse(name, "must be an object")
		return nil
	}
	return bytes.Clone(value)
}

func (p *parser) timestamp(value []byte) {
	n, err := strconv.ParseFloat(string(value), 64)
	if err != nil || math.IsInf(n, 0) {
		p.refuse("timestamp", "must be a number")
		return
	}
	p.env.Timestamp = n
}

func (p *parser) offset(value []byte) {
	n, err := strconv.ParseUint(string(value), 10, 64)
	if err != nil {
		p.refuse("offset", "must be a whole number that is not negative")
		return
	}
	p.env.Offset = n
}

func (p *parser) lengths(value []byte) {
	var lengths map[string]int
	err := unmarshal(value, &lengths)
	for _, n := range lengths {
		if n < 0 {
			err = errLengths
		}
	}
	if err != nil {
		p.refuse("stream_lengths", errLengths.Error())
		return
	}
	if len(lengths) > 0 {
		p.env.StreamLengths = lengths
	}
}

var errLengths = errors.New("must be an object of whole numbers that are not negative")

// finish makes strings of what was collected; they share one allocation.
func (p *parser) finish() (Envelope, *ParseError) {
	text := string(p.text)
	get := func(field int) string { return text[p.strings[field].from:p.strings[field].to] }
	e := p.env
	e.Type, e.ID, e.Topic, e.UserID = MessageType(get(typeField)), get(idField), get(topicField), get(userField)
	e.ThreadID, e.RunID, e.AgentName = get(threadField), get(runField), get(agentField)
	if e.Type == "" && p.rpc && p.err == nil {
		p.err = &ParseError{Code: CodeUnsupported, Field: "jsonrpc", Message: "JSON-RPC is not available: send a message with a type"}
	}
	if e.Type == "" {
		p.refuse("type", "is missing")
	}
	if p.err != nil {
		p.err.MessageID = e.ID
		return Envelope{}, p.err
	}
	return e, nil
}

// deeper reports whether objects and arrays nest deeper than limit in b. Of what is not
// JSON it may say anything: the parser refuses that by itself. Most frames have so few
// brackets that no scan is needed.
func deeper(b []byte, limit int) bool {
	if bytes.Count(b, []byte{'{'})+bytes.Count(b, []byte{'['}) <= limit {
		return false
	}
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			if depth++; depth > limit {
				return true
			}
		case '}', ']':
			depth--
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		}
	}
	return false
}

func errTooDeep() *ParseError {
	return &ParseError{Code: CodeInvalidJSON, Message: "the JSON has more than " + strconv.Itoa(MaxLevels) + " levels"}
}
