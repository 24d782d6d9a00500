package isolation_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// way is a public way in. It reports whether it did something, as opposed to being refused.
type way struct {
	name string
	take func(w *world) (done bool)
}

// ways are all of them, but for those of back ends.
func ways() []way {
	return []way{
		{"connect", (*world).comeIn}, {"connect", (*world).comeIn},
		{"come back", (*world).comeBack},
		{"token tampered", (*world).tamper},
		{"ticket", (*world).takeTicket},
		{"hang up", (*world).leave},
		{"user_message", by((*client).speaks)},
		{"whisper", by((*client).whispers)},
		{"subscribe", by((*client).subscribes)}, {"subscribe", by((*client).subscribes)},
		{"unsubscribe", by((*client).unsubscribes)},
		{"join_room", by((*client).joins)},
		{"leave_room", by((*client).leaves)},
		{"room_message", by((*client).speaksInRoom)},
		{"thread_open", by((*client).opensThread)},
		{"history", by((*client).readsHistory)}, {"history", by((*client).readsHistory)},
		{"session_restore", by((*client).restores)}, {"session_restore", by((*client).restores)},
		{"stop_agent", by((*client).stops)},
		{"presence_update", by((*client).isThere)},
		{"auth", by((*client).proves)},
		{"ack", by((*client).acknowledges)},
		{"odd", by((*client).saysOddThings)},
		{"POST /messages", by((*client).postsForOthers)},
		{"GET /threads", by((*client).asksThread)},
	}
}

// by makes a way of what a client does.
func by(does func(c *client) bool) func(*world) bool {
	return func(w *world) bool {
		live := w.live()
		return len(live) > 0 && does(pick(w, live))
	}
}

func (w *world) comeIn() bool {
	who, allowed := w.somebody(), w.someRights()
	e := entrance{person: who, rights: allowed, token: w.token(who, allowed), events: w.dice(3) == 0}
	if e.events && w.dice(2) == 0 {
		e.lastEvent = lastEvent(w.stolenPlaces(nil))
		for _, room := range rooms { // what it says that it had
			if allowed.allow(room, "join") {
				w.m.asks(member{who, room})
			}
		}
	}
	return w.connect(pick(w, w.nodes), e) != nil
}

// comeBack presents a session token, one's own or a stolen one: it is a bearer credential, and
// nothing but its owner comes of it.
func (w *world) comeBack() bool {
	if len(w.clients) == 0 {
		return false
	}
	old := pick(w, w.clients)
	if old.session == "" {
		return false
	}
	c := w.connect(pick(w, w.nodes), entrance{person: old.person, rights: old.held[0].rights, session: old.session, events: w.dice(4) == 0})
	return c != nil
}

// tamper changes a token in one place. It must not let anybody in.
func (w *world) tamper() bool {
	live := w.live()
	if len(live) == 0 {
		return false
	}
	old := pick(w, live)
	text := []byte(old.session)
	if len(text) < 20 {
		return false
	}
	at := 4 + w.dice(len(text)-5) // the last character may have bits that count for nothing
	if text[at] == 'A' {
		text[at] = 'B'
	} else {
		text[at] = 'A'
	}
	if w.connect(pick(w, w.nodes), entrance{person: old.person, session: string(text)}) != nil {
		w.m.wrong("a session token that was changed lets in")
	}
	return true
}

// takeTicket gets a ticket, which somebody else uses, and then somebody else again.
func (w *world) takeTicket() bool {
	live := w.live()
	if len(live) == 0 {
		return false
	}
	c := pick(w, live)
	status, body := w.call(c, pick(w, w.nodes), "POST", "/websocket/ticket", c.token, `{}`)
	ticket := credentials.FindString(body)
	if status != 200 || ticket == "" {
		return false
	}
	id := w.identity(c)
	first := w.connect(pick(w, w.nodes), entrance{person: c.person, rights: id, ticket: ticket, events: w.dice(2) == 0})
	if w.connect(pick(w, w.nodes), entrance{person: c.person, rights: id, ticket: ticket, events: w.dice(2) == 0}) != nil {
		w.m.wrong("a ticket of %s was good twice", c.name())
	}
	return first != nil
}

// identity is what the token of a client says that it may do.
func (w *world) identity(c *client) rights {
	w.mu.Lock()
	defer w.mu.Unlock()
	if id, ok := w.tokens[c.token]; ok {
		return id.Permissions
	}
	return c.held[0].rights // of a session token
}

func (w *world) leave() bool {
	live := w.live()
	if len(live) < 3 {
		return false
	}
	pick(w, live).hangUp()
	w.settle()
	return true
}

func (c *client) says(at place) map[string]any {
	return map[string]any{"content": "I say " + word(c.w.m.say(at, c.person))}
}

func (c *client) own() place { return place{c.person.tenant, "user", c.person.user} }

// spoken is where something comes that a client says in a room.
func (c *client) spoken(room string) place {
	if c.rights().allow(room, "publish") {
		return place{c.person.tenant, "room", room}
	}
	return void
}

func (c *client) speaks() bool {
	typ := pick(c.w, []string{"user_message", "chat"})
	switch c.w.dice(3) {
	case 0:
		room := pick(c.w, rooms)
		return c.send(typ, fmt.Sprintf(`,"topic":%q`, "room/"+room), c.says(c.spoken(room))) == wire.AckType
	case 1:
		other := c.w.somebody()
		at := void
		if other.user == c.person.user {
			at = c.own() // of one's own tenant, whichever was meant
		}
		return c.send(typ, fmt.Sprintf(`,"topic":%q,"thread_id":%q`, "user/"+other.user, pick(c.w, threads)), c.says(at)) == wire.AckType
	}
	return c.send(typ, fmt.Sprintf(`,"thread_id":%q,"user_id":%q`, pick(c.w, threads), pick(c.w, users)), c.says(c.own())) == wire.AckType
}

func (c *client) whispers() bool {
	n := c.w.m.say(place{c.person.tenant, "connection", c.id}, c.person)
	done := c.send("whisper", "", map[string]any{"content": word(n)}) == wire.AckType
	if done {
		c.w.owed = append(c.w.owed, owed{n, c})
	}
	return done
}

// asks tells the monitor that a client wants to follow a room that it may follow.
func (c *client) asks(room string) {
	if c.rights().allow(room, "join") {
		c.w.m.asks(member{c.person, room})
	}
}

func (c *client) subscribes() bool {
	room := pick(c.w, rooms)
	c.asks(room)
	req := map[string]any{"rooms": []string{room}}
	if c.w.dice(2) == 0 {
		req["since"] = map[string]any{"room/" + room: c.w.stolenPlace(c.person.tenant, switchboard.Room(room))}
	}
	if c.w.dice(3) == 0 {
		req["threads"] = []string{pick(c.w, threads)}
	}
	return c.send("subscribe", "", req) == wire.Subscribed
}

func (c *client) unsubscribes() bool {
	c.w.forgive(c.person)
	return c.send("unsubscribe", "", map[string]any{"rooms": []string{pick(c.w, rooms)}}) == wire.Unsubscribed
}

func (c *client) joins() bool {
	room := pick(c.w, rooms)
	c.asks(room)
	return c.send("join_room", "", map[string]any{"room": room}) == wire.RoomJoined
}

func (c *client) leaves() bool {
	room := pick(c.w, rooms)
	c.w.forgive(c.person)
	c.w.m.removed(member{c.person, room})
	return c.send("leave_room", "", map[string]any{"room": room}) == wire.RoomLeft
}

func (c *client) speaksInRoom() bool {
	room := pick(c.w, rooms)
	payload := c.says(c.spoken(room))
	payload["room"] = room
	return c.send("room_message", "", payload) == wire.AckType
}

func (c *client) opensThread() bool {
	req := map[string]any{"thread_id": pick(c.w, threads)}
	if c.w.dice(2) == 0 {
		room := pick(c.w, rooms)
		c.asks(room)
		req["room"] = room
	}
	return c.send(pick(c.w, []string{"thread_open", "switch_thread"}), "", req) == wire.ThreadSnapshot
}

// stolenTopic is a topic as an attacker writes one.
func (w *world) stolenTopic() string {
	user, room, tenant := pick(w, users), pick(w, rooms), pick(w, tenants)
	return pick(w, []string{
		"user/" + user, "user/" + user, "room/" + room, "room/" + room, "all", tenant + "/user/" + user, "user/" + tenant + "/" + user,
		"user/../" + tenant + "/user/" + user, "/user/" + user, "user//" + user, tenant + "/all", "USER/" + user, "connection/" + user,
	})
}

func (c *client) readsHistory() bool {
	req := map[string]any{"topic": c.w.stolenTopic()}
	switch c.w.dice(3) {
	case 0:
		req["since"] = c.w.stolenPlace(c.w.somebody().tenant, switchboard.User(pick(c.w, users)))
	case 1:
		req["topic"] = "room/" + pick(c.w, rooms)
	}
	return c.send("history", "", req) == wire.HistoryResult
}

// stolenPlace is the beginning of a log, as one who has seen it would know it.
func (w *world) stolenPlace(tenant string, to switchboard.Target) wire.Position {
	page, err := w.nodes[0].History(switchboard.WithTenant(w.t.Context(), tenant), to, switchboard.Query{Limit: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	return wire.Position{Epoch: page.Head.Epoch}
}

// stolenPlaces are what one needs to come back as somebody else.
func (w *world) stolenPlaces(c *client) wire.Restore {
	had := wire.Restore{Positions: map[string]wire.Position{}, Streams: map[string]int{}}
	for range 1 + w.dice(4) {
		who := w.somebody()
		to := switchboard.User(who.user)
		if w.dice(2) == 0 {
			to = switchboard.Room(pick(w, rooms))
		}
		if w.dice(2) == 0 && c != nil {
			who.tenant = c.person.tenant
		}
		had.Positions[to.String()] = w.stolenPlace(who.tenant, to)
		if c != nil && strings.HasPrefix(to.String(), "room/") {
			c.asks(strings.TrimPrefix(to.String(), "room/"))
		}
	}
	if len(w.runs) > 0 {
		had.Streams[pick(w, w.runs).ID()+"/answer"] = 1
	}
	return had
}

func (c *client) restores() bool {
	c.w.forgive(c.person)
	req := c.w.stolenPlaces(c)
	if old := pick(c.w, c.w.clients); c.w.dice(2) == 0 {
		req.Replace = old.id
		if old != c && old.person == c.person && old.sessionID == c.sessionID {
			old.left = true
		}
	}
	return c.send("session_restore", "", req) == wire.SessionRestored
}

// mayStop is who may stop a run: who asked for it, who it is for, and in a room who has control.
func (c *client) mayStop(r *run) bool {
	return r.tenant == c.person.tenant && (r.by == c.person || r.kind == "user" && r.id == c.person.user ||
		r.kind == "room" && c.rights().allow(r.id, "control"))
}

func (c *client) stops() bool {
	if len(c.w.runs) == 0 {
		return false
	}
	one := pick(c.w, c.w.runs)
	req := map[string]any{"run_id": one.ID()}
	every := func(*run) bool { return true }
	which := func(r *run) bool { return r == one }
	switch c.w.dice(3) {
	case 0:
		req, which = map[string]any{"all": true}, every
	case 1:
		req, which = map[string]any{"thread_id": pick(c.w, threads)}, every
	}
	for _, r := range c.w.runs {
		if which(r) && c.mayStop(r) {
			r.stopped = true
		}
	}
	done := c.send("stop_agent", "", req) == wire.AckType
	for _, r := range c.w.runs {
		c.w.mustLive(r, "a stop by "+c.name())
	}
	return done
}

// proves shows another credential on a live connection.
func (c *client) proves() bool {
	who := c.person
	if c.w.dice(2) == 0 {
		who = c.w.somebody()
	}
	allowed := c.w.someRights()
	token := c.w.token(who, allowed)
	req := map[string]any{"token": token}
	if c.w.dice(2) == 0 {
		ctx := switchboard.WithTenant(c.w.t.Context(), who.tenant)
		ticket, err := c.node.Access().Ticket(ctx, switchboard.Identity{Tenant: who.tenant, User: who.user, Permissions: allowed}, 30e9)
		if err != nil {
			c.w.t.Fatal(err)
		}
		c.w.m.owns(ticket, who)
		req = map[string]any{"ticket": ticket}
	}
	if who == c.person {
		c.grant(allowed)
		c.w.forgive(c.person)
	}
	answer := c.send("auth", "", req)
	if answer == wire.AuthOK && who != c.person {
		c.w.m.wrong("%s became %+v", c.name(), who)
	}
	return answer == wire.AuthOK
}

func (c *client) acknowledges() bool {
	had := c.w.stolenPlaces(nil)
	body := map[string]any{"positions": had.Positions, "seen": had.Positions}
	if c.w.dice(2) == 0 {
		body = map[string]any{"positions": map[string]any{c.w.stolenTopic(): c.w.stolenPlace(c.person.tenant, switchboard.User(c.person.user))}}
	}
	return c.send("ack", "", body) != wire.ErrorMessageType
}

// saysOddThings sends what is no message, or none that a client may send.
func (c *client) saysOddThings() bool {
	n := word(c.w.m.say(void, c.person))
	other := pick(c.w, c.w.clients)
	c.raw(pick(c.w, []string{
		`{"jsonrpc":"2.0","id":1,"method":"history","params":{"topic":"user/` + other.person.user + `","x":"` + n + `"}}`,
		`{"type":"jsonrpc_request","payload":{"method":"history","params":{"topic":"user/alice"},"x":"` + n + `"}}`,
		`{"type":"agent_completed","run_id":"r","topic":"user/alice","payload":{"result":"` + n + `"}}`,
		`{"type":"stream_chunk","topic":"all","payload":{"stream_id":"r/answer","start":0,"text":"` + n + `"}}`,
		`{"type":"system_message","payload":{"event":"connection_established","connection_id":"` + other.id + `","x":"` + n + `"}}`,
		`{"type":"server_shutdown","topic":"all","payload":{"x":"` + n + `"}}`,
		`{"type":"whisper","topic":"all","user_id":"admin","payload":{"x":1}}`,
		`{"type":"subscribe","payload":{"rooms":["r"],"rooms":["all"],"x":"` + n + `"}}`,
		`{"type":"nobody_knows_this","topic":"all","payload":{"x":"` + n + `"}}`,
		`[{"type":"history"}]`, `{"type":"history","payload":null}`, `"` + n, `{"payload":{"x":"` + n + `"}}`,
	}))
	return true
}

// isThere says what the user does, which others see for as long as the connection lives.
func (c *client) isThere() bool {
	n := c.w.m.say(place{c.person.tenant, "presence", c.person.user}, c.person)
	state := pick(c.w, []string{wire.StateActive, wire.StateIdle, wire.StateBackground})
	done := c.send("presence_update", "", map[string]any{"state": state, "meta": map[string]string{"w": word(n)}}) == wire.AckType
	time.Sleep(200 * time.Millisecond) // in a bubble; changes wait for others
	c.w.settle()
	return done
}

// postsForOthers posts on the event stream of somebody.
func (c *client) postsForOthers() bool {
	other := pick(c.w, c.w.clients)
	at := void
	mine := other.events && other.person == c.person
	if mine {
		at = c.own()
	}
	payload := fmt.Sprintf(`{"type":"chat","message_id":"p%d","payload":{"content":%q}}`, len(c.w.m.marks), word(c.w.m.say(at, c.person)))
	status, _ := c.post(other, payload)
	if status < 400 && !mine {
		c.w.m.wrong("%s posted for %s: %d", c.name(), other.name(), status)
	}
	return status < 400
}

func (c *client) asksThread() bool {
	path := "/threads/" + escape(pick(c.w, threads))
	switch c.w.dice(3) {
	case 0:
		path += "?room=" + query(pick(c.w, rooms))
	case 1:
		path += "?user=" + query(pick(c.w, users))
	}
	status, _ := c.w.call(&asker{c}, pick(c.w, c.w.nodes), "GET", path, c.token, "")
	return status == 200
}

// asker is a client that calls: what counts is what its token says, and not what its connection
// has become since.
type asker struct{ *client }

func (a *asker) may(m *monitor, k mark) bool {
	if k.kind != "room" {
		return a.client.may(m, k)
	}
	r := a.w.identity(a.client)
	return k.tenant == a.person.tenant && (k.by == a.person || m.mayRoom(a.person, []granted{{0, r}}, k))
}
