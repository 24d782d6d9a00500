//go:build !unix

package bench

import "errors"

// freeze does not work here.
func (p *process) freeze() error { return errors.New("this system does not stop processes") }

// thaw does not work here.
func (p *process) thaw() error { return errors.New("this system does not stop processes") }
