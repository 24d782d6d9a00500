package client

import (
	"errors"
	"testing"

	"github.com/netra-systems/switchboard/wire"
)

func TestACallIsGivenToAConnectionOnce(t *testing.T) {
	cs := &calls{}
	c, err := cs.begin(wire.Envelope{Type: "order", ID: "o-1"}, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	first, second := new(link), new(link)
	for i, want := range []bool{true, false, true, false} {
		if got := cs.claim(c, []*link{first, first, second, second}[i]); got != want {
			t.Errorf("claim %d: got %t, want %t", i, got, want)
		}
	}
}

func TestACallThatNobodyWaitsForIsForgotten(t *testing.T) {
	cs := &calls{}
	msg := wire.Envelope{Type: "order", ID: "o-1"}
	c, _ := cs.begin(msg, nil, true)
	if again, _ := cs.begin(msg, nil, true); again != c {
		t.Error("got another call for the same id")
	}
	cs.leave(c)
	if got := cs.repeats(); len(got) != 1 {
		t.Errorf("got %d calls to repeat while one waits, want 1", len(got))
	}
	cs.leave(c)
	if got := cs.repeats(); len(got) != 0 {
		t.Errorf("got %d calls to repeat, want none", len(got))
	}
	if got := cs.answer(wire.Envelope{Type: wire.AckType, ID: "o-1"}, nil); got != nil {
		t.Errorf("got %v answered, want nobody", got)
	}
	ended := errors.New("ended")
	cs.end(ended)
	if _, err := cs.begin(msg, nil, true); !errors.Is(err, ended) {
		t.Errorf("got error %v after the end, want its reason", err)
	}
}
