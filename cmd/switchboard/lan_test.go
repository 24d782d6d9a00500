package main

import (
	"errors"
	"image"
	"image/color"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	qr "github.com/piglig/go-qr"
)

func TestTheAddressOfTheNetworkIsThatOfARealOne(t *testing.T) {
	up := net.FlagUp | net.FlagBroadcast
	nic := func(name string, flags net.Flags, addrs ...string) networkInterface {
		i := networkInterface{name: name, flags: flags}
		for _, a := range addrs {
			i.addrs = append(i.addrs, netip.MustParseAddr(a))
		}
		return i
	}
	lo := nic("lo", net.FlagUp|net.FlagLoopback, "127.0.0.1", "::1", "10.1.1.1")
	for _, tt := range []struct {
		name   string
		all    []networkInterface
		want   string
		others []string
	}{
		{"one", []networkInterface{lo, nic("wlan0", up, "fe80::1", "192.168.1.7", "fd00::7")}, "192.168.1.7 wlan0", nil},
		{"in order", []networkInterface{nic("en0", up, "10.0.0.3"), nic("en1", up, "192.168.1.7")}, "10.0.0.3 en0", []string{"192.168.1.7 (en1)"}},
		{"containers and tunnels come last", []networkInterface{
			nic("utun3", net.FlagUp|net.FlagPointToPoint, "10.8.0.2"), nic("docker0", up, "172.17.0.1"), nic("br-1a2b", up, "172.18.0.1"), nic("wlan0", up, "192.168.1.7"),
		}, "192.168.1.7 wlan0", []string{"172.17.0.1 (docker0)", "172.18.0.1 (br-1a2b)", "10.8.0.2 (utun3)"}},
		{"containers are better than nothing", []networkInterface{lo, nic("docker0", up, "172.17.0.1")}, "172.17.0.1 docker0", nil},
		{"down", []networkInterface{nic("eth0", 0, "192.168.1.7"), nic("eth1", up, "192.168.1.8")}, "192.168.1.8 eth1", nil},
		{"public", []networkInterface{lo, nic("eth0", up, "203.0.113.7", "2001:db8::7")}, "", nil},
		{"self-assigned", []networkInterface{nic("eth0", up, "169.254.1.1")}, "", nil},
		{"none", nil, "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := chooseLAN(tt.all)
			if tt.want == "" {
				if !errors.Is(err, errNoLAN) {
					t.Errorf("got %v, %v, want %v", got, err, errNoLAN)
				}
				return
			}
			if err != nil || got.String()+" "+got.on != tt.want {
				t.Fatalf("got %s on %s, %v, want %s", got, got.on, err, tt.want)
			}
			if diff := cmp.Diff(tt.others, got.others); diff != "" {
				t.Errorf("others (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheCodeInTheTerminalSaysTheLink(t *testing.T) {
	const link = "http://192.168.178.123:65535/#ticket=tk_ABCDEFGHIJKLMNOPQRSTUVWXYZ-_0123"
	drawn, err := drawQR(link)
	if err != nil {
		t.Fatal(err)
	}
	got, err := scan(t, drawn)
	if err != nil || got != link {
		t.Errorf("got %q, %v from the code, want %q\n%s", got, err, link, drawn)
	}
}

func TestAnInvitationHasTheLinkItsCodeAndWhatElseThereWas(t *testing.T) {
	const link = "http://192.168.1.7:8080/#ticket=tk_A"
	var out strings.Builder
	invite(&out, link, lanAddress{Addr: netip.MustParseAddr("192.168.1.7"), on: "wlan0", others: []string{"10.0.0.3 (eth0)"}})
	text := out.String()
	from, to := strings.Index(text, inkOn), strings.LastIndex(text, inkOff+"\n")
	if from < 0 || to < from {
		t.Fatalf("got no code in %q", text)
	}
	if got, err := scan(t, text[from:to]+inkOff+"\n"); err != nil || got != link {
		t.Errorf("got %q, %v from the code, want %q", got, err, link)
	}
	for _, want := range []string{"\n  " + link + "\n", "wlan0", "10.0.0.3 (eth0)"} {
		if !strings.Contains(text, want) {
			t.Errorf("got %q, want %q in it", text, want)
		}
	}
}

func TestDevHasAPage(t *testing.T) {
	n := dev(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), "<title>") {
		t.Errorf("got %d with %q, %v, want a page", res.StatusCode, body, err)
	}
}

// scan reads a code as a camera does.
func scan(t *testing.T, drawn string) (string, error) {
	t.Helper()
	var rows [][]rune
	for line := range strings.Lines(drawn) {
		line, ok := strings.CutPrefix(line, inkOn)
		line, ends := strings.CutSuffix(line, inkOff+"\n")
		if !ok || !ends {
			t.Fatalf("got line %q, want black on white from its beginning to its end", line)
		}
		rows = append(rows, []rune(line))
	}
	const scale = 8
	picture := image.NewGray(image.Rect(0, 0, len(rows[0])*scale, 2*len(rows)*scale))
	for y := range picture.Rect.Max.Y {
		for x := range picture.Rect.Max.X {
			r, upper := rows[y/scale/2][x/scale], y/scale%2 == 0
			if r != '█' && (r != '▀' || !upper) && (r != '▄' || upper) {
				picture.SetGray(x, y, color.Gray{Y: 255})
			}
		}
	}
	return qr.Decode(picture)
}
