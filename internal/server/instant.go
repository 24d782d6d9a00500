package server

import (
	"math"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/netra-systems/switchboard/wire"
)

// instant is a time in the body of a call: seconds since 1970, as frames have them, or RFC 3339, as the
// answers of the API have them. It is zero if it is null or not there.
type instant struct{ time.Time }

// lastSecond is the end of the year 9999, behind which RFC 3339 has no years.
const lastSecond = 253_402_300_799

var errInstant = &wire.ParseError{
	Code: wire.CodeInvalidMessage, Message: `must be seconds since 1970, or a time as "2026-01-02T15:04:05Z"`,
}

// UnmarshalJSON takes either.
func (t *instant) UnmarshalJSON(b []byte) error {
	switch {
	case string(b) == "null":
		t.Time = time.Time{}
	case b[0] == '"':
		if t.Time.UnmarshalJSON(b) != nil {
			return errInstant
		}
	default:
		seconds, err := strconv.ParseFloat(string(b), 64)
		if err != nil || seconds < 0 || seconds > lastSecond {
			return errInstant
		}
		whole, part := math.Modf(seconds)
		t.Time = time.Unix(int64(whole), int64(part*1e9)).Round(time.Millisecond)
	}
	return nil
}

// Schema describes both in the OpenAPI document.
func (instant) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{
		{Type: huma.TypeNumber, Description: "Seconds since 1970"}, {Type: huma.TypeString, Format: "date-time"},
	}}
}
