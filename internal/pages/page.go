// Package pages reads the project's documents, README.md, SECURITY.md and docs/*.md, for the tests that hold
// them to the code: every block of a document is compiled, run, parsed, or on a list.
package pages

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Readme is the file from which every document must be linked.
const Readme = "README.md"

// Security is the document in whose tables of threats each row names a test.
const Security = "SECURITY.md"

// A Page is one document. It is immutable.
type Page struct {
	File     string // slash-separated, below the module's root
	Headings []string
	Links    []Link
	Proofs   []Link // tests, benchmarks and mutants that stand in the text
	Unproved []int  // lines that are rows of a table whose last column is heldBy, without a proof
	Fences   []Fence
	lines    int
	held     bool // the table that is being read is such a one
}

// heldBy is the head of a column whose cells name tests.
const heldBy = "held by"

// A Link is a link to somewhere, which may be in the same page.
type Link struct {
	Line   int
	Target string
}

// A Fence is a block of code.
type Fence struct {
	Line     int // of its first fence
	Language string
	Code     string // its lines, each with its line break
	After    string // the language of the fence before, if only empty lines are between
}

// Name is the file that a block is, if its first line is a comment with one: "# ask.py", perhaps
// with a colon and more behind it.
func (f Fence) Name() string {
	first, _, _ := strings.Cut(f.Code, "\n")
	if m := fileComment.FindStringSubmatch(first); m != nil {
		return m[1]
	}
	return ""
}

var (
	fileComment = regexp.MustCompile(`^(?:#|//) ([\w-]+\.\w+)(?::.*)?$`)
	fenceMark   = regexp.MustCompile("^( *)(`{3,}|~{3,})(.*)$")
	heading     = regexp.MustCompile(`^#{1,6} +(.*?) *#*$`)
	codeSpan    = regexp.MustCompile("`[^`]*`")
	proof       = regexp.MustCompile("`((?:Test|Benchmark|Fuzz)[A-Z]\\w*|mutant_\\w+)`")
	declared    = regexp.MustCompile(`(?m)^(?:func ((?:Test|Benchmark|Fuzz)[A-Z]\w*)\(|//go:build (mutant_\w+)$)`)
	link        = regexp.MustCompile(`\]\(<?([^()\s>]+)>?\)`)
)

// Parse reads a page. The error says which line is wrong.
func Parse(file string, text []byte) (Page, error) {
	p := Page{File: file}
	var open *Fence
	after := ""
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		p.lines = i + 1
		mark := fenceMark.FindStringSubmatch(line)
		switch {
		case open != nil && line == "```":
			after = open.Language
			p.Fences = append(p.Fences, *open)
			open = nil
		case open != nil:
			open.Code += line + "\n"
		case mark != nil && (mark[1] != "" || mark[2] != "```"):
			return p, fmt.Errorf("%s:%d: a block must begin with three backticks at the start of its line", file, i+1)
		case mark != nil:
			open = &Fence{Line: i + 1, Language: mark[3], After: after}
		default:
			if strings.TrimSpace(line) != "" {
				after = ""
			}
			p.prose(i+1, line)
		}
	}
	if open != nil {
		return p, fmt.Errorf("%s:%d: the block does not end", file, open.Line)
	}
	return p, nil
}

func (p *Page) prose(n int, line string) {
	if m := heading.FindStringSubmatch(line); m != nil {
		p.Headings = append(p.Headings, m[1])
	}
	switch cells := strings.Split(line, "|"); {
	case !strings.HasPrefix(line, "|"):
		p.held = false
	case strings.TrimSpace(cells[max(0, len(cells)-2)]) == heldBy:
		p.held = true
	case p.held && !strings.HasPrefix(line, "|---") && !proof.MatchString(line):
		p.Unproved = append(p.Unproved, n)
	}
	for _, m := range proof.FindAllStringSubmatch(line, -1) {
		p.Proofs = append(p.Proofs, Link{Line: n, Target: m[1]})
	}
	// A link may have code as its text, but code may look like a link.
	bare := codeSpan.ReplaceAllStringFunc(line, func(s string) string { return strings.Repeat("x", len(s)) })
	for _, m := range link.FindAllStringSubmatch(bare, -1) {
		p.Links = append(p.Links, Link{Line: n, Target: m[1]})
	}
}

// Anchors are what links to headings of the page name, as GitHub makes them.
func (p Page) Anchors() []string {
	var all []string
	for _, h := range p.Headings {
		name, n := anchor(h), 0
		unique := name
		for slices.Contains(all, unique) {
			n++
			unique = fmt.Sprintf("%s-%d", name, n)
		}
		all = append(all, unique)
	}
	return all
}

func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

// Load reads README.md, SECURITY.md if there is one, and the documents in docs, in the order of their names.
func Load(root fs.FS) ([]Page, error) {
	files, err := fs.Glob(root, "docs/*.md")
	if err != nil {
		return nil, err
	}
	if _, err := fs.Stat(root, Security); err == nil {
		files = append([]string{Security}, files...)
	}
	var all []Page
	for _, file := range append([]string{Readme}, files...) {
		text, err := fs.ReadFile(root, file)
		if err != nil {
			return nil, err
		}
		p, err := Parse(file, bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")))
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// at is a place in the page.
func (p Page) at(line int) string { return fmt.Sprintf("%s:%d", p.File, line) }

// resolve returns the file and the anchor that a link of the page names.
func (p Page) resolve(target string) (file, anchor string) {
	file, anchor, _ = strings.Cut(target, "#")
	if file == "" {
		return p.File, anchor
	}
	return path.Join(cmp.Or(path.Dir(p.File), "."), file), anchor
}
