package hub

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
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

func TestADrainingCloseWaitsForTextThatIsBeingRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.afterText = func(Key, uint64) { time.Sleep(time.Second) }
		alice := user("alice")
		c := r.open(alice)
		s := r.stream(alice, "R/answer", "")
		r.write(s, "lost ", true)
		r.write(s, "seen", false)
		if err := r.hub.Close(c.h, wire.CloseGoingAway, "bye", true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		got := c.got.frames()
		if n := len(got); n != 3 || !strings.Contains(got[1], "lost seen") || got[2] != "close 1001 bye" {
			t.Errorf("got %q, want the event, the text and the close", got)
		}
	})
}

// The first reading serves all who wait at the same place, and so do the frames made of it.
func TestReadersOfTheSamePlaceShareFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := new(countingEngine)
		r := newRig(t, func(c *Config, e *fakeEngine) {
			open := c.Engine
			c.Engine = func(s ws.Sink) ws.Engine {
				open(s)
				engine.fakeEngine = e
				return engine
			}
		})
		alice := user("alice")
		keep := r.follow(alice)
		defer r.hub.Release(keep)
		s := r.stream(alice, "R/answer", "")
		r.write(s, strings.Repeat("Grüße ", chunkBytes/3), false)
		var clients []*client
		for range 20 {
			clients = append(clients, r.open(alice))
		}
		r.event(s)
		synctest.Wait()
		for _, c := range clients {
			c.read(t, nil).want("R/answer", string(s.text))
		}
		if n := len(engine.frames); n > 3*3 {
			t.Errorf("got %d chunks made for 20 readers, want them shared", n)
		}
	})
}

// countingEngine remembers the chunks that it was given by where they are in memory.
type countingEngine struct {
	*fakeEngine
	mu     sync.Mutex
	frames map[*byte]bool
}

func (e *countingEngine) Write(s ws.Socket, bufs [][]byte) (int, bool, error) {
	e.mu.Lock()
	for _, b := range bufs {
		if len(b) > 1000 {
			if e.frames == nil {
				e.frames = map[*byte]bool{}
			}
			e.frames[&b[0]] = true
		}
	}
	e.mu.Unlock()
	return e.fakeEngine.Write(s, bufs)
}

// The log is for who lags: a live watcher gets a burst from what is kept here.
func TestLiveTextIsNotReadFromTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		alice := user("alice")
		c := r.open(alice)
		s := r.stream(alice, "R/answer", "")
		for range 20 {
			for range 30 {
				r.write(s, strings.Repeat("burst ", 500), false)
			}
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		c.read(t, nil).want("R/answer", string(s.text))
		if n := r.hub.Stats().TextReads; n != 0 {
			t.Errorf("got %d readings, want none", n)
		}
		rec := r.hub.topics.at(r.hub.index.find(keyOf(alice)))
		rec.mu.Lock()
		defer rec.mu.Unlock()
		if n := len(r.hub.streamAt(rec, s.Key).text.text); n > 300_000 {
			t.Errorf("got %d bytes kept of what was flushed", n)
		}
	})
}

func TestABurstBeyondBoundsIsReadFromTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		alice := user("alice")
		c := r.open(alice)
		s := r.stream(alice, "R/answer", "")
		rec := r.hub.topics.at(r.hub.index.find(keyOf(alice)))
		for range 50 {
			r.write(s, strings.Repeat("🙂", 10_000), false)
			rec.mu.Lock()
			if n := len(r.hub.streamAt(rec, s.Key).text.text); n > textMost {
				t.Errorf("got %d bytes kept, want at most %d", n, textMost)
			}
			rec.mu.Unlock()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		c.read(t, nil).want("R/answer", string(s.text))
	})
}

// Many connections that come back to texts that cannot be read do not keep others from their
// logs.
func TestUnreadableTextsDoNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.unreadable = map[Key]bool{}
		back := func(id string, n int) (s *testText, clients []*client) {
			s = r.stream(user(id), "R/"+id, "")
			r.write(s, "text", false)
			r.finish(s)
			r.publish(user(id))
			for range n {
				clients = append(clients, r.openAfter(user(id), func(c *client) error {
					return r.hub.Seek(c.h, keyOf(user(id)), wire.Position{Epoch: "e1"})
				}))
			}
			return s, clients
		}
		for i := range 2 * catchWorkers {
			id := fmt.Sprint("bad ", i)
			r.mu.Lock()
			r.unreadable[keyOf(wire.Topic{Kind: wire.KindRoom, ID: user(id).String() + "R/" + id})] = true
			r.mu.Unlock()
			back(id, 20)
		}
		last, late := back("late", 20)
		time.Sleep(4 * catchRetry)
		for _, c := range late {
			c.read(t, nil).want(last.ID, "text")
		}
		r.mu.Lock()
		clear(r.unreadable)
		r.mu.Unlock()
		time.Sleep(4 * catchRetry)
		for i := uint32(1); i < r.hub.conns.limit(); i++ {
			if v, ok := r.hub.View(handle(i, 1)); !ok || v.Behind != 0 {
				t.Errorf("got %+v, want a connection that has everything", v)
			}
		}
	})
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

// A connection that reads the log may be ahead of what was delivered here: what it has seen
// the end of does not come again.
func TestTextDoesNotComeAgainToWhoIsAheadOfTheTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room = 1 << 20
		r := newRig(t, func(c *Config, e *fakeEngine) { c.WindowMessages, e.room = 1, room })
		alice := user("alice")
		c := r.open(alice)
		s, other := r.stream(alice, "R/answer", ""), r.stream(alice, "R/other", "")
		r.write(s, "text", false)
		r.write(other, "some ", false)
		f := r.engine.socket(c.socket())
		f.mu.Lock()
		f.fill = room
		f.mu.Unlock()
		for range 3 {
			r.publish(alice)
		}
		r.log(alice).lost = 1
		r.finish(s)
		r.engine.drainAll()
		synctest.Wait()
		r.write(other, "more", false)
		time.Sleep(time.Second)
		synctest.Wait()
		got := c.read(t, nil) // it fails if text comes twice
		got.want("R/answer", "text")
		got.want("R/other", "some more")
		if last := got.order[len(got.order)-1]; last != "text R/other 9" || got.order[len(got.order)-2] != ":user/alice e1 6" {
			t.Errorf("got %q, want the event that was lost, and then text", got.order)
		}
		r.publish(alice)
		synctest.Wait()
		if n := r.hub.readings.at(r.hub.conns.at(c.h.slot()).reading); len(n.at) != 1 {
			t.Errorf("got %+v, want the cursor of the other stream", n.at)
		}
	})
}
