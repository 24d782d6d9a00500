package docsagent

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/agent"
	"github.com/netra-systems/switchboard/wire"
)

const (
	maxQuotes     = 3
	maxQuoteLines = 20
	maxQuoteSize  = 4 << 10 // bytes, if it has more than a line
	closeTo       = 0.75    // of the best score: what else is quoted
	tries         = 3       // of a search whose passages change while they are read
)

// answer answers without a model: it searches, reads what it chose, and quotes that.
func (a *Agent) answer(ctx context.Context, run *switchboard.Run, question string) error {
	q := ask(question)
	if err := run.Thinking(ctx, plan(q)); err != nil {
		return err
	}
	if len(q.words) == 0 {
		return a.overview(ctx, run, "Your question has no word that I could look for.")
	}
	for range tries {
		found, err := use(ctx, run, "search", searchArgs{Query: strings.TrimSpace(question), Limit: 2 * defaultHits}, a.library.search)
		if err != nil {
			return err
		}
		if len(found.Hits) == 0 {
			return a.overview(ctx, run, nothing(found))
		}
		quotes, err := a.read(ctx, run, found)
		if err != nil {
			return err
		}
		if len(quotes) > 0 {
			return a.write(ctx, run, compose(found, quotes))
		}
		if err := run.Thinking(ctx, "What I found has changed since, so I search again."); err != nil {
			return err
		}
	}
	return &toolError{errors.New("the documents change faster than they can be read")}
}

// overview says why there is no quote, and what documents there are.
func (a *Agent) overview(ctx context.Context, run *switchboard.Run, why string) error {
	all, err := use(ctx, run, "list", listArgs{}, a.library.list)
	if err != nil {
		return err
	}
	return a.write(ctx, run, why+" "+contents(all)+"\n")
}

// write writes the answer at the agent's pace.
func (a *Agent) write(ctx context.Context, run *switchboard.Run, text string) error {
	stream := run.Stream(agent.StreamName)
	p := newPen(stream, a.pace)
	defer p.stop()
	if err := p.write(ctx, text); err != nil {
		return err
	}
	return stream.Close()
}

// read reads the passages to quote. It returns none if what it reads is not what was found:
// the file has changed since.
func (a *Agent) read(ctx context.Context, run *switchboard.Run, found searchResult) ([]quote, error) {
	var quotes []quote
	for _, hit := range choose(found.Hits) {
		if err := run.Thinking(ctx, reasonFor(hit, found, len(quotes) == 0)); err != nil {
			return nil, err
		}
		from, to := window(hit.hit)
		got, err := use(ctx, run, "read", readArgs{File: hit.File, From: from, To: to}, a.library.read)
		if _, gone := errors.AsType[*toolError](err); gone {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		q := quote{searchHit: hit, from: from}
		for _, line := range got.Lines {
			q.lines = append(q.lines, line.Text)
		}
		if !slices.Equal(q.lines, hit.hit.file.lines[from-1:to]) {
			return nil, nil
		}
		quotes = append(quotes, q)
	}
	return quotes, nil
}

// choose takes the best hit and, if it is good, others that are about as good and lie
// elsewhere.
func choose(hits []searchHit) (chosen []searchHit) {
	if hits[0].hit.covered < enough {
		return hits[:1]
	}
	for _, h := range hits {
		elsewhere := !slices.ContainsFunc(chosen, func(c searchHit) bool { return c.File == h.File && c.hit.overlaps(h.hit.passage) })
		if elsewhere && h.Score >= hits[0].Score*closeTo && len(chosen) < maxQuotes {
			chosen = append(chosen, h)
		}
	}
	return chosen
}

// window is the lines of a hit to quote: all, or those around the best.
func window(h hit) (from, to int) {
	from, to = h.from, h.to
	size := func() (n int) {
		for _, line := range h.file.lines[from-1 : to] {
			n += len(line) + 1
		}
		return n
	}
	for to-from >= maxQuoteLines || to > from && (size() > maxQuoteSize || blank(h.file.lines[from-1]) || blank(h.file.lines[to-1])) {
		if to-h.best > h.best-from {
			to--
		} else {
			from++
		}
	}
	return from, to
}

// use calls a tool and shows that. Its error is a *toolError, or that of the run or ctx.
func use[Args, Result any](ctx context.Context, run *switchboard.Run, name string, args Args, call func(context.Context, Args) (Result, error)) (Result, error) {
	doing := run.Tool(ctx, name, args)
	result, err := call(ctx, args)
	if ctx.Err() != nil { // which is all that err may mean
		return result, ctx.Err()
	}
	if err == nil {
		return result, doing.End(ctx, result, nil)
	}
	if ended := doing.End(ctx, nil, err); ended != nil {
		return result, ended
	}
	return result, &toolError{err}
}

// A toolError is one that the agent's users may read.
type toolError struct{ err error }

func (e *toolError) Error() string { return e.err.Error() }

// Unwrap has the same for those who watch the run.
func (e *toolError) Unwrap() []error {
	return []error{&switchboard.Error{Code: wire.CodeBackendUnavailable, Message: e.err.Error()}, e.err}
}
