package bench

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestProcessorsAreHalvedWithoutOneInBothHalves(t *testing.T) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	first, second, err := halves()
	if all.Count() < 2 {
		if err == nil {
			t.Error("one processor was divided")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for cpu := range 64 * len(all) {
		if n := map[bool]int{true: 1}; n[first.IsSet(cpu)]+n[second.IsSet(cpu)] != n[all.IsSet(cpu)] {
			t.Errorf("processor %d: in the halves %v and %v, and to be divided: %v", cpu, first.IsSet(cpu), second.IsSet(cpu), all.IsSet(cpu))
		}
	}
	if first.Count() != all.Count()/2 {
		t.Errorf("got %d and %d of %d", first.Count(), second.Count(), all.Count())
	}
}
