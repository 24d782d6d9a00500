package brokertest

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/broker"
)

func streamRules() []rule {
	return []rule{
		{"lengths count code points", lengthsCountCodePoints},
		{"equal overlap is skipped", equalOverlap},
		{"different overlap is a conflict", differentOverlap},
		{"a start beyond the end is a hole", startBeyondEnd},
		{"start -1 is the end", startAtEnd},
		{"a lower token is fenced once it is sealed", sealFences},
		{"a seal never goes down and may come first", sealStays},
		{"what was new is fanned out", newTextIsDelivered},
		{"a text of 10,000 appends", manyAppends},
		{"a text over 1 MiB", longText},
		{"a limit ends a read at a whole code point", readLimit},
		{"appends at once lose nothing", appendsAtOnce},
		{"streams of one name on two topics are two", streamsAreOfTopics},
		{"remove forgets text and seal", removeForgets},
		{"text that is not UTF-8 and odd places are refused", badAppends},
	}
}

// textOf is a stream of a case, with checks.
type textOf struct {
	e             *env
	topic, stream broker.Key
}

func (e *env) stream(name string) textOf {
	return textOf{e, e.topic("t"), broker.NameKey(name)}
}

// add appends and checks length and error.
func (s textOf) add(start int, text string, token uint64, length int, want error) {
	s.e.Helper()
	got, err := s.e.d.Append(s.e.ctx, s.topic, s.stream, start, text, token)
	if !errors.Is(err, want) || got != length {
		s.e.Fatalf("Append(%d, %.20q, token %d) = %d, %v; want %d, %v", start, text, token, got, err, length, want)
	}
}

// want checks the text from a length on.
func (s textOf) want(from int, text string, length int) {
	s.e.Helper()
	got, n, err := s.e.d.Read(s.e.ctx, s.topic, s.stream, from, math.MaxInt)
	if err != nil || n != length || got != text {
		s.e.Fatalf("Read(%d) = %.40q (%d bytes), %d, %v; want %.40q (%d bytes), %d", from, got, len(got), n, err, text, len(text), length)
	}
}

// seal seals and checks the length.
func (s textOf) seal(token uint64, length int) {
	s.e.Helper()
	if got, err := s.e.d.Seal(s.e.ctx, s.topic, s.stream, token); err != nil || got != length {
		s.e.Fatalf("Seal(%d) = %d, %v; want %d", token, got, err, length)
	}
}

// missing checks that there is no such stream.
func (s textOf) missing() {
	s.e.Helper()
	_, _, err := s.e.d.Read(s.e.ctx, s.topic, s.stream, 0, math.MaxInt)
	s.e.wantErr("Read", err, broker.ErrNotFound)
}

func lengthsCountCodePoints(e *env) {
	s := e.stream("s")
	s.missing()
	s.add(0, "aé", 0, 2, nil)
	s.add(2, "漢", 0, 3, nil)
	s.add(3, "🙂e\u0301", 0, 6, nil) // a combining mark is a code point of its own
	whole := []rune("aé漢🙂e\u0301")
	for from := range len(whole) + 1 {
		s.want(from, string(whole[from:]), len(whole))
	}
	s.want(1000, "", len(whole))
}

func equalOverlap(e *env) {
	s := e.stream("s")
	s.add(0, "häuser", 0, 6, nil)
	s.add(0, "häuser", 0, 6, nil)
	s.add(1, "äu", 0, 6, nil)
	s.add(3, "ser und", 0, 10, nil)
	s.add(0, "häuser und mehr", 0, 15, nil)
	s.add(15, "", 0, 15, nil)
	s.add(2, "", 0, 15, nil)
	s.want(0, "häuser und mehr", 15)
}

func differentOverlap(e *env) {
	s := e.stream("s")
	s.add(0, "häuser", 0, 6, nil)
	s.add(0, "hauser und", 0, 6, broker.ErrConflict)
	s.add(5, "n", 0, 6, broker.ErrConflict)
	s.add(1, "é", 0, 6, broker.ErrConflict)
	s.want(0, "häuser", 6)
}

func startBeyondEnd(e *env) {
	s := e.stream("s")
	s.add(1, "x", 0, 0, broker.ErrHole)
	s.missing()
	s.add(0, "éé", 0, 2, nil)
	s.add(3, "x", 0, 2, broker.ErrHole)
	s.add(1<<40, "x", 0, 2, broker.ErrHole)
	s.want(0, "éé", 2)
}

func startAtEnd(e *env) {
	s := e.stream("s")
	s.add(-1, "ein", 0, 3, nil)
	s.add(-1, "s", 0, 4, nil)
	s.add(-1, "", 0, 4, nil)
	s.want(0, "eins", 4)
}

func sealFences(e *env) {
	s := e.stream("s")
	s.add(0, "one", 1, 3, nil)
	s.seal(2, 3)
	s.add(3, " late", 1, 3, broker.ErrFenced)
	s.add(-1, " late", 1, 3, broker.ErrFenced)
	s.add(0, "one", 0, 3, broker.ErrFenced)
	s.add(9, "hole", 1, 3, broker.ErrFenced)
	s.add(3, " two", 2, 7, nil)
	s.add(7, " three", 3, 13, nil)
	s.want(0, "one two three", 13)
}

func sealStays(e *env) {
	s := e.stream("s")
	s.seal(5, 0)
	s.add(0, "early", 4, 0, broker.ErrFenced)
	s.seal(3, 0)
	s.add(0, "early", 4, 0, broker.ErrFenced)
	s.add(0, "x", 5, 1, nil)
	s.seal(1<<63, 1)
	s.add(1, "x", 1<<63-1, 1, broker.ErrFenced)
	s.add(1, "y", ^uint64(0), 2, nil)
	s.want(0, "xy", 2)
}

func newTextIsDelivered(e *env) {
	s := e.stream("s")
	l := e.listen(e.node(), s.topic)
	s.add(0, "hä", 0, 2, nil)
	s.add(0, "häuser", 0, 6, nil) // only the end of it is new
	s.add(0, "hä", 0, 6, nil)
	s.add(6, "x", 0, 7, nil)
	want := "häuserx"
	if got := l.text(s.topic, s.stream, 0, len(want)); got != want {
		e.Errorf("received %q, want %q", got, want)
	}
	e.say(s.topic, "last")
	l.of(s.topic, "last")
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.pieces {
		if p.text == "" {
			e.Errorf("received an empty piece at %d", p.start)
		}
	}
}

func manyAppends(e *env) {
	s := e.stream("s")
	l := e.listen(e.node(), s.topic)
	var want strings.Builder
	length := 0
	for i := range 10_000 {
		token := fmt.Sprintf(" wört%d", i)
		want.WriteString(token)
		n := length + utf8.RuneCountInString(token)
		s.add(length, token, 1, n, nil)
		length = n
	}
	s.want(0, want.String(), length)
	end := []rune(want.String())[length-1000:]
	s.want(length-1000, string(end), length)
	if got := l.text(s.topic, s.stream, 0, want.Len()); got != want.String() {
		e.Errorf("received %d bytes, want %d: others than were appended", len(got), want.Len())
	}
}

func longText(e *env) {
	s := e.stream("s")
	text := strings.Repeat("für 漢字 🙂 ", 100_000) // 2.1 MB in 900,000 code points
	count := utf8.RuneCountInString(text)
	const piece = 30_000
	runes := []rune(text)
	length := 0
	for length < count-piece {
		n := min(length+piece, count)
		s.add(length, string(runes[length:n]), 0, n, nil)
		length = n
	}
	s.want(length-5, string(runes[length-5:length]), length)
	s.add(length, string(runes[length:]), 0, count, nil)
	s.want(0, text, count)
	s.want(count-piece, string(runes[count-piece:]), count)

	// Overlap of less than 64 KiB is always compared.
	s.add(count-1000, string(runes[count-1000:])+"x", 0, count+1, nil)
	s.add(count-1000, "x", 0, count+1, broker.ErrConflict)
	// What is farther back may be refused, with the length.
	got, err := e.d.Append(e.ctx, s.topic, s.stream, 0, string(runes[:1000]), 0)
	if got != count+1 || err != nil && !errors.Is(err, broker.ErrConflict) {
		e.Errorf("overlap from the beginning: %d, %v; want %d and success or a conflict", got, err, count+1)
	}

	// A single append may be as long.
	one := e.stream("one append")
	one.add(0, text, 0, count, nil)
	one.want(0, text, count)
}

func appendsAtOnce(e *env) {
	s := e.stream("s")
	other := e.node()
	const writers, each = 8, 25
	var sum atomic.Int64
	parallel(writers, func(i int) {
		d := e.d
		if i%2 == 1 {
			d = other
		}
		for range each {
			text := strings.Repeat(string(rune('à'+i)), i+1)
			if _, err := d.Append(e.ctx, s.topic, s.stream, -1, text, 0); err != nil {
				e.Errorf("Append: %v", err)
			}
			sum.Add(int64(i + 1))
		}
	})
	got, length, err := other.Read(e.ctx, s.topic, s.stream, 0, math.MaxInt)
	if err != nil || length != int(sum.Load()) {
		e.Fatalf("Read: length %d, %v; want %d", length, err, sum.Load())
	}
	for i := range writers {
		letter := string(rune('à' + i))
		if n := strings.Count(got, letter); n != each*(i+1) {
			e.Errorf("%d of %q, want %d", n, letter, each*(i+1))
		}
	}
}

func streamsAreOfTopics(e *env) {
	a := e.stream("s")
	b := a
	b.topic = e.topic("other")
	c := e.stream("S")
	a.add(0, "a", 0, 1, nil)
	b.add(0, "bb", 0, 2, nil)
	c.add(0, "ccc", 0, 3, nil)
	a.seal(9, 1)
	b.add(2, "b", 0, 3, nil)
	a.want(0, "a", 1)
	b.want(0, "bbb", 3)
	c.want(0, "ccc", 3)
	e.wantLog(e.d, a.topic) // texts are not records
}

func removeForgets(e *env) {
	s, other := e.stream("s"), e.stream("other")
	s.add(0, "text", 1, 4, nil)
	s.seal(7, 4)
	other.add(0, "stays", 0, 5, nil)
	for range 2 {
		if err := e.d.Remove(e.ctx, s.topic, s.stream); err != nil {
			e.Fatalf("Remove: %v", err)
		}
	}
	s.missing()
	other.want(0, "stays", 5)
	s.add(0, "new", 1, 3, nil)
	s.want(0, "new", 3)
}

func readLimit(e *env) {
	s := e.stream("s")
	text, length := "", 0
	for range 3000 { // drivers may keep it in pieces
		s.add(length, "é漢🙂x", 0, length+4, nil)
		text, length = text+"é漢🙂x", length+4
	}
	for _, from := range []int{0, 1, 4001, length - 2, length} {
		rest := string([]rune(text)[from:])
		for _, limit := range []int{0, 1, 2, 3, 4, 5, 9, 10, 16383, 16384, 16385, len(rest) - 1, len(rest), math.MaxInt} {
			if limit < 0 {
				continue
			}
			want := rest[:min(limit, len(rest))]
			for !utf8.ValidString(want) {
				want = want[:len(want)-1]
			}
			got, n, err := e.d.Read(e.ctx, s.topic, s.stream, from, limit)
			if err != nil || n != length || got != want {
				e.Fatalf("Read(%d, at most %d bytes) = %d bytes, %d, %v; want %d bytes, %d", from, limit, len(got), n, err, len(want), length)
			}
		}
	}
}

func badAppends(e *env) {
	s := e.stream("s")
	s.add(0, "x", 0, 1, nil)
	for _, text := range []string{"\xff", "caf\xc3", "\xed\xa0\x80"} {
		_, err := e.d.Append(e.ctx, s.topic, s.stream, 1, text, 0)
		e.wantRefused("Append of "+fmt.Sprintf("%q", text), err)
	}
	_, err := e.d.Append(e.ctx, s.topic, s.stream, -2, "x", 0)
	e.wantRefused("Append at -2", err)
	_, _, err = e.d.Read(e.ctx, s.topic, s.stream, -1, math.MaxInt)
	e.wantRefused("Read from -1", err)
	_, _, err = e.d.Read(e.ctx, s.topic, s.stream, 0, -1)
	e.wantRefused("Read of -1 bytes", err)
	s.want(0, "x", 1)
}
