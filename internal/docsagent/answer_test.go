package docsagent_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/docs"
	"github.com/netra-systems/switchboard/internal/docsagent"
	"github.com/netra-systems/switchboard/wire"
)

// house is a folder of documents about something that no model knows.
var house = map[string]string{
	"heating.md": `# Heating

The boiler is in the cellar, behind the wine.

## When it is cold

Turn the red valve to the left until it clicks. A blue light means that the boiler runs; a
yellow one that it has no water.

If there is no water:

` + "```sh" + `
valve --open inlet
wait 30s

valve --close inlet
` + "```" + `

## Settings

| setting | what it does | default |
|---|---|---|
| ` + "`night_temp`" + ` | how warm it is kept while everybody sleeps | 16 |
| ` + "`max_pressure`" + ` | above this the safety valve opens | 2.5 bar |
| ` + "`holiday`" + ` | frost protection only | off |
`,
	"people/guests.txt": `GUESTS
======

Guests sleep in the attic. Their towels are in the chest.

Breakfast is at eight. Whoever wakes up late finds bread in the
wooden box and honey above the stove.

Nobody may feed the parrot after midnight.
`,
	"garden.md": `# The garden

- **Roses** are cut in March, never in autumn.
- The **pond** freezes from December on: take out the pump before.
- Tomatoes want water every evening.
`,
}

func TestAnAnswerQuotesTheRightLine(t *testing.T) {
	dir := folder(t, house)
	a := build(t, docsagent.Options{Dir: dir})
	for _, tt := range []struct {
		name, question string
		want           quote // the first one
	}{
		{"a paragraph", "What does the blue light mean?", quote{"Turn the red valve to the left until it clicks. A blue light means that the boiler runs; a\nyellow one that it has no water.", "heating.md", 7}},
		{"a short one", "Where is the boiler?", quote{"The boiler is in the cellar, behind the wine.", "heating.md", 3}},
		{"code, whole, with what introduces it", "How do I open the inlet?", quote{"If there is no water:\n\n```sh\nvalve --open inlet\nwait 30s\n\nvalve --close inlet\n```", "heating.md", 10}},
		{"a row of a table", "What is max_pressure?", quote{"| `max_pressure` | above this the safety valve opens | 2.5 bar |", "heating.md", 24}},
		{"an identifier by its parts", "what is the night temp", quote{"| `night_temp` | how warm it is kept while everybody sleeps | 16 |", "heating.md", 23}},
		{"an identifier in another style", "maxPressure?", quote{"| `max_pressure` | above this the safety valve opens | 2.5 bar |", "heating.md", 24}},
		{"an item of a list", "When does the pond freeze?", quote{"- The **pond** freezes from December on: take out the pump before.", "garden.md", 4}},
		{"another form of the word", "cutting a rose", quote{"- **Roses** are cut in March, never in autumn.", "garden.md", 3}},
		{"a word of the heading", "How do the guests get breakfast?", quote{"Breakfast is at eight. Whoever wakes up late finds bread in the\nwooden box and honey above the stove.", "people/guests.txt", 6}},
		{"plain text", "May I feed the parrot?", quote{"Nobody may feed the parrot after midnight.", "people/guests.txt", 9}},
		{"capitals", "TOWELS", quote{"Guests sleep in the attic. Their towels are in the chest.", "people/guests.txt", 4}},
		{"a German question", "Wo ist der Boiler?", quote{"The boiler is in the cellar, behind the wine.", "heating.md", 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ask(t, a, tt.question)
			all := quotes(t, got.text)
			if len(all) == 0 {
				t.Fatalf("got no quote in:\n%s", got.text)
			}
			if diff := cmp.Diff(tt.want, all[0], cmp.AllowUnexported(quote{})); diff != "" {
				t.Errorf("first quote (-want +got):\n%s", diff)
			}
			verbatim(t, os.DirFS(dir), all)
		})
	}
}

// projectQuestions are about the project's documents, which change: answers are checked for
// being quotes, not for which.
var projectQuestions = []string{
	"How does a client resume?", "What is a gap?", "What happens to slow clients?", "How do I publish from curl?",
	"What is an epoch?", "Which close code means that the token has expired?", "How much memory does an idle connection need?",
	"What does BUSY mean?", "What is session_restore?", "How are rooms joined?", "How are duplicates avoided?", "What is a cursor?",
	"Wie kommt ein Client zurück?", "Was ist ein Topic?", "How is a mutant tested?", "Which limits are there on message size?",
	"Who may import internal/hub?", "How does authentication work?", "What does the hub lock?", "Where do wake-ups get lost?",
	"What is a position?", "How do I read the history of a room?", "What is Switchboard?", "Are messages delivered in order?",
}

func TestAnswersAboutTheProjectAreQuotesThatItsEventsShow(t *testing.T) {
	a := build(t, docsagent.Options{})
	for _, question := range projectQuestions {
		t.Run(question, func(t *testing.T) {
			got := ask(t, a, question)
			all := quotes(t, got.text)
			if len(all) == 0 || len(all) > 3 {
				t.Fatalf("got %d quotes, want 1 to 3, in:\n%s", len(all), got.text)
			}
			verbatim(t, docs.Files, all)
			calls := got.calls(t)
			if len(calls) != 1+len(all) || calls[0].Tool != "search" {
				t.Fatalf("got calls %v, want a search and a read for each of %d quotes", calls, len(all))
			}
			for i, q := range all {
				read := calls[1+i]
				if read.Tool != "read" || read.Parameters["file"] != q.file || read.Parameters["from"] != float64(q.line) {
					t.Errorf("got %s%v, want the read of quote %s:%d", read.Tool, read.Parameters, q.file, q.line)
				}
				first := read.Result["lines"].([]any)[0].(map[string]any)
				text, _, _ := strings.Cut(q.text, "\n")
				if shown := first["text"] == text || utf8.RuneCountInString(text) > 500; !shown || first["line"] != float64(q.line) { // viewers see 500
					t.Errorf("the quote begins with %q, and what was read with %v", text, first)
				}
			}
		})
	}
}

func TestTheSlowClientIsFoundInTheProjectsDocuments(t *testing.T) {
	got := ask(t, build(t, docsagent.Options{}), "What happens to slow clients?")
	if first := quotes(t, got.text)[0].text; !strings.Contains(first, "slow") || !strings.Contains(first, "client") {
		t.Errorf("got quote %q, want one on slow clients", first)
	}
}

// The page of switchboard dev proposes questions such as these.
func TestQuestionsThatAreHeadingsAreAnsweredFromBelowThem(t *testing.T) {
	a := build(t, docsagent.Options{})
	for _, tt := range []struct{ question, file, has string }{
		{"What does resume promise?", "concepts.md", "gets what it missed"},
		{"What happens to a client that is slow?", "concepts.md", "holds up nobody else"},
		{"How do I stop an agent?", "concepts.md", "Send `stop_agent`"},
		{"What is a gap?", "concepts.md", "A gap is a message"},
		{"Can anybody else see my messages?", "concepts.md", "no others"},
		{"How do I publish a message with curl?", "getting-started.md", "API key"},
		{"What does a reverse proxy need?", "embedding.md", "pass the upgrade on"},
	} {
		t.Run(tt.question, func(t *testing.T) {
			got := ask(t, a, tt.question)
			if first := quotes(t, got.text)[0]; first.file != tt.file || !strings.Contains(first.text, tt.has) {
				t.Errorf("got %s:%d first, with\n%s\nwant %q in %s", first.file, first.line, first.text, tt.has, tt.file)
			}
		})
	}
}

func TestTheSameQuestionHasTheSameAnswer(t *testing.T) {
	a := build(t, docsagent.Options{})
	first := ask(t, a, "What is a position?").text
	for range 5 {
		if again := ask(t, a, "What is a position?").text; again != first {
			t.Fatalf("got another answer:\n%s\nwant:\n%s", again, first)
		}
	}
}

func TestEventsSayWhatWasDone(t *testing.T) {
	got := ask(t, build(t, docsagent.Options{Dir: folder(t, house)}), "What does the blue light mean?")
	want := []wire.MessageType{
		wire.AgentStarted, wire.AgentThinking, wire.ToolExecuting, wire.ToolCompleted, wire.AgentThinking,
		wire.ToolExecuting, wire.ToolCompleted, wire.StreamOpen, wire.StreamComplete, wire.AgentCompleted,
	}
	if diff := cmp.Diff(want, got.types()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	search := got.calls(t)[0]
	if search.Parameters["query"] != "What does the blue light mean?" {
		t.Errorf("got query %v, want the question", search.Parameters["query"])
	}
	if diff := cmp.Diff([]any{"blue", "light"}, search.Result["words"]); diff != "" {
		t.Errorf("words (-want +got):\n%s", diff)
	}
	passages, files := search.Result["passages"].(map[string]any), search.Result["files"].(map[string]any)
	best := search.Result["hits"].([]any)[0].(map[string]any)
	if best["excerpt"] != "Turn the red valve to the left until it clicks. A blue light means that the boiler runs; a" || best["section"] != "When it is cold" {
		t.Errorf("got hit %v, want the line with the light, in its section", best)
	}
	thoughts := got.thoughts(t)
	if !strings.Contains(thoughts[0], "“blue” and “light”") || !strings.Contains(thoughts[0], "I leave out “What”, “does”, “the” and “mean”") {
		t.Errorf("got thought %q, want the words and those left out", thoughts[0])
	}
	for _, part := range []string{
		fmt.Sprintf("%v of %v passages in %v of %v files", passages["matching"], passages["searched"], files["matching"], files["searched"]),
		fmt.Sprintf("%v from line %v", best["file"], best["from"]), fmt.Sprintf("%.2f", best["score"]), "has all of them",
	} {
		if !strings.Contains(thoughts[1], part) {
			t.Errorf("got thought %q, want %q in it", thoughts[1], part)
		}
	}
	if !strings.HasPrefix(got.text, "On “blue” and “light”, heating.md says under “When it is cold”:\n\n> Turn") {
		t.Errorf("got answer %q, want a sentence before the quote", got.text)
	}
}

func TestAFileThatWasJustWrittenIsFound(t *testing.T) {
	dir := folder(t, house)
	a := build(t, docsagent.Options{Dir: dir})
	const question = "Where is the sundial?"
	if got := ask(t, a, question); len(quotes(t, got.text)) != 0 {
		t.Fatalf("got a quote before there is one:\n%s", got.text)
	}
	put(t, dir, "new/sundial.md", "The sundial is on the roof.\n")
	if got := quotes(t, ask(t, a, question).text); len(got) != 1 || got[0] != (quote{"The sundial is on the roof.", "new/sundial.md", 1}) {
		t.Fatalf("got %v, want the new file", got)
	}
	put(t, dir, "new/sundial.md", "The sundial is at the gate.\n") // as long, and perhaps within the clock's tick
	if got := quotes(t, ask(t, a, question).text); len(got) != 1 || got[0].text != "The sundial is at the gate." {
		t.Fatalf("got %v, want the file as it is now", got)
	}
	if err := os.RemoveAll(dir + "/new"); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, a, question); len(quotes(t, got.text)) != 0 {
		t.Errorf("got a quote of a file that is gone:\n%s", got.text)
	}
}

func TestWhatIsNotThereIsSaidPlainly(t *testing.T) {
	a := build(t, docsagent.Options{Dir: folder(t, house)})
	for _, tt := range []struct{ name, question, want string }{
		{"nothing", "How do I moor the yacht?", "I found nothing: in 3 documents there is no passage with “moor” or “yacht”. The documents are garden.md (“The garden”), heating.md (“Heating”) and people/guests.txt (“GUESTS”).\n"},
		{"filler only", "What is it?", "Your question has no word that I could look for. The documents are garden.md (“The garden”), heating.md (“Heating”) and people/guests.txt (“GUESTS”).\n"},
		{"no word at all", "?!", "Your question has no word that I could look for."},
		{"German", "Wie groß ist die Yacht?", "I found nothing: in 3 documents there is no passage with “groß” or “Yacht”."},
		{"signs of no language", "\u0301 ___ \u202e", "I found nothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ask(t, a, tt.question)
			if !strings.HasPrefix(got.text, tt.want) {
				t.Errorf("got %q, want %q", got.text, tt.want)
			}
			calls := got.calls(t)
			if last := calls[len(calls)-1]; last.Tool != "list" || len(last.Result["files"].([]any)) != 3 {
				t.Errorf("got %v as the last call, want the list of documents", last)
			}
		})
	}
	t.Run("a word", func(t *testing.T) {
		got := ask(t, a, "Does the yacht have a boiler?")
		if !strings.HasPrefix(got.text, "No document has “yacht”. What comes nearest has “boiler”. heating.md says") || len(quotes(t, got.text)) != 1 {
			t.Errorf("got %q, want what is missing and one quote", got.text)
		}
	})
	t.Run("words together", func(t *testing.T) {
		got := ask(t, a, "honey for roses")
		if !strings.HasPrefix(got.text, "What comes nearest has ") || !strings.Contains(got.text, " without ") {
			t.Errorf("got %q, want what the quote lacks", got.text)
		}
	})
	t.Run("documents", func(t *testing.T) {
		got := ask(t, build(t, docsagent.Options{Dir: t.TempDir()}), "Where is the boiler?")
		if want := "I found nothing: in 0 documents there is no passage with “boiler”. There are no documents.\n"; got.text != want {
			t.Errorf("got %q, want %q", got.text, want)
		}
	})
}

func TestAFolderThatIsGoneFailsTheRunInWords(t *testing.T) {
	dir := folder(t, house)
	a := build(t, docsagent.Options{Dir: dir})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	m := start(t)
	got := answer(t, m, begin(t, m), a, "Where is the boiler?")
	public, ok := errors.AsType[*switchboard.Error](got.err)
	if !ok || !strings.HasPrefix(public.Message, "the folder cannot be opened") || strings.Contains(public.Message, dir) {
		t.Errorf("got error %v, want one for users, without the path", got.err)
	}
	if calls := got.calls(t); len(calls) != 1 || !strings.HasPrefix(calls[0].Error, "the folder cannot be opened") {
		t.Errorf("got calls %v, want a search that failed", calls)
	}
}

func TestADocumentThatChangesWhileItIsReadIsSearchedAgain(t *testing.T) {
	versions := &shifting{
		first: fstest.MapFS{"a.md": {Data: []byte("The key is under the mat.\n")}},
		then:  fstest.MapFS{"a.md": {Data: []byte("New.\n\nThe key is in the pot.\n")}},
	}
	got := ask(t, build(t, docsagent.Options{FS: versions}), "Where is the key?")
	if all := quotes(t, got.text); len(all) != 1 || all[0] != (quote{"The key is in the pot.", "a.md", 3}) {
		t.Errorf("got %v, want the newer document", all)
	}
	if thoughts := got.thoughts(t); !strings.Contains(strings.Join(thoughts, "\n"), "changed since, so I search again") {
		t.Errorf("got thoughts %q, want that it searches again", thoughts)
	}
}

// shifting is another folder once a.md has been looked at and read.
type shifting struct {
	first, then fs.FS

	mu sync.Mutex // guards the fields below
	n  int        // how often a.md was opened
}

func (s *shifting) Open(name string) (fs.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == "a.md" {
		s.n++
	}
	if s.n <= 2 {
		return s.first.Open(name)
	}
	return s.then.Open(name)
}

func TestWordsComeAtTheirPace(t *testing.T) {
	for _, tt := range []struct {
		perSecond int
		want      time.Duration // between words
	}{
		{0, 0}, {4, 250 * time.Millisecond}, {docsagent.DefaultWordsPerSecond, 25 * time.Millisecond},
	} {
		t.Run(fmt.Sprint(tt.perSecond), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := build(t, docsagent.Options{FS: fstest.MapFS{"a.md": {Data: []byte("The key  is\tunder the mat.\n")}}, WordsPerSecond: tt.perSecond})
				m := start(t)
				run, began := begin(t, m), time.Now()
				got := answer(t, m, run, a, "Where is the key?")
				words := len(strings.Fields(got.text))
				if want := time.Duration(words-1) * tt.want; time.Since(began) != want {
					t.Errorf("%d words took %v, want %v", words, time.Since(began), want)
				}
				if !strings.Contains(got.text, "> The key  is\tunder the mat.\n") {
					t.Errorf("got %q, want the space between words as it is", got.text)
				}
			})
		})
	}
}

func TestStopEndsWithTheWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := build(t, docsagent.Options{WordsPerSecond: 1})
		m := start(t)
		run := begin(t, m)
		time.AfterFunc(4500*time.Millisecond, func() {
			if _, err := run.Cancel(context.Background(), "enough"); err != nil {
				t.Error(err)
			}
		})
		began := time.Now()
		got := answer(t, m, run, a, "What is a position?")
		if took := time.Since(began); took != 4500*time.Millisecond {
			t.Errorf("it ended after %v, want with the stop", took)
		}
		if !errors.Is(got.err, context.Canceled) && !errors.Is(got.err, switchboard.ErrRunCancelled) {
			t.Errorf("got error %v, want that of the stop", got.err)
		}
		if n := len(strings.Fields(got.text)); n != 5 || got.state != wire.StreamStateCancelled {
			t.Errorf("got %q (%s), want the 5 words until then, cancelled", got.text, got.state)
		}
	})
}

func TestManyAskAtOnce(t *testing.T) {
	a := build(t, docsagent.Options{Dir: folder(t, house), WordsPerSecond: 10_000})
	m := start(t)
	var all sync.WaitGroup
	for range 8 {
		run := begin(t, m)
		all.Go(func() {
			got := answer(t, m, run, a, "May I feed the parrot?")
			if got.err != nil || len(quotes(t, got.text)) != 1 {
				t.Errorf("got %q and error %v, want a quote", got.text, got.err)
			}
		})
	}
	all.Wait()
}

func TestABadQuestionIsRefused(t *testing.T) {
	m := start(t)
	got := answer(t, m, begin(t, m), build(t, docsagent.Options{}), "  ")
	if switchboard.CodeOf(got.err) != wire.CodeInvalidMessage {
		t.Errorf("got error %v, want INVALID_MESSAGE", got.err)
	}
}

func TestNewNamesWhatIsWrong(t *testing.T) {
	file := folder(t, map[string]string{"a.md": "a"}) + "/a.md"
	for _, tt := range []struct {
		name string
		opts docsagent.Options
		want string
	}{
		{"a pace below zero", docsagent.Options{WordsPerSecond: -1}, "WordsPerSecond is -1, must be 0 to 10000"},
		{"a pace beyond reason", docsagent.Options{WordsPerSecond: 1_000_000}, "WordsPerSecond is 1000000"},
		{"two folders", docsagent.Options{Dir: ".", FS: docs.Files}, "Dir and FS"},
		{"no such folder", docsagent.Options{Dir: file + "x"}, "Dir: "},
		{"a file", docsagent.Options{Dir: file}, "is not a folder"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := docsagent.New(tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q in it", err, tt.want)
			}
		})
	}
}
