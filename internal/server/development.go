package server

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/netra-systems/switchboard/internal/devlink"
	"github.com/netra-systems/switchboard/internal/respond"
	"github.com/netra-systems/switchboard/wire"
)

const (
	reportPath = "/dev/csp"
	// pageUser is who a page is that was opened in development.
	pageUser = "alice"

	maxDevBody = 16 << 10 // bytes of a request to /dev
)

// development is what only a server in development has: a page, how it is configured, and the
// links that it can cut.
type development struct {
	cfg       Config
	page      page            // nil: none
	documents *documents      // nil: none
	links     [2]*devlink.Set // of this machine, and of the network
	reports   [2]reports      // the same
	log       *slog.Logger
}

func newDevelopment(cfg Config, docs *documents, log *slog.Logger) (*development, error) {
	d := &development{cfg: cfg, documents: docs, links: [2]*devlink.Set{devlink.New(), devlink.New()}, log: log}
	if cfg.Page == nil {
		return d, nil
	}
	var err error
	d.page, err = newPage(cfg.Page)
	return d, err
}

// handler adds to what all servers serve.
func (d *development) handler(all http.Handler) http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range d.routes(all) {
		mux.Handle(pattern, h)
	}
	return mux
}

// routes are those that only a server in development has, or has in another way, by pattern. It is
// the only list, so that a test can try each of them.
func (d *development) routes(all http.Handler) map[string]http.Handler {
	routes := map[string]http.Handler{
		"/":                  all,
		"/ws":                d.overLink(all),
		"/websocket":         d.overLink(all),
		"GET /dev/config":    plainHost(d.getConfig),
		"POST /dev/link":     http.NewCrossOriginProtection().Handler(plainHost(d.postLink)),
		"POST " + reportPath: plainHost(d.postReport),
	}
	if d.page != nil {
		routes["GET /{$}"] = plainHost(d.page.serveIndex)
		routes["GET /"+assetFolder] = plainHost(d.page.serveAsset(all))
	}
	return routes
}

// plainHost refuses requests to a host that needs a name server: a name of the internet can
// be made to resolve to this machine, and its page would be taken for ours.
func plainHost(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !isPlainHost(r.Host) {
			newProblem(http.StatusMisdirectedRequest, wire.CodeForbidden, "in development this server is reached by its address, or as localhost").write(w)
			return
		}
		next(w, r)
	}
}

func isPlainHost(hostport string) bool {
	host := (&url.URL{Host: hostport}).Hostname()
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, "localhost")
}

// devConfig is what a page has to know.
type devConfig struct {
	User      string   `json:"user"`
	Subject   string   `json:"subject"`          // of the documents; "": not told
	Files     int      `json:"files"`            // 0: none, or not told
	Words     int      `json:"words_per_second"` // 0: as fast as it can
	Model     *string  `json:"model"`            // null: nobody but the agent writes
	Version   string   `json:"version"`
	Questions []string `json:"questions"` // that the documents answer
}

func (d *development) getConfig(w http.ResponseWriter, r *http.Request) {
	answer := devConfig{User: pageUser, Version: d.cfg.Version, Questions: []string{}}
	if d.documents != nil {
		about := d.cfg.Documents
		answer.Words = about.WordsPerSecond
		if about.Model != "" {
			answer.Model = &about.Model
		}
		// Nobody has been asked for a credential here: who is in the network learns nothing of a
		// folder, and does not make this machine read it.
		if about.Dir == "" || !fromNetwork(r.Context()) {
			survey, err := d.documents.survey(r.Context())
			if err != nil {
				newProblem(http.StatusServiceUnavailable, wire.CodeUnavailable, err.Error()).write(w)
				return
			}
			answer.Subject, answer.Files = about.Subject(), survey.Files
			answer.Questions = append(answer.Questions, survey.Questions...)
		}
	}
	writeJSON(w, answer)
}

// devBody reads a short body.
func devBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxDevBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, newProblem(http.StatusRequestEntityTooLarge, wire.CodeTooLarge, "the body is too large").with("limit", maxDevBody)
	}
	if err != nil {
		return nil, newProblem(http.StatusRequestTimeout, wire.CodeTimeout, "the body did not come in time")
	}
	return body, nil
}

func writeJSON(w http.ResponseWriter, v any) {
	body, err := wire.Marshal(v)
	if err != nil {
		newProblem(http.StatusInternalServerError, wire.CodeInternal, "internal error").write(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = respond.Write(w, http.StatusOK, body, []byte("\n")) // a client that has left needs no answer
}
