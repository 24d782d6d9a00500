//go:build unix

package yield

import (
	"os"
	"syscall"
	"time"
)

// wakeup is a pipe with itself: what is written to it is there at once, but a goroutine that waits
// for it is run when the network was asked.
type wakeup struct {
	r, w *os.File
	raw  syscall.RawConn       // of r; nil: there is none
	step func(fd uintptr) bool // read, bound once

	asked, sent bool // of the wait that is under way
}

func (p *wakeup) open() {
	r, w, err := os.Pipe()
	if err != nil {
		return
	}
	raw, err := r.SyscallConn()
	if err != nil || r.SetReadDeadline(time.Time{}) != nil { // what has no deadline is not polled
		_, _ = r.Close(), w.Close()
		return
	}
	p.r, p.w, p.raw, p.step = r, w, raw, p.read
}

// wait reports whether it could.
func (p *wakeup) wait() bool {
	if p.raw == nil {
		return false
	}
	p.asked, p.sent = false, false
	return p.raw.Read(p.step) == nil && p.sent
}

// read is called when the pipe may have something, and at first when nobody has looked yet. That the
// byte is written only then makes the wait last until the poller tells of it.
func (p *wakeup) read(fd uintptr) (done bool) {
	if !p.asked {
		p.asked = true
		_, err := p.w.Write([]byte{0})
		p.sent = err == nil
		return !p.sent
	}
	var piece [1]byte
	for {
		if _, err := syscall.Read(int(fd), piece[:]); err != syscall.EINTR {
			return err != syscall.EAGAIN
		}
	}
}

func (p *wakeup) close() {
	if p.raw != nil {
		_, _ = p.r.Close(), p.w.Close()
	}
}
