package server

import "github.com/netra-systems/switchboard/wire"

// decode reads a body as strictly as a frame is read, and refuses members that v does
// not have: a misspelt option must not be ignored.
func decode(body []byte, v any) error { return wire.UnmarshalExact(body, v) }
