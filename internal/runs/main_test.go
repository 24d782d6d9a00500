package runs_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/netra-systems/switchboard/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// transcript returns what the server sent on a connection in a journey of the protocol's
// golden files.
func transcript(t testing.TB, journey int, connection string) []wire.Envelope {
	t.Helper()
	data, err := os.ReadFile("../../wire/testdata/transcripts.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var events []wire.Envelope
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var c struct {
			Journey                 int
			Connection, From, Frame string
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		if c.Journey != journey || c.Connection != connection || c.From != "server" {
			continue
		}
		e, err := wire.ParseAnswer([]byte(c.Frame))
		if err != nil {
			t.Fatalf("%s: %v", c.Frame, err)
		}
		events = append(events, e)
	}
	if len(events) == 0 {
		t.Fatalf("got no frame of journey %d on connection %s", journey, connection)
	}
	return events
}

func encoded(t testing.TB, v any) json.RawMessage {
	t.Helper()
	b, err := wire.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
