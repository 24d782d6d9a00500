package docsagent

import (
	"testing"
	"testing/fstest"
	"time"
)

func TestQuestionsAreThoseThatWereFoundInTime(t *testing.T) {
	found, err := fromFS(fstest.MapFS{"a.md": {Data: []byte("# The boiler\n\nThe boiler is in the cellar.\n")}}).look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := questionsWithin(t.Context(), time.Minute, found.files); len(got) != 1 {
		t.Errorf("got %q, want the question that the file answers", got)
	}
	if got := questionsWithin(t.Context(), -1, found.files); len(got) != 0 {
		t.Errorf("got %q without time, want none", got)
	}
}
