package wire

import "errors"

// Class says what becomes of a message that cannot be delivered at once.
type Class uint8

// The classes of messages.
const (
	// Durable messages have an offset, are kept, and reach every receiver in order.
	Durable Class = iota
	// Latest messages replace the topic's last one with the same key; who comes later
	// gets the newest of each key.
	Latest
	// Volatile messages are never stored. A receiver that lags skips them, and is told.
	Volatile
)

var errClass = errors.New(`must be "durable", "latest" or "volatile"`)

// String returns "durable", "latest" or "volatile", and "invalid" for anything else.
func (c Class) String() string {
	switch c {
	case Durable:
		return "durable"
	case Latest:
		return "latest"
	case Volatile:
		return "volatile"
	}
	return "invalid"
}

// MarshalText returns the text of [Class.String]; it fails for a value that is no class.
func (c Class) MarshalText() ([]byte, error) {
	if c > Volatile {
		return nil, errClass
	}
	return []byte(c.String()), nil
}

// UnmarshalText reads what [Class.MarshalText] writes; the empty text is [Durable]. On
// error c is unchanged.
func (c *Class) UnmarshalText(text []byte) error {
	switch string(text) {
	case "", "durable":
		*c = Durable
	case "latest":
		*c = Latest
	case "volatile":
		*c = Volatile
	default:
		return errClass
	}
	return nil
}
