package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// pagePolicy is what a page may do: what it brings, and talk to this server. Whatever else it
// tries is reported to reportPath.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; report-uri " + reportPath

const (
	indexFile   = "index.html"
	assetFolder = "assets/"
)

// page is a web page as it was built: an index, and assets that have hashes of their content
// in their names. It is immutable.
type page map[string]asset // by path, without a slash in front

type asset struct {
	content      []byte
	kind         string // of the content
	tag          string // an ETag
	cacheControl string
}

// newPage reads a page into memory.
func newPage(fsys fs.FS) (page, error) {
	p := make(page)
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || name != indexFile && !strings.HasPrefix(name, assetFolder) {
			return err
		}
		content, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		a := asset{content: content, kind: kindOf(name), tag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, cacheControl: "no-cache"}
		if name != indexFile {
			a.cacheControl = "public, max-age=31536000, immutable"
		}
		p[name] = a
		return nil
	})
	if _, ok := p[indexFile]; err == nil && !ok {
		err = errors.New(indexFile + " is missing")
	}
	if err != nil {
		return nil, fmt.Errorf("Page: %w", err)
	}
	return p, nil
}

// kindOf is the type of a file's content by its name. The tables of the system are not asked:
// on some machines they say that scripts are plain text.
func kindOf(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "application/octet-stream"
}

func (p page) serveIndex(w http.ResponseWriter, r *http.Request) { p[indexFile].serve(w, r) }

// serveAsset leaves it to others to refuse what the page has not.
func (p page) serveAsset(others http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if a, ok := p[strings.TrimPrefix(r.URL.Path, "/")]; ok {
			a.serve(w, r)
			return
		}
		others.ServeHTTP(w, r)
	}
}

func (a asset) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if !fromNetwork(r.Context()) { // over plain HTTP browsers ignore it elsewhere, and complain
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
	}
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", a.cacheControl)
	h.Set("ETag", a.tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.content))
}
