package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
)

const (
	serveSecret = "0123456789abcdef0123456789abcdef"
	serveKey    = "sk_0123456789abcdef"
)

// serve starts a server for production on a free port, with an API key, and waits until it
// accepts.
func serve(t *testing.T, env []string, args ...string) *node {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ready.json")
	all := append([]string{"serve", "--listen", "127.0.0.1:0", "--ready-file", file, "--api-key", serveKey}, args...)
	cmd := exec.Command(binary, all...)
	cmd.Env = environment(append([]string{"SWITCHBOARD_ALLOWED_ORIGIN=https://app.test"}, env...)...)
	n := &node{process: startCommand(t, cmd)}
	n.says(t, "server ready")
	n.read(t, file)
	return n
}

// tokenFor is what "switchboard token" makes for a user.
func tokenFor(t *testing.T, user string) string {
	t.Helper()
	got := runCommand(t, []string{"SWITCHBOARD_JWT_SECRET=" + serveSecret}, "", "token", "--user", user)
	if got.code != exitOK {
		t.Fatalf("got exit code %d and stderr %q, want a token", got.code, got.errors)
	}
	return strings.TrimSpace(got.out)
}

// dial connects a WebSocket and reads the welcome.
func (n *node) dial(t *testing.T, token string, trust *x509.CertPool) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, DisableKeepAlives: true}
	ws, _, err := websocket.Dial(ctx, strings.Replace(n.URL, "http", "ws", 1)+"/ws", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.CloseNow() })
	if typ := n.receive(t, ws); typ != "system_message" {
		t.Fatalf("got %s, want the welcome", typ)
	}
	return ws
}

// receive returns the type of the next message.
func (n *node) receive(t *testing.T, ws *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, text, err := ws.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var m message
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m.Type
}

func (p *process) terminate(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

func TestServeMovesClientsAwayAndEndsWithZero(t *testing.T) {
	n := serve(t, []string{"SWITCHBOARD_JWT_SECRET=" + serveSecret}, "--drain-timeout", "5s")
	if n.PID != n.Process.Pid || n.Key != serveKey {
		t.Errorf("got pid %d and key %q in the ready file, want %d and %q", n.PID, n.Key, n.Process.Pid, serveKey)
	}
	ws := n.dial(t, tokenFor(t, "alice"), nil)
	n.publish(t, "alice", "hello", 1)
	if typ := n.receive(t, ws); typ != "hello" {
		t.Errorf("got %s, want what was published", typ)
	}
	n.terminate(t)
	if typ := n.receive(t, ws); typ != "server_shutdown" {
		t.Errorf("got %s, want server_shutdown", typ)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, _, err := ws.Read(ctx); websocket.CloseStatus(err) != 1012 {
		t.Errorf("got %v, want close code 1012", err)
	}
	if code := n.wait(t); code != exitOK {
		t.Errorf("got exit code %d, want %d", code, exitOK)
	}
	if text := n.errs.String(); !strings.Contains(text, "history is in memory") {
		t.Errorf("got log %q, want that history ends with the process", text)
	}
}

func TestServeKeepsToTheLimitsOfALiveSocket(t *testing.T) {
	n := serve(t, []string{"SWITCHBOARD_JWT_SECRET=" + serveSecret, "SWITCHBOARD_MESSAGE_TIMEOUT=50ms"}, "--max-control-per-minute", "20")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ends := func(ws *websocket.Conn) (messages int) {
		t.Helper()
		for ; ; messages++ {
			if _, _, err := ws.Read(ctx); err != nil {
				if websocket.CloseStatus(err) != 1008 {
					t.Errorf("got %v, want close code 1008", err)
				}
				return messages
			}
		}
	}
	flood := n.dial(t, tokenFor(t, "alice"), nil)
	for range 30 {
		if err := flood.Write(ctx, websocket.MessageText, []byte(`{"type":"ping"}`)); err != nil {
			break // it was closed already
		}
	}
	if got := ends(flood); got < 20 || got > 22 {
		t.Errorf("got %d answers to a flood, want 20, and 2 that say stop", got)
	}
	half := n.dial(t, tokenFor(t, "bob"), nil)
	w, err := half.Writer(ctx, websocket.MessageText)
	if err == nil {
		_, err = w.Write(make([]byte, 8<<10)) // more than is kept for the end of the message
	}
	if err != nil {
		t.Fatal(err)
	}
	ends(half)
}

func TestASecondSignalEndsServeAtOnce(t *testing.T) {
	n := serve(t, []string{"SWITCHBOARD_JWT_SECRET=" + serveSecret})
	ws := n.dial(t, tokenFor(t, "alice"), nil)
	// A request whose body does not come keeps the server for some seconds.
	slow, err := net.Dial("tcp", strings.TrimPrefix(n.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprintf(slow, "POST /api/v1/publish HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n", serveKey)
	if _, err := io.ReadFull(slow, make([]byte, len("HTTP/1.1 100 Continue"))); err != nil {
		t.Fatal(err)
	}
	n.terminate(t)
	if typ := n.receive(t, ws); typ != "server_shutdown" {
		t.Errorf("got %s, want server_shutdown", typ)
	}
	for ended := false; !ended; {
		n.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
		select {
		case <-n.ended:
			ended = true
		default:
		}
	}
	if code := n.wait(t); code != -1 {
		t.Errorf("got exit code %d, want that the signal has ended it", code)
	}
}

func TestServeSpeaksTLS(t *testing.T) {
	dir := t.TempDir()
	trust := writeCertificate(t, dir)
	cert := filepath.Join(dir, "tls.crt")
	n := serve(t, []string{"SWITCHBOARD_JWT_SECRET=" + serveSecret}, "--tls-cert", cert, "--tls-key", filepath.Join(dir, "tls.key"))
	if !strings.HasPrefix(n.URL, "https://") {
		t.Fatalf("got URL %s, want https", n.URL)
	}
	ws := n.dial(t, tokenFor(t, "alice"), trust)
	got := runCommand(t, []string{"SSL_CERT_FILE=" + cert}, "", "send", "--url", n.URL, "--api-key", serveKey, "--user", "alice", "hello")
	if got.code != exitOK {
		t.Fatalf("got exit code %d and stderr %q, want %d", got.code, got.errors, exitOK)
	}
	if typ := n.receive(t, ws); typ != "hello" {
		t.Errorf("got %s, want what was published", typ)
	}
	plain, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(n.URL, "https", "http", 1)+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(plain)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("got status %d without TLS, want 400", res.StatusCode)
	}
	n.terminate(t)
	if code := n.wait(t); code != exitOK {
		t.Errorf("got exit code %d, want %d", code, exitOK)
	}
}

// writeCertificate writes a certificate for 127.0.0.1 that is its own authority.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return pool
}

func TestServeTakesTheTokensOfAnIdentityProvider(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":"1","n":%q,"e":"AQAB"}]}`,
			base64.RawURLEncoding.EncodeToString(key.N.Bytes()))
	}))
	defer provider.Close()
	sign := func(method jwt.SigningMethod, key any) string {
		token := jwt.NewWithClaims(method, jwt.MapClaims{
			"iss": "https://login.test", "aud": "chat", "sub": "alice", "exp": time.Now().Add(time.Hour).Unix(),
		})
		token.Header["kid"] = "1"
		text, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	config := filepath.Join(t.TempDir(), "switchboard.yaml")
	text := fmt.Sprintf("jwks: %s\njwt-issuer: https://login.test\njwt-audience: chat\n", provider.URL)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n := serve(t, []string{"SWITCHBOARD_CONFIG=" + config})
	tail := start(t, "tail", "--url", n.URL, "--token", sign(jwt.SigningMethodRS256, key))
	n.awaitDevices(t, "alice", 1)
	n.publish(t, "alice", "hello", 1)
	if m := tail.next(t); m.Type != "hello" || m.Payload.N != 1 {
		t.Errorf("got %+v, want what was published", m)
	}
	forged := sign(jwt.SigningMethodHS256, pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)}))
	for name, token := range map[string]string{"HS256 with the public key": forged, "a shared secret": tokenFor(t, "alice")} {
		got := runCommand(t, nil, "", "tail", "--url", n.URL, "--token", token)
		if got.code != exitFailure || !strings.Contains(got.errors, "AUTH_ERROR") {
			t.Errorf("%s: got exit code %d and stderr %q, want that it is refused", name, got.code, got.errors)
		}
	}
}

func TestAConfigurationThatCannotWorkEndsWithTwo(t *testing.T) {
	config := filepath.Join(t.TempDir(), "switchboard.yaml")
	if err := os.WriteFile(config, []byte("lisen: 127.0.0.1:0\njwt-secret: short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := "SWITCHBOARD_JWT_SECRET=" + serveSecret
	for _, tt := range []struct {
		name string
		env  []string
		args string
		want []string // in a line of stderr each
	}{
		{"nothing", nil, "", []string{"--allowed-origin", "--jwt-secret or --jwks"}},
		{"no origin in production", []string{secret}, "", []string{"--allowed-origin"}},
		{"a file with mistakes", nil, "--config " + config + " --allowed-origin *", []string{config + ":1: lisen is not known; the closest is listen", config + ":2: jwt-secret has 5 bytes"}},
		{"no such file", []string{secret}, "--config /nowhere/x.yaml", []string{"/nowhere/x.yaml"}},
		{"a variable that means nothing", []string{secret, "SWITCHBOARD_LISTEM=x"}, "--allowed-origin *", []string{"SWITCHBOARD_LISTEM is not known; the closest is SWITCHBOARD_LISTEN"}},
		{"a flag that means nothing", []string{secret}, "--broker nats", []string{"--broker"}},
		{"a flag of another kind", []string{secret}, "--drain-timeout soon", []string{"--drain-timeout"}},
		{"a flag out of range", []string{secret}, "--allowed-origin * --max-connections=-1", []string{"--max-connections must be at least 0"}},
		{"an environment that there is not", []string{secret}, "--environment prod", []string{"--environment"}},
	} {
		for _, command := range []string{"serve", "check"} {
			t.Run(command+"/"+tt.name, func(t *testing.T) {
				got := runCommand(t, tt.env, "", append([]string{command}, strings.Fields(tt.args)...)...)
				lines := strings.Split(strings.TrimSpace(got.errors), "\n")
				if got.code != exitUsage || got.out != "" || len(lines) != len(tt.want) {
					t.Fatalf("got exit code %d, stdout %q, stderr %q, want %d and %d lines on stderr", got.code, got.out, got.errors, exitUsage, len(tt.want))
				}
				for i, want := range tt.want {
					if !strings.HasPrefix(lines[i], "switchboard: ") || !strings.Contains(lines[i], want) {
						t.Errorf("got %q, want %q in it", lines[i], want)
					}
				}
			})
		}
	}
}

func TestCheckPrintsWhatCountsWithoutSecrets(t *testing.T) {
	got := runCommand(t, []string{"SWITCHBOARD_JWT_SECRET=" + serveSecret, "SWITCHBOARD_API_KEY=" + serveKey, "SWITCHBOARD_URL=http://h"}, "",
		"check", "--allowed-origin", "https://a.test", "--allowed-origin", "https://b.test", "--drain-timeout", "3s", "--environment", "staging")
	for _, want := range []string{
		"listen: 127.0.0.1:8080 # default\n", "  - https://a.test\n  - https://b.test\n", "drain-timeout: 3s # --drain-timeout\n",
		"jwt-secret: … # $SWITCHBOARD_JWT_SECRET\n", "heartbeat-interval: 30s # staging\n",
	} {
		if !strings.Contains(got.out, want) {
			t.Errorf("got %q, want %q in it", got.out, want)
		}
	}
	if got.code != exitOK || got.errors != "" || strings.Contains(got.out, serveSecret) || strings.Contains(got.out, serveKey) {
		t.Errorf("got exit code %d, stdout %q, stderr %q, want %d and no secret", got.code, got.out, got.errors, exitOK)
	}
}

func TestServeFailsWhenTheKeysOfTokensCannotBeFetched(t *testing.T) {
	got := runCommand(t, nil, "", "serve", "--allowed-origin", "*", "--jwks", "http://127.0.0.1:1/keys", "--jwt-issuer", "i", "--jwt-audience", "a")
	if got.code != exitFailure || !strings.Contains(got.errors, "http://127.0.0.1:1/keys") || strings.Count(got.errors, "\n") != 1 {
		t.Errorf("got exit code %d and stderr %q, want %d and one line with the URL", got.code, got.errors, exitFailure)
	}
}
