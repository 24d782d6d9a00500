package docsagent

import (
	"path"
	"regexp"
	"strings"
)

// A passage is a part of a document that can be quoted: the lines from to to, counted from
// 1. Its first and its last line are not blank. Passages may lie in each other: a row of a
// table is one, and so is the table.
type passage struct {
	from, to int
	headings []string // of its section, outermost first
	columns  int      // of a row: the line that names its table's columns; else 0
	intro    int      // the last line of what introduces the rest: its columns, or words before it; else 0
	items    bool     // what is introduced are passages too: rows of a table, or items of a list
}

func (p passage) overlaps(q passage) bool { return p.from <= q.to && q.from <= p.to }

// A format is how much is known of a document's form.
type format int

const (
	plain    format = iota // paragraphs
	prose                  // and headings, which are underlined
	markdown               // and headings, tables, lists, code
)

func formatOf(name string) format {
	switch strings.ToLower(path.Ext(name)) {
	case ".md", ".markdown", ".mdx":
		return markdown
	case ".txt", ".text", ".rst", ".adoc", "":
		return prose
	}
	return plain
}

// Bounds of passages, in lines. Longer blocks are cut.
const (
	maxParagraph = 24
	maxBlock     = 80 // of code and of tables
	maxList      = 16 // of a list that is a passage together with what introduces it
)

// splitter cuts a document into passages. Every line that is not blank is in one, except
// headings, whose words their passages have, and rules.
type splitter struct {
	format
	lines    []string
	at       int // the next line, counted from 0
	sections []section
	out      []passage
	intro    bool // the last passage introduces what comes next: it ends with a colon
}

type section struct {
	title    string
	level    int
	from, to int  // the lines of the heading itself, counted from 0, to exclusive
	empty    bool // there is no passage in it yet
}

var (
	headingLine = regexp.MustCompile(`^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$`)
	underline   = regexp.MustCompile(`^ {0,3}(=+|-+)[ \t]*$`)
	ruleLine    = regexp.MustCompile(`^ {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$`)
	fenceLine   = regexp.MustCompile("^[ \t]*(`{3,}|~{3,})([^`]*)$")
	itemLine    = regexp.MustCompile(`^[ \t]*(?:[-*+]|[0-9]{1,9}[.)])[ \t]+[^ \t]`)
	firstItem   = regexp.MustCompile(`^[ \t]*(?:[-*+]|1[.)])[ \t]+[^ \t]`) // may follow a paragraph at once
	tableRule   = regexp.MustCompile(`^[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*\|)*[ \t]*:?-*:?[ \t]*$`)
)

// split returns the passages of a document in the order of their first lines.
func split(lines []string, f format) []passage {
	s := &splitter{lines: lines, format: f}
	for s.at < len(lines) {
		switch {
		case blank(lines[s.at]):
			s.at++
		case s.rule(), s.heading(), s.code(), s.table(), s.list():
		default:
			s.paragraph()
		}
	}
	s.leave(0)
	return s.out
}

func blank(line string) bool { return strings.TrimSpace(line) == "" }

// rule and those below take the block at s.at and report whether it is one of theirs.
func (s *splitter) rule() bool {
	if s.format != markdown || !ruleLine.MatchString(s.lines[s.at]) {
		return false
	}
	s.at++
	s.intro = false
	return true
}

func (s *splitter) heading() bool {
	line, from := s.lines[s.at], s.at
	switch found := headingLine.FindStringSubmatch(line); {
	case s.format == markdown && found != nil:
		s.at++
		s.enter(section{title: title(found[2]), level: len(found[1]), from: from, to: s.at})
	case s.underlined():
		level := 2
		if strings.Contains(s.lines[s.at+1], "=") {
			level = 1
		}
		s.at += 2
		s.enter(section{title: title(line), level: level, from: from, to: s.at})
	default:
		return false
	}
	return true
}

// underlined reports whether the line at s.at is a heading with a line below.
func (s *splitter) underlined() bool {
	if s.format == plain || s.at+1 == len(s.lines) {
		return false
	}
	line, below := s.lines[s.at], strings.TrimSpace(s.lines[s.at+1])
	return len(below) >= 3 && underline.MatchString(s.lines[s.at+1]) && !underline.MatchString(line) &&
		(s.format == prose || !itemLine.MatchString(line) && !fenceLine.MatchString(line))
}

func (s *splitter) code() bool {
	if s.format != markdown {
		return false
	}
	fence := fenceLine.FindStringSubmatch(s.lines[s.at])
	if fence == nil {
		return false
	}
	from := s.at
	for s.at++; s.at < len(s.lines); s.at++ {
		end := fenceLine.FindStringSubmatch(s.lines[s.at])
		if end != nil && blank(end[2]) && strings.HasPrefix(end[1], fence[1]) {
			s.at++
			break
		}
	}
	if !s.extend(maxBlock) {
		s.add(from, s.at, maxBlock)
	}
	return true
}

// table takes a table as one passage, and each of its rows.
func (s *splitter) table() bool {
	if !s.isTable(s.at) {
		return false
	}
	from := s.at
	for s.at < len(s.lines) && strings.Contains(s.lines[s.at], "|") {
		s.at++
	}
	if !s.extend(maxBlock) {
		s.add(from, s.at, maxBlock)
	}
	whole := &s.out[len(s.out)-1]
	whole.intro, whole.items = from+2, s.at-from > 3
	if first := from + 2; whole.items {
		for row := first; row < s.at; row++ {
			s.add(row, row+1, 1)
			s.out[len(s.out)-1].columns = from + 1
		}
	}
	return true
}

func (s *splitter) isTable(at int) bool {
	return s.format == markdown && at+1 < len(s.lines) && strings.Contains(s.lines[at], "|") &&
		strings.Contains(s.lines[at+1], "|") && strings.Contains(s.lines[at+1], "-") && tableRule.MatchString(s.lines[at+1])
}

// list takes items that follow each other without a blank line: each is a passage, and a
// short list is one together with its introduction.
func (s *splitter) list() bool {
	if s.format != markdown || !itemLine.MatchString(s.lines[s.at]) {
		return false
	}
	items := []int{s.at}
	for s.at++; s.at < len(s.lines); s.at++ {
		if line := s.lines[s.at]; itemLine.MatchString(line) && !ruleLine.MatchString(line) {
			items = append(items, s.at)
		} else if s.ends(s.at) {
			break
		}
	}
	if len(items) > 1 && s.extend(maxList) {
		s.out[len(s.out)-1].items = true
	}
	for i, from := range items {
		to := s.at
		if i+1 < len(items) {
			to = items[i+1]
		}
		s.add(from, to, maxParagraph)
	}
	return true
}

// ends reports whether a paragraph or an item ends before line at.
func (s *splitter) ends(at int) bool {
	line := s.lines[at]
	if blank(line) {
		return true
	}
	return s.format == markdown && (headingLine.MatchString(line) || fenceLine.MatchString(line) ||
		ruleLine.MatchString(line) || firstItem.MatchString(line) || s.isTable(at))
}

func (s *splitter) paragraph() {
	from := s.at
	for s.at++; s.at < len(s.lines) && !s.ends(s.at); s.at++ {
	}
	s.add(from, s.at, maxParagraph)
	s.intro = s.format == markdown && strings.HasSuffix(strings.TrimRight(s.lines[s.at-1], " \t*_"), ":")
}

// enter begins a section below those of a lower level.
func (s *splitter) enter(next section) {
	s.leave(next.level)
	next.empty = true
	s.sections = append(s.sections, next)
	s.intro = false
}

// leave ends the sections of level and above. The heading of an empty one is a passage, or
// nobody would find it.
func (s *splitter) leave(level int) {
	for n := len(s.sections) - 1; n >= 0 && s.sections[n].level >= level; n-- {
		last := s.sections[n]
		s.sections = s.sections[:n]
		if last.empty {
			s.add(last.from, last.to, maxBlock)
		}
	}
}

// add makes passages of at most size lines of those from from up to to, counted from 0.
func (s *splitter) add(from, to, size int) {
	var headings []string
	for i := range s.sections {
		s.sections[i].empty = false
		headings = append(headings, s.sections[i].title)
	}
	s.intro = false
	for ; from < to; from += size {
		p := passage{from: from + 1, to: min(from+size, to), headings: headings}
		for p.from <= p.to && blank(s.lines[p.to-1]) {
			p.to--
		}
		for p.from <= p.to && blank(s.lines[p.from-1]) {
			p.from++
		}
		if p.from <= p.to {
			s.out = append(s.out, p)
		}
	}
}

// extend makes the passage that introduces the block before s.at one with it, unless it
// would have more than size lines.
func (s *splitter) extend(size int) bool {
	if !s.intro || s.at-s.out[len(s.out)-1].from >= size {
		return false
	}
	last := &s.out[len(s.out)-1]
	last.intro, last.to = last.to, s.at
	s.intro = false
	return true
}

// title is a heading's text without marks.
func title(text string) string {
	return strings.TrimSpace(strings.NewReplacer("`", "", "**", "", "__", "").Replace(text))
}
