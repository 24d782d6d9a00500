package server

import (
	"context"
	"time"

	"github.com/netra-systems/switchboard"
)

// revocationRequest is the body of a call that revokes.
type revocationRequest struct {
	User       string  `json:"user,omitempty" doc:"Whose credentials; one of user, session, token_id, sid"`
	Session    string  `json:"session,omitempty" doc:"A session_id"`
	TokenID    string  `json:"token_id,omitempty" doc:"The jti of a token"`
	SID        string  `json:"sid,omitempty" doc:"The sid of tokens"`
	NotBefore  instant `json:"not_before,omitzero" doc:"What was issued before is refused; default: now for a user, else whenever it was issued"`
	Until      instant `json:"until,omitzero" doc:"When the revocation ends; default: never"`
	CancelRuns bool    `json:"cancel_runs,omitempty" doc:"Cancel the live runs of the user"`
	Reason     string  `json:"reason,omitempty" doc:"For you, at most 256 bytes; clients are not told"`
}

type revocationMade struct {
	Body struct {
		ID string `json:"id" doc:"To take it back"`
	}
}

// revoke closes connections and refuses credentials.
func (a *api) revoke(ctx context.Context, r *revocationRequest) (*revocationMade, error) {
	out, err := new(revocationMade), error(nil)
	out.Body.ID, err = a.m.Access().Revoke(ctx, switchboard.Revocation{
		User: r.User, Session: r.Session, TokenID: r.TokenID, SID: r.SID,
		NotBefore: r.NotBefore.Time, Until: r.Until.Time, CancelRuns: r.CancelRuns, Reason: r.Reason,
	})
	return out, err
}

// revocation is one as the API shows it.
type revocation struct {
	ID         string     `json:"id"`
	User       string     `json:"user,omitempty"`
	Session    string     `json:"session,omitempty"`
	TokenID    string     `json:"token_id,omitempty"`
	SID        string     `json:"sid,omitempty"`
	NotBefore  *time.Time `json:"not_before,omitempty" doc:"Absent: whenever it was issued"`
	Until      *time.Time `json:"until,omitempty" doc:"Absent: never"`
	CancelRuns bool       `json:"cancel_runs,omitempty"`
	Reason     string     `json:"reason,omitempty"`
	Made       time.Time  `json:"made_at"`
}

type listRevocationsInput struct {
	After string `query:"after" doc:"Go on behind a page: its next"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"1000" doc:"At most so many"`
}

type listRevocationsOutput struct {
	Body struct {
		Revocations []revocation `json:"revocations" nullable:"false" doc:"The oldest first; the logouts of clients are among them"`
		Next        string       `json:"next,omitempty" doc:"For after; absent: there are no more"`
	}
}

// listRevocations is a page of them.
func (a *api) listRevocations(ctx context.Context, in *listRevocationsInput) (*listRevocationsOutput, error) {
	out := new(listRevocationsOutput)
	for r, err := range a.m.Access().Revocations(ctx) {
		switch {
		case err != nil:
			return nil, err
		case r.ID <= in.After:
			continue
		case len(out.Body.Revocations) == in.Limit:
			out.Body.Next = out.Body.Revocations[in.Limit-1].ID
			return out, nil
		}
		out.Body.Revocations = append(out.Body.Revocations, revocation{
			ID: r.ID, User: r.User, Session: r.Session, TokenID: r.TokenID, SID: r.SID,
			NotBefore: timeOrNone(r.NotBefore), Until: timeOrNone(r.Until), CancelRuns: r.CancelRuns, Reason: r.Reason, Made: r.Made.UTC(),
		})
	}
	return out, nil
}

type restoreInput struct {
	ID string `path:"id" doc:"The id of a revocation"`
}

func (a *api) restore(ctx context.Context, in *restoreInput) (*struct{}, error) {
	return nil, a.m.Access().Restore(ctx, in.ID)
}
