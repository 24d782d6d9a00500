package switchboard_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

func TestTypedRefusesWhatDoesNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		type order struct{ Amount int }
		s.Handle("order", switchboard.Typed(func(ctx context.Context, c *switchboard.Conn, o order) error {
			if o.Amount <= 0 {
				return &switchboard.Error{Code: wire.CodeInvalidMessage, Message: "amount must be positive"}
			}
			return c.May(ctx, switchboard.ActPublish, "desk")
		}))
		a := s.as(t, "alice")
		a.send(`{"type":"order","message_id":"1","payload":{"amount":"many"}}`)
		if e := a.refused(wire.CodeInvalidMessage, "1"); e.Details["field"] != "amount" {
			t.Errorf("got %+v, want the field", e)
		}
		a.send(`{"type":"order","message_id":"2","payload":{"amount":0}}`)
		if e := a.refused(wire.CodeInvalidMessage, "2"); e.Message != "amount must be positive" {
			t.Errorf("got %q", e.Message)
		}
		a.send(`{"type":"order","message_id":"3","payload":{"amount":1}}`)
		a.refused(wire.CodeForbidden, "3")
	})
}

func TestWhatCallReturnsIsTheResultOfTheAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{})
		type in struct{ A, B int }
		type out struct {
			Sum int `json:"sum"`
		}
		s.Handle("add", switchboard.Call(func(_ context.Context, _ *switchboard.Conn, v in) (out, error) {
			if v.A < 0 {
				return out{}, &switchboard.Error{Code: wire.CodeNotFound, Message: "no such number"}
			}
			return out{v.A + v.B}, nil
		}))
		s.Handle("deep", switchboard.Call(func(context.Context, *switchboard.Conn, in) (json.RawMessage, error) {
			return json.RawMessage(strings.Repeat("[", 31) + strings.Repeat("]", 31)), nil
		}))
		s.Handle("odd", switchboard.Call(func(context.Context, *switchboard.Conn, in) (chan int, error) { return nil, nil }))
		a := s.as(t, "alice")
		a.send(`{"type":"add","message_id":"1","payload":{"a":2,"b":3}}`)
		if ack := a.ack("1"); string(ack.Result) != `{"sum":5}` || ack.Status != wire.StatusOK {
			t.Errorf("got %+v, want the sum", ack)
		}
		a.send(`{"type":"add","message_id":"2","payload":{"a":-1}}`)
		a.refused(wire.CodeNotFound, "2")
		a.send(`{"type":"add","message_id":"1","payload":{"a":2,"b":3}}`)
		if ack := a.ack("1"); ack.Result != nil || ack.Status != wire.StatusDuplicate {
			t.Errorf("got %+v, want a duplicate", ack)
		}
		for _, typ := range []string{"deep", "odd"} {
			a.send(`{"type":%[1]q,"message_id":%[1]q}`, typ)
			a.refused(wire.CodeInternal, typ)
		}
	})
}
