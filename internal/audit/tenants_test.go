package audit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// deed is what a back end of a tenant did.
func deed(tenant, action, object string) Event {
	return Event{Action: action, Tenant: tenant, User: "u", Actor: "key of " + tenant, Object: object}
}

// readOf reads all of a query, in pages of its limit.
func readOf(t *testing.T, l *Log, q Query) []Entry {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 1000
	}
	var all []Entry
	for {
		page := must(l.Read(q))
		if len(page.Entries) > q.Limit || page.More && page.Next <= q.Since {
			t.Fatalf("got %d entries up to %d after %d, want at most %d, and to get on", len(page.Entries), page.Next, q.Since, q.Limit)
		}
		all = append(all, page.Entries...)
		if q.Since = page.Next; !page.More {
			return all
		}
	}
}

func objects(entries []Entry) []string {
	var all []string
	for _, e := range entries {
		all = append(all, e.Object)
	}
	return all
}

// inBoth runs a test with a log in memory and one in a directory, with files that are soon full.
func inBoth(t *testing.T, test func(t *testing.T, o Options)) {
	t.Helper()
	for name, dir := range map[string]string{"memory": "", "files": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, Options{Dir: dir, FileBytes: 64 << 10}) })
		})
	}
}

// TestATenantsFloodLeavesTheLinesOfOthersAndItsOwnTrail: whatever users its key makes up.
func TestATenantsFloodLeavesTheLinesOfOthersAndItsOwnTrail(t *testing.T) {
	inBoth(t, func(t *testing.T, o Options) {
		l := open(t, o)
		l.Record(deed("acme", "revoke", "fraud case 17"))
		l.Record(deed("evil", "ticket", "the first"))
		const flood = 8400
		for n := range flood {
			e := deed("evil", "ticket", "")
			e.User = fmt.Sprint("u", n)
			l.Record(e)
			if n%100 == 0 {
				l.flush()
			}
		}
		for range 5 {
			l.Record(deed("evil", "revoke", "after the flood"))
		}
		time.Sleep(2 * pace)
		if all := readOf(t, l, Query{Tenant: "acme"}); !slices.Equal(objects(all), []string{"fraud case 17"}) {
			t.Errorf("got %v of acme, want its line", objects(all))
		}
		shut(t, l)
		all := readOf(t, l, Query{Tenant: "evil"})
		if after := readOf(t, l, Query{Tenant: "evil", Action: "revoke"}); all[0].Object != "the first" || len(after) != 5 {
			t.Errorf("got %d lines from %+v, %d after the flood, want its first line and 5", len(all), all[0], len(after))
		}
		lines, lost := 0, uint64(0)
		for _, e := range all {
			if e.Action != ActionLost {
				lines++
				continue
			}
			lost += e.Lost
			if want := fmt.Sprint("ticket ", e.Lost); e.Reason != want || e.Tenant != "evil" {
				t.Errorf("got reason %q of %q, want %q", e.Reason, e.Tenant, want)
			}
		}
		if uint64(lines)+lost != flood+6 || lost != l.Stats().Lost || lines > 1600 {
			t.Errorf("got %d lines and %d lost, %d counted, want %d in all", lines, lost, l.Stats().Lost, flood+6)
		}
	})
}

// TestUsersThatAreMadeUpHideNothingOfTheirTenantsBackEnds: each has a budget, and all have one.
func TestUsersThatAreMadeUpHideNothingOfTheirTenantsBackEnds(t *testing.T) {
	inBoth(t, func(t *testing.T, o Options) {
		l := open(t, o)
		for n := range 300 {
			for k := range 20 {
				l.Record(Event{Action: "room", Tenant: "evil", User: fmt.Sprint("u", n), Object: fmt.Sprint("r", k), Code: "FORBIDDEN"})
			}
			l.flush()
		}
		for n := range 200 {
			l.Record(deed("evil", "close", fmt.Sprint(n)))
		}
		if all := readOf(t, l, Query{Tenant: "evil", Action: "close"}); len(all) != 200 {
			t.Errorf("got %d lines of the back end, want all", len(all))
		}
		if all := readOf(t, l, Query{Tenant: "evil", Action: "room"}); len(all) > 1600 {
			t.Errorf("got %d lines of its users, want no more than they have together", len(all))
		}
		shut(t, l)
	})
}

// TestAStolenKeyNeedsHoursToEraseItsTrail: what it may write meanwhile, at most, is less than stays.
func TestAStolenKeyNeedsHoursToEraseItsTrail(t *testing.T) {
	const onDiskUnits = (tenantFiles - 1) * usualFileBytes / unitBytes
	for _, tt := range []struct {
		name         string
		lines        allowance
		backEnd, own int // actions
		time         time.Duration
		most         int
	}{
		{"files, a key", onDisk(), 7, 0, 11 * time.Hour, onDiskUnits},
		{"files, a key and users", onDisk(), 7, 8, 5 * time.Hour, onDiskUnits},
		{"memory, a key", inMemory(), 7, 0, time.Hour, tenantEntries},
		{"memory, a key and users", inMemory(), 7, 8, 30 * time.Minute, tenantEntries},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, begin, units := newShares(tt.lines), time.Unix(0, 0), 0
			for at := time.Duration(0); at < tt.time; at += 15 * time.Second {
				if at%tenantLostTime == 0 {
					units++ // that lines are lost
				}
				for action := range tt.backEnd + tt.own {
					e := Event{Action: fmt.Sprint(action), Tenant: "evil", User: "u"}
					if action < tt.backEnd {
						e.Actor = "key"
					}
					for s.take(e, begin.Add(at)) {
						units += e.units()
					}
				}
			}
			if units >= tt.most || units < tt.most/2 {
				t.Errorf("got %d units, want less than %d, and not much less", units, tt.most)
			}
		})
	}
}

func TestALineCostsNotLessThanItsBytes(t *testing.T) {
	for _, text := range []string{"", "u", strings.Repeat("x", maxField), strings.Repeat("<", maxField), strings.Repeat("\x01", maxField), strings.Repeat(`"\`, 128), strings.Repeat("ü", 128), strings.Repeat("\u2028", 85)} {
		e := Entry{Seq: 1 << 60, Time: time.Now(), Prev: begin, Count: 1 << 40}
		for _, field := range e.texts() {
			*field = text
		}
		line := must(e.line(nil))
		if got, bytes := e.units(), len(line); got*unitBytes < bytes || (got-2)*unitBytes > 2*bytes {
			t.Errorf("%.8q…: got %d units for %d bytes", text, got, bytes)
		}
	}
}

func TestAFullQueueOfATenantLosesNoLineOfAnother(t *testing.T) {
	l := open(t, Options{Dir: t.TempDir()})
	l.mu.Lock()
	evil, acme := l.intakeOf(seriesOf("evil")), l.intakeOf(seriesOf("acme"))
	for range maxQueue + 1 {
		evil.take(deed("evil", "ticket", ""), time.Now(), l.spend)
	}
	acme.take(deed("acme", "revoke", "x"), time.Now(), l.spend)
	queued, missed := len(evil.queue), evil.missed
	l.mu.Unlock()
	if queued != maxQueue || missed != 1 {
		t.Errorf("got %d in the queue and %d lost, want it full and one", queued, missed)
	}
	if all := readOf(t, l, Query{Tenant: "acme"}); len(all) != 1 {
		t.Errorf("got %d lines of acme, want its own", len(all))
	}
}

// TestTenantsBeyondTheBoundShareASeries: which is said once, and each reads its own.
func TestTenantsBeyondTheBoundShareASeries(t *testing.T) {
	inBoth(t, func(t *testing.T, o Options) {
		var told []int
		o.Crowded = func(series int) { told = append(told, series) }
		l := open(t, o)
		const beyond = 3
		for n := range maxTenants + beyond {
			l.Record(deed(fmt.Sprint("t", n), "ticket", fmt.Sprint(n)))
		}
		l.Record(deed("", "ticket", "nobody's"))
		l.Record(deed("t0", "close", "0"))
		check := func() {
			for n := range maxTenants + beyond {
				all := readOf(t, l, Query{Tenant: fmt.Sprint("t", n), Action: "ticket"})
				if !slices.Equal(objects(all), []string{fmt.Sprint(n)}) {
					t.Errorf("got %v of tenant %d, want its own", objects(all), n)
				}
			}
			if all := readOf(t, l, Query{}); !slices.Equal(objects(all), []string{"nobody's"}) {
				t.Errorf("got %v of the tenant without a name, want its own", objects(all))
			}
		}
		check()
		if want := (Stats{Tenants: maxTenants, Shared: beyond}); l.Stats() != want {
			t.Errorf("got %+v, want %+v", l.Stats(), want)
		}
		shut(t, l)
		if !slices.Equal(told, []int{maxTenants}) {
			t.Errorf("told %v, want once that there are %d", told, maxTenants)
		}
		if o.Dir == "" {
			return
		}
		if all := must(Verify(o.Dir)); len(all) != 3+maxTenants || all[2].Series != others || all[2].Lines != beyond || all[2].Tenant != "" {
			t.Errorf("got %d series, the third %+v, want the three of all and those of %d tenants", len(all), all[2], maxTenants)
		}
		l = open(t, o)
		check()
		l.Record(deed("t65", "ticket", "again"))
		if all := readOf(t, l, Query{Tenant: "t65"}); len(all) != 2 || len(must(filesOf(o.Dir, seriesOf("t65")))) != 0 {
			t.Errorf("got %v, want both lines in the series that is shared", objects(all))
		}
		shut(t, l)
	})
}

func TestTheChainOfEachTenantIsContinued(t *testing.T) {
	dir, tenants := t.TempDir(), []string{"acme", "evil", "../x/y", "\x00", strings.Repeat("ü", 200), "\xff"}
	const times = 3
	for n := range times {
		l := open(t, Options{Dir: dir})
		for _, tenant := range tenants {
			l.Record(deed(tenant, "ticket", fmt.Sprint(n)))
		}
		shut(t, l)
	}
	l := open(t, Options{Dir: dir})
	for _, tenant := range tenants {
		if all := readOf(t, l, Query{Tenant: tenant}); !slices.Equal(objects(all), []string{"0", "1", "2"}) || all[1].Prev != all[0].Hash {
			t.Errorf("%.20q: got %v, want a chain of three", tenant, objects(all))
		}
	}
	reports := must(Verify(dir))
	var named []string
	for _, r := range reports[2:] {
		named = append(named, r.Tenant)
		if r.Lines != times || r.Prev != begin || seriesOf(r.Tenant) != r.Series {
			t.Errorf("got %+v, want %d lines from the beginning", r, times)
		}
	}
	if len(named) != len(tenants) || !slices.Contains(named, "acme") {
		t.Errorf("got series of %.20q, want one for each tenant", named)
	}
	name := regexp.MustCompile(`^(lock|tenant-[0-9a-f]{32}-\d{20}\.jsonl)$`)
	for _, e := range must(os.ReadDir(dir)) {
		if !name.MatchString(e.Name()) {
			t.Errorf("got a file %q", e.Name())
		}
	}
}

// TestAChangeInTheSeriesOfATenantIsFound: also in that of those who share one, and one that is
// put in the place of another.
func TestAChangeInTheSeriesOfATenantIsFound(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	for n := range maxTenants + 1 {
		l.Record(deed(fmt.Sprint("t", n), "ticket", "x"))
	}
	shut(t, l)
	acme, evil := newest(t, dir, seriesOf("t0")), newest(t, dir, seriesOf("t1"))
	refused := func(want string) {
		t.Helper()
		if _, err := Verify(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if l, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v from Open, want %s", err, want)
			_ = l.Close()
		}
	}
	for _, path := range []string{acme, evil, newest(t, dir, others)} {
		whole := must(os.ReadFile(path))
		for _, i := range []int{0, len(whole) / 2, len(whole) - 2} {
			bad := slices.Clone(whole)
			bad[i] ^= 1
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			refused(path + ":1:")
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	theirs := strings.Replace(acme, seriesOf("t0"), seriesOf("none"), 1)
	if err := os.Rename(acme, theirs); err != nil {
		t.Fatal(err)
	}
	refused(theirs + ":1: is another tenant's")
	renamed := filepath.Join(dir, "tenant-0-00000000000000000001.jsonl")
	if err := os.Rename(theirs, renamed); err != nil {
		t.Fatal(err)
	}
	refused(renamed + ": is no name")
}

func TestALineThatACrashCutIsRecordedForItsTenant(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	l.Record(deed("acme", "ticket", "1"))
	l.Record(deed("acme", "ticket", "2"))
	shut(t, l)
	path := newest(t, dir, seriesOf("acme"))
	if err := os.Truncate(path, must(os.Stat(path)).Size()-9); err != nil {
		t.Fatal(err)
	}
	l = open(t, Options{Dir: dir})
	l.Record(deed("acme", "ticket", "3"))
	all := readOf(t, l, Query{Tenant: "acme"})
	if !slices.Equal(objects(all), []string{"1", "", "3"}) || all[1].Action != ActionCut || all[1].Lost != 1 {
		t.Errorf("got %+v, want the first, the cut and a new line", all)
	}
	shut(t, l)
	must(Verify(dir))
}

// before writes a log as it was when all tenants had one series.
func before(t *testing.T, dir string, lines int) {
	t.Helper()
	c := newChain(dir, actors, 64<<10, actorFiles)
	var entries []Entry
	for n := range lines {
		entries = append(entries, Entry{Seq: uint64(n + 1), Time: time.Now().UTC(), Event: deed([]string{"acme", "evil", ""}[n%3], "ticket", fmt.Sprint(n))})
	}
	if n, err := c.append(entries); n != lines || err != nil {
		t.Fatal(n, err)
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
}

// TestALogOfBeforeIsReadAndContinued: in which all tenants had one series.
func TestALogOfBeforeIsReadAndContinued(t *testing.T) {
	dir := t.TempDir()
	before(t, dir, 900)
	must(Verify(dir))
	for round := range 2 {
		l := open(t, Options{Dir: dir, FileBytes: 64 << 10})
		for _, tenant := range []string{"acme", ""} {
			l.Record(deed(tenant, "ticket", fmt.Sprint("new ", round)))
		}
		for n, tenant := range []string{"acme", "evil", ""} {
			var want []string
			for i := n; i < 900; i += 3 {
				want = append(want, fmt.Sprint(i))
			}
			for i := range round + 1 {
				if tenant != "evil" {
					want = append(want, fmt.Sprint("new ", i))
				}
			}
			if all := readOf(t, l, Query{Tenant: tenant, Limit: 7}); !slices.Equal(objects(all), want) {
				t.Errorf("got %d lines of %q, want %d in order", len(all), tenant, len(want))
			}
		}
		for _, p := range l.partsOf("acme", 899) {
			if p.series == actors {
				t.Error("acme reads a series in which nothing is its own")
			}
		}
		shut(t, l)
		must(Verify(dir))
	}
}

// TestPagesOfATenantHaveEachOfItsLinesOnce: of its own series, and what strangers were refused there.
func TestPagesOfATenantHaveEachOfItsLinesOnce(t *testing.T) {
	inBoth(t, func(t *testing.T, o Options) {
		l := open(t, o)
		tenants := []string{"acme", "evil", ""}
		for n := range 60 {
			for _, tenant := range tenants {
				l.Record(deed(tenant, []string{"ticket", "join"}[n%2], fmt.Sprint(n)))
				if n < 6 {
					e := refused(fmt.Sprintf("192.0.2.%d", n))
					e.Tenant, e.Object = tenant, fmt.Sprint("stranger ", n)
					l.Record(e)
				}
			}
			l.flush()
		}
		for _, tenant := range tenants {
			all := readOf(t, l, Query{Tenant: tenant, Limit: 7})
			if !slices.IsSortedFunc(all, func(a, b Entry) int { return int(a.Seq) - int(b.Seq) }) || len(all) != 66 {
				t.Errorf("%q: got %d lines, want 66 in order", tenant, len(all))
			}
			if all := readOf(t, l, Query{Tenant: tenant, Limit: 7, Action: "join", User: "u"}); len(all) != 30 || all[0].Object != "1" {
				t.Errorf("%q: got %v, want those of one action", tenant, objects(all))
			}
			page := must(l.Read(Query{Tenant: tenant, Limit: 7, Action: "none"}))
			if page.Next != l.next-1 || page.More || len(page.Entries) != 0 {
				t.Errorf("%q: got %+v, want nothing up to the last", tenant, page)
			}
		}
		shut(t, l)
	})
}

// TestReadingOpensNoSeriesOfAnotherTenant: the file of another is not even right.
func TestReadingOpensNoSeriesOfAnotherTenant(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	l.Record(deed("acme", "ticket", "x"))
	l.Record(deed("evil", "ticket", "x"))
	l.flush()
	if err := os.WriteFile(newest(t, dir, seriesOf("evil")), []byte("no line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if all := readOf(t, l, Query{Tenant: "acme"}); len(all) != 1 {
		t.Errorf("got %d lines, want one", len(all))
	}
	if _, err := l.Read(Query{Tenant: "evil", Limit: 1}); err == nil || !strings.Contains(err.Error(), ":1:") {
		t.Errorf("got %v, want the line", err)
	}
}

// TestLinesThatAreNotAskedForAreNotDecoded: to look through megabytes must cost little.
func TestLinesThatAreNotAskedForAreNotDecoded(t *testing.T) {
	dir := t.TempDir()
	before(t, dir, 3000)
	l := open(t, Options{Dir: dir, FileBytes: 64 << 10})
	for _, q := range []Query{{Tenant: "acme", Action: "nosuch"}, {Tenant: "acme", User: "nobody"}, {Tenant: "nobody"}, {Action: "nosuch"}} {
		q.Limit = 10
		if n := testing.AllocsPerRun(5, func() { must(l.Read(q)) }); n > 1000 {
			t.Errorf("%+v: got %.0f allocations for 3,000 lines", q, n)
		}
	}
	line := must(os.ReadFile(newest(t, dir, actors)))
	if !bytes.Contains(line, member("action", "ticket")) || !bytes.Contains(line, member("user", "u")) {
		t.Error("lines do not look as filters expect")
	}
}
