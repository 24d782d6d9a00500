package docsagent_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/docsagent"
	"github.com/netra-systems/switchboard/wire"
)

func TestAPassageIsALineInItsSurroundings(t *testing.T) {
	dir := folder(t, map[string]string{"a.md": "# One\n\ntwo\n\n## Three\n" + strings.Repeat("more\n", 995)})
	put(t, dir, "wide.txt", strings.Repeat(strings.Repeat("x", 10<<10)+"\n", 9))
	a := build(t, docsagent.Options{Dir: dir})
	around := func(n int) *int { return &n }
	for _, tt := range []struct {
		name     string
		req      docsagent.PassageRequest
		from, to int
	}{
		{"at the beginning", docsagent.PassageRequest{File: "a.md", Line: 3}, 1, 15},
		{"at the end", docsagent.PassageRequest{File: "a.md", Line: 1000}, 988, 1000},
		{"alone", docsagent.PassageRequest{File: "a.md", Line: 500, Around: around(0)}, 500, 500},
		{"as many lines as there may be", docsagent.PassageRequest{File: "a.md", Line: 500, Around: around(200)}, 300, 699},
		{"as many bytes as there may be", docsagent.PassageRequest{File: "wide.txt", Line: 5}, 4, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := a.ReadPassage(t.Context(), nil, tt.req)
			if err != nil {
				t.Fatal(err)
			}
			if got.From != tt.from || got.To != tt.to || len(got.Lines) != tt.to-tt.from+1 || got.Lines[0].Line != tt.from || got.File != tt.req.File {
				t.Errorf("got %d lines, %d to %d, want %d to %d", len(got.Lines), got.From, got.To, tt.from, tt.to)
			}
			if got.File == "a.md" && (got.Title != "One" || got.Of != 1000) {
				t.Errorf("got title %q and %d lines, want One and 1000", got.Title, got.Of)
			}
		})
	}
}

func TestAPassageIsOfDocumentsOnly(t *testing.T) {
	dir, outside := folder(t, map[string]string{"a.md": "one\n", "empty.md": ""}), folder(t, map[string]string{"far.md": secret})
	put(t, dir, ".env", secret)
	put(t, dir, "binary", secret+"\x00")
	if err := os.Symlink(filepath.Join(outside, "far.md"), filepath.Join(dir, "out.md")); err != nil {
		t.Fatal(err)
	}
	a := build(t, docsagent.Options{Dir: dir})
	far := 201
	for _, tt := range []struct {
		name  string
		req   docsagent.PassageRequest
		code  switchboard.Code
		field string
	}{
		{"no file", docsagent.PassageRequest{Line: 1}, wire.CodeInvalidMessage, "file"},
		{"no line", docsagent.PassageRequest{File: "a.md"}, wire.CodeInvalidMessage, "line"},
		{"too far", docsagent.PassageRequest{File: "a.md", Line: 1, Around: &far}, wire.CodeInvalidMessage, "around"},
		{"a file that is not there", docsagent.PassageRequest{File: "b.md", Line: 1}, wire.CodeNotFound, "file"},
		{"a line that is not there", docsagent.PassageRequest{File: "a.md", Line: 2}, wire.CodeNotFound, "line"},
		{"a line of nothing", docsagent.PassageRequest{File: "empty.md", Line: 1}, wire.CodeNotFound, "line"},
		{"hidden", docsagent.PassageRequest{File: ".env", Line: 1}, wire.CodeNotFound, "file"},
		{"above", docsagent.PassageRequest{File: "../" + filepath.Base(outside) + "/far.md", Line: 1}, wire.CodeNotFound, "file"},
		{"a link to outside", docsagent.PassageRequest{File: "out.md", Line: 1}, wire.CodeNotFound, "file"},
		{"an absolute path", docsagent.PassageRequest{File: filepath.Join(outside, "far.md"), Line: 1}, wire.CodeNotFound, "file"},
		{"binary", docsagent.PassageRequest{File: "binary", Line: 1}, wire.CodeNotFound, "file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := a.ReadPassage(t.Context(), nil, tt.req)
			told, ok := errors.AsType[*switchboard.Error](err)
			if !ok || told.Code != tt.code {
				t.Fatalf("got %v, want %s", err, tt.code)
			}
			if diff := cmp.Diff(map[string]any{"field": tt.field}, told.Details); diff != "" || strings.Contains(told.Message, dir) {
				t.Errorf("message %q, details (-want +got):\n%s", told.Message, diff)
			}
		})
	}
}
