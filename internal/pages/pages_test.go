package pages_test

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/internal/pages"
)

func TestTheDocumentsAreTrueToTheCode(t *testing.T) {
	problems, err := pages.Check(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

// block is a fenced block.
func block(language, code string) string { return "```" + language + "\n" + code + "\n```\n" }

const goodGo = "if err := run.Thinking(ctx, \"…\"); err != nil {\n\treturn err\n}"

// house is a module whose documents keep every rule.
func house() map[string]string {
	return map[string]string{
		"README.md": "# House\n\nSee [the guide](docs/guide.md#a-door-and-a-key) and [itself](#house).\n\n" + block("go", goodGo),
		"docs/guide.md": "# Guide\n\n## A `door`, and a key\n\n[Up](../README.md), [far](https://example.com/#x), [code](../guide_example_test.go), `[no](link)`.\n\n" +
			block("python", "# ask.py: python3 ask.py\nprint(1)") + block("sh", "python3 ask.py") + "\n" + block("json", `{"n":…}`) + "\nText.\n\n" +
			block("json", `{"type":"ping","payload":{"n":1}} {"type":"pong"}`+"\n"+`{"n":[1,2]}`),
		"docs/protocol.md":      "# Protocol\n\n" + block("", "GET / 200"),
		"guide_example_test.go": "package house_test\n\nfunc Example() {\n\tfor {\n\t\t" + strings.ReplaceAll(goodGo, "\n", "\n\t\t") + "\n\t}\n}\n",
		"door_test.go":          "package house\n\nfunc TestDoor(t *testing.T) {}\n",
		"mutant_door.go":        "//go:build mutant_door\n\npackage house\n",
		"testdata/more.md":      "[broken](nowhere.md)",
	}
}

func check(t *testing.T, files map[string]string) []string {
	t.Helper()
	tree := fstest.MapFS{}
	for name, text := range files {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	problems, err := pages.Check(tree)
	if err != nil {
		return []string{err.Error()}
	}
	return problems
}

func TestEveryRuleCatchesADocumentThatBreaksIt(t *testing.T) {
	const guide, readme = "docs/guide.md", "README.md"
	link := "\n[all](docs/guide.md) [of](docs/protocol.md) [them](docs/more.md)\n"
	for _, tt := range []struct {
		name string
		file string
		text string
		want []string // parts of the problems, in order
	}{
		{"nothing is wrong", readme, house()[readme] + "[p](docs/protocol.md)\n", nil},
		{"a document without a link", readme, house()[readme], []string{"docs/protocol.md:1: README.md has no link to it"}},
		{"a link to no file", guide, "# G\n## A door and a key\n[x](nowhere.md)\n", []string{"docs/guide.md:3: there is no docs/nowhere.md"}},
		{"a link to no heading", guide, "# G\n## A door and a key\n[x](protocol.md#nothing)\n", []string{"docs/guide.md:3: docs/protocol.md has no heading #nothing"}},
		{"a link to no heading of its own", guide, "# G\n## A door and a key\n[x](#nothing)\n", []string{"docs/guide.md:3: docs/guide.md has no heading #nothing"}},
		{"a heading that others link to is renamed", guide, "# G\n", []string{"README.md:3: docs/guide.md has no heading #a-door-and-a-key"}},
		{"Go that no example has", guide, "## A door and a key\n" + block("go", "return nil, io.EOF"), []string{"docs/guide.md:2: no example that is compiled has this block"}},
		{"Go of which an example has only the beginning", guide, "## A door and a key\n" + block("go", goodGo+"\nreturn nil"), []string{"docs/guide.md:2: no example"}},
		{"Go at another indentation within", guide, "## A door and a key\n" + block("go", strings.ReplaceAll(goodGo, "\t", "\t\t")), []string{"docs/guide.md:2: no example"}},
		{"Python without a name", guide, "## A door and a key\n" + block("python", "print(1)"), []string{"docs/guide.md:2: the block must begin with a comment"}},
		{"Python that nobody starts", guide, "## A door and a key\n" + block("python", "# ask.py\nprint(1)") + block("sh", "python3 ask.pyc"), []string{"docs/guide.md:2: no sh block of the page runs ask.py"}},
		{"no JSON", guide, "## A door and a key\n" + block("json", `{"n":…}`), []string{"docs/guide.md:2: value 1 is no JSON"}},
		{"no JSON, and not directly behind a command", guide, "## A door and a key\n" + block("sh", "ls") + "Prints:\n" + block("json", `{"n":…}`), []string{"docs/guide.md:6: value 1 is no JSON"}},
		{"a message that nobody would accept", guide, "## A door and a key\n" + block("json", `{} {"type":"ping","type":"ping"}`), []string{"docs/guide.md:2: value 2 is no message"}},
		{"a message with a field of another kind", guide, "## A door and a key\n" + block("json", `{"type":"ping","offset":"1"}`), []string{"docs/guide.md:2: value 1 is no message"}},
		{"a message whose type is no text", guide, "## A door and a key\n" + block("json", `{"type":1}`), []string{"docs/guide.md:2: value 1 is no message"}},
		{"a test that is not there", guide, "## A door and a key\nSee `TestDoor`, `TestWindow` and `mutant_door`, `mutant_key`; `Tester` is a word.\n", []string{"docs/guide.md:2: there is no TestWindow", "docs/guide.md:2: there is no mutant_key"}},
		{"a language that nobody checks", guide, "## A door and a key\n" + block("nginx", "listen 80;"), []string{`docs/guide.md:2: nobody checks a block of "nginx" here`}},
		{"a language that is checked elsewhere only", guide, "## A door and a key\n" + block("yaml", "a: 1"), []string{`docs/guide.md:2: nobody checks a block of "yaml" here`}},
		{"a block without a language", guide, "## A door and a key\n" + block("", "picture"), []string{`docs/guide.md:2: nobody checks a block of "" here`}},
		{"a block that does not end", guide, "## A door and a key\n```go\nx", []string{"docs/guide.md:2: the block does not end"}},
		{"a block that hides in a list", guide, "## A door and a key\n  ```go\n  x\n  ```\n", []string{"docs/guide.md:2: a block must begin with three backticks"}},
		{"a block that hides in tildes", guide, "## A door and a key\n~~~\nx\n~~~\n", []string{"docs/guide.md:2: a block must begin with three backticks"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := house()
			if tt.file != readme {
				files[readme] += "[p](docs/protocol.md)\n"
			}
			files[tt.file] = tt.text
			got := check(t, files)
			if len(got) != len(tt.want) {
				t.Fatalf("got problems %q, want %q", got, tt.want)
			}
			for i, want := range tt.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("got problem %q, want %q", got[i], want)
				}
			}
		})
	}
	t.Run("a new document", func(t *testing.T) {
		files := house()
		files[readme] += link
		files["docs/more.md"] = "# More\n"
		if got := check(t, files); got != nil {
			t.Errorf("got problems %q, want none", got)
		}
		files[readme] = house()[readme] + "[p](docs/protocol.md)\n"
		if got := check(t, files); len(got) != 1 || !strings.HasPrefix(got[0], "docs/more.md:1: README.md has no link to it") {
			t.Errorf("got problems %q, want that nobody finds it", got)
		}
	})
	t.Run("the code of an example is another", func(t *testing.T) {
		files := house()
		files[readme] += link
		files["docs/more.md"] = "# More\n"
		files["guide_example_test.go"] = strings.Replace(files["guide_example_test.go"], "Thinking", "Progress", 1)
		if got := check(t, files); len(got) != 1 || !strings.HasPrefix(got[0], "README.md:5: no example") {
			t.Errorf("got problems %q, want that of the block", got)
		}
	})
	t.Run("code that is no example", func(t *testing.T) {
		files := house()
		files[readme] += link
		files["docs/more.md"] = "# More\n"
		files["testdata/guide_example_test.go"] = files["guide_example_test.go"] // not compiled
		files["guide.go"] = files["guide_example_test.go"]
		delete(files, "guide_example_test.go")
		files[guide] = strings.Replace(files[guide], "../guide_example_test.go", "../guide.go", 1)
		if got := check(t, files); len(got) != 1 || !strings.HasPrefix(got[0], "README.md:5: no example") {
			t.Errorf("got problems %q, want that of the block", got)
		}
	})
}

func TestAnchorsAreThoseOfGitHub(t *testing.T) {
	p, err := pages.Parse("x.md", []byte("# What is a gap?\n## `serve` & co.\n## Über uns_2 -\n## What is a gap?\n```\n# no heading\n```\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"what-is-a-gap", "serve--co", "über-uns_2--", "what-is-a-gap-1"}
	if diff := cmp.Diff(want, p.Anchors()); diff != "" {
		t.Errorf("anchors (-want +got):\n%s", diff)
	}
}

func TestAScriptComparesWhatBlocksPrint(t *testing.T) {
	text := "# X\n" + block("yaml", "# app.yaml\na: 1") + block("sh", "one") + block("json", "{\"a\":\"…\"}\n[…2…]") +
		block("sh", "two") + "Text.\n" + block("json", "{}") + block("go", "x := 1")
	p, err := pages.Parse("docs/x.md", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s := p.Script()
	if diff := cmp.Diff(map[string]string{"app.yaml": "# app.yaml\na: 1\n"}, s.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	end := pages.EndOfBlock + "\n"
	if want := "one\n\necho; echo '" + pages.EndOfBlock + "'\ntwo\n"; !strings.HasPrefix(s.Text, want) {
		t.Errorf("got script %q, want it to begin with %q", s.Text, want)
	}
	for _, tt := range []struct {
		name, out string
		want      []string
	}{
		{"as the page says", "{\"a\":\"b\"}\n[1,2,3]\n" + end + "anything\n" + end, nil},
		{"without line breaks", "{\"a\":\"b\"}[1,2,3]" + end + end, nil},
		{"something else", "{\"a\":\"b\"}\n[1,3]\n" + end + end, []string{"docs/x.md:6: got\n"}},
		{"more than the page says", "{\"a\":\"b\"}\n[1,2,3]\nmore\n" + end + end, []string{"docs/x.md:6: got\n"}},
		{"nothing", end + end, []string{"docs/x.md:6: got\n"}},
		{"a refusal", "{\"a\":\"b\"}\n[1,2,3]\n" + end + `{"type":"about:blank","status":404}` + end, []string{"docs/x.md:13: a call was refused"}},
		{"a shell that ended early", "{\"a\":\"b\"}\n[1,2,3]\n" + end, []string{"1 of 2 blocks ended"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := s.Compare(tt.out)
			if len(got) != len(tt.want) {
				t.Fatalf("got problems %q, want %q", got, tt.want)
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("got problem %q, want %q", got[i], want)
				}
			}
		})
	}
}
