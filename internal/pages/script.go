package pages

import (
	"fmt"
	"regexp"
	"strings"
)

// A Script is what a reader does who carries out the shell blocks of a page, in their order, in
// one shell.
type Script struct {
	Text  string            // for bash; after each block it prints [EndOfBlock] on a line of its own
	Files map[string]string // blocks that are files, by name, to be there before it starts
	want  []printed
}

// printed is what a block of the page should print.
type printed struct {
	at   string
	text string // "": the page does not say
}

// EndOfBlock separates the outputs of blocks.
const EndOfBlock = "-- end of block"

// Script makes a script of the page. Its Text is empty if the page has no shell block.
func (p Page) Script() Script {
	s := Script{Files: map[string]string{}}
	var text strings.Builder
	for i, f := range p.Fences {
		if name := f.Name(); name != "" && s.Files[name] == "" {
			s.Files[name] = f.Code
		}
		if f.Language != "sh" {
			continue
		}
		fmt.Fprintf(&text, "%s\necho; echo '%s'\n", f.Code, EndOfBlock)
		block := printed{at: p.at(f.Line)}
		if i+1 < len(p.Fences) && p.Fences[i+1].Language == "json" && p.Fences[i+1].After == "sh" {
			block.text = p.Fences[i+1].Code
		}
		s.want = append(s.want, block)
	}
	s.Text = text.String()
	return s
}

// Compare returns how what the script printed differs from what the page says. In a page …
// stands for anything within a line. Where the page does not say what a block prints, it may be
// anything but the refusal of a call.
func (s Script) Compare(out string) (problems []string) {
	parts := strings.Split(out, EndOfBlock+"\n")
	if len(parts) != len(s.want)+1 {
		return []string{fmt.Sprintf("%d of %d blocks ended", len(parts)-1, len(s.want))}
	}
	for i, want := range s.want {
		got := strings.TrimSpace(parts[i])
		if want.text == "" {
			if strings.Contains(got, `"type":"about:blank"`) {
				problems = append(problems, fmt.Sprintf("%s: a call was refused:\n%s", want.at, got))
			}
			continue
		}
		pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(want.text)), "…", "[^\n]*")
		pattern = strings.ReplaceAll(pattern, "\n", "\n*") // answers may end without a line break
		if !regexp.MustCompile("^" + pattern + "$").MatchString(got) {
			problems = append(problems, fmt.Sprintf("%s: got\n%s\nwant\n%s", want.at, got, want.text))
		}
	}
	return problems
}
