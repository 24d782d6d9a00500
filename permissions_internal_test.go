package switchboard

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/wire"
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
		if got := matchGlob(t, glob, id); got != want {
			t.Errorf("%q matches %q: got %v, want %v", glob, id, got, want)
		}
	})
}

// matchGlob asks for a join with one rule.
func matchGlob(t interface{ Fatalf(string, ...any) }, glob, id string) bool {
	if glob == "" {
		return id == "" // there is no such rule
	}
	p := compilePermissions([]string{"room:" + glob + ":join"})
	if len(p.rooms) != 1 {
		t.Fatalf("%q makes %d rules", glob, len(p.rooms))
	}
	return p.allow(ActJoin, id)
}

// slowMatch says the same as matchGlob, from the definition: for each end of id and each end of glob,
// the shortest first, whether they match.
func slowMatch(glob, id string) bool {
	width := len(glob) + 1
	is := make([]bool, width*(len(id)+1))
	for at := len(id); at >= 0; at-- {
		_, size := utf8.DecodeRuneInString(id[at:])
		here, behind, next := is[width*at:], is[width*min(at+size, len(id)):], is[width*min(at+1, len(id)):]
		for g := len(glob); g >= 0; g-- {
			switch {
			case g == len(glob):
				here[g] = at == len(id)
			case glob[g] == '*':
				here[g] = here[g+1] || at < len(id) && behind[g]
			case at == len(id): // and glob wants more
			case glob[g] == '?':
				here[g] = behind[g+1]
			default:
				here[g] = glob[g] == id[at] && next[g+1]
			}
		}
	}
	return is[0]
}

// FuzzPermissions holds a list of permissions, one a line, against their definition, and what a
// ticket may have against what its maker may do.
func FuzzPermissions(f *testing.F) {
	f.Add("room:proj-*:join", "room:proj-1:join", "join", "proj-1")
	f.Add("room:*?*:*\nroom:a:b:publish", "room:a:b:publish", "publish", "a:b")
	f.Add("room:"+strings.Repeat("*a", 64)+":*", "room:"+strings.Repeat("a", 128)+":*", "control", strings.Repeat("a", 127)+"b")
	f.Add("room:*?é*?:*\nroom:?*:join", "room:*:join", "join", strings.Repeat("é", 63)+"ab")
	f.Add("room::join\nroom:x\nx:y:z\nroom:é?:history", "room:éü:history", "history", "éü")
	f.Fuzz(func(t *testing.T, lines, wanted, act, room string) {
		if len(lines) > 512 || wire.CheckID(room) != nil {
			return
		}
		list := strings.Split(lines, "\n")
		p := compilePermissions(list)
		allowed := false
		for _, text := range list {
			rest, ok := strings.CutPrefix(text, "room:")
			end := strings.LastIndexByte(rest, ':')
			if !ok || end < 1 || !utf8.ValidString(rest[:end]) {
				continue
			}
			want := slowMatch(rest[:end], room)
			if got := matchGlob(t, rest[:end], room); got != want {
				t.Errorf("%q matches %q: got %v, want %v", rest[:end], room, got, want)
			}
			allowed = allowed || want && (rest[end+1:] == act || rest[end+1:] == "*")
		}
		if got := p.allow(Action(act), room); got != allowed {
			t.Errorf("%q of %q by %q: got %v, want %v", act, room, list, got, allowed)
		}
		if p.covers(wanted) && compilePermissions([]string{wanted}).allow(Action(act), room) && !allowed {
			t.Errorf("%q covers %q, which allows %q of %q, and it does not", list, wanted, act, room)
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

// BenchmarkPermissions asks for a right by as many bytes of globs as one identity may have, of the kind
// that takes longest, and by the few that are usual.
func BenchmarkPermissions(b *testing.B) {
	worst := slices.Repeat([]string{"room:*" + strings.Repeat("a", 60) + "b*:*"}, maxPermissionBytes/70)
	for name, list := range map[string][]string{"usual": {"room:team:join", "room:proj-*:*", "room:lobby:*"}, "worst": worst} {
		p := compilePermissions(list)
		room := strings.Repeat("a", 128)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if p.allow(ActJoin, room) {
					b.Fatal("allowed")
				}
			}
		})
	}
}
