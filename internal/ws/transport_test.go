package ws

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"
)

// patience is how long a test on real sockets waits for what has to come.
const patience = 20 * time.Second

// transport makes connected pairs of one kind.
type transport struct {
	name    string
	connect func() (client, server net.Conn, err error)
}

// transports returns all kinds that an engine has to serve.
func transports(t testing.TB) []transport {
	t.Helper()
	tcp := listen(t, "tcp", "127.0.0.1:0")
	return []transport{
		{"tcp", dialer(tcp)},
		{"unix", dialer(listen(t, "unix", filepath.Join(t.TempDir(), "s")))},
		{"tls", tlsDialer(t, tcp)},
		{"pipe", func() (net.Conn, net.Conn, error) {
			client, server := Pipe(4 << 10)
			return client, server, nil
		}},
		{"stream", func() (net.Conn, net.Conn, error) {
			client, server := Pipe(4 << 10)
			return client, waiting{server}, nil
		}},
	}
}

func listen(t testing.TB, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// dialer is not safe for concurrent use: the connection accepted must be the one dialed.
func dialer(ln net.Listener) func() (client, server net.Conn, err error) {
	return func() (client, server net.Conn, err error) {
		if client, err = net.Dial(ln.Addr().Network(), ln.Addr().String()); err != nil {
			return nil, nil, err
		}
		server, err = ln.Accept()
		return client, server, err
	}
}

func tlsDialer(t testing.TB, ln net.Listener) func() (client, server net.Conn, err error) {
	t.Helper()
	withCert := httptest.NewTLSServer(nil) // for its certificate
	t.Cleanup(withCert.Close)
	serverConfig := &tls.Config{Certificates: withCert.TLS.Certificates}
	clientConfig := withCert.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	clientConfig.ServerName = "example.com" // as the certificate says
	dial := dialer(ln)
	return func() (net.Conn, net.Conn, error) {
		c, s, err := dial()
		if err != nil {
			return nil, nil, err
		}
		client, server := tls.Client(c, clientConfig), tls.Server(s, serverConfig)
		shaken := make(chan error, 1)
		go func() { shaken <- server.Handshake() }()
		err = errors.Join(client.Handshake(), <-shaken)
		return client, server, err
	}
}

// peer is the client end of a connection.
type peer struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

func newPeer(t testing.TB, nc net.Conn) *peer {
	t.Cleanup(func() { _ = nc.Close() })
	return &peer{t: t, nc: nc, r: bufio.NewReader(nc)}
}

func (p *peer) send(frames ...[]byte) {
	p.t.Helper()
	for _, f := range frames {
		if _, err := p.nc.Write(f); err != nil {
			p.t.Fatal(err)
		}
	}
}

// expect reads one frame of the server.
func (p *peer) expect(op Opcode, payload string) {
	p.t.Helper()
	gotOp, got, err := readFrame(p.r)
	if err != nil {
		p.t.Fatalf("got %v, want %v %q", err, op, payload)
	}
	if gotOp != op || string(got) != payload {
		p.t.Fatalf("got %v %q, want %v %q", gotOp, got, op, payload)
	}
}

// expectEnd reads until the connection is closed in order.
func (p *peer) expectEnd() {
	p.t.Helper()
	if rest, err := io.ReadAll(p.r); err != nil || len(rest) > 0 {
		p.t.Fatalf("got %q, %v, want the end", rest, err)
	}
}

// readFrame reads an unmasked frame.
func readFrame(r io.Reader) (Opcode, []byte, error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:2]); err != nil {
		return 0, nil, err
	}
	op, length := Opcode(b[0]&0x0F), uint64(b[1])
	if b[0]&0xF0 != finBit || length > 127 {
		return 0, nil, fmt.Errorf("frame begins with %x", b[:2])
	}
	var err error
	switch length {
	case 126:
		_, err = io.ReadFull(r, b[6:])
		length = uint64(binary.BigEndian.Uint16(b[6:]))
	case 127:
		_, err = io.ReadFull(r, b[:])
		length = binary.BigEndian.Uint64(b[:])
	}
	if err != nil {
		return 0, nil, err
	}
	payload := make([]byte, length)
	_, err = io.ReadFull(r, payload)
	return op, payload, err
}
