package server

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/netra-systems/switchboard/internal/devlink"
	"github.com/netra-systems/switchboard/wire"
)

// overLink puts handshakes of sockets that name a link on it.
func (d *development) overLink(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := ""
		if r.Header.Get("Upgrade") != "" {
			name = r.URL.Query().Get("link")
		}
		if name == "" {
			next.ServeHTTP(w, r)
			return
		}
		if !isPlainHost(r.Host) || !sameOrigin(r) { // other pages have no links here
			newProblem(http.StatusForbidden, wire.CodeForbidden, "origin is not allowed").write(w)
			return
		}
		switch err := d.linksFor(r).Handle(name, w, r, next); {
		case errors.Is(err, devlink.ErrFull):
			newProblem(http.StatusServiceUnavailable, wire.CodeUnavailable, err.Error()).write(w)
		case err != nil:
			invalid("link", err.Error()).write(w)
		}
	})
}

// linksFor returns the links among which those of a request are. The network has its own: it
// can fill them up without a credential.
func (d *development) linksFor(r *http.Request) *devlink.Set {
	if fromNetwork(r.Context()) {
		return d.links[1]
	}
	return d.links[0]
}

// linkRequest is the body of POST /dev/link: what is to become of a link.
type linkRequest struct {
	Link           string   `json:"link"`
	CutSeconds     *float64 `json:"cut_seconds"`
	BytesPerSecond *int     `json:"bytes_per_second"`
	Seconds        *float64 `json:"seconds"`
}

type linkAnswer struct {
	Until int64 `json:"until"` // milliseconds since 1970
}

func (d *development) postLink(w http.ResponseWriter, r *http.Request) {
	answer, err := d.changeLink(w, r)
	if err != nil {
		p, _ := problemOf(err)
		p.write(w)
		return
	}
	writeJSON(w, answer)
}

func (d *development) changeLink(w http.ResponseWriter, r *http.Request) (linkAnswer, error) {
	if !isJSON(r.Header) {
		return linkAnswer{}, newProblem(http.StatusUnsupportedMediaType, wire.CodeUnsupported, "the body must be application/json in UTF-8")
	}
	body, err := devBody(w, r)
	if err != nil {
		return linkAnswer{}, err
	}
	var req linkRequest
	if err := decode(body, &req); err != nil {
		return linkAnswer{}, err
	}
	until, err := tellLink(d.linksFor(r), req)
	if errors.Is(err, devlink.ErrUnknown) {
		err = newProblem(http.StatusNotFound, wire.CodeNotFound, err.Error()).with("field", "link")
	}
	return linkAnswer{until.UnixMilli()}, err
}

func tellLink(links *devlink.Set, req linkRequest) (until time.Time, err error) {
	if (req.CutSeconds == nil) == (req.BytesPerSecond == nil) {
		return until, invalid("cut_seconds", "or bytes_per_second must be given, one of them")
	}
	if req.CutSeconds != nil {
		if req.Seconds != nil {
			return until, invalid("seconds", "does not go with cut_seconds")
		}
		life, err := linkSeconds("cut_seconds", req.CutSeconds, devlink.MaxCut)
		if err != nil {
			return until, err
		}
		return links.Cut(req.Link, life)
	}
	bytes := *req.BytesPerSecond
	if bytes == 0 {
		return links.Slow(req.Link, 0, 0)
	}
	if bytes < devlink.MinBytes || bytes > devlink.MaxBytes {
		return until, invalid("bytes_per_second", fmt.Sprintf("must be 0, or from %d to %d", devlink.MinBytes, devlink.MaxBytes))
	}
	life, err := linkSeconds("seconds", req.Seconds, devlink.MaxSlow)
	if err != nil {
		return until, err
	}
	return links.Slow(req.Link, bytes, life)
}

// linkSeconds is a duration that a request must give.
func linkSeconds(field string, n *float64, most time.Duration) (time.Duration, error) {
	if n == nil || !(*n > 0 && *n <= most.Seconds()) {
		return 0, invalid(field, fmt.Sprintf("must be a number above 0 and at most %g", most.Seconds()))
	}
	return time.Duration(*n * float64(time.Second)), nil
}
