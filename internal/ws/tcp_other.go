//go:build !linux

package ws

import (
	"net"
	"syscall"
	"time"
)

// rawConn returns nil: here every transport is read and written the portable way.
func rawConn(net.Conn) syscall.RawConn { return nil }

// tune leaves the system's settings; net has set TCP_NODELAY.
func tune(net.Conn, time.Duration) {}

// vector is not used without a raw connection.
type vector struct{}

func newVector() *vector { return new(vector) }

func (*vector) writeTo(syscall.RawConn, [][]byte) (n int, blocked bool, err error) {
	return 0, false, syscall.EINVAL
}

func readNonblock(uintptr, []byte) (n int, again bool, err error) { return 0, false, syscall.EINVAL }

func writable(uintptr) bool { return true }
