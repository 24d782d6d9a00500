package pages

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/netra-systems/switchboard/wire"
)

// elsewhere are languages of blocks that are neither compiled nor run as part of their page:
// where they may stand, and who holds them to the truth, or why nobody has to.
func elsewhere() map[string]map[string]string {
	return map[string]map[string]string{
		"": {
			"docs/architecture.md":  "a picture",
			"docs/concepts.md":      "pictures",
			"docs/configuration.md": "what check prints",
			"docs/operations.md":    "what a drain and its proof print, with the numbers of one run",
			"docs/protocol.md":      "calls and events, shown without their headers",
		},
		"yaml": {"docs/configuration.md": "internal/config loads each"},
	}
}

// Check returns what is wrong with the documents below root, in the order of the documents. It
// does not run anything: see [Page.Script].
func Check(root fs.FS) (problems []string, err error) {
	all, err := Load(root)
	if err != nil {
		return nil, err
	}
	sources, proofs, err := examples(root)
	if err != nil {
		return nil, err
	}
	c := checker{root: root, sources: sources, proofs: proofs, pages: map[string]Page{}}
	for _, p := range all {
		c.pages[p.File] = p
	}
	for _, p := range all {
		c.links(p)
		for _, f := range p.Fences {
			c.fence(p, f)
		}
		if p.File == Security {
			for _, line := range p.Unproved {
				c.say(p.at(line), "the row names no test")
			}
		}
		for _, proof := range p.Proofs {
			if !c.proofs[proof.Target] {
				c.say(p.at(proof.Line), "there is no %s", proof.Target)
			}
		}
	}
	for _, p := range all[1:] {
		linked := func(l Link) bool {
			file, _ := all[0].resolve(l.Target)
			return file == p.File
		}
		if !slices.ContainsFunc(all[0].Links, linked) {
			c.say(p.at(1), "%s has no link to it", Readme)
		}
	}
	return c.problems, nil
}

type checker struct {
	root     fs.FS
	pages    map[string]Page
	sources  map[string][]string // lines, by file
	proofs   map[string]bool     // names of tests, benchmarks and mutants
	problems []string
}

func (c *checker) say(at, format string, args ...any) {
	c.problems = append(c.problems, at+": "+fmt.Sprintf(format, args...))
}

// links holds links to files and headings to what is there. Those to other servers are left alone.
func (c *checker) links(p Page) {
	for _, l := range p.Links {
		if strings.Contains(l.Target, "://") || strings.HasPrefix(l.Target, "mailto:") {
			continue
		}
		file, anchor := p.resolve(l.Target)
		if _, err := fs.Stat(c.root, file); err != nil {
			c.say(p.at(l.Line), "there is no %s", file)
			continue
		}
		if anchor == "" {
			continue
		}
		to, known := c.pages[file]
		if !known && path.Ext(file) == ".md" {
			if text, err := fs.ReadFile(c.root, file); err == nil {
				to, _ = Parse(file, text)
			}
		}
		if !slices.Contains(to.Anchors(), anchor) {
			c.say(p.at(l.Line), "%s has no heading #%s", file, anchor)
		}
	}
}

// fence holds a block to the rule of its language.
func (c *checker) fence(p Page, f Fence) {
	switch f.Language {
	case "go":
		if !slices.ContainsFunc(slices.Collect(maps.Values(c.sources)), func(lines []string) bool { return contains(lines, f.Code) }) {
			c.say(p.at(f.Line), "no example that is compiled has this block")
		}
	case "sh":
		// Page.Script has it.
	case "python":
		if name := f.Name(); name == "" {
			c.say(p.at(f.Line), "the block must begin with a comment that names its file: nobody could run it")
		} else if !runs(p, name) {
			c.say(p.at(f.Line), "no sh block of the page runs %s", name)
		}
	case "json":
		if f.After == "sh" {
			return // what that prints
		}
		if err := checkJSON(f.Code); err != nil {
			c.say(p.at(f.Line), "%v", err)
		}
	default:
		if _, listed := elsewhere()[f.Language][p.File]; !listed {
			c.say(p.at(f.Line), "nobody checks a block of %q here", f.Language)
		}
	}
}

// runs reports whether a shell block of p names a file.
func runs(p Page, name string) bool {
	return slices.ContainsFunc(p.Fences, func(f Fence) bool {
		return f.Language == "sh" && slices.Contains(strings.Fields(f.Code), name)
	})
}

// checkJSON parses values, one behind the other. Those that have a type are messages, and read
// as strictly as the server and its clients do.
func checkJSON(text string) error {
	dec := json.NewDecoder(strings.NewReader(text))
	for n := 1; ; n++ {
		var value json.RawMessage
		switch err := dec.Decode(&value); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("value %d is no JSON: %w", n, err)
		}
		var message struct{ Type *json.RawMessage }
		if json.Unmarshal(value, &message) != nil || message.Type == nil {
			continue
		}
		if _, err := wire.ParseAnswer(bytes.TrimSpace(value)); err != nil {
			return fmt.Errorf("value %d is no message: %w", n, err)
		}
	}
}

// examples are the files whose code documents show: those with examples of the packages, and
// the programs in examples. All of them are compiled with the module. proofs are the names of the
// module's tests, benchmarks and mutants.
func examples(root fs.FS) (sources map[string][]string, proofs map[string]bool, err error) {
	sources, proofs = map[string][]string{}, map[string]bool{}
	err = fs.WalkDir(root, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if file != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		text, err := fs.ReadFile(root, file)
		if err != nil {
			return err
		}
		if strings.HasSuffix(name, "example_test.go") || strings.HasPrefix(file, "examples/") {
			sources[file] = strings.Split(string(text), "\n")
		}
		if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "mutant_") {
			for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
				proofs[cmp.Or(m[1], m[2])] = true
			}
		}
		return nil
	})
	return sources, proofs, err
}

// contains reports whether lines have those of code, in a row, at any indentation.
func contains(lines []string, code string) bool {
	want := strings.Split(strings.TrimSuffix(code, "\n"), "\n")
	for at := range lines {
		indent, ok := strings.CutSuffix(lines[at], want[0])
		if !ok || strings.Trim(indent, "\t") != "" || len(lines)-at < len(want) {
			continue
		}
		same := true
		for i, line := range want {
			if line != "" {
				line = indent + line
			}
			same = same && lines[at+i] == line
		}
		if same {
			return true
		}
	}
	return false
}
