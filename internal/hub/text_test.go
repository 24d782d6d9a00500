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

func TestAStreamThatHasEndedIsNotMadeKnownAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		alice := user("alice")
		c := r.open(alice)
		s := r.stream(alice, "R/answer", "")
		r.write(s, "text", false)
		_, topic := r.hub.topicAt(keyOf(alice))
		then := r.hub.headOf(topic)
		topic.mu.Unlock()
		r.finish(s)
		other := r.stream(alice, "R/other", "")
		_, topic = r.hub.topicAt(keyOf(alice))
		now := r.hub.headOf(topic)
		topic.mu.Unlock()
		for range 2 {
			r.hub.AddStream(keyOf(alice), s.Stream, uint64(len(s.text)), then)
			r.hub.AddStream(keyOf(alice), other.Stream, 0, now)
			time.Sleep(time.Minute) // what has ended is known no more
			synctest.Wait()
		}
		r.write(other, "more", false)
		got := c.read(t, nil) // it fails if text comes twice
		got.want("R/answer", "text")
		got.want("R/other", "more")
		if n := r.hub.streams.used(); n != 1 {
			t.Errorf("got %d streams, want the one that grows", n)
		}
	})
}

// What a gap hides may be the end of a stream.
func TestStreamsWhoseEndWasMissedAreForgotten(t *testing.T) {
	for name, lose := range map[string]func(r *rig, l *testLog){
		"gap": func(r *rig, l *testLog) { r.keep(l.address, 1) },
		"epoch": func(_ *rig, l *testLog) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.epoch, l.head, l.entries = "e2", 0, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				alice := user("alice")
				c := r.open(alice)
				s := r.stream(alice, "R/answer", "")
				r.write(s, "text", false)
				l := r.log(alice)
				l.lost = 2
				r.finish(s)
				r.publish(alice)
				lose(r, l)
				r.publish(alice)
				synctest.Wait()
				time.Sleep(time.Minute)
				synctest.Wait()
				late := r.open(alice)
				synctest.Wait()
				late.read(t, nil).want("R/answer", "")
				c.read(t, nil).want("R/answer", "text")
				if n := r.hub.streams.used(); n != 0 {
					t.Errorf("got %d streams, want none", n)
				}
			})
		})
	}
}
