package server

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

const (
	maxReports     = 100 // different ones that are logged, in an hour
	maxReportField = 200 // bytes
)

// report is what a browser says about something that the policy of a page forbids, as far as
// it tells one from another.
type report struct {
	Directive string `json:"effective-directive"`
	Blocked   string `json:"blocked-uri"`
	Source    string `json:"source-file"`
	Line      int    `json:"line-number"`
}

// forgetReports is after how long one that is seen again is logged again, and there is room for
// others.
const forgetReports = time.Hour

// reports remembers what was logged.
type reports struct {
	mu    sync.Mutex // guards the fields below
	seen  map[report]bool
	began time.Time // when seen was empty
	count int       // all that came
}

// add counts a report and says whether it is the first of its kind, and whether there are too
// many kinds to log another.
func (r *reports) add(one report, now time.Time) (first, full bool, count int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	if now.Sub(r.began) >= forgetReports {
		r.seen, r.began = make(map[report]bool), now
	}
	if r.seen[one] || len(r.seen) > maxReports {
		return false, false, r.count
	}
	r.seen[one] = true
	return true, len(r.seen) > maxReports, r.count
}

// postReport takes a report by report-uri. Each is logged once in an hour.
func (d *development) postReport(w http.ResponseWriter, r *http.Request) {
	body, err := devBody(w, r)
	if err != nil {
		p, _ := problemOf(err)
		p.write(w)
		return
	}
	var told struct {
		Report *report `json:"csp-report"`
	}
	if err := json.Unmarshal(body, &told); err != nil || told.Report == nil { // browsers add what they like
		newProblem(http.StatusBadRequest, wire.CodeInvalidJSON, "the body must be a report on a content security policy").write(w)
		return
	}
	one := *told.Report
	for _, field := range []*string{&one.Directive, &one.Blocked, &one.Source} {
		if at := strings.IndexAny(*field, "?#"); at >= 0 { // a ticket may follow
			*field = (*field)[:at]
		}
		if len(*field) > maxReportField {
			*field = strings.ToValidUTF8((*field)[:maxReportField], "")
		}
	}
	room := 0
	if fromNetwork(r.Context()) {
		room = 1 // who is in the network does not use up what this machine has
	}
	switch first, full, count := d.reports[room].add(one, time.Now()); {
	case full:
		d.log.LogAttrs(r.Context(), slog.LevelWarn, "content security policy violated in too many ways to log more", slog.Int("reports", count))
	case first:
		d.log.LogAttrs(r.Context(), slog.LevelWarn, "content security policy violated", slog.String("directive", one.Directive),
			slog.String("blocked", one.Blocked), slog.String("source", one.Source), slog.Int("line", one.Line), slog.Int("reports", count))
	}
	w.WriteHeader(http.StatusNoContent)
}
