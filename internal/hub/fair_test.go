package hub

import "testing"

// walker is a shard of a test.
type walker struct{ shard }

func newWalker() *walker {
	f := new(walker)
	f.init()
	return f
}

func (f *walker) pushConn(tenant, slot uint32) { f.work.push(tenant, stepConn, step{conn: slot}) }

func (f *walker) pushPart(p *part, first bool) { f.push(p, first) }

func (f *walker) pop() (conn uint32, p *part) {
	next, _ := f.work.pop()
	return next.conn, next.part
}

// serve serves the line like a walker, and returns whose work came in which order.
func (f *walker) serve(n int) (tenants []uint32) {
	for range n {
		conn, p := f.pop()
		switch {
		case p != nil:
			tenants = append(tenants, p.tenant)
		case conn != 0:
			tenants = append(tenants, conn)
		default:
			return tenants
		}
	}
	return tenants
}

func bigPart(tenant uint32) *part { return &part{tenant: tenant, list: make([]follower, 10*walkSlice)} }

func TestTenantsWithLargeRoomsShareAWalkerEqually(t *testing.T) {
	f := newWalker()
	for range 100 {
		f.pushPart(bigPart(1), false)
	}
	for range 5 {
		f.pushPart(bigPart(2), false)
	}
	got := f.serve(10)
	count := map[uint32]int{}
	for _, tenant := range got {
		count[tenant]++
	}
	if count[1] != 5 || count[2] != 5 {
		t.Errorf("got %v, want five turns each", got)
	}
}

func TestATenantThatWasQuietComesFirst(t *testing.T) {
	f := newWalker()
	for range 100 {
		f.pushPart(bigPart(1), false)
	}
	f.serve(3)
	for range 20 {
		f.pushPart(&part{tenant: 2, list: make([]follower, 2)}, true)
		if got := f.serve(1); got[0] != 2 {
			t.Fatalf("got the work of tenant %d, want that of the one that was quiet", got[0])
		}
		// What it does not use of its turn is not saved up, and others go on.
		if got := f.serve(2); got[0] != 1 || got[1] != 1 {
			t.Fatalf("got %v, want the one with much to do", got)
		}
	}
}

func TestANewcomerDoesNotStayOne(t *testing.T) {
	f := newWalker()
	f.pushPart(bigPart(1), false)
	f.pushPart(bigPart(1), false)
	f.serve(1)
	// Tenant 2 has always something, and never much at a time.
	ones := 0
	for range 4 * walkSlice {
		f.pushConn(2, 2)
		f.pushPart(bigPart(1), false)
		for _, tenant := range f.serve(1) {
			if tenant == 1 {
				ones++
			}
		}
	}
	if ones < 2 {
		t.Errorf("tenant 1 had %d of %d turns", ones, 4*walkSlice)
	}
}

func TestWithinATenantSmallComesBeforeLarge(t *testing.T) {
	f := newWalker()
	large, small := bigPart(1), &part{tenant: 1}
	f.pushPart(large, false)
	f.pushPart(small, true)
	f.pushConn(1, 7)
	if conn, _ := f.pop(); conn != 7 {
		t.Errorf("got connection %d first, want 7", conn)
	}
	if _, p := f.pop(); p != small {
		t.Error("the large room came before the small one")
	}
	if _, p := f.pop(); p != large {
		t.Error("the large room is lost")
	}
	if conn, p := f.pop(); conn != 0 || p != nil {
		t.Error("got work where there is none")
	}
}

func TestAQueueGivesWhatItWasGivenInOrder(t *testing.T) {
	var q queue[int]
	next, want := 1, 1
	for round := range 200 {
		for range round % 17 {
			q.push(next)
			next++
		}
		for range round % 13 {
			if q.empty() {
				break
			}
			if got := q.pop(); got != want {
				t.Fatalf("got %d, want %d", got, want)
			}
			want++
		}
	}
	for range 3 * next { // never empty, and still bounded
		q.push(next)
		q.pop()
	}
	if n := cap(q.items); n > 4*next {
		t.Errorf("got room for %d, want about %d", n, next-want)
	}
}

func TestLanesOfTenantsThatCameAndWentAreNotKept(t *testing.T) {
	f := newWalker()
	for tenant := range uint32(10 * idleLanes) {
		f.pushConn(tenant+1, tenant+1)
		f.pushPart(bigPart(tenant+1), false)
		if got := f.serve(3); len(got) != 2 {
			t.Fatalf("got %v, want two things done", got)
		}
	}
	if n := len(f.work.lanes); n > idleLanes+1 {
		t.Errorf("got %d lanes, want %d at most", n, idleLanes)
	}
}
