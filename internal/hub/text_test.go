package hub

import (
	"errors"
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

// What a connection has of streams is given back however they end for it.
func TestTextCursorsEndWithTheirStreams(t *testing.T) {
	for name, end := range map[string]func(r *rig, c *client, s *testText){
		"seen": func(r *rig, _ *client, s *testText) { r.finish(s) },
		"in a thread that is not watched any more": func(r *rig, c *client, s *testText) {
			if err := r.hub.SwitchThread(c.h, "t2"); err != nil {
				r.t.Error(err)
			}
			r.finish(s)
		},
		"in a gap": func(r *rig, c *client, s *testText) {
			f := r.engine.socket(c.socket())
			f.mu.Lock()
			f.fill = r.engine.room
			f.mu.Unlock()
			r.publish(s.topic)
			synctest.Wait()
			r.finish(s)
			for range 20 {
				r.publish(s.topic)
			}
			time.Sleep(time.Minute)
			r.keep(s.topic, 5)
			r.engine.drainAll()
		},
		"in a room that was left": func(r *rig, c *client, s *testText) {
			r.hub.Unfollow(c.h, keyOf(s.topic))
			r.finish(s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(c *Config, e *fakeEngine) { c.WindowMessages, e.room = 4, 1<<20 })
				c := r.open(user("alice"))
				c.join(room("r"))
				s := r.stream(room("r"), "R/answer", "t1")
				r.write(s, "text", false)
				synctest.Wait()
				c.read(t, nil).want("R/answer", "text")
				end(r, c, s)
				synctest.Wait()
				r.publish(room("r"))
				r.publish(user("alice"))
				synctest.Wait()
				rec := r.hub.lock(c.h)
				defer r.hub.unlock(rec, c.h.slot())
				if rec.reading != 0 && len(r.hub.readings.at(rec.reading).at) > 0 {
					t.Errorf("got %+v, want nothing", r.hub.readings.at(rec.reading).at)
				}
			})
		})
	}
}

func TestThreadsAreChosenOnlyByWatching(t *testing.T) {
	for _, tt := range []struct {
		name   string
		choose func(h *Hub, c Handle) error
		want   string // threads of which text comes
	}{
		{"nothing chosen", func(*Hub, Handle) error { return nil }, "t1 t2 t3"},
		{"unwatch of what was not chosen", func(h *Hub, c Handle) error { return h.Unwatch(c, "t1") }, "t1 t2 t3"},
		{"watch", func(h *Hub, c Handle) error { return h.Watch(c, "t1", "t3") }, "t1 t3"},
		{"unwatch", func(h *Hub, c Handle) error { return errors.Join(h.Watch(c, "t1", "t3"), h.Unwatch(c, "t1", "t3")) }, ""},
		{"switch", func(h *Hub, c Handle) error { return errors.Join(h.Watch(c, "t1", "t2"), h.SwitchThread(c, "t3")) }, "t1 t3"},
		{"switch to the same", func(h *Hub, c Handle) error { return errors.Join(h.Watch(c, "t1", "t2"), h.SwitchThread(c, "t2")) }, "t1 t2"},
		{"switch back", func(h *Hub, c Handle) error { return errors.Join(h.Watch(c, "t1", "t2"), h.SwitchThread(c, "t1")) }, "t1"},
		{"switch first", func(h *Hub, c Handle) error { return h.SwitchThread(c, "t2") }, "t2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				c := r.openAfter(user("alice"), func(c *client) error { return tt.choose(r.hub, c.h) })
				var got []string
				for _, thread := range []string{"t1", "t2", "t3"} {
					r.write(r.stream(user("alice"), "R/"+thread, thread), "text", false)
					if len(c.read(t, nil).texts["R/"+thread]) > 0 {
						got = append(got, thread)
					}
				}
				if got := strings.Join(got, " "); got != tt.want {
					t.Errorf("got text of %q, want %q", got, tt.want)
				}
			})
		})
	}
}
