package yield

import "time"

// A slice is longer where others took long: one part in share of that, up to maxSlice. So there is
// progress where processors never rest.
const (
	share    = 8
	maxSlice = time.Millisecond
)

// Pace is that of a goroutine that may have much to do: after each slice of it others have their turn.
// One goroutine uses it.
type Pace struct {
	slice   time.Duration
	next    time.Duration // how long the slice is that has begun
	yielder *Yielder
	began   time.Time     // of the slice
	spent   time.Duration // in slices that have ended
}

// NewPace makes one whose slices are so long. It is closed when it is not used any more.
func NewPace(slice time.Duration) *Pace {
	return &Pace{slice: slice, next: slice, yielder: New(), began: time.Now()}
}

// Begin says that work begins, after a time in which there was none.
func (p *Pace) Begin() { p.began = time.Now() }

// Step is called between pieces of work. It lets others go first when the slice is used up.
func (p *Pace) Step() {
	took := time.Since(p.began)
	if took < p.next {
		return
	}
	p.spent += took
	p.next = max(p.slice, min(p.yielder.Yield()/share, maxSlice))
	p.began = time.Now()
}

// Spent is how long the work took since Spent was last called, without the turns of others. A slice
// that has begun counts as a whole.
func (p *Pace) Spent() time.Duration {
	now := time.Now()
	spent := p.spent + now.Sub(p.began)
	p.spent, p.began = 0, now
	return spent
}

// Close gives back what p holds.
func (p *Pace) Close() { p.yielder.Close() }
