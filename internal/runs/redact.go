package runs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/wire"
)

// redacted stands for a value that viewers must not see.
const redacted = `"[REDACTED]"`

// maxPath is how long, in code points, the path of a cut may be, so that what is told about
// cuts never outgrows what was cut.
const maxPath = 200

// limits say how much of a value viewers see.
type limits struct {
	text     int  // code points of a string; 0: all
	items    int  // of a list; 0: all
	internal bool // members that are not for viewers are dropped
	homes    bool // home directories are replaced
}

// limitsOf returns the limits for a member of a payload.
func limitsOf(member string) limits {
	switch strings.ToLower(member) { // as payloads are decoded
	case "parameters":
		return limits{text: 200, items: 10}
	case "result":
		return limits{text: 500, items: 10, internal: true}
	case "error", "error_message":
		return limits{text: 300, homes: true}
	}
	return limits{}
}

// homePath matches home directories. The second half takes what would be one once the first
// half is gone.
var homePath = regexp.MustCompile(
	`(?:(?:/home/|/Users/|[A-Za-z]:\\Users\\)` + homeName + `|/root/)(?:(?:home/|Users/)` + homeName + `|root/)*`)

// homeName is the name of a user, with what separates it from the rest of a path.
const homeName = `[^/\\\s'"` + "`" + `:;,()<>\[\]{}]+[/\\]?`

// Redact returns the payload of a tool_executing, tool_completed, approval_requested or
// agent_error as viewers may see it:
//
//   - The value of a member whose name tells of a secret (see [Secret]) becomes "[REDACTED]",
//     whatever it is and wherever in the payload, but for the schema of an approval, which
//     describes values and has none.
//   - In parameters, strings are cut to 200 code points; in result to 500, without members
//     that are internal: names that begin with "_" or "internal", debug_info and
//     system_prompt. Lists of both are cut to 10 items.
//   - Home directories in error and error_message become "[PATH]/"; then the text is cut to
//     300 code points.
//
// The payload's member truncated, a list of [wire.Truncation], tells of each cut; entries
// that are there already stay. All else keeps its bytes. Only names are looked at: a secret
// in the middle of a text stays.
//
// The payload is not changed, but the result may share its memory. The error is a
// [*wire.ParseError], as of [wire.Unmarshal], if it is no strict JSON object.
func Redact(payload json.RawMessage) (json.RawMessage, error) {
	var valid json.RawMessage
	if err := wire.Unmarshal(payload, &valid); err != nil {
		return nil, fmt.Errorf("redact: %w", err)
	}
	if valid[0] != '{' {
		return nil, fmt.Errorf("redact: %w", &wire.ParseError{Code: wire.CodeInvalidMessage, Message: "the payload must be an object"})
	}
	r := redactor{scanner: scanner{in: valid}}
	r.object(limits{})
	if r.out == nil {
		return payload, nil
	}
	r.flush(len(r.in))
	if len(r.cuts) == 0 {
		return r.out, nil
	}
	return r.tellCuts()
}

// redactor copies JSON, with changes.
type redactor struct {
	scanner
	out    []byte
	copied int      // bytes of in that are in out, or were left out of it
	path   []string // where pos is
	cuts   []wire.Truncation
	told   struct{ from, to int } // where in out the payload's own truncated is
}

func (r *redactor) flush(to int) {
	r.out = append(r.out, r.in[r.copied:to]...)
	r.copied = to
}

// replace writes s instead of the bytes from from to to.
func (r *redactor) replace(from, to int, s string) {
	r.flush(from)
	r.out = append(r.out, s...)
	r.copied = to
}

// cut notes that the value at path had that length.
func (r *redactor) cut(length int) {
	var path strings.Builder
	for i, name := range r.path {
		if i > 0 {
			path.WriteByte('.')
		}
		name, _ = firstOf(name, maxPath+1) // it may be as long as the payload, and above many cuts
		path.WriteString(name)
	}
	text, long := firstOf(path.String(), maxPath)
	if long {
		text += "…"
	}
	r.cuts = append(r.cuts, wire.Truncation{Path: text, OriginalLength: length})
}

func (r *redactor) value(name string, l limits) {
	r.path = append(r.path, name)
	switch r.in[r.pos] {
	case '{':
		r.object(l)
	case '[':
		r.list(l)
	case '"':
		r.text(l)
	default:
		r.skip()
	}
	r.path = r.path[:len(r.path)-1]
}

func (r *redactor) object(l limits) {
	top, kept := len(r.path) == 0, false
	r.pos++
	for from := r.pos; r.next(); from = r.pos {
		begin := r.pos
		name := r.name()
		if l.internal && internal(name) {
			r.skip()
			r.replace(from, r.pos, "")
			continue
		}
		if !kept && bytes.IndexByte(r.in[from:begin], ',') >= 0 { // what came before it is gone
			r.replace(from, begin, "")
		}
		kept = true
		switch {
		case Secret(name):
			value := r.pos
			if r.skip(); string(r.in[value:r.pos]) != redacted {
				r.replace(value, r.pos, redacted)
			}
		case top && name == "truncated":
			r.flush(r.pos)
			r.told.from = len(r.out)
			r.value(name, l)
			r.flush(r.pos)
			r.told.to = len(r.out)
		case top && name == "schema":
			r.skip()
		case top:
			r.value(name, limitsOf(name))
		default:
			r.value(name, l)
		}
	}
}

func (r *redactor) list(l limits) {
	r.pos++
	end, n := 0, 0
	for r.next() {
		if l.items > 0 && n >= l.items {
			r.skip()
		} else {
			r.value(strconv.Itoa(n), l)
			end = r.pos
		}
		n++
	}
	if l.items > 0 && n > l.items {
		r.replace(end, r.pos-1, "") // up to the bracket
		r.cut(n)
	}
}

func (r *redactor) text(l limits) {
	from := r.pos
	if l.text == 0 {
		r.skip()
		return
	}
	text := r.string()
	short := text
	if l.homes {
		short = homePath.ReplaceAllLiteralString(short, "[PATH]/")
	}
	short, long := firstOf(short, l.text)
	if short == text {
		return
	}
	quoted, err := wire.Marshal(short)
	if err != nil {
		panic("runs: text that was decoded cannot be encoded: " + err.Error())
	}
	r.replace(from, r.pos, string(quoted))
	if long {
		r.cut(utf8.RuneCountInString(text))
	}
}

// tellCuts puts the cuts into the payload.
func (r *redactor) tellCuts() (json.RawMessage, error) {
	list, err := wire.Marshal(r.cuts)
	if err != nil {
		return nil, fmt.Errorf("redact: %w", err)
	}
	from, to := r.told.from, r.told.to
	if to == 0 {
		end := len(r.out) - 1
		return fmt.Appendf(r.out[:end], `,"truncated":%s}`, list), nil
	}
	if old := r.out[from:to]; old[0] == '[' && len(bytes.TrimSpace(old[1:len(old)-1])) > 0 {
		list = fmt.Appendf(nil, "%s,%s", old[:len(old)-1], list[1:])
	}
	return fmt.Appendf(nil, "%s%s%s", r.out[:from], list, r.out[to:]), nil
}

// firstOf returns the first n code points of s, and whether there are more.
func firstOf(s string, n int) (first string, more bool) {
	for i := range s {
		if n == 0 {
			return s[:i], true
		}
		n--
	}
	return s, false
}
