package runs

import "encoding/json"

// scanner walks over JSON that is known to be valid.
type scanner struct {
	in  []byte
	pos int // at the first byte of a token, unless said
}

// space passes white space.
func (s *scanner) space() {
	for s.pos < len(s.in) {
		switch s.in[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return
		}
	}
}

// next goes to the next member or item from behind the former one, or from behind the
// bracket that opened. It is false once it has passed the bracket that closes.
func (s *scanner) next() bool {
	s.space()
	switch s.in[s.pos] {
	case '}', ']':
		s.pos++
		return false
	case ',':
		s.pos++
		s.space()
	}
	return true
}

// name reads the name of a member and goes to its value.
func (s *scanner) name() string {
	name := s.string()
	s.space()
	s.pos++ // the colon
	s.space()
	return name
}

// string reads a string and goes behind it.
func (s *scanner) string() string {
	from := s.pos
	s.skip()
	var text string
	if err := json.Unmarshal(s.in[from:s.pos], &text); err != nil {
		panic("runs: invalid JSON: " + err.Error())
	}
	return text
}

// skip goes behind a value.
func (s *scanner) skip() {
	for depth := 0; ; {
		switch s.in[s.pos] {
		case '{', '[':
			depth++
			s.pos++
		case '}', ']':
			depth--
			s.pos++
		case '"':
			s.quoted()
		case ',', ':', ' ', '\t', '\r', '\n':
			s.pos++
		default:
			s.literal()
		}
		if depth == 0 {
			return
		}
	}
}

// quoted goes behind a string.
func (s *scanner) quoted() {
	for s.pos++; s.in[s.pos] != '"'; s.pos++ {
		if s.in[s.pos] == '\\' {
			s.pos++
		}
	}
	s.pos++
}

// literal goes behind a number, true, false or null.
func (s *scanner) literal() {
	for s.pos < len(s.in) {
		switch s.in[s.pos] {
		case ',', '}', ']', ' ', '\t', '\r', '\n':
			return
		}
		s.pos++
	}
}
