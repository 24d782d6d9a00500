package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/netra-systems/switchboard/wire"
)

// MaxTokenBytes bounds a token. Longer ones are refused before anything of them is read.
const MaxTokenBytes = 8 << 10

// lastSecond is the end of the year 9999.
const lastSecond = 253402300799

// checkSpelling refuses what can be no token by its letters: a token has one spelling only. A
// decoder of base64 would skip line ends, so the same token could be written in many ways.
func checkSpelling(token string) error {
	if len(token) > MaxTokenBytes {
		return fmt.Errorf("the token has more than %d bytes", MaxTokenBytes)
	}
	dots := 0
	for i := range len(token) {
		switch c := token[i]; {
		case c == '.':
			dots++
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return errors.New("the token has letters that none has")
		}
	}
	if dots != 2 {
		return errors.New("the token has not three parts")
	}
	return nil
}

// part decodes a part of a token: 0 is the header, 1 the content.
func part(token string, n int) ([]byte, error) {
	return base64.RawURLEncoding.Strict().DecodeString(strings.Split(token, ".")[n])
}

// members reads a JSON object whose names are all different.
func members(text []byte) (map[string]json.RawMessage, error) {
	var all map[string]json.RawMessage
	if err := wire.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	if all == nil {
		return nil, errors.New("is no object")
	}
	return all, nil
}

// checkHeader refuses tokens that are something else than what they would be taken for.
func checkHeader(token string) error {
	text, err := part(token, 0)
	if err != nil {
		return fmt.Errorf("the header of the token: %w", err)
	}
	header, err := members(text)
	if err != nil {
		return fmt.Errorf("the header of the token: %w", err)
	}
	for _, name := range []string{"crit", "b64", "zip", "enc"} { // RFC 7515 §4.1.11: what is not understood must not be passed over
		if _, there := header[name]; there {
			return fmt.Errorf("the header of the token has %s, which is not understood", name)
		}
	}
	if _, there := header["cty"]; there {
		return errors.New("the content of the token is said to be something else than claims")
	}
	if typ, there := header["typ"]; there {
		var name string
		if err := json.Unmarshal(typ, &name); err != nil {
			return errors.New("typ must be a string")
		}
		switch strings.TrimPrefix(strings.ToLower(name), "application/") {
		case "jwt", "at+jwt":
		default: // RFC 8725 §3.11: a token that its issuer made for something else
			return errors.New("the token is of another type")
		}
	}
	return nil
}

// claims are what a token may say. The user is in sub or in user_id.
type claims struct {
	jwt.RegisteredClaims
	UserID      string
	Tenant      string
	SID         string
	Permissions []string
}

// UnmarshalJSON reads claims by their exact names: an issuer may let users choose others, such
// as Tenant. What is there twice or of another type is an error.
func (c *claims) UnmarshalJSON(text []byte) error {
	all, err := members(text)
	if err != nil {
		return err
	}
	for name, into := range map[string]any{
		"iss": &c.Issuer, "sub": &c.Subject, "aud": &c.Audience, "jti": &c.ID,
		"user_id": &c.UserID, "tenant": &c.Tenant, "sid": &c.SID, "permissions": &c.Permissions,
	} {
		value, there := all[name]
		if !there {
			continue
		}
		if err := json.Unmarshal(value, into); err != nil {
			return fmt.Errorf("%s is of another type", name)
		}
	}
	for name, into := range map[string]**jwt.NumericDate{"exp": &c.ExpiresAt, "nbf": &c.NotBefore, "iat": &c.IssuedAt} {
		value, there := all[name]
		if !there {
			continue
		}
		at, err := date(value)
		if err != nil {
			return fmt.Errorf("%s %w", name, err)
		}
		*into = jwt.NewNumericDate(at)
	}
	return nil
}

// date reads a time in seconds since 1970, which has to be a number. What is below a second is
// dropped.
func date(text []byte) (time.Time, error) {
	seconds, err := strconv.ParseFloat(string(text), 64) // JSON has neither NaN nor hex
	if err != nil || seconds < 0 || seconds > lastSecond {
		return time.Time{}, errors.New("must be a number of seconds since 1970")
	}
	return time.Unix(int64(math.Floor(seconds)), 0), nil
}
