package server

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// silent is about how long the system keeps a connection for itself whose client says nothing. After that
// it is accepted, and headerTimeout counts.
const silent = 3 * time.Second

// deferAccept lets a listener accept connections when there is something to read: one whose client says
// nothing costs neither a goroutine nor a buffer, and one that is accepted can be dealt with at once. That a
// kernel refuses it is no reason not to listen.
func deferAccept(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, int(silent.Seconds()))
	})
}
