package brokertest_test

import (
	"fmt"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/netra-systems/switchboard/broker/brokertest"
	"github.com/netra-systems/switchboard/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func at(offset uint64) wire.Position { return wire.Position{Epoch: "e", Offset: offset} }

func in(epoch string, offset uint64) wire.Position {
	return wire.Position{Epoch: epoch, Offset: offset}
}

func TestHistoryFindsEachViolation(t *testing.T) {
	for _, tt := range []struct {
		name string
		see  func(h *brokertest.History, s *brokertest.Seen)
		want []brokertest.Kind
	}{
		{"all in order", func(h *brokertest.History, s *brokertest.Seen) {
			s.Message("t", "1", at(1))
			s.Message("t", "2", at(2))
			s.Message("t", "3", at(4))
		}, nil},
		{"one is missing at the end", func(h *brokertest.History, s *brokertest.Seen) {
			s.Message("t", "1", at(1))
			s.Message("t", "2", at(2))
		}, []brokertest.Kind{brokertest.Loss}},
		{"one is missing between", func(h *brokertest.History, s *brokertest.Seen) {
			s.Message("t", "1", at(1))
			s.Message("t", "3", at(4))
		}, []brokertest.Kind{brokertest.Loss}},
		{"a gap tells of it", func(h *brokertest.History, s *brokertest.Seen) {
			s.Gap("t", at(0), at(2))
			s.Message("t", "3", at(4))
		}, nil},
		{"a gap tells of another one", func(h *brokertest.History, s *brokertest.Seen) {
			s.Gap("t", at(0), at(1))
			s.Message("t", "3", at(4))
		}, []brokertest.Kind{brokertest.Loss}},
		{"one comes twice", func(h *brokertest.History, s *brokertest.Seen) {
			s.Message("t", "1", at(1))
			s.Message("t", "2", at(2))
			s.Message("t", "2", at(2))
			s.Message("t", "3", at(4))
		}, []brokertest.Kind{brokertest.Duplicate}},
		{"two change places", func(h *brokertest.History, s *brokertest.Seen) {
			s.Message("t", "2", at(2))
			s.Message("t", "1", at(1))
			s.Message("t", "3", at(4))
		}, []brokertest.Kind{brokertest.Order}},
		{"a message before its gap", func(h *brokertest.History, s *brokertest.Seen) {
			s.Message("t", "3", at(4))
			s.Gap("t", at(0), at(4))
			s.Message("t", "2", at(2))
		}, []brokertest.Kind{brokertest.Order}},
		{"a new epoch without a gap", func(h *brokertest.History, s *brokertest.Seen) {
			s.Message("t", "1", at(1))
			s.Message("t", "2", at(2))
			s.Message("t", "3", at(4))
			h.Sent("t", "4", in("f", 1))
			s.Message("t", "4", in("f", 1))
		}, []brokertest.Kind{brokertest.Order}},
		{"a new epoch with a gap", func(h *brokertest.History, s *brokertest.Seen) {
			s.Message("t", "1", at(1))
			h.Sent("t", "4", in("f", 1))
			s.Gap("t", at(1), in("f", 0))
			s.Message("t", "4", in("f", 1))
		}, nil},
		{"a new epoch whose beginning is missing", func(h *brokertest.History, s *brokertest.Seen) {
			s.Message("t", "1", at(1))
			h.Sent("t", "4", in("f", 1))
			h.Sent("t", "5", in("f", 2))
			s.Gap("t", at(1), in("f", 0))
			s.Message("t", "5", in("f", 2))
		}, []brokertest.Kind{brokertest.Loss}},
		{"another one's topic", func(h *brokertest.History, s *brokertest.Seen) {
			s.Gap("t", at(0), at(4))
			h.Sent("other", "secret", at(1))
			s.Message("other", "secret", at(1))
		}, []brokertest.Kind{brokertest.Foreign}},
		{"what nobody sent", func(h *brokertest.History, s *brokertest.Seen) {
			s.Gap("t", at(0), at(4))
			s.Message("t", "who", at(5))
		}, []brokertest.Kind{brokertest.Phantom}},
		{"another place than the publisher was told", func(h *brokertest.History, s *brokertest.Seen) {
			s.Message("t", "1", at(1))
			s.Message("t", "2", at(3))
			s.Message("t", "3", at(4))
		}, []brokertest.Kind{brokertest.Misplaced}},
		{"an attempt may come or not", func(h *brokertest.History, s *brokertest.Seen) {
			h.Attempted("t", "maybe")
			h.Attempted("t", "never")
			h.Attempted("t", "3") // was acknowledged
			s.Gap("t", at(0), at(2))
			s.Message("t", "maybe", at(3))
		}, []brokertest.Kind{brokertest.Loss}},
		{"nothing is owed before the start", func(h *brokertest.History, s *brokertest.Seen) {
			s.From("u", at(1))
			h.Sent("u", "1", at(1))
			h.Sent("u", "2", at(2))
			s.Gap("t", at(0), at(4))
		}, []brokertest.Kind{brokertest.Loss}},
		{"volatile messages have no order", func(h *brokertest.History, s *brokertest.Seen) {
			s.Gap("t", at(0), at(4))
			h.Attempted("t", "typing")
			s.Message("t", "typing", wire.Position{})
			s.Message("t", "typing", wire.Position{})
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var h brokertest.History
			s := h.Receiver("r", "t", "u")
			s.From("t", wire.Position{})
			h.Sent("t", "1", at(1))
			h.Sent("t", "2", at(2))
			h.Sent("t", "3", at(4))
			tt.see(&h, s)
			var got []brokertest.Kind
			for _, v := range h.Check() {
				got = append(got, v.Kind)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", h.Check(), tt.want)
			}
		})
	}
}

func ExampleHistory() {
	var h brokertest.History
	alice := h.Receiver("alice's phone", "user/alice")
	alice.From("user/alice", wire.Position{}) // everything is owed

	h.Sent("user/alice", "m1", wire.Position{Epoch: "e", Offset: 1})
	h.Sent("user/alice", "m2", wire.Position{Epoch: "e", Offset: 2})
	alice.Message("user/alice", "m2", wire.Position{Epoch: "e", Offset: 2})
	alice.Message("user/bob", "m3", wire.Position{Epoch: "e", Offset: 1})

	for _, v := range h.Check() {
		fmt.Println(v.Kind, v.ID)
	}
	// Unordered output:
	// loss m1
	// foreign m3
}
