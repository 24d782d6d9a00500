package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
)

// attackRate is how many attackers begin in a second, and attackPause how long one that flooded
// waits before it comes back. A machine that also runs the attackers cannot show more: they would
// have its processors.
const (
	attackRate  = 250
	attackPause = 60 * time.Second
)

// Attacked is what became of one kind of attack.
type Attacked struct {
	Kind    string
	Conns   int64            // connections made
	Frames  int64            // sent, or pieces of them
	Bytes   int64            // sent
	Got     int64            // bytes that came back
	Ends    map[string]int64 // how connections ended: a status, a close code, or "cut"
	Pending int64            // at the end of the attack
}

// attack is one kind of attack while it lasts.
type attack struct {
	kind
	host string

	conns, frames, bytes, got, pending atomic.Int64

	mu   sync.Mutex // guards ends
	ends map[string]int64
}

// Attack runs the hostile process of [Hostile]: n attackers of the server at host, until in ends.
// It tells on out what came of it.
func Attack(ctx context.Context, host string, n int, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in) // until who has started it has seen enough, or is gone
		cancel()
	}()
	all := kinds()
	attacks := make([]*attack, len(all))
	for i, k := range all {
		attacks[i] = &attack{kind: k, host: host, ends: make(map[string]int64)}
	}
	var running sync.WaitGroup
	began := time.Now()
	for i := range n {
		pause(ctx, time.Until(began.Add(time.Duration(i)*time.Second/attackRate))) // who is late does not wait
		running.Go(func() { attacks[i%len(attacks)].run(ctx, i) })
	}
	if _, err := fmt.Fprintln(out, `{}`); err != nil { // all have begun
		return err
	}
	<-ctx.Done()
	told := make([]Attacked, len(attacks))
	for i, a := range attacks { // before all are cut
		a.mu.Lock()
		told[i] = Attacked{
			Kind: a.name, Conns: a.conns.Load(), Frames: a.frames.Load(), Bytes: a.bytes.Load(), Got: a.got.Load(),
			Pending: a.pending.Load(), Ends: make(map[string]int64),
		}
		maps.Copy(told[i].Ends, a.ends)
		a.mu.Unlock()
	}
	running.Wait()
	return json.NewEncoder(out).Encode(told)
}

// run attacks again and again as attacker i.
func (a *attack) run(ctx context.Context, i int) {
	for ctx.Err() == nil {
		if end := a.once(ctx, i); ctx.Err() == nil {
			a.mu.Lock()
			a.ends[end]++
			a.mu.Unlock()
		}
		pause(ctx, a.again)
	}
}

// source is the address of attacker i: each comes from one of its own, where the system has them all.
func source(i int) *net.TCPAddr {
	if runtime.GOOS != "linux" {
		return nil
	}
	return &net.TCPAddr{IP: net.IPv4(127, 1+byte(i>>14)&0x7f, byte(i>>7)&0x7f, 1+byte(i)&0x7f)}
}

// once makes one connection and says how it ended.
func (a *attack) once(ctx context.Context, i int) string {
	dialer := net.Dialer{Timeout: 20 * time.Second}
	if from := source(i); from != nil {
		dialer.LocalAddr = from
	}
	nc, err := dialer.DialContext(ctx, "tcp", a.host)
	if err != nil {
		return "no connection"
	}
	a.conns.Add(1)
	a.pending.Add(1)
	defer a.pending.Add(-1)
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	if a.quiet {
		_ = nc.(*net.TCPConn).SetReadBuffer(4 << 10)
	}
	c := &attacker{attack: a, nc: nc, number: i}
	var sending sync.WaitGroup
	defer sending.Wait()
	defer nc.Close() // which ends the sending
	if a.bare != nil {
		sending.Go(func() { a.bare(ctx, c) })
		return c.status()
	}
	if end := c.handshake(a.token(i)); end != "101" || a.refused {
		return end
	}
	sending.Go(func() { a.send(ctx, c) })
	if a.quiet {
		<-ctx.Done()
		return "cut"
	}
	return c.end()
}

// attacker is one connection of an attack.
type attacker struct {
	*attack
	nc     net.Conn
	in     *bufio.Reader
	number int
}

// write sends one piece and reports whether the connection is still there.
func (c *attacker) write(piece []byte) bool {
	_ = c.nc.SetWriteDeadline(time.Now().Add(time.Minute))
	n, err := c.nc.Write(piece)
	c.bytes.Add(int64(n))
	if err != nil {
		return false
	}
	c.frames.Add(1)
	return true
}

// handshake asks for a WebSocket and returns the status.
func (c *attacker) handshake(token string) string {
	request := strings.Join([]string{
		"GET /ws HTTP/1.1", "Host: nodes.test", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Authorization: Bearer " + token, "", "",
	}, "\r\n")
	if !c.write([]byte(request)) {
		return "cut"
	}
	return c.status()
}

// status reads the head of an answer.
func (c *attacker) status() string {
	c.in = bufio.NewReaderSize(c.nc, 512)
	line, err := c.in.ReadString('\n')
	words := strings.Fields(line)
	if err != nil || len(words) < 2 {
		return "cut"
	}
	for err == nil && len(line) > 2 {
		line, err = c.in.ReadString('\n')
	}
	return words[1]
}

// end reads until the connection ends, and says how.
func (c *attacker) end() string {
	var kept []byte
	piece := make([]byte, 2<<10)
	for {
		n, err := c.in.Read(piece)
		c.got.Add(int64(n))
		kept = append(kept, piece[:n]...)
		for {
			op, payload, rest, ok := ws.Cut(kept)
			if !ok {
				break
			}
			if op == ws.OpClose && len(payload) > 1 {
				return fmt.Sprint(int(payload[0])<<8 | int(payload[1]))
			}
			kept = rest
		}
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return "waiting"
			}
			return "cut"
		}
		kept = append([]byte(nil), kept...)
	}
}
