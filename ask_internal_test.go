package switchboard

import (
	"fmt"
	"testing"

	"github.com/netra-systems/switchboard/internal/presence"
	"github.com/netra-systems/switchboard/wire"
)

// An answer is whole when all its pieces have come, in whatever order and however often: how many users there
// are only the last one knows.
func TestAnAnswerIsWholeWhenAllItsPiecesHaveCome(t *testing.T) {
	piece := func(from, to, total int) presenceRecord {
		r := presenceRecord{Node: "two", Seq: 7, Answer: 1, Total: total}
		for n := from; n < to; n++ {
			r.Entries = append(r.Entries, presence.Entry{User: fmt.Sprint("u", n)})
		}
		return r
	}
	begun, first, second, last := piece(0, 0, answerBegun), piece(0, 200, answerBegun), piece(200, 400, answerBegun), piece(400, 450, 450)
	for name, tt := range map[string]struct {
		pieces []presenceRecord
		want   int // users
	}{
		"in order":              {[]presenceRecord{begun, first, second, last}, 450},
		"twice":                 {[]presenceRecord{begun, first, first, begun, second, second, last}, 450},
		"the last one first":    {[]presenceRecord{last, second, first}, 450},
		"one lost":              {[]presenceRecord{begun, first, last}, -1},
		"only begun":            {[]presenceRecord{begun}, -1},
		"nobody":                {[]presenceRecord{piece(0, 0, 0)}, 0},
		"all pieces know it":    {[]presenceRecord{piece(0, 200, 250), piece(200, 250, 250)}, 250}, // as older nodes say it
		"the last one is empty": {[]presenceRecord{begun, first, second, piece(400, 400, 400)}, 400},
	} {
		var q questions
		id, _ := q.begin(wire.Topic{Kind: wire.KindRoom, ID: "team"}, true, []string{"two", "three"})
		got := -1
		for _, r := range tt.pieces {
			r.Answer = id
			if _, a, whole := q.take(r); whole {
				got = len(a.entries)
			}
		}
		if got != tt.want {
			t.Errorf("%s: got %d users, want %d (-1: it is not whole)", name, got, tt.want)
		}
		wantSilent := 1
		if tt.want < 0 {
			wantSilent = 2
		}
		if whole, silent := q.end(id); len(silent) != wantSilent || len(whole) != 2-wantSilent {
			t.Errorf("%s: got %d answers, and silent are %v", name, len(whole), silent)
		}
	}
}
