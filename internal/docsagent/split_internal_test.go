package docsagent

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMarkdownIsCutWhereItsBlocksEnd(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string // from-to, headings
	}{
		{"paragraphs", "one\ntwo\n\n\nthree\n", []string{"1-2 []", "5-5 []"}},
		{"headings", "# A\n\none\n\n## B ##\ntwo\n# C\nthree\n", []string{"3-3 [A]", "6-6 [A B]", "8-8 [C]"}},
		{"underlined headings", "A\n===\none\n\nB\n---\ntwo\n", []string{"3-3 [A]", "7-7 [A B]"}},
		{"a heading without a text", "# A\n## B\n## C\ntext\n# D\n", []string{"2-2 [A]", "4-4 [A C]", "5-5 []"}},
		{"no heading", "#hashtag\n####### seven\n", []string{"1-2 []"}},
		{"code", "text\n```go\n# no heading\n\n- no item\n```\nmore\n", []string{"1-1 []", "2-6 []", "7-7 []"}},
		{"code in other fences", "~~~~\n```\n~~~\n~~~~~\ntext\n", []string{"1-4 []", "5-5 []"}},
		{"code that does not end", "```\na\n\nb\n", []string{"1-4 []"}},
		{"code that is introduced", "Do this:\n\n```\na\n```\n", []string{"1-5 []"}},
		{"a table", "| a | b |\n|---|:-:|\n| 1 | 2 |\n| 3 | 4 |\n\ntext\n", []string{"1-4 []", "3-3 []", "4-4 []", "6-6 []"}},
		{"a table that is introduced", "See:\n\na | b\n--|--\n1 | 2\n", []string{"1-5 []"}},
		{"no table", "a | b\n\n|---|\n", []string{"1-1 []", "3-3 []"}},
		{"a list", "- one\n  more\n- two\n  1. three\n\ntext\n", []string{"1-2 []", "3-3 []", "4-4 []", "6-6 []"}},
		{"a list that is introduced", "All:\n- one\n- two\n", []string{"1-3 []", "2-2 []", "3-3 []"}},
		{"items far apart", "- one\n\n- two\n", []string{"1-1 []", "3-3 []"}},
		{"a number that begins a line", "It was in\n1984. A cold day.\n", []string{"1-2 []"}},
		{"rules", "one\n\n* * *\n\ntwo\n***\nthree\n", []string{"1-1 []", "5-5 []", "7-7 []"}},
		{"blank lines with space", "one\n \t\ntwo\n", []string{"1-1 []", "3-3 []"}},
		{"nothing", "\n\n", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, p := range split(lines(tt.text), markdown) {
				got = append(got, fmt.Sprintf("%d-%d %v", p.from, p.to, p.headings))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("passages (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOtherTextIsCutAtBlankLines(t *testing.T) {
	const text = "# comment\n- dash\n\n```\n\nTITLE\n=====\nbody\n"
	for f, want := range map[format][]string{
		plain: {"1-2 []", "4-4 []", "6-8 []"},
		prose: {"1-2 []", "4-4 []", "8-8 [TITLE]"},
	} {
		var got []string
		for _, p := range split(lines(text), f) {
			got = append(got, fmt.Sprintf("%d-%d %v", p.from, p.to, p.headings))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("format %d (-want +got):\n%s", f, diff)
		}
	}
}

func TestLongBlocksAreCut(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		most       int
	}{
		{"a paragraph", strings.Repeat("line\n", 1000), maxParagraph},
		{"code", "```\n" + strings.Repeat("line\n", 1000) + "```\n", maxBlock},
		{"a table", "|a|b|\n|-|-|\n" + strings.Repeat("|1|2|\n", 1000), maxBlock},
		{"a list", "All:\n" + strings.Repeat("- item\n", 1000), maxParagraph},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, p := range split(lines(tt.text), markdown) {
				if n := p.to - p.from + 1; n > tt.most {
					t.Errorf("got a passage of %d lines, want at most %d", n, tt.most)
				}
			}
		})
	}
}

func TestTheFormatIsThatOfTheName(t *testing.T) {
	for name, want := range map[string]format{"a.md": markdown, "A.MARKDOWN": markdown, "a.txt": prose, "README": prose, "x/a.go": plain, "a.yaml": plain} {
		if got := formatOf(name); got != want {
			t.Errorf("%s: got format %d, want %d", name, got, want)
		}
	}
}

// FuzzSplit cuts any text: passages are lines of it, and no line is lost.
func FuzzSplit(f *testing.F) {
	f.Add("# A\n\nSee:\n\n| a | b |\n|---|---|\n| 1 | 2 |\n", byte(markdown))
	f.Add("All:\n- one\n  more\n- two\n\n```go\n# x\n\n```\n***\nA\n===\n", byte(markdown))
	f.Add("A\r\n---\r\n\r\ntext\r\n", byte(prose))
	f.Add("~~~\n\n\n", byte(markdown))
	f.Add("a\n\nb\n", byte(plain))
	f.Fuzz(func(t *testing.T, text string, kind byte) {
		form := format(kind % 3)
		all := lines(text)
		found := make([]bool, len(all))
		last := 0
		for _, p := range split(all, form) {
			if p.from < 1 || p.to < p.from || p.to > len(all) {
				t.Fatalf("got lines %d to %d of %d", p.from, p.to, len(all))
			}
			if blank(all[p.from-1]) || blank(all[p.to-1]) {
				t.Errorf("got lines %d to %d, which begin or end blank", p.from, p.to)
			}
			if p.intro != 0 && (p.intro < p.from || p.intro > p.to) || p.columns != 0 && p.columns >= p.from {
				t.Errorf("got %+v, whose introduction or columns lie elsewhere", p)
			}
			if p.from < last {
				t.Errorf("got line %d after line %d", p.from, last)
			}
			last = p.from
			for i := p.from; i <= p.to; i++ {
				found[i-1] = true
			}
		}
		for i, line := range all {
			heading := form != plain && (underline.MatchString(line) || i+1 < len(all) && underline.MatchString(all[i+1])) ||
				form == markdown && (headingLine.MatchString(line) || ruleLine.MatchString(line))
			if !found[i] && !heading && !blank(line) {
				t.Errorf("line %d, %q, is in no passage", i+1, line)
			}
		}
	})
}

// FuzzQuotes asks any question of any document: what would be quoted is in it.
func FuzzQuotes(f *testing.F) {
	f.Add("# A\n\nThe key is under the mat:\n\n```\nkey\n```\n", "Where is the key?", "a.md")
	f.Add("session_restore wake-ups HTTPServer", "sessionRestore wakeups server", "a.txt")
	f.Add("|a|b|\n|-|-|\n|key|mat|\n|1|2|\n", "key mat", "b.md")
	f.Add("\u0301 ÄÖ ﬁ", "ﬁ \xff _-_", "c")
	f.Fuzz(func(t *testing.T, text, question, name string) {
		doc := file{name: name, format: formatOf(name), lines: lines(strings.ToValidUTF8(text, "?"))}
		q := ask(question)
		if len(q.words) == 0 {
			return
		}
		got := rank(t.Context(), q, []file{doc})
		for i, h := range got.hits {
			if h.score <= 0 || h.covered < 0 || h.covered > 1+1e-9 || len(h.has) != len(q.words) {
				t.Errorf("got score %v, coverage %v, %d words of %d", h.score, h.covered, len(h.has), len(q.words))
			}
			if i >= maxHits {
				break
			}
			if h.best < h.from || h.best > h.to {
				t.Errorf("got line %d as the best of %d to %d", h.best, h.from, h.to)
			}
			if from, to := window(h); from < h.from || to > h.to || from > h.best || to < h.best || to-from >= maxQuoteLines {
				t.Errorf("got lines %d to %d of %d to %d, best %d", from, to, h.from, h.to, h.best)
			}
		}
		again := rank(t.Context(), q, []file{doc})
		if !slices.EqualFunc(got.hits, again.hits, func(a, b hit) bool { return a.from == b.from && a.to == b.to && a.score == b.score }) {
			t.Error("the same question found something else")
		}
	})
}
