package sim_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// story is what is played: a seed, how many steps, and which of them are left out. Each step has
// dice of its own, so that the others stay what they were.
type story struct {
	seed    uint64
	length  int
	without map[int]bool
}

// String is the command that plays s again.
func (s story) String() string {
	text := fmt.Sprintf("go test ./internal/sim -seed %d -length %d", s.seed, s.length)
	if len(s.without) > 0 {
		text += " -without " + formatRanges(s.without, s.length)
	}
	return text
}

// shorten leaves out what a story that went wrong does not need for that, and returns what is told
// of the rest.
func (s story) shorten(t *testing.T, told []string) []string {
	end := time.Now().Add(20 * time.Second)
	short := s
	short.without = map[int]bool{}
	for size := s.length; size > 0; size /= 2 {
		for from := 0; from < s.length && time.Now().Before(end); from += size {
			try := s
			try.without = map[int]bool{}
			for i := range s.length {
				try.without[i] = short.without[i] || size < s.length && i >= from && i < from+size
			}
			times := 3
			if size == s.length {
				times = 50
			}
			wrong, of := try.again(t, times)
			switch {
			case len(wrong) > 0:
				short, told = try, of
			case size == s.length:
				t.Log("it went well when it was played again: that depends on how goroutines run")
				return told
			}
		}
	}
	t.Logf("with fewer steps: %s", short)
	return told
}

// again plays a story until it goes wrong, so many times.
func (s story) again(t *testing.T, times int) (wrong, told []string) {
	for range times {
		if wrong, told = s.play(t); len(wrong) > 0 {
			break
		}
	}
	return wrong, told
}

// formatRanges writes a set of numbers below end as parseRanges reads it.
func formatRanges(set map[int]bool, end int) string {
	var parts []string
	for i := 0; i < end; i++ {
		if !set[i] {
			continue
		}
		from := i
		for set[i+1] && i+1 < end {
			i++
		}
		part := strconv.Itoa(from)
		if i > from {
			part += "-" + strconv.Itoa(i)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ",")
}

func parseRanges(text string) (map[int]bool, error) {
	set := map[int]bool{}
	if text == "" {
		return set, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		from, err := strconv.Atoi(low)
		if err != nil {
			return nil, err
		}
		to, err := strconv.Atoi(high)
		if err != nil {
			return nil, err
		}
		for i := from; i <= to; i++ {
			set[i] = true
		}
	}
	return set, nil
}

func TestStepsThatAreLeftOutAreReadAsTheyAreWritten(t *testing.T) {
	const text = "0-2,5,7-8"
	set, err := parseRanges(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := formatRanges(set, 9); got != text {
		t.Errorf("got %s, want %s", got, text)
	}
	if _, err := parseRanges("1-x"); err == nil {
		t.Error("1-x is no range")
	}
}
