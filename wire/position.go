package wire

import (
	"errors"
	"strconv"
	"strings"
)

// maxEpochBytes is the longest epoch that protocol and drivers allow.
const maxEpochBytes = 32

// Position is a place in a topic's log: after the record with that offset. Offsets
// rise within an epoch; positions of different epochs cannot be compared. The zero
// value is written as "" and means "from the beginning of what is kept", or, in what
// a server says, "nowhere". Positions are comparable with ==.
type Position struct {
	Epoch  string // matches [A-Za-z0-9_-]{1,32}; empty only in the zero value
	Offset uint64 // 0: before the epoch's first record
}

var errPosition = errors.New(`must be "<epoch>:<offset>"`)

// ParsePosition reads what [Position.String] writes. The empty string is the zero
// position. There is one text per position: signs, leading zeros and spaces are refused.
func ParsePosition(s string) (Position, error) {
	if s == "" {
		return Position{}, nil
	}
	epoch, offset, ok := strings.Cut(s, ":")
	if !ok || !validEpoch(epoch) {
		return Position{}, errPosition
	}
	if offset == "" || offset[0] == '+' || offset[0] == '0' && len(offset) > 1 {
		return Position{}, errPosition
	}
	n, err := strconv.ParseUint(offset, 10, 64)
	if err != nil {
		return Position{}, errPosition
	}
	return Position{Epoch: epoch, Offset: n}, nil
}

func validEpoch(s string) bool {
	if s == "" || len(s) > maxEpochBytes {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// String returns "<epoch>:<offset>", and "" for the zero value.
func (p Position) String() string {
	if p.IsZero() {
		return ""
	}
	return p.Epoch + ":" + strconv.FormatUint(p.Offset, 10)
}

// IsZero reports whether p is the zero value. The first position of an epoch,
// "<epoch>:0", is not.
func (p Position) IsZero() bool { return p == Position{} }

// MarshalText returns the text of [Position.String]. It fails if p could not be read
// back: an epoch with other characters, or an offset without an epoch.
func (p Position) MarshalText() ([]byte, error) {
	if p.IsZero() {
		return []byte{}, nil
	}
	if !validEpoch(p.Epoch) {
		return nil, errPosition
	}
	b := make([]byte, 0, len(p.Epoch)+1+20)
	b = append(append(b, p.Epoch...), ':')
	return strconv.AppendUint(b, p.Offset, 10), nil
}

// UnmarshalText sets p to what [ParsePosition] makes of text. On error p is unchanged.
func (p *Position) UnmarshalText(text []byte) error {
	q, err := ParsePosition(string(text))
	if err != nil {
		return err
	}
	*p = q
	return nil
}
