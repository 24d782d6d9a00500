package docsagent

import (
	"context"
	"slices"
	"strings"
	"time"
)

const (
	maxQuestions  = 4
	maxTried      = 16      // headings, of which questions are made
	maxSurveyed   = 4 << 20 // bytes of a folder that is searched for questions
	maxHeadline   = 60      // bytes of a heading in a question
	headingsTaken = 4       // of one document

	maxAsking = time.Second // until then questions are tried; a page waits for them
)

// A Survey is what somebody has to know who is about to ask.
type Survey struct {
	Files     int
	Questions []string // that the documents answer; there may be none
}

// ownQuestions are some that the project's own documents answer well.
func ownQuestions() []string {
	return []string{
		"What does resume promise?", "What happens to a client that is slow?", "How do I stop an agent?", "What is a gap?",
	}
}

// Survey reads the folder, as it is now, which takes as long as it is large. The questions of
// a folder that is not the project's own are made of its headings, and each has been asked:
// what is found first for it is below that heading. In a large folder there are as many as were
// found within a second.
func (a *Agent) Survey(ctx context.Context) (Survey, error) {
	found, err := a.library.open.look(ctx)
	if err != nil {
		return Survey{}, err
	}
	s := Survey{Files: len(found.files)}
	switch {
	case a.own:
		s.Questions = ownQuestions()
	case found.bytes <= maxSurveyed:
		s.Questions = questionsWithin(ctx, maxAsking, found.files)
	}
	return s, ctx.Err()
}

func questionsWithin(ctx context.Context, d time.Duration, files []file) []string {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return questions(ctx, files)
}

func questions(ctx context.Context, files []file) (all []string) {
	for _, heading := range headings(files) {
		if len(all) == maxQuestions || ctx.Err() != nil {
			break
		}
		question := heading
		if !strings.HasSuffix(heading, "?") {
			question = "What is there to know about “" + heading + "”?"
		}
		if answers(ctx, question, heading, files) && ctx.Err() == nil { // else not all has been looked at
			all = append(all, question)
		}
	}
	return all
}

// answers reports whether the answer to a question would begin below the heading, and have
// all its words.
func answers(ctx context.Context, question, heading string, files []file) bool {
	q := ask(question)
	if len(q.words) == 0 {
		return false
	}
	hits := rank(ctx, q, files).hits
	return len(hits) > 0 && hits[0].covered >= enough && len(hits[0].missing(q)) == 0 && hits[0].section() == heading
}

// headings takes some of each document, in turns, so that no document has all the questions.
func headings(files []file) (all []string) {
	var each [][]string
	for _, f := range files {
		var some []string
		for _, p := range split(f.lines, f.format) {
			if len(p.headings) == 0 || len(some) == headingsTaken {
				continue
			}
			h := p.headings[len(p.headings)-1]
			if len(h) > 1 && len(h) <= maxHeadline && !strings.ContainsAny(h, "“”") && !slices.Contains(some, h) {
				some = append(some, h)
			}
		}
		each = append(each, some)
	}
	for turn := range headingsTaken {
		for _, some := range each {
			if turn < len(some) && len(all) < maxTried && !slices.Contains(all, some[turn]) {
				all = append(all, some[turn])
			}
		}
	}
	return all
}
