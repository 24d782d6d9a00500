package switchboard_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
	"pgregory.net/rapid"
)

// shown is a credential as the model knows it.
type shown struct {
	user, jti, sid string
	issued         time.Time // zero: it does not say
}

func (c shown) token() string {
	text := fmt.Sprintf("%s jti=%s sid=%s", c.user, c.jti, c.sid)
	if !c.issued.IsZero() {
		text += fmt.Sprintf(" iat=%d", c.issued.UnixMilli())
	}
	return text
}

// pass is what somebody is let in by: a credential, and the sessions that it came of.
type pass struct {
	cred shown
	of   []string
}

// and is p for a session, or by the token of one.
func (p pass) and(session string) pass {
	if slices.Contains(p.of, session) {
		return p
	}
	return pass{p.cred, append(slices.Clone(p.of), session)}
}

// seat is a connection, or what is left of one: its session token.
type seat struct {
	*device
	by      pass // the connection
	token   pass // its newest session token
	session string
	open    bool
}

// ticket is one that was not used yet.
type ticket struct {
	pass
	text string
}

// revokedBy is the rule, in the words of the documentation.
func revokedBy(r switchboard.Revocation, p pass, now time.Time) bool {
	c := p.cred
	named := r.User != "" && r.User == c.user || r.TokenID != "" && r.TokenID == c.jti || r.SID != "" && r.SID == c.sid ||
		r.Session != "" && slices.Contains(p.of, r.Session)
	over := !r.Until.IsZero() && !now.Before(r.Until)
	after := !r.NotBefore.IsZero() && !c.issued.IsZero() && !c.issued.Before(r.NotBefore)
	return named && !over && !after
}

// world is two nodes, whoever is connected to them, and what is revoked.
type world struct {
	rt      *rapid.T
	t       *testing.T
	nodes   []*server
	creds   []shown
	seats   []*seat
	tickets []ticket
	revoked map[string]switchboard.Revocation
}

func (w *world) refused(p pass) bool {
	for _, r := range w.revoked {
		if revokedBy(r, p, time.Now()) {
			return true
		}
	}
	return false
}

func (w *world) node() *server { return rapid.SampledFrom(w.nodes).Draw(w.rt, "node") }

// connect tries, and compares with what the model says.
func (w *world) connect(req request, p pass) {
	d, resp := w.node().handshake(w.t, req)
	if in := resp.StatusCode == 101; in == w.refused(p) {
		w.rt.Fatalf("%+v: got %d, revoked are %+v", p, resp.StatusCode, w.revoked)
	} else if !in {
		return
	}
	d.welcomed(resp)
	p = p.and(d.welcome.Session.ID)
	w.seats = append(w.seats, &seat{device: d, by: p, token: p, session: d.welcome.Session.ID, open: true})
}

// resume uses the session token of a seat: to come back, or to make a ticket.
func (w *world) resume() {
	s := rapid.SampledFrom(w.seats).Draw(w.rt, "resumed")
	if rapid.Bool().Draw(w.rt, "comes back") {
		w.connect(request{token: s.welcome.Session.Token}, s.token)
		return
	}
	got := w.node().web(w.t).ticket(s.welcome.Session.Token, `{"ttl_seconds":3600}`)
	if in := got.status == 200; in == (w.refused(s.token) || len(s.token.of) > 16) {
		w.rt.Fatalf("a ticket of %+v: got %d %s, revoked are %+v", s.token, got.status, got.body, w.revoked)
	} else if in {
		w.tickets = append(w.tickets, ticket{s.token, got.ticket(w.t).Ticket})
	}
}

// redeem takes a ticket.
func (w *world) redeem() ticket {
	i := rapid.IntRange(0, len(w.tickets)-1).Draw(w.rt, "ticket")
	t := w.tickets[i]
	w.tickets = slices.Delete(w.tickets, i, i+1)
	return t
}

func (w *world) revoke() {
	var r switchboard.Revocation
	c := rapid.SampledFrom(w.creds).Draw(w.rt, "whose")
	switch rapid.IntRange(0, 5).Draw(w.rt, "by") {
	case 0:
		r.User = c.user
	case 1:
		r.TokenID = c.jti
	case 2:
		r.SID = c.sid
	default:
		if len(w.seats) == 0 {
			return
		}
		r.Session = rapid.SampledFrom(w.seats).Draw(w.rt, "session").session
	}
	if ahead := rapid.IntRange(-20, 20).Draw(w.rt, "not before"); ahead != 0 {
		r.NotBefore = time.Now().Add(time.Duration(ahead) * time.Second)
	}
	if life := rapid.IntRange(0, 30).Draw(w.rt, "until"); life > 0 {
		r.Until = time.Now().Add(time.Duration(life) * time.Second)
	}
	id := w.node().revoke(w.t, r)
	if r.User != "" && r.NotBefore.IsZero() {
		r.NotBefore = time.Now().Add(time.Millisecond)
	}
	w.revoked[id] = r
}

func (w *world) restore() {
	ids := make([]string, 0, len(w.revoked))
	for id, r := range w.revoked {
		if r.Until.IsZero() || time.Now().Before(r.Until) {
			ids = append(ids, id)
		}
	}
	if slices.Sort(ids); len(ids) == 0 {
		return
	}
	id := rapid.SampledFrom(ids).Draw(w.rt, "restored")
	if err := w.node().Access().Restore(w.t.Context(), id); err != nil {
		w.rt.Fatal(err)
	}
	delete(w.revoked, id)
}

func (w *world) refresh() {
	s := rapid.SampledFrom(w.seats).Draw(w.rt, "seat")
	if !s.open {
		return
	}
	var p pass
	if len(w.tickets) > 0 && rapid.Bool().Draw(w.rt, "by a ticket") {
		t := w.redeem()
		p = t.pass
		s.send(`{"type":"auth","message_id":"a","payload":{"ticket":%q}}`, t.text)
	} else {
		p.cred = rapid.SampledFrom(w.creds).Draw(w.rt, "new credential")
		s.send(`{"type":"auth","message_id":"a","payload":{"token":%q}}`, p.cred.token())
	}
	if p.cred.user != s.by.cred.user || w.refused(p) {
		s.refused(wire.CodeAuthError, "a")
		return
	}
	s.by = p.and(s.session)
	if w.refused(s.by) { // the session is good with newer credentials only
		return
	}
	s.welcome.Session = payload[wire.AuthOKPayload](w.t, s.expect(wire.AuthOK)).Session
	s.token = s.by
}

// settle lets a second pass: then who is revoked is out, and everybody else is in.
func (w *world) settle() {
	for _, s := range w.seats {
		s.open = s.open && !w.refused(s.by)
	}
	time.Sleep(time.Second)
	var want []string
	for _, s := range w.seats {
		if s.open {
			want = append(want, s.welcome.ConnectionID)
			continue
		}
		if s.conn != nil {
			s.ends(wire.CloseRevoked)
			_ = s.conn.Close()
			s.conn = nil
		}
	}
	synctest.Wait()
	slices.Sort(want)
	if got := live(w.t, w.nodes...); !slices.Equal(got, want) {
		w.rt.Fatalf("connected are %v, want %v; revoked are %+v", got, want, w.revoked)
	}
}

// TestWhoIsRevokedIsOutASecondLaterAndNobodyElseIs compares two nodes with a model of a few
// lines, over whatever users, back ends and clocks do.
func TestWhoIsRevokedIsOutASecondLaterAndNobodyElseIs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			_, one, two := twoNodes(t, membroker.Options{})
			w := &world{rt: rt, t: t, nodes: []*server{one, two}, revoked: map[string]switchboard.Revocation{}}
			for step := range rapid.IntRange(10, 40).Draw(rt, "steps") {
				what := rapid.IntRange(0, 8).Draw(rt, "what")
				if len(w.seats) == 0 {
					what = 0
				}
				switch what {
				case 0:
					c := shown{
						user: rapid.SampledFrom([]string{"alice", "bob"}).Draw(rt, "user"), jti: fmt.Sprint("j", step),
						sid: rapid.SampledFrom([]string{"s1", "s2", "s3"}).Draw(rt, "sid"),
					}
					if rapid.IntRange(0, 4).Draw(rt, "says when") > 0 {
						c.issued = time.Now()
					}
					w.creds = append(w.creds, c)
					w.connect(request{token: c.token()}, pass{cred: c})
				case 1:
					c := rapid.SampledFrom(w.creds).Draw(rt, "again")
					w.connect(request{token: c.token()}, pass{cred: c})
				case 2, 7:
					w.resume()
				case 8:
					if len(w.tickets) > 0 {
						t := w.redeem()
						w.connect(request{path: "/ws?ticket=" + t.text}, t.pass)
					}
				case 3:
					w.refresh()
				case 4, 5:
					w.revoke()
				case 6:
					w.restore()
				}
				w.settle()
			}
		})
	})
}
