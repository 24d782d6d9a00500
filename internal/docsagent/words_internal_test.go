package docsagent

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWordsKeepIdentifiersWhole(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"How does it work?", []string{"How", "does", "it", "work"}},
		{"`session_restore`, user/alice; a.b(c)", []string{"session_restore", "user", "alice", "a", "b", "c"}},
		{"wake-ups - well-known -x y-", []string{"wake-ups", "well-known", "x", "y"}},
		{"client's don’t", []string{"client", "s", "don", "t"}},
		{"Grüße, naïve 4003", []string{"Grüße", "naïve", "4003"}},
		{"日本語 テスト", []string{"日本語", "テスト"}},
		{"\xff a\xffb", []string{"a", "b"}},
		{"", nil},
	} {
		if diff := cmp.Diff(tt.want, slices.Collect(words(tt.text))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.text, diff)
		}
	}
}

func TestIdentifiersAreFoundWholeAndByTheirParts(t *testing.T) {
	for _, tt := range []struct {
		word string
		want []string
	}{
		{"session_restore", []string{"sessionrest", "ses", "rest"}},
		{"sessionRestore", []string{"sessionrest", "ses", "rest"}},
		{"Session-Restore", []string{"sessionrest", "ses", "rest"}},
		{"HTTPServer", []string{"httpserv", "http", "serv"}},
		{"OpenAPI", []string{"openapi", "open", "api"}},
		{"IDs", []string{"id"}},
		{"RATE_LIMITED", []string{"ratelimit", "rat", "limit"}},
		{"RFC", []string{"rfc"}},
		{"sha256", []string{"sha256"}},
		{"Über", []string{"über"}},
		{"__", []string{"__"}},
	} {
		if diff := cmp.Diff(tt.want, terms(nil, tt.word)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.word, diff)
		}
	}
}

func TestWordsOfOneFamilyMeet(t *testing.T) {
	for _, family := range []string{
		"resume resumes resumed resuming resumable", "publish publishes published publishing publisher", "stop stops stopped stopping",
		"connect connects connected connection connections", "retry retries", "deliver delivers delivered delivery deliveries",
		"cancel cancelled cancels", "class classes", "handle handler handlers handling", "authenticate authenticates authentication authenticators",
		"message messages", "box boxes", "slow slowly slower", "restore restores restored restoring", "id ids", "time times timed timing",
	} {
		first := ""
		for word := range strings.FieldsSeq(family) {
			if first == "" {
				first = stem(word)
			}
			if got := stem(word); got != first {
				t.Errorf("%s: got %q, want %q as of its family", word, got, first)
			}
		}
	}
	for _, apart := range []string{"log login", "user use", "topic top", "need ned", "error err", "status state", "this th"} {
		a, b, _ := strings.Cut(apart, " ")
		if stem(a) == stem(b) {
			t.Errorf("%s and %s meet at %q", a, b, stem(a))
		}
	}
}

func TestQuestionsLoseTheirFiller(t *testing.T) {
	for _, tt := range []struct{ question, words, filler string }{
		{"How does a client resume?", "client resume", "How does a"},
		{"Wie kommt der Client zurück?", "kommt Client zurück", "Wie der"},
		{"Which nodes die?", "nodes die", "Which"}, // die is German filler only
		{"resume the resumed resuming", "resume", "the"},
		{"is it?", "", "is it"},
	} {
		q := ask(tt.question)
		if words := strings.Join(texts(q.words), " "); words != tt.words || strings.Join(q.filler, " ") != tt.filler {
			t.Errorf("%s: got %q without %q, want %q without %q", tt.question, texts(q.words), q.filler, tt.words, tt.filler)
		}
	}
	long := ask(strings.Repeat("a1 b2 c3 d4 e5 f6 g7 h8 i9 ", 1) + strings.Join(strings.Split("abcdefghijklmnopqrstuvwxyz", ""), "0 ") + "0")
	if len(long.words) != maxWords || long.more != 9+26-maxWords {
		t.Errorf("got %d words and %d more, want %d and %d", len(long.words), long.more, maxWords, 9+26-maxWords)
	}
}

func TestSpansFollowTheMarks(t *testing.T) {
	type span struct {
		Text string
		Mark mark
	}
	var got []span
	for text, m := range spans("a **b `x`** `c ** d` e", true) {
		if text != "" {
			got = append(got, span{text, m})
		}
	}
	want := []span{{"a ", unmarked}, {"b `x`", bold}, {" ", unmarked}, {"c ** d", code}, {" e", unmarked}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
}

func TestWhatPassagesLackCostsThem(t *testing.T) {
	for _, tt := range []struct{ name, question, text, want string }{
		{"a passage with both words wins over one with one of them twice", "blue light", "A light is a light is a light.\n\nThere is a blue house and a light.\n", "There is a blue house and a light."},
		{"what has all words wins over what has some of them often", "red old key", "The red old thing, the red old one, a red old thing and a red old one.\n\nThis is the red and rather old key.\n\nIt is a key.\n", "This is the red and rather old key."},
		{"the columns of a table say what its rows are", "Which close code is expired?", "| close code | means |\n|---|---|\n| 4001 | it has expired |\n| 4002 | it is full |\n\nWhat has expired is thrown away, and is not seen again.\n", "| 4001 | it has expired |"},
		{"code does not make what introduces it long", "client resume", "A client may resume so:\n\n```\n" + strings.Repeat("a b c d e f g h i j k l\n", 9) + "```\n\nOf late it was heard that some client did resume.\n\n" + strings.Repeat("Many other words stand here, and more.\n\n", 9), "A client may resume so:\n\n```\n" + strings.Repeat("a b c d e f g h i j k l\n", 9) + "```"},
		{"words in different rows are not together", "red key", "| name | what |\n|---|---|\n| red | a red red red door |\n| key | a key key key hole |\n\nSomewhere in the house, if one looks for it, is a red and rusty key of some sort.\n", "Somewhere in the house, if one looks for it, is a red and rusty key of some sort."},
		{"rare words count more", "common rare", "a common thing\n\na rare thing\n\nsome common words\n\nmore common words\n", "a rare thing"},
		{"bold counts more", "cursor", "So there is a cursor for it and a cursor for them.\n\nSo there is for all that a **cursor** and no other thing.\n", "So there is for all that a **cursor** and no other thing."},
		{"bold is what a text explains", "What is a cursor?", "So there is a cursor for it, a cursor for me, a cursor for them and a cursor for us.\n\nSo there is for all that a **cursor** and no other thing.\n", "So there is for all that a **cursor** and no other thing."},
		{"what something is said to be", "What is a gap?", "Nobody saw the gap in the wall of the house.\n\nNobody says so, but in there a gap is a hole.\n", "Nobody says so, but in there a gap is a hole."},
		{"a passage that begins with it", "What is a gap?", "In the wall of the house there was a gap to be seen.\n\nThe gap in the wall of the house was there to be seen.\n", "The gap in the wall of the house was there to be seen."},
		{"what is said of a command is not what its name means", "What is Ship?", "Run it, for `ship` is the program of it all.\n\nShip carries what one has from here to there.\n", "Ship carries what one has from here to there."},
		{"code is no sentence", "start the pump", "```\nstart the pump so that it is on, or start the pump again\n```\n\nIt is said that one may start the pump by hand.\n", "It is said that one may start the pump by hand."},
		{"sentences win over lists of names", "history", "`GET /history` `limit` `since` `before` `order` `topic`\n\nThe history of a room is what was said in it.\n", "The history of a room is what was said in it."},
		{"two words that are one elsewhere", "How does it shut down?", "It goes down.\n\nThen comes the `server_shutdown` of all.\n", "Then comes the `server_shutdown` of all."},
		{"a heading helps its section", "pond pump", "# House\n\nThe pump is old.\n\n# Pond\n\nThe pump is new.\n", "The pump is new."},
		{"a promise without what it promises loses", "rules", "These are the rules:\n\nMany rules are old, and some are new.\n", "Many rules are old, and some are new."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc := file{name: "a.md", format: markdown, lines: lines(tt.text)}
			got := rank(t.Context(), ask(tt.question), []file{doc}).hits
			if len(got) == 0 {
				t.Fatal("found nothing")
			}
			if first := strings.Join(doc.lines[got[0].from-1:got[0].to], "\n"); first != tt.want {
				t.Errorf("got %q, want %q", first, tt.want)
			}
		})
	}
}

func TestLongPassagesAreQuotedAroundTheirBestLine(t *testing.T) {
	doc := file{name: "a.txt", format: plain, lines: lines(strings.Repeat("line\n", 10) + "the needle\n" + strings.Repeat("line\n", 12))}
	h := rank(t.Context(), ask("needle"), []file{doc}).hits[0]
	if from, to := window(h); from != 2 && to-from+1 != maxQuoteLines || from > 11 || to < 11 {
		t.Errorf("got lines %d to %d, want %d of them around line 11", from, to, maxQuoteLines)
	}
	wide := strings.Repeat("x", 3000)
	doc.lines = []string{wide, "the needle", wide}
	h = rank(t.Context(), ask("needle"), []file{doc}).hits[0]
	if from, to := window(h); from > 2 || to < 2 || to-from > 1 {
		t.Errorf("got lines %d to %d, want what has 4 KiB around line 2", from, to)
	}
}
