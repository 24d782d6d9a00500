//go:build !linux

package server

import "syscall"

// deferAccept has nothing to set here.
func deferAccept(_, _ string, _ syscall.RawConn) error { return nil }
