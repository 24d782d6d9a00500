package sim_test

import (
	"flag"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

var (
	oneSeed = flag.Int64("seed", -1, "tell the story of this seed only")
	first   = flag.Int("first", 0, "the seed to begin with")
	seeds   = flag.Int("seeds", 150, "how many stories to play")
	length  = flag.Int("length", 60, "of a story: how many things happen")
	without = flag.String("without", "", "steps of a story that are left out, such as 0-11,14")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestEverySeedKeepsItsPromises plays stories and holds every client to what it must have.
func TestEverySeedKeepsItsPromises(t *testing.T) {
	if *oneSeed >= 0 {
		left, err := parseRanges(*without)
		if err != nil {
			t.Fatal(err)
		}
		s := story{seed: uint64(*oneSeed), length: *length, without: left}
		if wrong, _ := s.play(t); len(wrong) > 0 {
			t.Error(strings.Join(wrong, "\n"))
		}
		return
	}
	for seed := *first; seed < *first+*seeds; seed++ {
		s := story{seed: uint64(seed), length: *length}
		wrong, told := s.play(t)
		if t.Failed() || len(wrong) > 0 {
			t.Errorf("%s\nagain: %s", strings.Join(wrong, "\n"), s)
			t.Logf("what happened:\n%s", strings.Join(s.shorten(t, told), "\n"))
			return
		}
	}
}

// play plays a story and returns the promises that were broken, and what was told.
func (s story) play(t *testing.T) (wrong, told []string) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, s.seed)
		for _, topic := range topics() {
			w.ledgerOf(topic)
		}
		w.keep()
		for range 3 + w.pick(3) {
			w.come()
			synctest.Wait()
		}
		for i := 0; i < s.length && len(w.problems) == 0; i++ {
			if !s.without[i] {
				w.reseed(uint64(i) + 1)
				w.tell("step %d", i)
				w.next()
			}
			if i == s.length/2 {
				w.silence()
			}
		}
		if len(w.problems) == 0 {
			w.silence()
		}
		w.close()
		wrong, told = w.problems, w.told
	})
	return wrong, told
}

// silence lets everything come to rest, has two more messages published to every topic, and
// looks whether everybody has what is theirs: a wake-up that was lost shows only when nothing
// follows.
func (w *world) silence() {
	w.tell("silence")
	w.releaseHandlers()
	for range 24 { // until a record that was stored and not delivered has been missed
		w.settle()
		time.Sleep(time.Second / 2)
	}
	w.settle()
	// All at once, so that what is for one connection comes from several sides.
	var all []publication
	for range 2 {
		for _, topic := range topics() {
			all = append(all, w.compose(topic, wire.Durable))
		}
	}
	w.sendAtOnce(all)
	synctest.Wait()
	w.keep()
	w.settle()
	for _, d := range w.devices {
		d.checkMessages()
	}
	for range 4 { // windows of texts, and gaps that are told once a second
		time.Sleep(time.Second)
		w.settle()
	}
	for _, d := range w.devices {
		d.checkTexts()
		d.checkPostings()
	}
	w.checkMemory()
}

// settle brings everybody back and reads until nothing comes any more. No time passes.
func (w *world) settle() {
	for quiet := 0; quiet < 2; {
		synctest.Wait()
		w.keep()
		quiet++
		for _, d := range w.devices {
			if d.client == nil && d.session.Token != "" {
				w.join(d)
				quiet = 0
			}
			if d.read(math.MaxInt32) {
				quiet = 0
			}
		}
	}
}

// checkMessages holds a device to the logs.
func (d *device) checkMessages() {
	for address, pos := range d.at {
		topic := d.topic(address)
		l := d.w.ledgerOf(topic)
		if pos.Epoch != l.epoch {
			d.w.wrong("%s: stands at %s of %s, whose epoch is %s", d.name, pos, address, l.epoch)
			continue
		}
		since := d.since[address]
		for _, epoch := range slices.Compact([]string{since.Epoch, l.epoch}) {
			for _, r := range l.of[epoch] {
				here := wire.Position{Epoch: epoch, Offset: r.offset}
				switch {
				case epoch == since.Epoch && r.offset <= since.Offset, r.hidden, d.has[address][here], d.isLost(address, here):
				case d.isExcepted(r.except), topic.Kind == wire.KindRoom && !d.w.mayRead(topic, d.user, r.offset):
				default:
					d.w.wrong("%s: has no %s (%s) of %s", d.name, here, r.id, address)
				}
			}
		}
	}
}

// isLost reports whether a gap has told that a message is lost.
func (d *device) isLost(topic string, at wire.Position) bool {
	for _, g := range d.lost[topic] {
		behind := at.Epoch == g.From.Epoch && at.Offset > g.From.Offset
		upTo := at.Epoch == g.To.Epoch && at.Offset <= g.To.Offset
		if behind && upTo || g.From.Epoch != g.To.Epoch && (behind || upTo) {
			return true
		}
	}
	return false
}

// checkTexts holds a device to the texts that grow.
func (d *device) checkTexts() {
	for _, r := range d.w.runs {
		if r.over() || !d.watches(r.thread) || r.topic.Tenant != d.tenant {
			continue
		}
		if _, follows := d.at[r.topic.String()]; !follows {
			continue
		}
		for id, want := range r.texts {
			if got := d.texts[id]; got != want {
				d.w.wrong("%s: has %d code points of %s, which has %d", d.name, utf8.RuneCountInString(got), id, utf8.RuneCountInString(want))
			}
		}
	}
}

// checkPostings holds a device to what has no place in a log.
func (d *device) checkPostings() {
	if d.client == nil {
		return
	}
	for address := range d.at {
		topic := d.topic(address)
		if want := d.node.tap.passed(topic) - d.base[address]; d.base[address] != unknown && d.passed[address] != want {
			d.w.wrong("%s: got and was told of %d volatile messages of %s, of %d", d.name, d.passed[address], address, want)
		}
		for _, e := range d.w.latest(topic) {
			if key := keyOf(topic) + e.key; d.newest[key] != e.n {
				d.w.wrong("%s: has %d as %s, which is %d", d.name, d.newest[key], key, e.n)
			}
		}
	}
}

type newest struct {
	key string
	n   int
}

// latest returns what the broker has of class latest.
func (w *world) latest(topic wire.Topic) (list []newest) {
	entries, err := w.broker.Latest(w.t.Context(), broker.KeyOf(topic))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		rec, err := wire.ParseRecord(e.Data)
		if err != nil {
			w.t.Fatal(err)
		}
		env, err := wire.Parse(rec.Body)
		var p struct{ N int }
		if err == nil {
			err = env.Decode(&p)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		list = append(list, newest{e.Key, p.N})
	}
	return list
}

// checkMemory holds nodes to their bounds.
func (w *world) checkMemory() {
	const frame = 512 // no message is longer
	for _, n := range w.nodes {
		s := n.manager.Stats()
		if most := int64(windowBytes + frame*len(topics())*2); s.WindowBytes > most { // the newest of two keys are kept in any case
			w.wrong("%s: keeps %d bytes, want at most %d", n.name, s.WindowBytes, most)
		}
		connected := 0
		for _, d := range w.devices {
			if d.client != nil && d.node == n {
				connected++
			}
		}
		if s.Connections != connected {
			w.wrong("%s: has %d connections, and %d devices are connected", n.name, s.Connections, connected)
		}
	}
}
