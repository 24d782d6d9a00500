package ws

import (
	"bytes"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhoTellsMuchNeedsATurnAndWhoTellsLittleDoesNot(t *testing.T) {
	const ms = time.Millisecond
	for name, tt := range map[string]struct {
		messages, size int
		every, takes   time.Duration
		turns          int
		heavy          bool // the last of them
		more           int
	}{
		"nothing":                           {},
		"as many at once as one may":        {stretch, 10, 0, 0, 0, false, 0},
		"more":                              {2 * stretch, 10, 0, 0, 1, false, 0},
		"many":                              {101 * stretch, 10, 0, 0, 100, true, 0},
		"one each millisecond":              {10_000, 10, ms, 0, 0, false, 0},
		"one each half":                     {10_000, 10, ms / 2, 0, 10_000/stretch - 2, true, 0},
		"a long one":                        {1, 100 << 10, 0, 0, 0, false, 0},
		"two":                               {2, 100 << 10, 0, 0, 1, false, 0},
		"long ones":                         {101, 100 << 10, 0, 0, 100, true, 0},
		"long ones now and then":            {1000, 100 << 10, 16 * ms, 0, 0, false, 0},
		"such as take long":                 {101, 10, 0, stretch * stretchTime, 100, true, 0},
		"such as are known to be much":      {101, 10, 0, time.Second, 100, true, 100},
		"one a second that is much work":    {1000, 10, time.Second, time.Second, 0, false, 100},
		"one a second that waits for one":   {1000, 10, time.Second, time.Second, 0, false, 0},
		"one after the other that wait":     {1000, 10, 2 * ms, 2 * ms, 0, false, 0},
		"a hundred a second that wait long": {1000, 10, 10 * ms, time.Second, 0, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var l load
			now := ^uint32(0) - 5000 // it wraps
			for range 2 {            // who rests for a while begins anew
				now += uint32(time.Minute / refill)
				turns, wasHeavy := 0, false
				for i := range tt.messages {
					due, heavy := l.add(now+uint32(time.Duration(i)*tt.every/refill), units(tt.size, tt.more, tt.takes))
					if due {
						turns, wasHeavy = turns+1, heavy
					}
				}
				now += uint32(time.Duration(tt.messages) * tt.every / refill)
				if turns != tt.turns || wasHeavy != tt.heavy {
					t.Errorf("got %d turns, the last one heavy: %v; want %d, %v", turns, wasHeavy, tt.turns, tt.heavy)
				}
			}
		})
	}
}

func TestWhoHasJustComeHasItsFirstTurnEarlier(t *testing.T) {
	for more, want := range map[int]int{0: stretch + stretch/2, stretch - 1: 1} {
		l := newLoad(1000)
		told := 1
		for {
			if due, heavy := l.add(1000, units(10, more, 0)); due {
				if told != want || heavy {
					t.Errorf("%d more: got a turn after %d messages, heavy: %v; want after %d", more, told, heavy, want)
				}
				break
			}
			told++
		}
	}
}

// TestWhoHasToldMuchHasDoneSoStillWhenItsTurnComes: however long it waited.
func TestWhoHasToldMuchHasDoneSoStillWhenItsTurnComes(t *testing.T) {
	var l load
	now, before := uint32(1000), 0
	for range 10 * stretch {
		if due, _ := l.add(now, 1); due {
			l.waited(60_000)
			now += 60_000
		}
	}
	for {
		before++
		if due, heavy := l.add(now, 1); due {
			if !heavy || before > stretch {
				t.Errorf("got another turn after %d messages, heavy: %v; want after %d, heavy", before, heavy, stretch)
			}
			return
		}
	}
}

// asking lets n goroutines ask for turns one after the other, and notes in which order they get them.
type asking struct {
	turns *turns
	wg    sync.WaitGroup

	mu  sync.Mutex // guards got
	got []string
}

func (q *asking) ask(name string, heavy bool) {
	q.wg.Go(func() {
		given := q.turns.take(heavy)
		q.mu.Lock()
		q.got = append(q.got, name)
		q.mu.Unlock()
		if given != nil {
			close(given)
		}
	})
	synctest.Wait()
}

// busy returns turns of which one is being given out that does not end before end is called.
func busy(t *testing.T, rest time.Duration) (q *asking, end func()) {
	q = &asking{turns: noTurns()}
	q.turns.givers.Go(func() { q.turns.give(rest) })
	given := q.turns.take(false)
	if given == nil {
		t.Fatal("there is no turn")
	}
	synctest.Wait()
	return q, func() {
		close(given)
		q.wg.Wait()
		q.turns.close()
	}
}

func TestNewcomersHaveTurnsInTheirOrderAndOneOfFourIsForWhoHasToldMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, end := busy(t, 1)
		for _, name := range []string{"h1", "h2", "h3"} {
			q.ask(name, true)
		}
		for _, name := range []string{"l1", "l2", "l3", "l4", "l5"} {
			q.ask(name, false)
		}
		end()
		if want := []string{"l1", "l2", "h3", "l3", "l4", "l5", "h1", "h2"}; !slices.Equal(q.got, want) {
			t.Errorf("got %v, want %v", q.got, want)
		}
	})
}

func TestTurnsTakeHalfOfTheTimeAndATurnThatWaitsHoldsUpNobodyForLong(t *testing.T) {
	for name, tt := range map[string]struct {
		takes, rest, want time.Duration
	}{
		"short ones":            {250 * time.Microsecond, 1, 250 * (1000 + 999) * time.Microsecond},
		"on one processor":      {250 * time.Microsecond, 3, 250 * (1000 + 3*999) * time.Microsecond},
		"such as take a second": {time.Second, 1, 2*999*turnTime + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, end := busy(t, tt.rest)
				for range 1000 {
					q.wg.Go(func() {
						given := q.turns.take(false)
						time.Sleep(tt.takes)
						close(given)
					})
				}
				synctest.Wait()
				start := time.Now()
				end()
				if took := time.Since(start); took < tt.want-4*turnTime || took > tt.want+4*turnTime {
					t.Errorf("took %v, want about %v", took, tt.want)
				}
			})
		})
	}
}

func TestNobodyWaitsForATurnOfAnEngineThatIsBeingClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, _ := busy(t, 1)
		for range 10 {
			q.ask("closed", true)
		}
		if len(q.got) != 0 {
			t.Fatalf("%d have had a turn", len(q.got))
		}
		q.turns.close()
		q.wg.Wait()
		if q.turns.take(false) != nil {
			t.Error("a turn was given out by turns that are closed")
		}
	})
}

// TestFloodsAreToldInTurns: each of many that come at the same time, on connections that have all of it
// to be read at once, on one processor, as another one may have nothing else to do just then.
func TestFloodsAreToldInTurns(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const floods, messages = 40, 20 * stretch
	synctest.Test(t, func(t *testing.T) {
		var told [floods]atomic.Int64
		var through sync.Once
		beside := 0 // how many had turns before the first was through
		sink := newRecorder(t)
		sink.events = make(chan event, floods*messages)
		all := make(chan struct{})
		sink.during = func(e event) {
			<-all
			if told[e.Tag].Add(1) < messages {
				return
			}
			through.Do(func() {
				for i := range told {
					if told[i].Load() >= 2*stretch {
						beside++
					}
				}
			})
		}
		e := NewGoroutineEngine(sink, Config{})
		flood := bytes.Repeat(masked(OpText, true, "x"), messages)
		var clients []net.Conn
		for tag := range uint64(floods) {
			client, server := Pipe(len(flood))
			clients = append(clients, client)
			s, err := e.Attach(server, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Write(flood); err != nil {
				t.Fatal(err)
			}
			e.Start(s, tag)
		}
		synctest.Wait()
		close(all)
		for range floods * messages {
			sink.next()
		}
		if beside < floods/2 {
			t.Errorf("when the first was through %d of %d had had turns, want most of them", beside, floods)
		}
		_ = e.Close()
		for _, client := range clients {
			_ = client.Close()
		}
	})
}

// TestATurnEndsWithWhatIsThere: a connection that has told what it had leaves the rest of its turn to others.
func TestATurnEndsWithWhatIsThere(t *testing.T) {
	for name, server := range map[string]func(net.Conn) net.Conn{
		"read directly": func(nc net.Conn) net.Conn { return nc },
		"as a stream":   func(nc net.Conn) net.Conn { return waiting{nc} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := newRecorder(t)
				e := NewGoroutineEngine(sink, Config{})
				const conns = 20
				var clients []net.Conn
				start := time.Now()
				for tag := range uint64(conns) {
					client, end := Pipe(64 << 10)
					s, err := e.Attach(server(end), nil)
					if err != nil {
						t.Fatal(err)
					}
					e.Start(s, tag)
					clients = append(clients, client)
					if _, err := client.Write(bytes.Repeat(masked(OpText, true, "x"), 2*stretch+1)); err != nil {
						t.Fatal(err)
					}
				}
				for range conns * (2*stretch + 1) {
					sink.next()
				}
				if took := time.Since(start); took != 0 {
					t.Errorf("took %v, want that no turn is waited for", took)
				}
				_ = e.Close()
				for _, client := range clients {
					_ = client.Close()
				}
			})
		})
	}
}
