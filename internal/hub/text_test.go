package hub

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A turn has text that was read and needs more of it, and the socket takes nothing: the text
// is asked for again from where the cursor stands.
func TestTextThatTheSocketDidNotTakeIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room = 1 << 20
		r := newRig(t, func(_ *Config, e *fakeEngine) { e.room = room })
		alice := user("alice")
		c := r.open(alice)
		s := r.stream(alice, "R/answer", "")
		var once sync.Once
		r.afterText = func(Key, uint64) {
			once.Do(func() { // while the text is on its way more comes, and the socket fills up
				for range 4 {
					r.write(s, strings.Repeat("more text ", textKeep/10), false)
					time.Sleep(2 * textWindow)
				}
				f := r.engine.socket(c.socket())
				f.mu.Lock()
				defer f.mu.Unlock()
				f.fill = room
			})
		}
		r.write(s, "lost ", true)
		r.write(s, "seen ", false)
		synctest.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		r.engine.drainAll()
		time.Sleep(time.Minute)
		synctest.Wait()
		c.read(t, nil).want("R/answer", string(s.text))
	})
}
