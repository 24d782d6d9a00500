package switchboard

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestPermissionsAreDenyByDefault(t *testing.T) {
	p := compilePermissions([]string{
		"room:team:join", "room:team:publish", "room:proj-*:*", "room:a?c:history", "room:x:y:z:join",
		"trade", "room:", "room:x", "room::join", "rooms:board:join", "room:board:JOIN", "room:board:",
	})
	tests := []struct {
		act  Action
		room string
		want bool
	}{
		{ActJoin, "team", true},
		{ActPublish, "team", true},
		{ActHistory, "team", false},
		{ActJoin, "Team", false},
		{ActJoin, "team2", false},
		{ActControl, "proj-", true},
		{ActControl, "proj-1/2", true},
		{ActControl, "proj", false},
		{ActHistory, "abc", true},
		{ActHistory, "aéc", true},
		{ActHistory, "ac", false},
		{ActJoin, "x:y:z", true},
		{ActJoin, "board", false},
		{ActJoin, "", false},
		{"", "team", false},
		{"*", "team", false},
	}
	for _, test := range tests {
		if got := p.allow(test.act, test.room); got != test.want {
			t.Errorf("%s %q: got %v, want %v", test.act, test.room, got, test.want)
		}
	}
}

// TestGlobsMatchLikeThoseOfPathWithoutItsSlashes compares with the standard library, in
// whose patterns * and ? mean the same where there is no slash.
func TestGlobsMatchLikeThoseOfPathWithoutItsSlashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		glob := rapid.StringMatching(`[abé*?]{0,8}`).Draw(t, "glob")
		id := rapid.StringMatching(`[abé]{0,10}`).Draw(t, "id")
		want, err := path.Match(glob, id)
		if err != nil {
			t.Fatal(err)
		}
		if got := matchGlob(glob, id); got != want {
			t.Errorf("%q matches %q: got %v, want %v", glob, id, got, want)
		}
	})
}

func FuzzMatchGlob(f *testing.F) {
	f.Add("proj-*", "proj-1")
	f.Add("*?*", "é")
	f.Add(strings.Repeat("*a", 20), strings.Repeat("a", 128))
	f.Fuzz(func(t *testing.T, glob, id string) {
		got := matchGlob(glob, id)
		if !strings.ContainsAny(glob, "*?") && got != (glob == id) {
			t.Errorf("%q matches %q: got %v", glob, id, got)
		}
		if utf8.ValidString(id) && !matchGlob("*", id) {
			t.Errorf("* does not match %q", id)
		}
	})
}

// TestANumberNeverMeansAnotherList: while connections come, refresh and go, a number gives
// the list that it was made of, or nothing.
func TestANumberNeverMeansAnotherList(t *testing.T) {
	var table permissionTable
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 500 {
				list := []string{fmt.Sprint("room:", (worker+i)%5, ":join"), fmt.Sprint(worker % 2)}
				number := table.put(list)
				set, ok := table.get(number)
				if !ok || !slices.Equal(set.list, list) {
					t.Errorf("got %+v, %v, want %v", set, ok, list)
				}
				table.drop(number)
				if set, ok := table.get(number); ok && !slices.Equal(set.list, list) {
					t.Errorf("after the drop got %v, want %v or nothing", set.list, list)
				}
			}
		})
	}
	wg.Wait()
	if n := len(table.index); n != 0 {
		t.Errorf("%d lists are left, want none", n)
	}
	if n := len(table.entries); n > 10 {
		t.Errorf("%d entries for at most 10 lists at a time", n)
	}
}

func TestListsThatJoinToTheSameTextAreApart(t *testing.T) {
	var table permissionTable
	lists := [][]string{nil, {""}, {"", ""}, {"a", "b"}, {"ab"}, {"1:a"}, {"a1:b"}, {"a", "1:b"}}
	numbers := map[uint64]bool{}
	for _, list := range lists {
		numbers[table.put(list)] = true
	}
	if len(numbers) != len(lists) {
		t.Errorf("%d lists have %d numbers", len(lists), len(numbers))
	}
}
