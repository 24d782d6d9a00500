package server

import (
	"context"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// presentUser is one user's presence, in the shape that clients get too.
type presentUser struct {
	User    string          `json:"user_id"`
	Online  bool            `json:"online" doc:"A device is there, or was a moment ago"`
	Since   float64         `json:"since,omitzero" doc:"Seconds since 1970"`
	Devices []presentDevice `json:"devices" nullable:"false"`
}

type presentDevice struct {
	Session      string  `json:"session_id"`
	Name         string  `json:"name,omitempty" doc:"As the client calls itself"`
	State        string  `json:"state" enum:"active,idle,background"`
	LastActivity float64 `json:"last_activity" doc:"Seconds since 1970"`
	Meta         any     `json:"meta,omitempty" doc:"A JSON object of the client's"`
}

func showPresence(p switchboard.UserPresence) presentUser {
	shown := presentUser{User: p.User, Online: p.Online, Devices: make([]presentDevice, len(p.Devices))}
	if p.Online {
		shown.Since = wire.Seconds(p.Since)
	}
	for i, d := range p.Devices {
		shown.Devices[i] = presentDevice{Session: d.Session, Name: d.Name, State: d.State, LastActivity: wire.Seconds(d.LastActivity)}
		if len(d.Meta) > 0 {
			shown.Devices[i].Meta = d.Meta
		}
	}
	return shown
}

type userPresenceInput struct {
	User string `path:"user" maxLength:"128" doc:"A user"`
}

type userPresenceOutput struct{ Body presentUser }

func (a *api) userPresence(ctx context.Context, in *userPresenceInput) (*userPresenceOutput, error) {
	p, err := a.m.Presence().User(ctx, in.User)
	if err != nil {
		return nil, err
	}
	return &userPresenceOutput{Body: showPresence(p)}, nil
}

type roomPresenceInput struct {
	Room  string `path:"room" maxLength:"128" doc:"A room"`
	After string `query:"after" maxLength:"128" doc:"Only users behind this one: the last of a page"`
	Limit int    `query:"limit" minimum:"1" maximum:"10000" default:"1000" doc:"At most so many users"`
}

type roomPresenceOutput struct {
	Body struct {
		Users   []presentUser `json:"users" nullable:"false" doc:"By user_id"`
		Count   int           `json:"count" doc:"Of all users in the room"`
		HasMore bool          `json:"has_more"`
	}
}

func (a *api) roomPresence(ctx context.Context, in *roomPresenceInput) (*roomPresenceOutput, error) {
	out := new(roomPresenceOutput)
	out.Body.Users = []presentUser{}
	for p, err := range a.m.Presence().Room(ctx, in.Room) {
		if err != nil {
			return nil, err
		}
		switch out.Body.Count++; {
		case p.User <= in.After && in.After != "":
		case len(out.Body.Users) == in.Limit:
			out.Body.HasMore = true
		default:
			out.Body.Users = append(out.Body.Users, showPresence(p))
		}
	}
	return out, nil
}
