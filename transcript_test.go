package switchboard_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// toldFrame is a frame of wire/testdata/transcripts.jsonl.
type toldFrame struct {
	Journey          int
	Connection, From string
	Frame            string
}

func journeyFrames(t *testing.T, journey int) (frames []toldFrame) {
	t.Helper()
	file, err := os.Open("wire/testdata/transcripts.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var f toldFrame
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			t.Fatal(err)
		}
		if f.Journey == journey {
			frames = append(frames, f)
		}
	}
	return frames
}

var positionForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}:(\d+)$`)

// comparableFrame is a frame without what differs between two servers: times, epochs, and by how much
// the offsets of a room are shifted.
func comparableFrame(t *testing.T, frame []byte, shift int) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(frame, &v); err != nil {
		t.Fatal(err)
	}
	delete(v, "timestamp")
	if offset, ok := v["offset"].(float64); ok {
		v["offset"] = int(offset) + shift
	}
	if p, ok := v["payload"].(map[string]any); ok {
		if at, ok := p["position"].(string); ok {
			offset, err := strconv.Atoi(positionForm.FindStringSubmatch(at)[1])
			if err != nil {
				t.Fatal(err)
			}
			p["position"] = offset + shift
		}
	}
	return v
}

// TestTheJourneyOfARoomIsAsItIsTold plays journey 10: every frame that the clients send, and every
// one that they get, in this order but for answers and messages of a topic that come at once.
// The only other frame is the end of typing.
func TestTheJourneyOfARoomIsAsItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		a := s.as(t, "alice room:team:*")
		a.join("team")
		devices := map[string]*device{"A": a}
		waiting := map[string][]map[string]any{} // frames that came before they are told
		shift, told := 0, 0
		for _, f := range journeyFrames(t, 10) {
			told++
			if devices[f.Connection] == nil {
				devices[f.Connection] = s.as(t, "bob room:team:*") // reads the welcome, which comes next
				continue
			}
			c := devices[f.Connection]
			if f.From == "client" {
				c.send("%s", f.Frame)
				continue
			}
			want := comparableFrame(t, []byte(f.Frame), 0)
			if want["type"] == string(wire.RoomJoined) {
				shift = want["payload"].(map[string]any)["position"].(int) - 2 // alice's join and bob's are what there is
			}
			is := func(got map[string]any) bool { return cmp.Equal(got, want) }
			for try := 0; !slices.ContainsFunc(waiting[f.Connection], is); try++ {
				if try == 2 {
					t.Fatalf("device %s: got %v, want %s", f.Connection, waiting[f.Connection], f.Frame)
				}
				b, err := c.raw(patience)
				if err != nil {
					t.Fatalf("device %s: got %v and then %v, want %s", f.Connection, waiting[f.Connection], err, f.Frame)
				}
				waiting[f.Connection] = append(waiting[f.Connection], comparableFrame(t, b, shift))
			}
			i := slices.IndexFunc(waiting[f.Connection], is)
			waiting[f.Connection] = slices.Delete(waiting[f.Connection], i, i+1)
			if want["type"] == string(wire.RoomLeft) {
				a.typing("bob", "room/team", "", false)
			}
		}
		if told != 16 {
			t.Errorf("got %d frames told, want the whole journey", told)
		}
		for name, c := range devices {
			if len(waiting[name]) > 0 {
				t.Errorf("device %s: got also %v", name, fmt.Sprint(waiting[name]))
			}
			c.silent()
		}
	})
}
