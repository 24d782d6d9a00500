//go:build unix

package bench

import "syscall"

// freeze stops a process, as the system does with all of a laptop that sleeps.
func (p *process) freeze() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// thaw lets it go on.
func (p *process) thaw() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
