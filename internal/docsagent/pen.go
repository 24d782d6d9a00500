package docsagent

import (
	"context"
	"io"
	"strings"
	"time"
	"unicode"
)

// pen writes text word by word at a pace, the first word at once.
type pen struct {
	out    io.Writer
	ticker *time.Ticker // nil: no pace
	wrote  bool
}

func newPen(out io.Writer, wordsPerSecond int) *pen {
	p := &pen{out: out}
	if wordsPerSecond > 0 {
		p.ticker = time.NewTicker(time.Second / time.Duration(wordsPerSecond))
	}
	return p
}

// stop must be called when nothing more is to be written.
func (p *pen) stop() {
	if p.ticker != nil {
		p.ticker.Stop()
	}
}

// write ends early when ctx does, or with the error of out.
func (p *pen) write(ctx context.Context, text string) error {
	for text != "" {
		word := len(text)
		if p.ticker != nil {
			word = wordLength(text)
		}
		if err := p.wait(ctx); err != nil {
			return err
		}
		if _, err := io.WriteString(p.out, text[:word]); err != nil {
			return err
		}
		text = text[word:]
	}
	return nil
}

// wait waits until the next word is due.
func (p *pen) wait(ctx context.Context) error {
	if p.ticker == nil || !p.wrote {
		p.wrote = true
		return ctx.Err()
	}
	select {
	case <-p.ticker.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wordLength is the length of the first word of text, with the space around it.
func wordLength(text string) int {
	word := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsSpace(r) })
	if word < 0 {
		return len(text)
	}
	space := strings.IndexFunc(text[word:], unicode.IsSpace)
	if space < 0 {
		return len(text)
	}
	rest := strings.IndexFunc(text[word+space:], func(r rune) bool { return !unicode.IsSpace(r) })
	if rest < 0 {
		return len(text)
	}
	return word + space + rest
}
