package quota

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestAGateLetsSoManyOfEachKeyInAtOnce(t *testing.T) {
	gate := NewGate[string](2)
	first, ok := gate.Enter("a")
	_, also := gate.Enter("a")
	if !ok || !also {
		t.Fatal("got a refusal, want two places")
	}
	if _, ok := gate.Enter("a"); ok {
		t.Error("got a third place, want two")
	}
	if _, ok := gate.Enter("b"); !ok {
		t.Error("b has no place because of a")
	}
	first()
	if _, ok := gate.Enter("a"); !ok {
		t.Error("got no place that was left, want it")
	}
	var none *Gate[string]
	if leave, ok := none.Enter("a"); !ok || none.Most() != 0 || NewGate[string](-1) != nil {
		t.Error("got a bound, want none")
	} else {
		leave()
	}
}

func TestWhoWaitsAtAGateComesInInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := NewGate[string](1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		leave, _ := gate.Wait(ctx, "a")
		came := make(chan int, 3)
		var all sync.WaitGroup
		for i := range 3 {
			wait := ctx
			if i == 1 { // has no patience
				short, end := context.WithTimeout(ctx, time.Second)
				defer end()
				wait = short
			}
			all.Go(func() {
				leave, ok := gate.Wait(wait, "a")
				if !ok {
					came <- -i
					return
				}
				came <- i
				leave()
			})
			synctest.Wait()
		}
		if _, ok := gate.Enter("a"); ok {
			t.Error("got in before those who wait")
		}
		time.Sleep(2 * time.Second)
		leave()
		all.Wait()
		if order := []int{<-came, <-came, <-came}; !slices.Equal(order, []int{-1, 0, 2}) {
			t.Errorf("got %v, want the second to give up, and then the first and the third", order)
		}
		if len(gate.of) != 0 {
			t.Errorf("got %d keys, want none", len(gate.of))
		}
	})
}

func TestAGateKeepsNothingOfWhoHasLeft(t *testing.T) {
	gate := NewGate[int](1)
	var all sync.WaitGroup
	for key := range 100 {
		all.Go(func() {
			if leave, ok := gate.Enter(key); ok {
				leave()
			}
		})
	}
	all.Wait()
	if len(gate.of) != 0 {
		t.Errorf("got %d keys, want none", len(gate.of))
	}
}

func TestWhatIsOwedTakesWhatIsThere(t *testing.T) {
	table := New[string](60, 10, 10)
	table.Owe("a", 7, start)
	if _, ok := table.Holds("a", 4, start); ok {
		t.Error("got 4 of 10 behind 7, want 3")
	}
	table.Owe("a", 7, start)
	if wait, ok := table.Holds("a", 1, start); ok || wait != time.Second {
		t.Errorf("got %v, %v, want to wait for one", wait, ok)
	}
	var none *Table[string]
	none.Owe("a", 1, start)
}
