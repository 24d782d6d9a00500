package switchboard

import (
	"strconv"
	"testing"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

func TestAUserHasSoManyReadMarkersAndTheOneMovedLongestAgoLeaves(t *testing.T) {
	var marks readMarks
	mark := func(thread, offset int) {
		marks.move(wire.ReadMarkerPayload{ThreadID: strconv.Itoa(thread), Position: Position{Epoch: "e", Offset: uint64(offset)}}, time.Now())
	}
	for i := range maxReadMarks {
		mark(i, 1)
	}
	mark(0, 2) // was the oldest
	mark(maxReadMarks, 1)
	switch {
	case len(marks.List) != maxReadMarks:
		t.Errorf("got %d marks, want %d", len(marks.List), maxReadMarks)
	case marks.find("0", "") < 0:
		t.Error("the mark that was moved is gone")
	case marks.find("1", "") >= 0:
		t.Error("the mark that was moved longest ago is still there")
	}
}
