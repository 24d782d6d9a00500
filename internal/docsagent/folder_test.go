package docsagent_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/agent"
	"github.com/netra-systems/switchboard/internal/docsagent"
)

// secret is a word that no answer may have.
const secret = "xyzzy"

func TestWhatIsNoDocumentIsSkippedAndSaid(t *testing.T) {
	dir, outside := folder(t, house), folder(t, map[string]string{"far.md": "The " + secret + " is far.\n"})
	text := "The " + secret + " is here.\n"
	put(t, dir, ".env", text)
	put(t, dir, ".git/config", text)
	put(t, dir, "a/.hidden/b.md", text)
	put(t, dir, "binary.md", text+"\x00")
	put(t, dir, "latin1.txt", text+"\xe9\n")
	put(t, dir, "large.md", text+strings.Repeat("word\n", 1<<20/5+1))
	put(t, dir, "line.md", text+strings.Repeat("x", 16<<10+1))
	put(t, dir, strings.Repeat("d/", 17)+"deep.md", text)
	for name, to := range map[string]string{
		"out.md": outside + "/far.md", "up.md": "../" + filepath.Base(outside) + "/far.md", "out": outside, "dead.md": "nowhere.md", "loop": ".",
		"near.md": "heating.md",
	} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	special := pipe(t, filepath.Join(dir, "pipe.md"))

	a := build(t, docsagent.Options{Dir: dir})
	got := ask(t, a, secret)
	if len(quotes(t, got.text)) != 0 || !strings.HasPrefix(got.text, "I found nothing") {
		t.Fatalf("got an answer from what is no document:\n%s", got.text)
	}
	why := map[string]string{}
	told := tell(t, docsagent.Options{Dir: dir}, agent.Call{Name: "search", Arguments: `{"query":"boiler"}`})
	for _, s := range told["skipped"].([]any) {
		s := s.(map[string]any)
		why[s["file"].(string)] = s["why"].(string)
	}
	boiler := ask(t, a, "Where is the boiler?").thoughts(t)
	if want := fmt.Sprintf("%d entries of the folder could not be searched", len(why)); !strings.Contains(boiler[1], want) {
		t.Errorf("got thought %q, want %q in it", boiler[1], want)
	}
	want := map[string]string{
		".env": "hidden", ".git/": "hidden", "a/.hidden/": "hidden", "binary.md": "binary", "latin1.txt": "not UTF-8", "large.md": "larger than 1 MiB",
		"line.md": "has a line of more than 16 KiB", strings.Repeat("d/", 17): "too deep", "dead.md": "there is no such file", "loop": "not a file",
	}
	maps.Copy(want, special)
	for _, link := range []string{"out.md", "up.md", "out"} {
		if !strings.Contains(why[link], "escapes") {
			t.Errorf("got %q for the link %s, want that it escapes", why[link], link)
		}
		delete(why, link)
	}
	if diff := cmp.Diff(want, why); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
}

func TestALinkWithinTheFolderIsADocument(t *testing.T) {
	dir := folder(t, map[string]string{"docs/a.md": "The anchor is rusty.\n"})
	if err := os.Symlink("docs/a.md", filepath.Join(dir, "b.md")); err != nil {
		t.Fatal(err)
	}
	got := quotes(t, ask(t, build(t, docsagent.Options{Dir: dir}), "anchor").text)
	if len(got) != 2 || got[0].file != "b.md" || got[1].file != "docs/a.md" {
		t.Errorf("got %v, want the document under both names", got)
	}
}

func TestTheNumberOfFilesIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range 2003 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%04d.md", i)), []byte("a\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	told := tell(t, docsagent.Options{Dir: dir}, agent.Call{Name: "list"})
	if n := len(told["files"].([]any)) + int(told["more"].(float64)); n != 2000 {
		t.Errorf("got %d files, want 2000", n)
	}
	if first := told["skipped"].([]any)[0].(map[string]any); first["file"] != "f2000.md" || first["why"] != "more than 2000 files" {
		t.Errorf("got %v skipped, want f2000.md for the number of files", first)
	}
}

func TestTheSizeOfAFolderIsBounded(t *testing.T) {
	dir := t.TempDir()
	page := []byte(strings.Repeat(strings.Repeat("x", 1023)+"\n", 1024)) // 1 MiB
	for i := range 33 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%02d.md", i)), page, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(t, dir, "g.md", "small\n")
	told := tell(t, docsagent.Options{Dir: dir}, agent.Call{Name: "list"})
	want := []any{map[string]any{"file": "f32.md", "why": "the folder has more than 32 MiB"}, map[string]any{"file": "g.md", "why": "the folder has more than 32 MiB"}}
	if diff := cmp.Diff(want, told["skipped"]); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
}

func TestReadGivesLinesOfDocumentsOnly(t *testing.T) {
	dir := folder(t, house)
	put(t, dir, ".env", secret)
	put(t, dir, "empty.md", "")
	put(t, dir, "windows.txt", "\uFEFFone\r\ntwo\r\n")
	put(t, dir, "long.md", strings.Repeat("line\n", 1000))
	outside := folder(t, map[string]string{"far.md": secret})
	if err := os.Symlink(outside+"/far.md", filepath.Join(dir, "out.md")); err != nil {
		t.Fatal(err)
	}
	line := func(n int, text string) any { return map[string]any{"line": float64(n), "text": text} }
	for _, tt := range []struct {
		name, args string
		lines      []any // all, or
		count      int
		refusal    string
	}{
		{name: "some", args: `{"file":"heating.md","from":2,"to":3}`, lines: []any{line(2, ""), line(3, "The boiler is in the cellar, behind the wine.")}},
		{name: "to beyond the end", args: `{"file":"garden.md","from":5,"to":99}`, lines: []any{line(5, "- Tomatoes want water every evening.")}},
		{name: "all", args: `{"file":"windows.txt"}`, lines: []any{line(1, "one"), line(2, "two")}},
		{name: "an empty file", args: `{"file":"empty.md"}`, lines: []any{}},
		{name: "as much as there may be", args: `{"file":"long.md","from":301}`, count: 200},
		{name: "from beyond the end", args: `{"file":"garden.md","from":6}`, refusal: `lines 6 to 5: \"garden.md\" has 1 to 5`},
		{name: "backwards", args: `{"file":"garden.md","from":3,"to":2}`, refusal: `lines 3 to 2`},
		{name: "below zero", args: `{"file":"garden.md","from":-1}`, refusal: `lines -1 to 5`},
		{name: "no such file", args: `{"file":"no.md"}`, refusal: `\"no.md\" is not read: there is no such file`},
		{name: "a folder", args: `{"file":"people"}`, refusal: "not a file"},
		{name: "the folder", args: `{"file":"."}`, refusal: "not a path below the folder"},
		{name: "no file", args: `{}`, refusal: "not a path below the folder"},
		{name: "hidden", args: `{"file":".env"}`, refusal: "hidden"},
		{name: "above", args: `{"file":"../far.md"}`, refusal: "not a path below the folder"},
		{name: "absolute", args: `{"file":"/etc/passwd"}`, refusal: "not a path below the folder"},
		{name: "a link that leads out", args: `{"file":"out.md"}`, refusal: "escapes"},
		{name: "a field of another type", args: `{"file":"garden.md","from":"1"}`, refusal: "from must be a whole number"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			told := tell(t, docsagent.Options{Dir: dir}, agent.Call{Name: "read", Arguments: tt.args})
			if text := fmt.Sprint(told); strings.Contains(text, secret) || strings.Contains(text, dir) {
				t.Fatalf("got %s, want nothing of what is no document", text)
			}
			if tt.refusal != "" {
				if text, _ := told["error"].(string); !strings.Contains(text, strings.ReplaceAll(tt.refusal, `\"`, `"`)) {
					t.Errorf("got %v, want the error %q", told, tt.refusal)
				}
				return
			}
			lines, _ := told["lines"].([]any)
			if tt.count > 0 {
				if len(lines) != tt.count || told["more"] != true || told["of"] != 1000.0 {
					t.Errorf("got %d lines, more: %v, of %v, want %d, and more, of 1000", len(lines), told["more"], told["of"], tt.count)
				}
				return
			}
			if diff := cmp.Diff(tt.lines, lines); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSearchRefusesWhatItCannotLookFor(t *testing.T) {
	for _, tt := range []struct{ name, args, want string }{
		{"no word", `{"query":"what is it?"}`, "query has no word to look for"},
		{"no query", `{}`, "query has no word to look for"},
		{"too many hits", `{"query":"boiler","limit":21}`, "limit is 21, must be 1 to 20"},
		{"fewer than none", `{"query":"boiler","limit":-1}`, "limit is -1, must be 1 to 20"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			told := tell(t, docsagent.Options{Dir: folder(t, house)}, agent.Call{Name: "search", Arguments: tt.args})
			if text, _ := told["error"].(string); !strings.Contains(text, tt.want) {
				t.Errorf("got %v, want the error %q", told, tt.want)
			}
		})
	}
}

// tell is what a model is told when it makes one call.
func tell(t *testing.T, opts docsagent.Options, c agent.Call) (told map[string]any) {
	t.Helper()
	c.ID = "1"
	opts.Model = func(_ context.Context, req agent.Request, out io.Writer) ([]agent.Call, error) {
		last := req.Messages[len(req.Messages)-1]
		if last.Role != agent.RoleTool {
			return []agent.Call{c}, nil
		}
		told = decode[map[string]any](t, []byte(last.Text))
		_, err := out.Write([]byte("Done."))
		return nil, err
	}
	ask(t, build(t, opts), "?")
	return told
}
