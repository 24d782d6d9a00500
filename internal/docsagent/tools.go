package docsagent

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/netra-systems/switchboard/agent"
)

const (
	defaultHits = 5
	maxHits     = 20
	maxRead     = 200      // lines of one call
	maxReadSize = 48 << 10 // bytes of one call
	maxListed   = 200      // files
	maxSkips    = 20       // that are named
	maxExcerpt  = 200      // bytes, about
)

// library is the tools over a folder.
type library struct{ open source }

// skips is what was not read, as every result that looked at the folder says it.
type skips struct {
	Skipped     []skip `json:"skipped,omitempty"`
	SkippedMore int    `json:"skipped_more,omitempty"` // besides those
}

func skipsOf(all []skip) skips {
	n := min(len(all), maxSkips)
	return skips{Skipped: all[:n], SkippedMore: len(all) - n}
}

type searchArgs struct {
	Query string `json:"query"`
	Limit int    `json:"limit,omitempty"`
}

type searchResult struct {
	Hits     []searchHit `json:"hits"`
	Words    []string    `json:"words"`               // that were looked for
	NotFound []string    `json:"not_found,omitempty"` // that no passage has
	Passages count       `json:"passages"`
	Files    count       `json:"files"`
	skips
}

// count is how many of all have a word of the query.
type count struct {
	Matching int `json:"matching"`
	Searched int `json:"searched"`
}

type searchHit struct {
	File    string   `json:"file"`
	From    int      `json:"from"`
	To      int      `json:"to"`
	Section string   `json:"section,omitempty"` // the nearest heading
	Score   float64  `json:"score"`
	Missing []string `json:"missing,omitempty"` // words that it has not
	Excerpt string   `json:"excerpt"`           // its best line

	hit hit
}

// search finds passages.
func (l library) search(ctx context.Context, args searchArgs) (searchResult, error) {
	args.Limit = cmp.Or(args.Limit, defaultHits)
	q := ask(args.Query)
	switch {
	case args.Limit < 0 || args.Limit > maxHits:
		return searchResult{}, fmt.Errorf("limit is %d, must be 1 to %d", args.Limit, maxHits)
	case len(q.words) == 0:
		return searchResult{}, fmt.Errorf("query has no word to look for: %q", args.Query)
	}
	found, err := l.open.look(ctx)
	if err != nil {
		return searchResult{}, err
	}
	ranked := rank(ctx, q, found.files)
	if err := ctx.Err(); err != nil {
		return searchResult{}, err
	}
	result := searchResult{
		Hits:     []searchHit{},
		Words:    texts(q.words),
		NotFound: texts(ranked.unknown),
		Passages: count{Matching: len(ranked.hits), Searched: ranked.passages},
		Files:    count{Searched: len(found.files)},
		skips:    skipsOf(found.skipped),
	}
	files := map[string]bool{}
	for i, h := range ranked.hits {
		files[h.file.name] = true
		if i < args.Limit {
			result.Hits = append(result.Hits, searchHit{
				File: h.file.name, From: h.from, To: h.to, Section: h.section(), Score: math.Round(h.score*1000) / 1000,
				Missing: texts(h.missing(q)), Excerpt: excerpt(h.file.lines[h.best-1]), hit: h,
			})
		}
	}
	result.Files.Matching = len(files)
	return result, nil
}

func texts(words []queryWord) []string {
	var all []string
	for _, word := range words {
		all = append(all, word.text)
	}
	return all
}

// excerpt is a line, cut after a word.
func excerpt(line string) string {
	line = strings.TrimSpace(line)
	if len(line) <= maxExcerpt {
		return line
	}
	cut := strings.ToValidUTF8(line[:maxExcerpt], "")
	if i := strings.LastIndexByte(cut, ' '); i > 0 {
		cut = cut[:i]
	}
	return cut + " …"
}

type readArgs struct {
	File string `json:"file"`
	From int    `json:"from,omitempty"`
	To   int    `json:"to,omitempty"`
}

type readResult struct {
	File  string     `json:"file"`
	Of    int        `json:"of"` // lines of the file
	Lines []readLine `json:"lines"`
	More  bool       `json:"more,omitempty"` // the rest of the lines asked for: they are too many
}

type readLine struct {
	Line int    `json:"line"`
	Text string `json:"text"`
}

// read returns lines of a document.
func (l library) read(_ context.Context, args readArgs) (readResult, error) {
	doc, err := l.document(args.File)
	if err != nil {
		return readResult{}, err
	}
	from, to := cmp.Or(args.From, 1), cmp.Or(args.To, len(doc.lines))
	if from < 1 || to < from && to != 0 || from > max(len(doc.lines), 1) {
		return readResult{}, fmt.Errorf("lines %d to %d: %q has 1 to %d", from, to, args.File, len(doc.lines))
	}
	result := readResult{File: doc.name, Of: len(doc.lines), Lines: []readLine{}}
	size := 0
	for i := from; i <= min(to, len(doc.lines)); i++ {
		text := doc.lines[i-1]
		if size += len(text); len(result.Lines) == maxRead || size > maxReadSize {
			result.More = true
			break
		}
		result.Lines = append(result.Lines, readLine{Line: i, Text: text})
	}
	return result, nil
}

// document reads one document.
func (l library) document(name string) (file, error) {
	fsys, closer, err := l.open()
	if err != nil {
		return file{}, fmt.Errorf("the folder cannot be opened: %w", pathless(err))
	}
	defer closer.Close()
	doc, err := open(fsys, name, maxFile)
	if err != nil {
		return file{}, &missing{fmt.Errorf("file %q is not read: %w", name, err)}
	}
	return doc, nil
}

type listArgs struct{}

type listResult struct {
	Files []listFile `json:"files"`
	More  int        `json:"more,omitempty"` // files besides those
	skips
}

type listFile struct {
	File  string `json:"file"`
	Title string `json:"title,omitempty"` // the first heading
	Lines int    `json:"lines"`
	Bytes int    `json:"bytes"`
}

// list returns what documents there are.
func (l library) list(ctx context.Context, _ listArgs) (listResult, error) {
	found, err := l.open.look(ctx)
	if err != nil {
		return listResult{}, err
	}
	n := min(len(found.files), maxListed)
	result := listResult{Files: []listFile{}, More: len(found.files) - n, skips: skipsOf(found.skipped)}
	for _, f := range found.files[:n] {
		result.Files = append(result.Files, listFile{File: f.name, Title: f.title(), Lines: len(f.lines), Bytes: f.bytes})
	}
	return result, nil
}

// tools are those of a model, by the same functions.
func (l library) tools() []agent.Tool {
	return []agent.Tool{
		{
			Name:        "search",
			Description: "Find the passages that fit a query best, best first, with file, first and last line, score and their best line. Words are matched by their stems; identifiers also by their parts.",
			Parameters:  json.RawMessage(`{"type":"object","properties":{"query":{"type":"string","description":"words to look for"},"limit":{"type":"integer","minimum":1,"maximum":20,"description":"at most so many hits; 5 if left out"}},"required":["query"],"additionalProperties":false}`),
			Call:        agent.Typed(func(ctx context.Context, args searchArgs) (any, error) { return l.search(ctx, args) }),
		},
		{
			Name:        "read",
			Description: "Read lines of one document, at most 200 at a time.",
			Parameters:  json.RawMessage(`{"type":"object","properties":{"file":{"type":"string","description":"as search and list name it"},"from":{"type":"integer","minimum":1,"description":"first line; 1 if left out"},"to":{"type":"integer","minimum":1,"description":"last line; that of the file if left out"}},"required":["file"],"additionalProperties":false}`),
			Call:        agent.Typed(func(ctx context.Context, args readArgs) (any, error) { return l.read(ctx, args) }),
		},
		{
			Name:        "list",
			Description: "List the documents with their titles and sizes.",
			Call:        agent.Typed(func(ctx context.Context, args listArgs) (any, error) { return l.list(ctx, args) }),
		},
	}
}
