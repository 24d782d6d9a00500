package server

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/audit"
	"github.com/netra-systems/switchboard/wire"
)

// failurePace is how often the log says that the audit log cannot be written.
const failurePace = 10 * time.Second

// AuditDir is where the audit log of a server with such a Data is; "": in memory.
func AuditDir(data string) string {
	if data == "" {
		return ""
	}
	return filepath.Join(data, "audit")
}

// openAudit opens the audit log of a server. Its owner closes it.
func openAudit(data string, log *slog.Logger) (*audit.Log, error) {
	dir := AuditDir(data)
	var told time.Time
	return audit.Open(audit.Options{
		Dir: dir,
		Failed: func(err error) {
			if time.Since(told) < failurePace {
				return
			}
			told = time.Now()
			log.LogAttrs(context.Background(), slog.LevelError, "audit log not written", slog.Any("err", err))
		},
		Crowded: func(series int) {
			log.LogAttrs(context.Background(), slog.LevelWarn, "audit log has a series of its own for no more tenants, those that come now share one",
				slog.Int("tenants", series))
		},
	})
}

// recordIn returns what writes the events of a manager into a log.
func recordIn(l *audit.Log) func(switchboard.AuditEvent) {
	return func(e switchboard.AuditEvent) {
		l.Record(audit.Event{
			Action: string(e.Action), Tenant: e.Tenant, User: e.User, Actor: e.Actor, Connection: e.Connection,
			Address: e.Address, Object: e.Object, Reason: e.Reason, Code: string(e.Code),
		})
	}
}

// refused records that a call was refused for what its key is. A call without a key that is known
// is a stranger's.
func (a *api) refused(r *http.Request, by caller, object, why string, code wire.Code) {
	e := switchboard.AuditEvent{Action: switchboard.AuditAPI, Tenant: by.tenant, Address: a.guesses.addressOf(r), Object: object, Reason: why, Code: code}
	if by.key != nil {
		e.Actor = by.key.Name
	}
	recordIn(a.audit)(e)
}

// auditEntry is a line of the audit log as the API shows it.
type auditEntry struct {
	Seq        uint64    `json:"sequence"`
	Time       time.Time `json:"time"`
	Action     string    `json:"action" doc:"What was done, or tried"`
	User       string    `json:"user,omitempty" doc:"Whom it concerns"`
	Actor      string    `json:"actor,omitempty" doc:"Who of the application did it: the name of an API key; absent: the user, or nobody who is known"`
	Connection string    `json:"connection_id,omitempty"`
	Address    string    `json:"address,omitempty"`
	Object     string    `json:"object,omitempty" doc:"What it was done to"`
	Reason     string    `json:"reason,omitempty"`
	Code       string    `json:"code,omitempty" doc:"Why it was refused; absent: it was done"`
	Count      int       `json:"count,omitempty" doc:"How many more equal ones there were; absent: it is one by itself"`
	Lost       uint64    `json:"lost,omitempty" doc:"How many events are missing here"`
	Hash       string    `json:"hash" doc:"Of the line, and by that of all lines before it"`
}

type auditInput struct {
	Since  uint64 `query:"since" doc:"Only what comes after this sequence number"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Action string `query:"action" doc:"Only this"`
	User   string `query:"user" doc:"Only what concerns this user"`
}

type auditOutput struct {
	Body struct {
		Events  []auditEntry `json:"events" nullable:"false" doc:"Oldest first"`
		Next    uint64       `json:"next" doc:"The since of the next call: everything up to it has been looked at"`
		HasMore bool         `json:"has_more" doc:"There is more after next already"`
	}
}

// listAudit shows what concerns the tenant of the call.
func (a *api) listAudit(ctx context.Context, in *auditInput) (*auditOutput, error) {
	tenant := callerOf(ctx).tenant
	page, err := a.audit.Read(audit.Query{Tenant: tenant, Since: in.Since, Limit: in.Limit, Action: in.Action, User: in.User})
	if err != nil {
		return nil, err
	}
	out := new(auditOutput)
	out.Body.Next, out.Body.HasMore = page.Next, page.More
	out.Body.Events = make([]auditEntry, len(page.Entries))
	for i, e := range page.Entries {
		out.Body.Events[i] = auditEntry{
			Seq: e.Seq, Time: e.Time, Action: e.Action, User: e.User, Actor: e.Actor, Connection: e.Connection,
			Object: e.Object, Reason: e.Reason, Code: e.Code, Count: e.Count, Lost: e.Lost, Hash: e.Hash,
		}
		if e.Address.IsValid() {
			out.Body.Events[i].Address = e.Address.String()
		}
	}
	return out, nil
}
