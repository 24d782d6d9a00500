package server

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/auth"
	"github.com/netra-systems/switchboard/wire"
)

func TestAPIKeysCannotBeTriedOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := switchboard.New(switchboard.Options{Auth: auth.Development()})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := m.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		a, err := newAPI(m, Config{APIKeys: []APIKey{{Name: "test", Hash: HashKey(testKey)}}}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		call := func(from, key string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(http.MethodGet, "/api/v1/stats", nil)
			r.RemoteAddr = from
			r.Header.Set("X-Forwarded-For", fmt.Sprintf("192.0.2.%d", len(key))) // of nobody who is trusted
			if key != "" {
				r.Header.Set("Authorization", "Bearer "+key)
			}
			w := httptest.NewRecorder()
			a.ServeHTTP(w, r)
			return w
		}
		const from = "203.0.113.7:1"
		for range 20 {
			if got := call(from, "").Code; got != 401 {
				t.Fatalf("without a key: got %d, want 401", got)
			}
		}
		for i := range 10 {
			if got := call(from, fmt.Sprintf("guess-%d", i)).Code; got != 401 {
				t.Fatalf("guess %d: got %d, want 401", i, got)
			}
		}
		w := call(from, testKey) // perhaps it was guessed
		p := answer{status: w.Code, header: w.Header(), body: w.Body.Bytes()}.problem(t)
		if p.Status != 429 || p.Code != wire.CodeRateLimited || p.Details["retry_after_ms"] != 6000.0 || w.Header().Get("Retry-After") != "6" {
			t.Errorf("got %+v with Retry-After %q, want 429 and 6 s", p, w.Header().Get("Retry-After"))
		}
		for _, other := range []string{"203.0.113.8:1", "127.0.0.1:1"} {
			if got := call(other, testKey).Code; got != 200 {
				t.Errorf("%s: got %d, want 200", other, got)
			}
		}
		time.Sleep(6 * time.Second)
		if got := call(from, testKey).Code; got != 200 {
			t.Errorf("six seconds later: got %d, want 200", got)
		}
	})
}

func TestReportsOfTheNetworkLeaveRoomForThoseOfThisMachineAndAreForgotten(t *testing.T) {
	var rooms [2]reports
	now := time.Unix(0, 0)
	for i := range 1000 {
		rooms[1].add(report{Line: i}, now)
	}
	if first, full, _ := rooms[1].add(report{Line: 1001}, now); first || full || len(rooms[1].seen) > maxReports+1 {
		t.Errorf("got %v, %v and %d kinds, want no more to be kept", first, full, len(rooms[1].seen))
	}
	if first, _, _ := rooms[0].add(report{Line: 1001}, now); !first {
		t.Error("this machine pays for the network")
	}
	if first, full, count := rooms[1].add(report{Line: 1001}, now.Add(forgetReports)); !first || full || count != 1002 {
		t.Errorf("an hour later: got %v, %v and %d, want the first of its kind", first, full, count)
	}
}
