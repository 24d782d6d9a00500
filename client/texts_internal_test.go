package client

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/wire"
)

// goldenChunk is a chunk in the golden file, or what was new in it.
type goldenChunk struct {
	Start int    `json:"start"`
	Text  string `json:"text"`
}

// TestChunksMakeTheTextsOfTheGoldenFile runs the file that clients in other languages run too.
func TestChunksMakeTheTextsOfTheGoldenFile(t *testing.T) {
	data, err := os.ReadFile("../wire/testdata/chunks.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name   string         `json:"name"`
		Chunks []goldenChunk  `json:"chunks"`
		New    []*goldenChunk `json:"new"`
		Text   string         `json:"text"`
		Length int            `json:"length"`
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatal("got no cases")
	}
	for _, tt := range cases {
		t.Run(tt.Name, func(t *testing.T) {
			texts := newTexts(nil)
			var got []*goldenChunk
			for _, c := range tt.Chunks {
				payload, err := wire.Marshal(wire.StreamChunkPayload{StreamID: "R/answer", Start: c.Start, Text: c.Text})
				if err != nil {
					t.Fatal(err)
				}
				env := wire.Envelope{Type: wire.StreamChunk, Payload: payload}
				fresh, err := texts.chunk(&env)
				if err != nil {
					t.Fatal(err)
				}
				if !fresh {
					got = append(got, nil)
					continue
				}
				var p wire.StreamChunkPayload
				if err := env.Decode(&p); err != nil {
					t.Fatal(err)
				}
				got = append(got, &goldenChunk{p.Start, p.Text})
			}
			if diff := cmp.Diff(tt.New, got); diff != "" {
				t.Errorf("new text (-want +got):\n%s", diff)
			}
			s := texts.of["R/answer"]
			if text := s.begin.String(); text != tt.Text || s.length != tt.Length {
				t.Errorf("got %q of length %d, want %q of length %d", text, s.length, tt.Text, tt.Length)
			}
		})
	}
}
