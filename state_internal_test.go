package switchboard

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/netra-systems/switchboard/internal/session"
	"pgregory.net/rapid"
)

func TestAStateIsReadAsItWasWritten(t *testing.T) {
	addresses := []netip.Addr{{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	rapid.Check(t, func(t *rapid.T) {
		want := state{
			logins:      rapid.Uint8().Draw(t, "logins"),
			flags:       stateFlags(rapid.Byte().Draw(t, "flags")),
			look:        time.Duration(rapid.Int64Range(0, 1<<62).Draw(t, "look")),
			permissions: rapid.Uint64().Draw(t, "permissions"),
			address:     rapid.SampledFrom(addresses).Draw(t, "address"),
			device:      rapid.String().Draw(t, "device"),
			tokenID:     rapid.String().Draw(t, "jti"),
			sid:         rapid.String().Draw(t, "sid"),
			doing:       deviceState(rapid.IntRange(0, int(deviceBackground)).Draw(t, "doing")),
		}
		for range rapid.IntRange(0, session.MaxLineage).Draw(t, "generations") {
			want.lineage, _ = want.lineage.And([12]byte(rapid.SliceOfN(rapid.Byte(), 12, 12).Draw(t, "of")))
		}
		if rapid.Bool().Draw(t, "expires") {
			want.expires = time.UnixMilli(rapid.Int64Range(1, 1<<42).Draw(t, "at"))
		}
		if rapid.Bool().Draw(t, "claims") {
			want.claims = json.RawMessage(`{"a":1}`)
		}
		got, err := decodeState(want.append(nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(state{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("state differs (-written +read):\n%s", diff)
		}
	})
}

func TestTheStateOfAnOrdinaryConnectionIsSmall(t *testing.T) {
	s := state{
		expires: time.Now(), look: 24 * time.Hour, permissions: 1<<32 | 7, address: netip.MustParseAddr("192.0.2.1"), device: "laptop",
		tokenID: "8d1e0f3a-7c56-4bfb-9b0e-0d2b6a3c0f11",
	}
	if got := len(s.append(nil)); got > 80 {
		t.Errorf("got %d bytes, want 80 or fewer", got)
	}
	child := s
	child.lineage, _ = child.lineage.And([12]byte{1})
	if less, more := len(s.append(nil)), len(child.append(nil)); more != less+1+12 {
		t.Errorf("got %d bytes and %d with a lineage of one, want that others have none for it", less, more)
	}
}

func FuzzDecodeState(f *testing.F) {
	s := state{device: "laptop", expires: time.UnixMilli(1), address: netip.MustParseAddr("::1"), claims: json.RawMessage("{}")}
	f.Add(s.append(nil))
	s.lineage, _ = s.lineage.And([12]byte{1})
	f.Add(s.append(nil))
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 3, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeState(b)
		if err != nil {
			return
		}
		again, err := decodeState(s.append(nil))
		if err != nil || again.device != s.device || again.permissions != s.permissions || again.address != s.address || again.lineage != s.lineage {
			t.Errorf("got %+v, %v after %+v", again, err, s)
		}
	})
}
