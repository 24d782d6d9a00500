package wire

import "github.com/google/uuid"

// NewID returns a new message id: a UUIDv7 in its usual text form, so that ids of one
// process sort by the time they were made. It panics only if the system has no
// randomness.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }
