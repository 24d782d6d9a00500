package docsagent_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/docs"
	"github.com/netra-systems/switchboard/internal/docsagent"
)

// answered fails the test unless the agent answers with a quote that has the words, and not
// with what only comes nearest.
func answered(t *testing.T, a *docsagent.Agent, question string, words ...string) []quote {
	t.Helper()
	text := ask(t, a, question).text
	if strings.Contains(text, "nearest") || strings.HasPrefix(text, "No document") {
		t.Errorf("%q: got an answer that is none:\n%s", question, text)
	}
	got := quotes(t, text)
	if len(got) == 0 {
		t.Fatalf("%q: got no quote:\n%s", question, text)
	}
	first := strings.ToLower(got[0].text)
	for _, word := range words {
		if !strings.Contains(first, word) {
			t.Errorf("%q: got no %q in the first quote:\n%s", question, word, got[0].text)
		}
	}
	return got
}

func TestTheProjectsDocumentsAnswerTheQuestionsThatAreProposed(t *testing.T) {
	a := build(t, docsagent.Options{})
	survey, err := a.Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	words := map[string][]string{
		"What happens to a client that is slow?": {"client", "slow"},
		"What does resume promise?":              {"resume", "promise"},
		"How do I stop an agent?":                {"stop", "agent"},
		"What is a gap?":                         {"gap"},
	}
	if len(survey.Questions) != len(words) || survey.Files < 5 {
		t.Errorf("got %+v, want %d questions about 5 files and more", survey, len(words))
	}
	for _, question := range survey.Questions {
		if words[question] == nil {
			t.Errorf("this test does not know what must be in the answer to %q", question)
		}
		verbatim(t, docs.Files, answered(t, a, question, words[question]...))
	}
}

func TestQuestionsAboutAFolderAreMadeOfHeadingsAndAnswered(t *testing.T) {
	dir := folder(t, map[string]string{
		"a.md": "# The house\n\nIt is old.\n\n## The boiler\n\nThe boiler is in the cellar.\n\n## Where is the key?\n\nThe key lies under the mat.\n",
		"b.md": "# The garden\n\nTomatoes grow in the garden.\n\n## The\n\nThe and the.\n\n## Nothing below\n",
		"c.go": "// # no heading\n",
	})
	a := build(t, docsagent.Options{Dir: dir})
	survey, err := a.Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if survey.Files != 3 || len(survey.Questions) == 0 {
		t.Fatalf("got %+v, want questions about 3 files", survey)
	}
	for _, question := range survey.Questions {
		answered(t, a, question)
	}
	want := []string{"What is there to know about “The garden”?", "What is there to know about “The boiler”?", "Where is the key?"}
	for _, question := range want {
		if !strings.Contains(strings.Join(survey.Questions, "\n"), question) {
			t.Errorf("got %q, want %q among them", survey.Questions, question)
		}
	}
}

func TestAFolderWithoutHeadingsProposesNothing(t *testing.T) {
	a := build(t, docsagent.Options{Dir: folder(t, map[string]string{"a.txt": "The boiler is in the cellar.\n"})})
	survey, err := a.Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(docsagent.Survey{Files: 1}, survey); diff != "" {
		t.Errorf("survey (-want +got):\n%s", diff)
	}
}
