package wire

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// maxIDBytes is the length limit of ids: users, rooms, threads, runs, messages, types.
const maxIDBytes = 128

var (
	errIDEmpty   = errors.New("must not be empty")
	errIDLong    = errors.New("must have at most 128 bytes")
	errIDUTF8    = errors.New("must be valid UTF-8")
	errIDControl = errors.New("must not contain control characters")
)

// CheckID checks an id of any kind: 1 to 128 bytes of valid UTF-8 without control
// characters (U+0000 to U+001F, U+007F to U+009F). The error is a sentence without its
// subject, such as "must not be empty", to be put behind the name of the field.
func CheckID(id string) error { return checkID(id) }

func checkID[T ~string | ~[]byte](id T) error {
	if len(id) == 0 {
		return errIDEmpty
	}
	if len(id) > maxIDBytes {
		return errIDLong
	}
	ascii := true
	for i := range len(id) {
		c := id[i]
		if c < 0x20 || c == 0x7f {
			return errIDControl
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	if ascii {
		return nil
	}
	for rest := string(id); rest != ""; {
		r, size := utf8.DecodeRuneInString(rest)
		if r == utf8.RuneError && size == 1 {
			return errIDUTF8
		}
		if r >= 0x80 && r < 0xa0 {
			return errIDControl
		}
		rest = rest[size:]
	}
	return nil
}

// Kind is what a topic belongs to.
type Kind uint8

// The kinds of topics. Zero is no kind, so that a forgotten one is noticed. The values
// are stored in records and never change.
const (
	KindUser Kind = 1 // all devices of a user
	KindRoom Kind = 2 // all who follow a room
	KindAll  Kind = 3 // every connection of a tenant
)

// String returns "user", "room" or "all", and "invalid" for anything else.
func (k Kind) String() string {
	switch k {
	case KindUser:
		return "user"
	case KindRoom:
		return "room"
	case KindAll:
		return "all"
	}
	return "invalid"
}

// Topic is the address of an ordered log. Topics are comparable with == and may be
// keys of maps. The zero value is no topic.
type Topic struct {
	Tenant string // "" is the default tenant; never on the wire
	Kind   Kind
	ID     string // of the user or room; empty for KindAll
}

var errTopic = errors.New(`must be "user/<id>", "room/<id>" or "all"`)

// ParseTopic reads the address that clients see and puts it below tenant, which it
// takes as it is. The error is a sentence without its subject, as of [CheckID].
func ParseTopic(tenant, s string) (Topic, error) {
	if s == "all" {
		return Topic{Tenant: tenant, Kind: KindAll}, nil
	}
	kind, id, ok := strings.Cut(s, "/")
	t := Topic{Tenant: tenant, ID: id}
	switch {
	case ok && kind == "user":
		t.Kind = KindUser
	case ok && kind == "room":
		t.Kind = KindRoom
	default:
		return Topic{}, errTopic
	}
	if err := CheckID(id); err != nil {
		return Topic{}, err
	}
	return t, nil
}

// String returns the address that clients see: "user/alice", "room/r1" or "all". It
// leaves out the tenant, so topics of two tenants can have the same string: never use
// it as a key.
func (t Topic) String() string {
	if t.Kind == KindAll {
		return "all"
	}
	return t.Kind.String() + "/" + t.ID
}

// Check reports whether t is an address that may exist: a known kind, with a valid id
// exactly where the kind has one. It does not look at the tenant.
func (t Topic) Check() error {
	switch t.Kind {
	case KindUser, KindRoom:
		return CheckID(t.ID)
	case KindAll:
		if t.ID == "" {
			return nil
		}
	}
	return errTopic
}
