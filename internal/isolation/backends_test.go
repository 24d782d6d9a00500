package isolation_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/internal/server"
)

func escape(s string) string { return url.PathEscape(s) }
func query(s string) string  { return url.QueryEscape(s) }

// backendWays are those of back ends: the API, with keys of all kinds, and the Go API.
func backendWays() []way {
	return []way{
		{"Publish", (*world).publish}, {"Publish", (*world).publish}, {"Publish", (*world).publish},
		{"Rooms.Add", (*world).addMember},
		{"Rooms.Remove", (*world).removeMember},
		{"Runs.Start", (*world).startRun},
		{"Go reads", (*world).readByGo},
		{"API publish", (*world).publishByKey}, {"API publish", (*world).publishByKey},
		{"API reads", (*world).readByKey}, {"API reads", (*world).readByKey},
		{"API closes", (*world).closeByKey},
		{"API runs", (*world).runByKey}, {"API runs", (*world).runByKey},
		{"API tickets", (*world).ticketByKey},
		{"no key", (*world).withoutKey},
	}
}

func in(tenant string) context.Context { return switchboard.WithTenant(context.Background(), tenant) }

// target draws a place in a tenant, and its name in Go.
func (w *world) target(tenant string) (place, switchboard.Target) {
	switch w.dice(4) {
	case 0:
		return place{tenant, "all", ""}, switchboard.All()
	case 1:
		room := pick(w, rooms)
		return place{tenant, "room", room}, switchboard.Room(room)
	}
	user := w.somebody().user
	return place{tenant, "user", user}, switchboard.User(user)
}

// tenant draws one, and half of the time one whose users are there.
func (w *world) tenant() string { return w.somebody().tenant }

// owes notes who must get what is said at a place now.
func (w *world) owes(n int, at place) {
	for _, c := range w.live() {
		if c.person.tenant != at.tenant {
			continue
		}
		if at.kind == "all" || at.kind == "user" && c.person.user == at.id || at.kind == "room" && c.followed("room/"+at.id) {
			w.owed = append(w.owed, owed{n, c})
		}
	}
}

// forgive is for somebody who stops reading a room, or must: a device that is held, because it has
// come back a moment ago, has not got yet what was said there.
func (w *world) forgive(who person) {
	w.owed = slices.DeleteFunc(w.owed, func(o owed) bool {
		return o.who.person == who && w.m.marks[o.n].kind == "room" && !o.who.has(o.n)
	})
}

func (w *world) publish() bool {
	tenant := w.tenant()
	at, to := w.target(tenant)
	if w.dice(5) == 0 && len(w.live()) > 0 { // to one connection, perhaps of another tenant
		c := pick(w, w.live())
		at, to = void, switchboard.Connection(c.id)
		if c.person.tenant == tenant {
			at = place{tenant, "connection", c.id}
		}
	}
	n := w.m.say(at, person{})
	w.owes(n, at)
	_, err := pick(w, w.nodes).Publish(in(tenant), to, switchboard.Message{
		Type: "note", Thread: pick(w, threads), Payload: map[string]string{"text": word(n)},
	})
	w.settle()
	return err == nil
}

func (w *world) addMember() bool {
	who := member{w.somebody(), pick(w, rooms)}
	if live := w.live(); len(live) > 0 && w.dice(2) == 0 {
		who.person = pick(w, live).person
	}
	w.m.added(who)
	err := pick(w, w.nodes).Rooms().Add(in(who.tenant), who.room, who.user)
	w.settle()
	return err == nil
}

func (w *world) removeMember() bool {
	who := member{w.somebody(), pick(w, rooms)}
	if len(w.m.spans) > 0 && w.dice(2) == 0 {
		all := slices.SortedFunc(maps.Keys(w.m.spans), func(a, b member) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		who = pick(w, all)
	}
	w.m.removed(who)
	w.forgive(who.person)
	err := pick(w, w.nodes).Rooms().Remove(in(who.tenant), who.room, who.user)
	w.settle()
	for _, c := range w.clients {
		if c.person == who.person {
			c.mu.Lock()
			delete(c.follows, "room/"+who.room) // one that may follow by right may have done so still
			c.mu.Unlock()
		}
	}
	return err == nil
}

func (w *world) startRun() bool {
	tenant := w.tenant()
	at, to := w.target(tenant)
	if at.kind == "all" {
		return false
	}
	asked := person{tenant, pick(w, users)}
	n := pick(w, w.nodes)
	run1, err := n.Runs().Start(in(tenant), switchboard.RunOptions{Agent: "writer", To: to, Thread: pick(w, threads), User: asked.user})
	if err != nil {
		w.m.wrong("a run of %+v cannot start: %v", at, err)
		return false
	}
	r := &run{Run: run1, place: at, by: asked, node: n}
	w.runs = append(w.runs, r)
	said := w.m.say(at, person{})
	w.owes(said, at)
	if err := r.Thinking(in(tenant), "about "+word(said)); err != nil {
		w.m.wrong("thinking: %v", err)
	}
	if _, err := r.Stream("answer").Write([]byte("text " + word(w.m.write(at)) + " ")); err != nil {
		w.m.wrong("writing: %v", err)
	}
	w.settle()
	return true
}

// readByGo reads what a tenant has, with ids of all.
func (w *world) readByGo() bool {
	tenant := w.tenant()
	who := &backend{called: "in Go of " + tenant, tenants: []string{tenant}, reads: true}
	n := pick(w, w.nodes)
	_, to := w.target(tenant)
	var got []any
	add := func(v any, err error) {
		if err != nil {
			v = err.Error()
		}
		got = append(got, v)
	}
	page, err := n.History(in(tenant), to, switchboard.Query{})
	add(page, err)
	thread, err := n.Thread(in(tenant), to, pick(w, threads), switchboard.Query{})
	add(thread, err)
	for info, err := range n.Connections().List(in(tenant), to) {
		add(info, err)
		if c := w.of(info.ID); c != nil && c.person.tenant != tenant {
			w.m.wrong("the list of %q has %s", tenant, c.name())
		}
	}
	for receipt, err := range n.Receipts(in(tenant), to) {
		add(receipt, err)
	}
	there, err := n.Presence().User(in(tenant), w.somebody().user)
	add(there, err)
	for who, err := range n.Presence().Room(in(tenant), pick(w, rooms)) {
		add(who, err)
	}
	if len(w.runs) > 0 {
		r := pick(w, w.runs)
		attached, err := n.Runs().Attach(in(tenant), r.ID())
		if err == nil && r.tenant != tenant {
			w.m.wrong("tenant %q attaches to a run of %+v", tenant, r.place)
		}
		if err == nil {
			info, err := attached.Info(in(tenant))
			add(info, err)
		} else {
			add(nil, err)
		}
	}
	body, err := json.Marshal(got)
	if err != nil {
		w.t.Fatal(err)
	}
	w.m.inspect(who, "Go", body)
	return len(w.m.marks) > 0 && words.Match(body)
}

// of finds a client by the id of its connection.
func (w *world) of(id string) *client {
	for _, c := range w.clients {
		if c.id == id {
			return c
		}
	}
	return nil
}

// key draws a key and a tenant, and says whether the key may do this in it.
func (w *world) key(scope server.Scope) (secret string, tenant string, may bool) {
	secret = pick(w, slices.Sorted(maps.Keys(apiKeys)))
	tenant = w.tenant()
	k := apiKeys[secret]
	may = len(k.Scopes) == 0 || slices.Contains(k.Scopes, scope)
	return secret, tenant, may && slices.Contains(viewerOf(secret).tenants, tenant)
}

// byKey makes a call, which must be refused if the key may not make it.
func (w *world) byKey(scope server.Scope, method, path, body, secret, tenant string, may bool) (done bool, answer string) {
	status, answer := w.call(viewerOf(secret), pick(w, w.nodes), method, path, secret, body, "Switchboard-Tenant", tenant)
	w.settle()
	if !may && status != 403 {
		w.m.wrong("key %s without the right to %s in %q: got %d from %s %s: %s", secret, scope, tenant, status, method, path, answer)
	}
	return status < 300, answer
}

func (w *world) publishByKey() bool {
	secret, tenant, may := w.key(server.ScopePublish)
	at, _ := w.target(tenant)
	to := fmt.Sprintf(`{%q:%q}`, at.kind, at.id)
	if at.kind == "all" {
		to = `{"all":true}`
	}
	if w.dice(4) == 0 && len(w.clients) > 0 {
		c := pick(w, w.clients)
		to, at = fmt.Sprintf(`{"connection":%q}`, c.id), void
		if c.person.tenant == tenant {
			at = place{tenant, "connection", c.id}
		}
	}
	if !may {
		at = void
	}
	n := w.m.say(at, person{})
	if at.kind != "connection" {
		w.owes(n, at)
	}
	body := fmt.Sprintf(`{"to":%s,"type":"note","payload":{"text":%q}}`, to, word(n))
	path := "/api/v1/publish"
	if w.dice(3) == 0 {
		path, body = "/api/v1/publish/batch", `{"messages":[`+body+`]}`
	}
	done, _ := w.byKey(server.ScopePublish, "POST", path, body, secret, tenant, may)
	return done
}

func (w *world) readByKey() bool {
	user, room, thread := query(w.somebody().user), query(pick(w, rooms)), escape(pick(w, threads))
	run, stream := "none", escape("none/answer")
	if len(w.runs) > 0 {
		run = pick(w, w.runs).ID()
		stream = escape(run + "/answer")
	}
	type row struct {
		scope server.Scope
		path  string
	}
	r := pick(w, []row{
		{server.ScopeRead, "/api/v1/history?topic=" + query("user/") + user},
		{server.ScopeRead, "/api/v1/history?topic=" + query("room/") + room},
		{server.ScopeRead, "/api/v1/history?topic=" + query(w.stolenTopic())},
		{server.ScopeRead, "/api/v1/threads/" + thread + "?user=" + user},
		{server.ScopeRead, "/api/v1/threads/" + thread + "?room=" + room},
		{server.ScopeRead, "/api/v1/runs/" + run},
		{server.ScopeRead, "/api/v1/runs/" + run + "/streams/answer"},
		{server.ScopeRead, "/api/v1/runs/" + run + "/streams/" + stream},
		{server.ScopeRead, "/api/v1/receipts?topic=" + query("user/") + user},
		{server.ScopeRead, "/api/v1/presence/users/" + escape(w.somebody().user)},
		{server.ScopeRead, "/api/v1/presence/rooms/" + escape(pick(w, rooms))},
		{server.ScopeRead, "/api/v1/rooms/" + escape(pick(w, rooms))},
		{server.ScopeRead, "/api/v1/rooms/" + escape(pick(w, rooms)) + "/members"},
		{server.ScopeMonitor, "/api/v1/connections?user=" + user},
		{server.ScopeMonitor, "/api/v1/connections?room=" + room},
		{server.ScopeMonitor, "/api/v1/connections"},
		{server.ScopeMonitor, "/api/v1/connections?ended=true"},
		{server.ScopeMonitor, "/api/v1/stats"},
		{server.ScopeMonitor, "/api/v1/nodes"},
	})
	secret, tenant, may := w.key(r.scope)
	done, answer := w.byKey(r.scope, "GET", r.path, "", secret, tenant, may)
	if strings.HasPrefix(r.path, "/api/v1/connections") {
		for _, c := range w.clients {
			if c.person.tenant != tenant && strings.Contains(answer, c.id) {
				w.m.wrong("the list of %q by %s has %s", tenant, secret, c.name())
			}
		}
	}
	return done
}

func (w *world) closeByKey() bool {
	if len(w.live()) < 3 {
		return false
	}
	secret, tenant, may := w.key(server.ScopeManage)
	c := pick(w, w.live())
	path := "/api/v1/connections/" + escape(c.id)
	gone := func(d *client) bool { return d == c }
	if w.dice(3) == 0 {
		path = "/api/v1/users/" + escape(c.person.user) + "/connections"
		gone = func(d *client) bool { return d.person.user == c.person.user }
	}
	for _, d := range w.clients {
		if may && gone(d) && d.person.tenant == tenant {
			d.left = true
		}
	}
	done, _ := w.byKey(server.ScopeManage, "DELETE", path, "", secret, tenant, may)
	return done
}

// runByKey writes to a run, or ends it.
func (w *world) runByKey() bool {
	if len(w.runs) == 0 {
		return false
	}
	r := pick(w, w.runs)
	secret, tenant, may := w.key(server.ScopePublish)
	if r.stopped {
		return false
	}
	if w.dice(2) == 0 { // else there is hardly a key that may
		secret, tenant, may = "k-every", r.tenant, true
	}
	at := void
	if may && tenant == r.tenant {
		at = r.place
	}
	text := word(w.m.say(at, person{}))
	call := pick(w, []struct{ path, body string }{
		{"/events", `{"type":"agent_thinking","payload":{"status":"thinking","reasoning":"` + text + `"}}`},
		{"/cancel", `{"reason":"` + text + `"}`},
		{"/complete", `{"result":{"x":"` + text + `"}}`},
		{"/fail", `{"error_message":"` + text + `"}`},
		{"/heartbeat", ``},
	})
	if at != void && call.path != "/events" && call.path != "/heartbeat" {
		r.stopped = true
	}
	done, answer := w.byKey(server.ScopePublish, "POST", "/api/v1/runs/"+r.ID()+call.path, call.body, secret, tenant, may)
	if done && at == void {
		w.m.wrong("key %s for %q reached a run of %+v: %s", secret, tenant, r.place, answer)
	}
	w.mustLive(r, "a call by "+secret+" for "+tenant)
	return done
}

// ticketByKey makes a ticket for somebody, and uses it.
func (w *world) ticketByKey() bool {
	secret, tenant, may := w.key(server.ScopeTickets)
	who, allowed := person{tenant, pick(w, users)}, w.someRights()
	body, err := json.Marshal(map[string]any{"user": who.user, "permissions": append(rights{}, allowed...)})
	if err != nil {
		w.t.Fatal(err)
	}
	done, answer := w.byKey(server.ScopeTickets, "POST", "/api/v1/tickets", string(body), secret, tenant, may)
	ticket := credentials.FindString(answer)
	if !done || ticket == "" {
		return false
	}
	w.m.owns(ticket, who)
	return w.connect(pick(w, w.nodes), entrance{person: who, rights: allowed, ticket: ticket}) != nil
}

// withoutKey calls as somebody who has no key: with nothing, a user's token, a wrong key.
func (w *world) withoutKey() bool {
	secret := pick(w, []string{"", "k-", "k-everyx", w.token(w.somebody(), rights{"room:*:*"}), "swt_AAAAAAAAAAAAAAAA", "tk_AAAAAAAAAAAAAAAAAAAAAAAA"})
	path := pick(w, []string{"/api/v1/history?topic=all", "/api/v1/connections", "/api/v1/stats", "/api/openapi.json", "/api/", "/api/v1/none"})
	status, _ := w.call(nobody("who has no key"), pick(w, w.nodes), "GET", path, secret, "", "Switchboard-Tenant", pick(w, tenants))
	if status != 401 {
		w.m.wrong("without a key %s answers %d", path, status)
	}
	for _, path := range []string{"/ws/config", "/ws/health", "/ws/beacon", "/healthz", "/readyz", "/metrics", "/debug/pprof/"} {
		w.call(nobody("anybody"), pick(w, w.nodes), "GET", path, "", "")
	}
	return true
}
