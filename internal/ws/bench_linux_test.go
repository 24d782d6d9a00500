package ws

import (
	"net"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkIdleConnection reports what an idle connection of plain TCP costs the
// process, heap and stacks, after it has received a message. The client ends are bare
// descriptors, which cost it nothing.
func BenchmarkIdleConnection(b *testing.B) {
	const conns = 4000
	frame := masked(OpText, true, "hello")
	for b.Loop() {
		ln := listen(b, "tcp4", "127.0.0.1:0")
		sink := &countdown{left: make(chan struct{}, conns)}
		e := NewGoroutineEngine(sink, Config{})
		var clients []int
		before := memoryInUse()
		for tag := range uint64(conns) {
			fd := dialBare(b, ln.Addr().(*net.TCPAddr).Port)
			clients = append(clients, fd)
			nc, err := ln.Accept()
			if err != nil {
				b.Fatal(err)
			}
			s, err := e.Attach(nc, nil)
			if err != nil {
				b.Fatal(err)
			}
			e.Start(s, tag)
			if _, err := unix.Write(fd, frame); err != nil {
				b.Fatal(err)
			}
		}
		for range conns {
			<-sink.left
		}
		b.ReportMetric(float64(memoryInUse()-before)/conns, "B/conn")
		for _, fd := range clients {
			_ = unix.Close(fd)
		}
		_ = e.Close()
		_ = ln.Close()
	}
}

// countdown is a Sink that counts messages.
type countdown struct {
	silent
	left chan struct{}
}

func (c *countdown) Message(uint64, Opcode, []byte) int {
	c.left <- struct{}{}
	return 0
}

func memoryInUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first moved out of the pools
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

func dialBare(tb testing.TB, port int) int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		tb.Fatal(err)
	}
	return fd
}
