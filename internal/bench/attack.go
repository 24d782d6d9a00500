package bench

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
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
	Missed  bool             // nobody was ended as all must be
}

// attack is one kind of attack while it lasts.
type attack struct {
	kind
	host string
	of   int // attackers

	conns, frames, bytes, got, pending atomic.Int64

	mu       sync.Mutex // guards the fields below
	ends     map[string]int64
	sessions map[int]string // of attackers that come back with them
}

// Attack runs the hostile process of [Hostile]: n attackers of the server at host, until in ends,
// which is to be after lasts, and of each kind one was ended that must be in that time. It tells on
// out what came of it.
func Attack(ctx context.Context, host string, n int, lasts time.Duration, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	enough := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in) // until who has started it has seen enough, or is gone
		close(enough)
	}()
	all := kinds()
	attacks := make([]*attack, len(all))
	for i, k := range all {
		attacks[i] = &attack{
			kind: k, host: host, of: (n + len(all) - 1 - i) / len(all),
			ends: make(map[string]int64), sessions: make(map[int]string),
		}
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
	select {
	case <-enough:
	case <-ctx.Done():
	}
	told := make([]Attacked, len(attacks))
	for i, a := range attacks { // before all are cut
		missed := a.missed(ctx, lasts)
		a.mu.Lock()
		told[i] = Attacked{
			Kind: a.name, Conns: a.conns.Load(), Frames: a.frames.Load(), Bytes: a.bytes.Load(), Got: a.got.Load(),
			Pending: a.pending.Load(), Ends: make(map[string]int64), Missed: missed,
		}
		maps.Copy(told[i].Ends, a.ends)
		a.mu.Unlock()
	}
	cancel()
	running.Wait()
	return json.NewEncoder(out).Encode(told)
}

// patience is how long is waited for an end that has not come when the attack is over: attackers
// run when nothing else wants to, on a busy machine not often. An attack that is meant to be
// shorter than judged says nothing about ends, however long a busy machine makes it.
const (
	patience = time.Minute
	judged   = 5 * time.Second
)

// missed reports whether nobody was ended as all must be in an attack that lasts so long. Floods are
// given no time besides: those that are there may wait for their turns.
func (a *attack) missed(ctx context.Context, lasts time.Duration) bool {
	if a.wants == "" || a.of < a.least || lasts < max(a.after, judged) {
		return false
	}
	until := time.Now()
	if !a.flood {
		until = until.Add(patience)
	}
	for {
		a.mu.Lock()
		ended := a.ends[a.wants] > 0
		a.mu.Unlock()
		if ended || time.Now().After(until) || !pause(ctx, 50*time.Millisecond) {
			return !ended
		}
	}
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

// source is the address of this machine from which attacker i connects, where the system has them
// all: one address has too few ports. The server believes what they say of theirs; see address.
func source(i int) *net.TCPAddr {
	if runtime.GOOS != "linux" {
		return nil
	}
	return &net.TCPAddr{IP: net.IPv4(127, 1+byte(i>>14)&0x7f, byte(i>>7)&0x7f, 1+byte(i)&0x7f)}
}

// address is what the server takes for the address of attacker i, as it would of a client behind
// a proxy: its own, of the network for benches (RFC 2544), unless all of a kind share one.
func (a *attack) address(i int) netip.Addr {
	if a.shared {
		return netip.AddrFrom4([4]byte{198, 19, 255, 255})
	}
	return netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
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
	if end := c.handshake(c.credential()); end != "101" || a.refused {
		return end
	}
	if a.resumes {
		return c.resume()
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

// credential is the session token that the attacker has, or else what its kind says.
func (c *attacker) credential() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cmp.Or(c.sessions[c.number], c.token(c.number))
}

// resume takes a session, or goes on with it, and leaves without a word.
func (c *attacker) resume() string {
	var welcome struct {
		Payload wire.Welcome `json:"payload"`
	}
	payload, err := c.next()
	if err != nil || json.Unmarshal(payload, &welcome) != nil || welcome.Payload.Session.Token == "" {
		return "cut"
	}
	c.mu.Lock()
	c.sessions[c.number] = welcome.Payload.Session.Token
	c.mu.Unlock()
	if !welcome.Payload.Held {
		return "began"
	}
	if !c.write(text(`{"type":"session_restore","payload":{}}`)) {
		return "cut"
	}
	if _, err := c.next(); err != nil {
		return "cut"
	}
	return "resumed"
}

// next reads a frame.
func (c *attacker) next() ([]byte, error) {
	var kept []byte
	piece := make([]byte, 2<<10)
	for {
		if _, payload, rest, ok := ws.Cut(kept); ok && len(rest) == 0 {
			return payload, nil
		} else if ok {
			return nil, errors.New("more than one frame")
		}
		n, err := c.in.Read(piece)
		c.got.Add(int64(n))
		if kept = append(kept, piece[:n]...); err != nil {
			return nil, err
		}
	}
}

// handshake asks for a WebSocket and returns the status.
func (c *attacker) handshake(token string) string {
	request := strings.Join([]string{
		"GET /ws HTTP/1.1", "Host: nodes.test", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "X-Forwarded-For: " + c.address(c.number).String(),
		"Authorization: Bearer " + token, "", "",
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
