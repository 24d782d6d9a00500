package server

import (
	"context"
	"encoding/base64"
	"strings"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

type receiptsInput struct {
	Topic string `query:"topic" required:"true" doc:"user/<id>, room/<id> or all"`
	After string `query:"after" doc:"Go on behind a page: its next"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"1000" doc:"At most so many"`
}

type receipt struct {
	User      string        `json:"user_id"`
	Session   string        `json:"session_id,omitempty" doc:"Absent: the furthest of the user's sessions"`
	Delivered wire.Position `json:"delivered" doc:"The client has everything up to here"`
	Seen      wire.Position `json:"seen,omitzero" doc:"Its user has seen everything up to here, as the client says"`
	At        time.Time     `json:"at" doc:"When something new was acknowledged"`
}

type receiptsOutput struct {
	Body struct {
		Receipts []receipt `json:"receipts" nullable:"false" doc:"Those of a user together; before a user's sessions comes the furthest of them"`
		Next     string    `json:"next,omitempty" doc:"For after; absent: there are no more"`
	}
}

// receipts is a page of them. What was written meanwhile may be missing from it, but nothing
// is there twice.
func (a *api) receipts(ctx context.Context, in *receiptsInput) (*receiptsOutput, error) {
	to, err := targetOf(in.Topic)
	if err != nil {
		return nil, err
	}
	user, session, err := receiptCursor(in.After)
	if err != nil {
		return nil, err
	}
	out := new(receiptsOutput)
	for r, err := range a.m.ReceiptsAfter(ctx, to, user, session) {
		switch {
		case err != nil:
			return nil, err
		case len(out.Body.Receipts) == in.Limit:
			last := out.Body.Receipts[in.Limit-1]
			out.Body.Next = base64.RawURLEncoding.EncodeToString([]byte(last.User + cursorBreak + last.Session))
			return out, nil
		}
		out.Body.Receipts = append(out.Body.Receipts, receipt{
			User: r.User, Session: r.Session, Delivered: r.Delivered, Seen: r.Seen, At: r.At.UTC(),
		})
	}
	return out, nil
}

// cursorBreak is in no id.
const cursorBreak = "\x00"

// receiptCursor reads what a page's next says.
func receiptCursor(after string) (user, session string, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(after)
	user, session, ok := strings.Cut(string(raw), cursorBreak)
	if err != nil || after != "" && !ok {
		return "", "", invalid("after", "must be the next of a page")
	}
	return user, session, nil
}
