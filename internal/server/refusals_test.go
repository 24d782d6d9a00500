package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/netra-systems/switchboard/wire"
)

func TestBadPublishesAreRefusedWithTheFieldConcerned(t *testing.T) {
	n := start(t, config())
	deep := strings.Repeat(`{"a":`, 32) + "1" + strings.Repeat("}", 32) // payload itself is a level too
	long := strings.Repeat("x", 129)
	for _, tt := range []struct {
		name, body string
		status     int
		code       wire.Code
		field      string
	}{
		{"no body", ``, 400, wire.CodeInvalidJSON, ""},
		{"broken JSON", `{"to":{"user":"alice"},"type":"x"`, 400, wire.CodeInvalidJSON, ""},
		{"two values", `{"to":{"user":"alice"},"type":"x"} {}`, 400, wire.CodeInvalidJSON, ""},
		{"a list", `[]`, 422, wire.CodeInvalidMessage, ""},
		{"duplicate key", `{"to":{"user":"alice"},"type":"x","type":"y"}`, 400, wire.CodeInvalidJSON, "type"},
		{"duplicate key in to", `{"to":{"user":"alice","user":"bob"},"type":"x"}`, 400, wire.CodeInvalidJSON, "to.user"},
		{"duplicate key in the payload", `{"to":{"user":"alice"},"type":"x","payload":{"a":1,"a":2}}`, 400, wire.CodeInvalidJSON, "payload.a"},
		{"bad UTF-8", "{\"to\":{\"user\":\"alice\"},\"type\":\"x\",\"payload\":{\"a\":\"\xff\"}}", 400, wire.CodeInvalidJSON, ""},
		{"33 levels", `{"to":{"user":"alice"},"type":"x","payload":` + deep + `}`, 400, wire.CodeInvalidJSON, ""},
		{"unknown member", `{"to":{"user":"alice"},"type":"x","ttl":5}`, 422, wire.CodeInvalidMessage, "ttl"},
		{"unknown member in to", `{"to":{"usr":"alice"},"type":"x"}`, 422, wire.CodeInvalidMessage, "to.usr"},
		{"other case", `{"to":{"user":"alice"},"Type":"x"}`, 422, wire.CodeInvalidMessage, "Type"},
		{"no to", `{"type":"x"}`, 422, wire.CodeInvalidMessage, "to"},
		{"empty to", `{"to":{},"type":"x"}`, 422, wire.CodeInvalidMessage, "to"},
		{"to is a string", `{"to":"alice","type":"x"}`, 422, wire.CodeInvalidMessage, "to"},
		{"two addresses", `{"to":{"user":"alice","room":"r"},"type":"x"}`, 422, wire.CodeInvalidMessage, "to"},
		{"all is false", `{"to":{"all":false},"type":"x"}`, 422, wire.CodeInvalidMessage, "to"},
		{"empty user", `{"to":{"user":""},"type":"x"}`, 422, wire.CodeInvalidMessage, "to.user"},
		{"user is a number", `{"to":{"user":7},"type":"x"}`, 422, wire.CodeInvalidMessage, "to.user"},
		{"long room", `{"to":{"room":"` + long + `"},"type":"x"}`, 422, wire.CodeInvalidMessage, "to.room"},
		{"control character", `{"to":{"user":"a\u0007"},"type":"x"}`, 422, wire.CodeInvalidMessage, "to.user"},
		{"no type", `{"to":{"user":"alice"}}`, 422, wire.CodeInvalidMessage, "type"},
		{"type is a number", `{"to":{"user":"alice"},"type":7}`, 422, wire.CodeInvalidMessage, "type"},
		{"payload is a list", `{"to":{"user":"alice"},"type":"x","payload":[1]}`, 422, wire.CodeInvalidMessage, "payload"},
		{"payload is a string", `{"to":{"user":"alice"},"type":"x","payload":"{}"}`, 422, wire.CodeInvalidMessage, "payload"},
		{"long message id", `{"to":{"user":"alice"},"type":"x","message_id":"` + long + `"}`, 422, wire.CodeInvalidMessage, "message_id"},
		{"long thread", `{"to":{"user":"alice"},"type":"x","thread_id":"` + long + `"}`, 422, wire.CodeInvalidMessage, "thread_id"},
		{"long run id", `{"to":{"user":"alice"},"type":"x","run_id":"` + long[:65] + `"}`, 422, wire.CodeInvalidMessage, "run_id"},
		{"run id that names a stream", `{"to":{"user":"alice"},"type":"x","run_id":"R/answer"}`, 422, wire.CodeInvalidMessage, "run_id"},
		{"except is a string", `{"to":{"user":"alice"},"type":"x","except":"s"}`, 422, wire.CodeInvalidMessage, "except"},
		{"empty session in except", `{"to":{"user":"alice"},"type":"x","except":["s",""]}`, 422, wire.CodeInvalidMessage, "except.1"},
		{"unknown class", `{"to":{"user":"alice"},"type":"x","class":"fast"}`, 422, wire.CodeInvalidMessage, "class"},
		{"latest without a key", `{"to":{"user":"alice"},"type":"x","class":"latest"}`, 422, wire.CodeInvalidMessage, "key"},
		{"a key of a volatile message", `{"to":{"all":true},"type":"x","class":"volatile","key":"k"}`, 422, wire.CodeInvalidMessage, "key"},
		{"a ttl of a durable message", `{"to":{"all":true},"type":"x","ttl_seconds":60}`, 422, wire.CodeInvalidMessage, "ttl_seconds"},
		{"a ttl below a second", `{"to":{"all":true},"type":"x","class":"latest","key":"k","ttl_seconds":0.5}`, 422, wire.CodeInvalidMessage, "ttl_seconds"},
		{"a ttl of more than a week", `{"to":{"all":true},"type":"x","class":"latest","key":"k","ttl_seconds":604801}`, 422, wire.CodeInvalidMessage, "ttl_seconds"},
		{"a ttl that is no number", `{"to":{"all":true},"type":"x","class":"latest","key":"k","ttl_seconds":"1m"}`, 422, wire.CodeInvalidMessage, "ttl_seconds"},
		{"a latest message to a connection", `{"to":{"connection":"c"},"type":"x","class":"latest","key":"k"}`, 422, wire.CodeInvalidMessage, "class"},
		{"key without latest", `{"to":{"user":"alice"},"type":"x","key":"k"}`, 422, wire.CodeInvalidMessage, "key"},
		{"durable to a connection", `{"to":{"connection":"c"},"type":"x","class":"durable"}`, 422, wire.CodeInvalidMessage, "class"},
		{"except with a connection", `{"to":{"connection":"c"},"type":"x","except":["s"]}`, 422, wire.CodeInvalidMessage, "except"},
		{"connection that is gone", `{"to":{"connection":"conn_none"},"type":"x"}`, 404, wire.CodeNotFound, ""},
		{"run event", `{"to":{"user":"alice"},"type":"agent_completed","payload":{}}`, 409, wire.CodeRunContract, "type"},
		{"over 1 MiB", `{"to":{"user":"alice"},"type":"x","payload":{"a":"` + strings.Repeat("x", maxBodyBytes) + `"}}`, 413, wire.CodeTooLarge, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := n.publish(t, tt.body)
			p := a.problem(t)
			field, _ := p.Details["field"].(string)
			if a.status != tt.status || p.Code != tt.code || field != tt.field {
				t.Errorf("got %d %s field %q (%s), want %d %s field %q", a.status, p.Code, field, p.Detail, tt.status, tt.code, tt.field)
			}
		})
	}
}

func TestBadQueriesAreRefusedWithTheFieldConcerned(t *testing.T) {
	n := start(t, config())
	for _, tt := range []struct {
		name, method, path string
		status             int
		code               wire.Code
		field              string
	}{
		{"history without topic", "GET", "/api/v1/history", 422, wire.CodeInvalidMessage, "topic"},
		{"history of nothing", "GET", "/api/v1/history?topic=alice", 422, wire.CodeInvalidMessage, "topic"},
		{"history from no position", "GET", "/api/v1/history?topic=all&since=5", 422, wire.CodeInvalidMessage, "since"},
		{"history before no position", "GET", "/api/v1/history?topic=all&before=a:b", 422, wire.CodeInvalidMessage, "before"},
		{"limit of 0", "GET", "/api/v1/history?topic=all&limit=0", 422, wire.CodeInvalidMessage, "limit"},
		{"limit of 1,001", "GET", "/api/v1/history?topic=all&limit=1001", 422, wire.CodeInvalidMessage, "limit"},
		{"limit of many", "GET", "/api/v1/history?topic=all&limit=many", 422, wire.CodeInvalidMessage, "limit"},
		{"unknown parameter", "GET", "/api/v1/history?topic=all&form=x", 422, wire.CodeInvalidMessage, "form"},
		{"receipts without topic", "GET", "/api/v1/receipts", 422, wire.CodeInvalidMessage, "topic"},
		{"receipts of nothing", "GET", "/api/v1/receipts?topic=alice", 422, wire.CodeInvalidMessage, "topic"},
		{"receipts behind no page", "GET", "/api/v1/receipts?topic=all&after=x", 422, wire.CodeInvalidMessage, "after"},
		{"receipts behind a page of nothing", "GET", "/api/v1/receipts?topic=all&after=eHg", 422, wire.CodeInvalidMessage, "after"},
		{"limit of 1,001 receipts", "GET", "/api/v1/receipts?topic=all&limit=1001", 422, wire.CodeInvalidMessage, "limit"},
		{"ended perhaps", "GET", "/api/v1/connections?ended=perhaps", 422, wire.CodeInvalidMessage, "ended"},
		{"user and room", "GET", "/api/v1/connections?user=a&room=b", 422, wire.CodeInvalidMessage, "room"},
		{"bad user", "GET", "/api/v1/connections?user=%07", 422, wire.CodeInvalidMessage, "user"},
		{"bad room", "GET", "/api/v1/connections?room=%07", 422, wire.CodeInvalidMessage, "room"},
		{"close of a connection that is gone", "DELETE", "/api/v1/connections/conn_none", 404, wire.CodeNotFound, ""},
		{"close of a bad user", "DELETE", "/api/v1/users/%07/connections", 422, wire.CodeInvalidMessage, "user"},
		{"unknown path", "GET", "/api/v1/nothing", 404, wire.CodeNotFound, ""},
		{"unknown version", "POST", "/api/v2/publish", 404, wire.CodeNotFound, ""},
		{"other method", "GET", "/api/v1/publish", 405, wire.CodeUnsupported, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := n.call(t, request{method: tt.method, path: tt.path})
			p := a.problem(t)
			field, _ := p.Details["field"].(string)
			if a.status != tt.status || p.Code != tt.code || field != tt.field {
				t.Errorf("got %d %s field %q (%s), want %d %s field %q", a.status, p.Code, field, p.Detail, tt.status, tt.code, tt.field)
			}
		})
	}
}

func TestBodiesThatAreNotJSONAreRefused(t *testing.T) {
	n := start(t, config())
	const body = `{"to":{"user":"alice"},"type":"x"}`
	for _, tt := range []struct {
		name   string
		header http.Header
		status int
	}{
		{"form", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, 415},
		{"text", http.Header{"Content-Type": {"text/plain"}}, 415},
		{"problem", http.Header{"Content-Type": {problemType}}, 415},
		{"nonsense", http.Header{"Content-Type": {";;"}}, 415},
		{"latin-1", http.Header{"Content-Type": {"application/json; charset=iso-8859-1"}}, 415},
		{"compressed", http.Header{"Content-Encoding": {"gzip"}}, 415},
		{"UTF-8", http.Header{"Content-Type": {"Application/JSON; charset=UTF-8"}}, 200},
		{"unsaid", http.Header{"Content-Type": {""}}, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := n.call(t, request{method: http.MethodPost, path: "/api/v1/publish", body: body, header: tt.header})
			if a.status != tt.status {
				t.Fatalf("got status %d with %s, want %d", a.status, a.body, tt.status)
			}
			if tt.status == http.StatusUnsupportedMediaType {
				if p := a.problem(t); p.Code != wire.CodeUnsupported {
					t.Errorf("got code %s, want %s", p.Code, wire.CodeUnsupported)
				}
			}
		})
	}
}

func TestABodyMayHaveExactlyOneMebibyte(t *testing.T) {
	n := start(t, config())
	const body = `{"to":{"user":"alice"},"type":"x"}`
	for size, want := range map[int]int{maxBodyBytes: http.StatusOK, maxBodyBytes + 1: http.StatusRequestEntityTooLarge} {
		padded := body + strings.Repeat(" ", size-len(body))
		if a := n.publish(t, padded); a.status != want {
			t.Errorf("got status %d with %s for %d bytes, want %d", a.status, a.body, size, want)
		}
		chunked := n.call(t, request{method: http.MethodPost, path: "/api/v1/publish", body: padded, chunked: true})
		if chunked.status != want {
			t.Errorf("got status %d with %s for %d bytes of unknown length, want %d", chunked.status, chunked.body, size, want)
		}
	}
}
