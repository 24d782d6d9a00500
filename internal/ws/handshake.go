package ws

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 §1.3
	keyBytes   = 16

	// upgradeTimeout bounds the writing of the answer, a few hundred bytes into an
	// empty socket buffer.
	upgradeTimeout = 10 * time.Second
)

// HandshakeError says why a request is no opening handshake, in the terms of the HTTP
// answer that it deserves.
type HandshakeError struct {
	Status int         // 400, 405, 426 or 505
	Header http.Header // to be added to the answer; may be nil
	Reason string      // for people; fit to be shown to the client
}

func (e *HandshakeError) Error() string { return "websocket handshake: " + e.Reason }

// CheckUpgrade reports whether r is a valid opening handshake (RFC 6455 §4.2.1). Its
// error is a [*HandshakeError]. It looks neither at the origin nor at who is asking.
func CheckUpgrade(r *http.Request) error {
	_, err := checkUpgrade(r)
	return err
}

// Subprotocols returns what the client offers, in its order of preference.
func Subprotocols(r *http.Request) []string {
	var offered []string
	for token := range tokens(r.Header, "Sec-Websocket-Protocol") {
		offered = append(offered, token)
	}
	return offered
}

// URL is where a client that made r, to this server and by the same way, opens a WebSocket at
// path: with TLS if r came with it, and below the prefix that r's path has lost on its way
// (http.StripPrefix). What a proxy has changed it cannot know.
func URL(r *http.Request, path string, query url.Values) string {
	u := url.URL{Scheme: "ws", Host: r.Host, Path: path, RawQuery: query.Encode()}
	if r.TLS != nil {
		u.Scheme = "wss"
	}
	if asked, err := url.ParseRequestURI(r.RequestURI); err == nil {
		if prefix, ok := strings.CutSuffix(asked.Path, r.URL.Path); ok {
			u.Path = prefix + path
		}
	}
	return u.String()
}

// Upgrade answers an opening handshake and takes the connection over from the HTTP
// server; buffered is what the server had read of it already. The answer carries the headers
// that were set on w and the subprotocol, which is empty or one that the client offered.
//
// With a [*HandshakeError] nothing was written and w is still usable; so it is if w
// cannot be hijacked (an error wrapping http.ErrNotSupported). After any other error the
// connection is closed. On success it has no deadlines and belongs to the caller.
func Upgrade(w http.ResponseWriter, r *http.Request, subprotocol string) (nc net.Conn, buffered []byte, err error) {
	key, err := checkUpgrade(r)
	if err != nil {
		return nil, nil, err
	}
	if subprotocol != "" && !slices.Contains(Subprotocols(r), subprotocol) {
		return nil, nil, fmt.Errorf("websocket handshake: subprotocol %q was not offered", subprotocol)
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("websocket handshake: %w", err)
	}
	// A copy, so that the server's 4 KiB reader is not kept alive.
	if n := rw.Reader.Buffered(); n > 0 {
		ahead, _ := rw.Reader.Peek(n)
		buffered = bytes.Clone(ahead)
	}
	_ = nc.SetDeadline(time.Now().Add(upgradeTimeout))
	_, err = nc.Write(answer(key, subprotocol, w.Header()))
	if err = errors.Join(err, nc.SetDeadline(time.Time{})); err != nil {
		_ = nc.Close()
		return nil, nil, fmt.Errorf("websocket handshake: %w", err)
	}
	return nc, buffered, nil
}

// answer is the response to a valid handshake with the given key.
func answer(key, subprotocol string, more http.Header) []byte {
	var b bytes.Buffer
	b.Grow(256)
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ")
	b.Write(acceptKey(b.AvailableBuffer(), key))
	b.WriteString("\r\n")
	if subprotocol != "" {
		b.WriteString("Sec-WebSocket-Protocol: ")
		b.WriteString(subprotocol)
		b.WriteString("\r\n")
	}
	if len(more) > 0 {
		_ = more.WriteSubset(&b, map[string]bool{
			"Upgrade": true, "Connection": true, "Content-Length": true, "Content-Type": true, "Transfer-Encoding": true,
			"Sec-Websocket-Accept": true, "Sec-Websocket-Protocol": true, "Sec-Websocket-Extensions": true,
		}) // a bytes.Buffer does not fail
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// acceptKey appends the proof that the server understood the handshake.
func acceptKey(dst []byte, key string) []byte {
	sum := sha1.Sum([]byte(key + acceptGUID))
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}

// checkUpgrade returns the Sec-WebSocket-Key of a valid handshake.
func checkUpgrade(r *http.Request) (key string, err error) {
	switch {
	case !r.ProtoAtLeast(1, 1) || r.ProtoMajor > 1:
		return "", &HandshakeError{Status: http.StatusHTTPVersionNotSupported, Reason: "HTTP/1.1 is required"}
	case r.Method != http.MethodGet:
		return "", refuse(http.StatusMethodNotAllowed, "the method must be GET", "Allow", http.MethodGet)
	case !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket"):
		return "", refuse(http.StatusUpgradeRequired, "this is a WebSocket endpoint")
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		// What one server takes for a body, the next takes for frames.
		return "", refuse(http.StatusBadRequest, "a handshake has no body")
	}
	if v := r.Header["Sec-Websocket-Version"]; len(v) != 1 || strings.TrimSpace(v[0]) != "13" {
		return "", refuse(http.StatusUpgradeRequired, "WebSocket version 13 is required", "Sec-Websocket-Version", "13")
	}
	keys := r.Header["Sec-Websocket-Key"]
	if len(keys) != 1 {
		return "", refuse(http.StatusBadRequest, "one Sec-WebSocket-Key is required")
	}
	key = strings.TrimSpace(keys[0])
	if !validKey(key) {
		return "", refuse(http.StatusBadRequest, "Sec-WebSocket-Key must be 16 bytes in base64")
	}
	return key, nil
}

// refuse makes a HandshakeError; extra is names and values of headers. Status 426
// must name the protocol to upgrade to (RFC 9110 §15.5.22).
func refuse(status int, reason string, extra ...string) error {
	h := make(http.Header)
	if status == http.StatusUpgradeRequired {
		h.Set("Upgrade", "websocket")
		h.Set("Connection", "Upgrade")
	}
	for pair := range slices.Chunk(extra, 2) {
		h.Set(pair[0], pair[1])
	}
	return &HandshakeError{Status: status, Header: h, Reason: reason}
}

func validKey(key string) bool {
	var raw [keyBytes + 2]byte // room for what DecodedLen takes for 24 characters
	if len(key) != base64.StdEncoding.EncodedLen(keyBytes) {
		return false
	}
	n, err := base64.StdEncoding.Decode(raw[:], []byte(key))
	return err == nil && n == keyBytes
}

func hasToken(h http.Header, name, token string) bool {
	for t := range tokens(h, name) {
		if strings.EqualFold(t, token) {
			return true
		}
	}
	return false
}

// tokens yields the elements of a comma-separated header, over all its lines. The
// name is in canonical form.
func tokens(h http.Header, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range h[name] {
			for token := range strings.SplitSeq(line, ",") {
				if token = strings.TrimSpace(token); token != "" && !yield(token) {
					return
				}
			}
		}
	}
}
