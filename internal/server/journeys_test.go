package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/wire"
)

// journey plays what testdata/journeys says:
//
//	-> A {…}   device A of alice sends a frame, and gets the ack that the next "<- A" with an ack shows
//	<- A {…}   the next frame that device A gets
//	API …      a call, and its answer in the next such line; a text/plain body is a JSON string
//
// Epochs, first offsets, times and ids that the server makes up vary, and so do details for
// people and the cuts of texts.
type journey struct {
	*testing.T
	n       *node
	devices map[string]*viewer
	epoch   string // of alice's topic
	moved   int    // offsets there less those of the file
	asked   answer // by the last call
}

// viewer is a device and what it has read.
type viewer struct {
	*device
	texts map[string]string // by stream id
	acks  []map[string]any  // of what it sent
}

func TestJourneysAreAsTheyAreTold(t *testing.T) {
	files, err := filepath.Glob("testdata/journeys/*.txt")
	if err != nil || len(files) < 2 {
		t.Fatalf("got files %v, %v, want journeys", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			story, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			j := &journey{T: t, n: start(t, config()), devices: map[string]*viewer{}}
			for _, name := range []string{"A", "B"} {
				j.devices[name] = &viewer{device: j.n.connect(t, "alice"), texts: map[string]string{}}
			}
			for line := range strings.Lines(string(story)) {
				j.play(strings.TrimSuffix(line, "\n"))
				if t.Failed() {
					t.Fatalf("in line: %s", line)
				}
			}
			// Nothing follows.
			j.n.publish(t, `{"to":{"user":"alice"},"type":"end"}`)
			for name, d := range j.devices {
				if told := strings.Contains(string(story), "<- "+name); !told {
					continue
				}
				if msg := d.next(t); msg.Type != "end" {
					t.Errorf("got %s at %s, want nothing more", msg.Type, name)
				}
			}
		})
	}
}

// told reads an object of the file, with positions as they are now.
func (j *journey) told(text string) map[string]any {
	j.Helper()
	position := regexp.MustCompile(`"a1Fq:(\d+)"`) // of alice's topic in the file
	text = position.ReplaceAllStringFunc(text, func(p string) string {
		offset, err := strconv.Atoi(position.FindStringSubmatch(p)[1])
		if err != nil {
			j.Fatal(err)
		}
		if j.epoch == "" {
			now := strings.SplitN(j.asked.position(j), ":", 2)
			first, err := strconv.Atoi(now[1])
			if err != nil {
				j.Fatal(err)
			}
			j.epoch, j.moved = now[0], first-offset
		}
		return fmt.Sprintf(`"%s:%d"`, j.epoch, offset+j.moved)
	})
	want := parseObject(j, []byte(text))
	if offset, ok := want["offset"].(float64); ok {
		want["offset"] = offset + float64(j.moved)
	}
	return want
}

func (a answer) position(t testing.TB) string {
	t.Helper()
	p, _ := parseObject(t, a.body)["position"].(string)
	if !strings.Contains(p, ":") {
		t.Fatalf("got answer %s, want a position", a.body)
	}
	return p
}

func parseObject(t testing.TB, b []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return m
}

func (j *journey) play(line string) {
	j.Helper()
	kind, rest, _ := strings.Cut(line, " ")
	first, second, _ := strings.Cut(rest, " ")
	switch {
	case kind == "API" && first >= "A":
		j.call(first, second)
	case kind == "API":
		j.answered(first, second)
	case kind == "->":
		j.send(j.devices[first], second)
	case kind == "<-":
		j.receive(j.devices[first], second)
	default:
		j.Fatalf("no such line: %s", line)
	}
}

func (j *journey) call(method, rest string) {
	j.Helper()
	path, body, _ := strings.Cut(rest, " ")
	r := request{method: method, path: path, body: body}
	if text, plain := strings.CutPrefix(body, "text/plain "); plain {
		r.header = http.Header{"Content-Type": {"text/plain"}}
		if err := json.Unmarshal([]byte(text), &r.body); err != nil {
			j.Fatal(err)
		}
	}
	j.asked = j.n.call(j.T, r)
}

func (j *journey) answered(status, body string) {
	j.Helper()
	got, want := parseObject(j, j.asked.body), j.told(body)
	if strconv.Itoa(j.asked.status) != status {
		j.Errorf("got status %d with %s, want %s", j.asked.status, j.asked.body, status)
	}
	if want["detail"] != nil { // for people
		if j.asked.problem(j.T).Detail == "" {
			j.Error("got no detail, want one")
		}
		want["detail"] = got["detail"]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		j.Errorf("answer (-want +got):\n%s", diff)
	}
}

func (j *journey) send(d *viewer, frame string) {
	j.Helper()
	sent, ack := parseObject(j, []byte(frame)), map[string]any{}
	begin := time.Now()
	if err := d.Do(j.Context(), wire.MessageType(sent["type"].(string)), sent["payload"], &ack); err != nil {
		j.Fatal(err)
	}
	if took := time.Since(begin); sent["type"] == "stop_agent" && took > 100*time.Millisecond {
		j.Errorf("got the ack after %v, want it within 100 ms", took)
	}
	d.acks = append(d.acks, ack)
}

func (j *journey) receive(d *viewer, frame string) {
	j.Helper()
	want := j.told(frame)
	switch want["type"] {
	case "ack":
		if len(d.acks) == 0 {
			j.Fatal("got no ack, want one")
		}
		ack, payload := d.acks[0], want["payload"].(map[string]any)
		d.acks = d.acks[1:]
		payload["message_id"] = ack["message_id"] // the client makes up its own
		if diff := cmp.Diff(want["payload"], any(ack)); diff != "" {
			j.Errorf("ack (-want +got):\n%s", diff)
		}
		return
	case "stream_chunk":
		j.receiveText(d, want)
		return
	}
	msg := d.next(j.T)
	for msg.Type == wire.StreamChunk { // cut otherwise than in the file
		d.takeText(j, msg)
		msg = d.next(j.T)
	}
	if diff := cmp.Diff(want, j.shown(msg, want)); diff != "" {
		j.Errorf("frame (-want +got):\n%s", diff)
	}
}

// receiveText waits until the text of a chunk is there, in whatever pieces.
func (j *journey) receiveText(d *viewer, want map[string]any) {
	j.Helper()
	payload := want["payload"].(map[string]any)
	id, start, text := payload["stream_id"].(string), int(payload["start"].(float64)), []rune(payload["text"].(string))
	for len([]rune(d.texts[id])) < start+len(text) {
		msg := d.next(j.T)
		got := j.shown(msg, want)
		got["payload"] = payload
		if diff := cmp.Diff(want, got); diff != "" {
			j.Fatalf("chunk (-want +got):\n%s", diff)
		}
		d.takeText(j, msg)
	}
	if got := []rune(d.texts[id])[start : start+len(text)]; string(got) != string(text) {
		j.Errorf("got text %q from %d, want %q", string(got), start, string(text))
	}
}

// takeText appends a chunk, which must begin where the former one ended.
func (d *viewer) takeText(t testing.TB, msg wire.Envelope) {
	t.Helper()
	var chunk wire.StreamChunkPayload
	if err := msg.Decode(&chunk); err != nil {
		t.Fatal(err)
	}
	if have := len([]rune(d.texts[chunk.StreamID])); msg.Type != wire.StreamChunk || chunk.Start != have || chunk.Text == "" {
		t.Fatalf("got %s %s, want text from %d", msg.Type, msg.Payload, have)
	}
	d.texts[chunk.StreamID] += chunk.Text
}

// shown is a frame as JSON, with what varies as in want.
func (j *journey) shown(msg wire.Envelope, want map[string]any) map[string]any {
	j.Helper()
	text, err := json.Marshal(msg)
	if err != nil {
		j.Fatal(err)
	}
	got := parseObject(j, text)
	same := func(of, as map[string]any, field string) {
		if of[field] != nil && as[field] != nil {
			of[field] = as[field]
		}
	}
	same(got, want, "timestamp")
	same(got, want, "message_id")
	if msg.Type == wire.AgentCompleted {
		same(got["payload"].(map[string]any), want["payload"].(map[string]any), "execution_time_ms")
	}
	return got
}
