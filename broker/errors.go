package broker

import (
	"errors"
	"fmt"
)

// What callers branch on, with errors.Is: drivers wrap these with what they
// were doing.
var (
	ErrClosed      = errors.New("broker is closed")
	ErrUnavailable = errors.New("broker is unavailable")    // the link is lost or the engine has no leader; after it nothing is known
	ErrGap         = errors.New("records are gone")         // see GapError
	ErrFenced      = errors.New("another writer took over") // the guard's revision or the stream's seal has moved on
	ErrHole        = errors.New("start is beyond the end")  // the length comes back with it
	ErrConflict    = errors.New("it has changed meanwhile") // another revision, or a text that differs
	ErrNotFound    = errors.New("there is no such item")    // missing or expired
	ErrFull        = errors.New("the owner has no room")    // for more text that may not leave
)

// GapError is an [ErrGap] that may know how much is missing.
type GapError struct {
	Lost uint64 // how many records are gone, 0 when that is not known
}

// Error says how many records are gone.
func (e *GapError) Error() string {
	if e.Lost == 0 {
		return ErrGap.Error()
	}
	return fmt.Sprintf("%d %v", e.Lost, ErrGap)
}

// Is reports whether target is [ErrGap].
func (e *GapError) Is(target error) bool { return target == ErrGap }
