//go:build !linux

package bench

import "errors"

// apart cannot be done here.
func apart(func() error) error { return errors.New("processors cannot be chosen on this system") }
