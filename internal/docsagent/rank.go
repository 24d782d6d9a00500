package docsagent

import (
	"cmp"
	"context"
	"math"
	"path"
	"slices"
	"strings"
)

// Ranking is BM25 over passages. A word counts more where a heading has it, where it is set
// in bold or as code, and at the start, since that is how a text shows what it is about. A
// passage loses for words of the question that it lacks, and for not being prose, since
// answers are seldom in lists of names. The weights were tried with questions about the
// project's own documents; see the tests.
const (
	saturation = 1.2  // k1 of BM25: how soon more of the same word says no more
	byLength   = 0.45 // b of BM25: how much long passages lose
	shortest   = 24   // words: passages do not gain by being shorter

	weightBold    = 2.5
	weightCode    = 1.2
	weightFirst   = 0.5 // more for the first words of a passage
	weightTitle   = 1.2 // the nearest heading
	weightOuter   = 0.5 // the headings above it, and the file's name
	weightColumns = 0.9 // the names of a row's columns
	weightPart    = 0.5 // a part of an identifier in the question, against the whole
	introduced    = 0.4 // what a passage introduces, rows, items or code, against the rest of it

	byCoverage = 0.7  // what a passage would lose that lacks all words
	byTitle    = 0.4  // how much a word covers that only a heading has, or only a row or an item
	byStyle    = 0.4  // what a passage loses that is not prose at all
	byMeaning  = 0.3  // what a passage wins that says what a word is, where a question is for that
	byPromise  = 0.4  // what a passage loses that ends with a colon, and what follows is not in it
	proseShare = 0.25 // of filler in prose
)

// A hit is a passage that has a word of the question, or is below a heading that has it.
type hit struct {
	passage
	file    file
	score   float64
	has     []bool  // by word of the query
	covered float64 // 0 to 1: how much of the query that is, rare words counting more
	best    int     // the line that has most of it; only the first hits know
}

// section is the nearest heading.
func (h hit) section() string {
	if len(h.headings) == 0 {
		return ""
	}
	return h.headings[len(h.headings)-1]
}

// missing are the words that h has not.
func (h hit) missing(q query) (missing []queryWord) {
	for i, has := range h.has {
		if !has {
			missing = append(missing, q.words[i])
		}
	}
	return missing
}

// ranked is what a search found.
type ranked struct {
	hits     []hit       // best first; of equals, the first one by file and line
	unknown  []queryWord // that no passage has
	passages int         // of all files
}

// rank searches files. It ends early when ctx does.
func rank(ctx context.Context, q query, files []file) ranked {
	r := &ranking{query: q, ids: map[string][]int{}}
	for i, word := range q.words {
		for j, term := range word.terms {
			weight := 1.0
			if 0 < j && j <= word.parts {
				weight = weightPart / float64(word.parts)
			} else if j > word.parts {
				weight = weightPart // its neighbour has it too
			}
			r.ids[term] = append(r.ids[term], len(r.of))
			r.of, r.weight = append(r.of, i), append(r.weight, weight)
		}
	}
	r.df = make([]int, len(r.of))
	for _, f := range files {
		if ctx.Err() != nil {
			break
		}
		r.gather(f)
	}
	return r.score()
}

// ranking is a query at work. A term is a way to find a word, see terms.
type ranking struct {
	query
	ids    map[string][]int // term → its places in of, weight and df
	of     []int            // the word of the query
	weight []float64
	df     []int // passages that have it

	// What is gathered of all passages.
	found    []candidate
	passages int
	length   float64 // in words

	scratch []string
}

// candidate is a passage that has something.
type candidate struct {
	hit
	tally
	body []bool // what the passage has without headings, by word of the query
}

// gather takes the passages of one document.
func (r *ranking) gather(f file) {
	lines := make([]tally, len(f.lines))
	for i, line := range f.lines {
		lines[i] = r.count(line, f.format == markdown)
	}
	name := r.count(strings.TrimSuffix(f.name, path.Ext(f.name)), false)
	var headings []string
	var above tally
	above.add(name, weightOuter)
	for _, p := range split(f.lines, f.format) {
		if !slices.Equal(p.headings, headings) {
			headings, above = p.headings, r.above(name, p.headings)
		}
		r.take(f, p, lines, above)
	}
}

// above is what the headings of a passage have.
func (r *ranking) above(name tally, headings []string) (above tally) {
	above.add(name, weightOuter)
	for i, heading := range headings {
		weight := weightOuter
		if i == len(headings)-1 {
			weight = weightTitle
		}
		above.add(r.count(heading, false), weight)
	}
	return above
}

func (r *ranking) take(f file, p passage, lines []tally, above tally) {
	var sum, intro tally
	for i, line := range lines[p.from-1 : p.to] {
		share := 1.0
		if p.intro > 0 && p.from+i > p.intro {
			share = introduced
		} else {
			intro.add(line, 1)
		}
		sum.length += line.length * share
		sum.filler += line.filler * share
		sum.meaning = sum.meaning || line.meaning && share == 1
		sum.add(line, share)
	}
	if f.format == markdown && fenceLine.MatchString(f.lines[p.from-1]) {
		sum.filler = 0 // whatever it says, code is not prose
	}
	r.passages++
	r.length += max(sum.length, shortest)
	own := sum.counts != nil
	if p.columns > 0 {
		sum.add(lines[p.columns-1], weightColumns)
	}
	body := sum.counts
	if p.items {
		body = intro.counts
	}
	c := candidate{hit: hit{passage: p, file: f}, body: r.has(body)}
	if own {
		sum.add(r.count(firstWords(f.lines[p.from-1], 4), false), weightFirst)
		sum.meaning = sum.meaning || r.isAbout(f.lines[p.from-1])
	}
	sum.add(above, 1)
	if sum.counts == nil {
		return
	}
	for id, n := range sum.counts {
		if n > 0 {
			r.df[id]++
		}
	}
	c.tally, c.has = sum, r.has(sum.counts)
	r.found = append(r.found, c)
}

// isAbout reports whether line begins with a word of the query, after an article perhaps.
func (r *ranking) isAbout(line string) bool {
	for word := range words(line) {
		switch strings.ToLower(word) {
		case "a", "an", "the", "der", "die", "das", "ein", "eine":
			continue
		}
		whole := terms(nil, word)[0]
		return slices.ContainsFunc(r.words, func(w queryWord) bool { return w.terms[0] == whole })
	}
	return false
}

// firstWords is line up to its n-th word.
func firstWords(line string, n int) string {
	at := 0
	for word := range words(line) {
		if n--; n < 0 {
			return line[:at]
		}
		at += strings.Index(line[at:], word) + len(word)
	}
	return line
}

// A tally is what a text has of the query.
type tally struct {
	length  float64   // in words
	filler  float64   // of them
	meaning bool      // it says what a word of the query is
	counts  []float64 // by term; nil: none
}

// count counts text. Marks: those of Markdown mean something.
func (r *ranking) count(text string, marks bool) (t tally) {
	asked := false // the last word is in the query
	for span, mark := range spans(text, marks) {
		weight := 1.0
		switch {
		case mark == bold:
			weight = weightBold
		case mark == code:
			weight = weightCode
		}
		for word := range words(span) {
			t.length++
			if isFiller(word, false) {
				t.filler++
			}
			if isCopula(word) && asked {
				t.meaning = true
			}
			asked = false
			r.scratch = terms(r.scratch[:0], word)
			for i, term := range r.scratch {
				for _, id := range r.ids[term] {
					if t.counts == nil {
						t.counts = make([]float64, len(r.of))
					}
					t.counts[id] += weight
					asked = asked || i == 0 && (mark != code || len(r.scratch) > 1) // a command is no name
					t.meaning = t.meaning || mark == bold
				}
			}
		}
	}
	return t
}

// add adds what other has, with a weight.
func (t *tally) add(other tally, weight float64) {
	if other.counts == nil {
		return
	}
	if t.counts == nil {
		t.counts = make([]float64, len(other.counts))
	}
	for i, n := range other.counts {
		t.counts[i] += n * weight
	}
}

// has says for each word of the query whether it is there: the whole, all parts if they will do, or joined.
func (r *ranking) has(counts []float64) []bool {
	has := make([]bool, len(r.words))
	if counts == nil {
		return has
	}
	id := 0
	for i, word := range r.words {
		terms := counts[id : id+len(word.terms)]
		none := func(n float64) bool { return n == 0 }
		some := func(n float64) bool { return n > 0 }
		parts, joined := terms[1:1+word.parts], terms[1+word.parts:]
		has[i] = terms[0] > 0 || word.loose && word.parts > 0 && !slices.ContainsFunc(parts, none) || slices.ContainsFunc(joined, some)
		id += len(terms)
	}
	return has
}

// score orders what was gathered.
func (r *ranking) score() ranked {
	rarity := make([]float64, len(r.of)) // by term: the idf of BM25
	for id, df := range r.df {
		rarity[id] = math.Log(1 + (float64(r.passages-df)+0.5)/(float64(df)+0.5))
	}
	average := r.length / float64(max(r.passages, 1))
	result := ranked{hits: make([]hit, 0, len(r.found)), passages: r.passages}
	known := make([]bool, len(r.words))
	for _, c := range r.found {
		for i, has := range c.has {
			known[i] = known[i] || has
		}
		c.covered = r.coverage(c, rarity)
		norm := saturation * (1 - byLength + byLength*max(c.length, shortest)/average)
		for id, n := range c.counts {
			c.score += r.weight[id] * rarity[id] * n * (saturation + 1) / (n + norm)
		}
		prose := min(1, c.filler/max(c.length, 1)/proseShare)
		c.score *= (1 - byCoverage*(1-c.covered)) * (1 - byStyle*(1-prose))
		if r.defining && c.meaning {
			c.score *= 1 + byMeaning
		}
		if c.intro == 0 && strings.HasSuffix(strings.TrimRight(c.file.lines[c.to-1], " *_"), ":") {
			c.score *= 1 - byPromise
		}
		result.hits = append(result.hits, c.hit)
	}
	for i, is := range known {
		if !is {
			result.unknown = append(result.unknown, r.words[i])
		}
	}
	slices.SortFunc(result.hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.file.name, b.file.name), cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	})
	for i := range min(len(result.hits), maxHits) {
		result.hits[i].best = r.bestLine(result.hits[i], rarity)
	}
	return result
}

// coverage is how much of the query c has, by the rarity of words.
func (r *ranking) coverage(c candidate, rarity []float64) float64 {
	covered, total, id := 0.0, 0.0, 0
	for i, word := range r.words {
		switch total += rarity[id]; {
		case c.body[i]:
			covered += rarity[id]
		case c.has[i]:
			covered += rarity[id] * byTitle
		}
		id += len(word.terms)
	}
	return covered / total
}

// bestLine is the line of h that has most.
func (r *ranking) bestLine(h hit, rarity []float64) int {
	best, most := h.from, 0.0
	for line := h.from; line <= h.to; line++ {
		value := 0.0
		for id, n := range r.count(h.file.lines[line-1], h.file.format == markdown).counts {
			if n > 0 {
				value += r.weight[id] * rarity[id]
			}
		}
		if value > most {
			best, most = line, value
		}
	}
	return best
}
