package ws

import (
	"net"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// notSentLowat bounds what the kernel holds of a connection beyond what is in
	// flight. What waits here instead, as a cursor, can still be superseded or joined.
	notSentLowat = 16 << 10

	maxIovecs = 1024 // IOV_MAX
)

// rawConn returns the descriptor of a connection whose bytes on the wire are those
// that we write, else nil.
func rawConn(nc net.Conn) syscall.RawConn {
	var sc syscall.Conn
	switch nc := nc.(type) {
	case *net.TCPConn:
		sc = nc
	case *net.UnixConn:
		sc = nc
	default:
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil // closed already; Read and Write will say so
	}
	return raw
}

// tune sets the options of the TCP connection that is or carries nc. That a kernel
// refuses one is no reason to refuse the connection. TCP_NODELAY was set by net.
func tune(nc net.Conn, userTimeout time.Duration) {
	if outer, ok := nc.(interface{ NetConn() net.Conn }); ok { // *tls.Conn
		nc = outer.NetConn()
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLowat)
		if userTimeout > 0 {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
		}
	})
}

// vector is the argument of one writev, pooled so that a write allocates nothing.
type vector struct {
	iov   []unix.Iovec
	send  func(fd uintptr) bool // v.writev, bound once
	errno syscall.Errno
	n     int
}

func newVector() *vector {
	v := &vector{iov: make([]unix.Iovec, 0, 8)}
	v.send = v.writev
	return v
}

// writeTo writes as much of bufs as the socket takes at once. blocked says that
// something is left; the rest is not waited for.
func (v *vector) writeTo(raw syscall.RawConn, bufs [][]byte) (n int, blocked bool, err error) {
	defer v.clear()
	for len(bufs) > 0 {
		want := 0
		v.iov = v.iov[:0]
		for len(bufs) > 0 && len(v.iov) < maxIovecs {
			if b := bufs[0]; len(b) > 0 {
				iov := unix.Iovec{Base: unsafe.SliceData(b)}
				iov.SetLen(len(b))
				v.iov = append(v.iov, iov)
				want += len(b)
			}
			bufs = bufs[1:]
		}
		if want == 0 {
			break
		}
		if err := raw.Write(v.send); err != nil {
			return n, false, err
		}
		switch {
		case v.errno == unix.EAGAIN:
			return n, true, nil
		case v.errno != 0:
			return n, false, v.errno
		}
		if n += v.n; v.n < want {
			return n, true, nil
		}
	}
	return n, false, nil
}

// writev is called with a descriptor that cannot be closed meanwhile. It always
// reports true, so that RawConn.Write does not wait.
func (v *vector) writev(fd uintptr) bool {
	v.n = 0
	for {
		n, _, errno := syscall.Syscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(unsafe.SliceData(v.iov))), uintptr(len(v.iov)))
		if errno == unix.EINTR {
			continue
		}
		if v.errno = errno; errno == 0 {
			v.n = int(n)
		}
		return true
	}
}

// clear lets go of the payloads; a vector that once grew large is not kept so.
func (v *vector) clear() {
	if cap(v.iov) > 64 {
		v.iov = make([]unix.Iovec, 0, 8)
	}
	clear(v.iov[:cap(v.iov)])
}

// readNonblock reads what is there; again says that it is nothing.
func readNonblock(fd uintptr, b []byte) (n int, again bool, err error) {
	for {
		n, err = unix.Read(int(fd), b)
		switch err {
		case nil:
			return n, false, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, true, nil
		default:
			return 0, false, err
		}
	}
}

// writable reports whether a write would make progress, or find the socket broken.
// It asks the kernel: the poller tells only of changes, and one that came between a refused
// write and the beginning of the wait is gone.
func writable(fd uintptr) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}} //nolint:gosec // the kernel numbers them with an int32
	for {
		n, err := unix.Poll(fds[:], 0)
		if err != unix.EINTR {
			return n != 0 || err != nil
		}
	}
}
