package server

import "testing"

func TestAHeapGrowsToItsFloorOrToTwiceOfWhatIsInUse(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 400, 1 << 20: 400, 40 << 20: 400, 64 << 20: 300, 128 << 20: 100, 1 << 30: 100, 1 << 40: 100,
	} {
		if got := heapPercent(live); got != want {
			t.Errorf("got %d with %d bytes in use, want %d", got, live, want)
		}
	}
}
