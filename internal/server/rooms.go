package server

import (
	"context"
	"slices"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

type roomInput struct {
	Room string `path:"room" doc:"An id, not an address"`
}

type roomOutput struct {
	Body struct {
		Room      string        `json:"room"`
		Members   int           `json:"member_count"`
		Followers int           `json:"follower_count" doc:"Connections of the answering node that follow it"`
		Head      wire.Position `json:"position" doc:"Of its log"`
		Oldest    *time.Time    `json:"oldest,omitempty" doc:"Where what is kept of its log begins; absent: nothing is kept"`
		Newest    *time.Time    `json:"last_activity,omitempty" doc:"When something was last said, or somebody joined or left"`
	}
}

func (a *api) room(ctx context.Context, in *roomInput) (*roomOutput, error) {
	if err := wire.CheckID(in.Room); err != nil {
		return nil, invalid("room", err.Error())
	}
	info, err := a.m.Rooms().Info(ctx, in.Room)
	if err != nil {
		return nil, err
	}
	out := new(roomOutput)
	out.Body.Room, out.Body.Members, out.Body.Followers, out.Body.Head = in.Room, info.Members, info.Followers, info.Head
	out.Body.Oldest, out.Body.Newest = timeOrNone(info.Oldest), timeOrNone(info.Newest)
	return out, nil
}

type listMembersInput struct {
	Room  string `path:"room" doc:"An id, not an address"`
	After string `query:"after" doc:"Go on behind a page: its next"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"1000" doc:"At most so many"`
}

type listMembersOutput struct {
	Body struct {
		Members []string `json:"members" nullable:"false" doc:"User ids, in order"`
		Next    string   `json:"next,omitempty" doc:"For after; absent: there are no more"`
	}
}

// listMembers is a page of them. Who joined or left meanwhile may be in it or not, but nobody is
// there twice.
func (a *api) listMembers(ctx context.Context, in *listMembersInput) (*listMembersOutput, error) {
	if err := wire.CheckID(in.Room); err != nil {
		return nil, invalid("room", err.Error())
	}
	if in.After != "" {
		if err := wire.CheckID(in.After); err != nil {
			return nil, invalid("after", "must be the next of a page")
		}
	}
	out := new(listMembersOutput)
	list := []string{}
	for user, err := range a.m.Rooms().Members(ctx, in.Room) {
		switch {
		case err != nil:
			return nil, err
		case user > in.After:
			list = append(list, user)
		}
	}
	slices.Sort(list)
	if len(list) > in.Limit {
		list = list[:in.Limit]
		out.Body.Next = list[in.Limit-1]
	}
	out.Body.Members = list
	return out, nil
}

type memberInput struct {
	Room string `path:"room" doc:"An id, not an address"`
	User string `path:"user"`
}

func (in *memberInput) check() error {
	if err := wire.CheckID(in.Room); err != nil {
		return invalid("room", err.Error())
	}
	if err := wire.CheckID(in.User); err != nil {
		return invalid("user", err.Error())
	}
	return nil
}

// addMember succeeds also if the user is a member already, as removeMember does if it is none:
// afterwards it is as the caller wants it.
func (a *api) addMember(ctx context.Context, in *memberInput) (*struct{}, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	return nil, a.m.Rooms().Add(ctx, in.Room, in.User)
}

func (a *api) removeMember(ctx context.Context, in *memberInput) (*struct{}, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	return nil, a.m.Rooms().Remove(ctx, in.Room, in.User)
}
