package server

import (
	"context"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

type readThreadInput struct {
	ID     string `path:"id" maxLength:"128" doc:"A thread_id"`
	User   string `query:"user" doc:"Whose private conversation it is; this or room"`
	Room   string `query:"room" doc:"In which it is shared; this or user"`
	Before string `query:"before" doc:"Only messages before this position, and no runs"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"At most so many messages"`
}

type readThreadOutput struct{ Body wire.Thread }

func (a *api) readThread(ctx context.Context, in *readThreadInput) (*readThreadOutput, error) {
	if err := wire.CheckID(in.ID); err != nil {
		return nil, invalid("id", err.Error())
	}
	var of runAddress
	if in.User != "" {
		of.User = &in.User
	}
	if in.Room != "" {
		of.Room = &in.Room
	}
	if (of.User == nil) == (of.Room == nil) {
		return nil, invalid("user", "or room must be given, one of them")
	}
	to, err := of.target("")
	if err != nil {
		return nil, err
	}
	q := switchboard.Query{Limit: in.Limit}
	if err := position("before", in.Before, &q.Before); err != nil {
		return nil, err
	}
	thread, err := a.m.Thread(ctx, to, in.ID, q)
	if err != nil {
		return nil, err
	}
	return &readThreadOutput{Body: thread}, nil
}
