package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

func TestANodeIsDrainedOverHTTP(t *testing.T) {
	n := start(t, config())
	d := n.connect(t, "alice")
	var list struct{ Nodes []nodeAnswer }
	nodes := func() nodeAnswer {
		n.call(t, request{method: http.MethodGet, path: "/api/v1/nodes"}).decode(t, &list)
		if len(list.Nodes) != 1 {
			t.Fatalf("got %d nodes, want this one", len(list.Nodes))
		}
		return list.Nodes[0]
	}
	before := nodes()
	if before.State != "ready" || before.Connections != 1 || before.Drain != nil {
		t.Errorf("before got %+v", before)
	}
	if got := n.call(t, request{method: http.MethodPost, path: "/api/v1/nodes/other/drain"}); got.status != http.StatusNotFound {
		t.Errorf("got %d for a node that is not known, want 404", got.status)
	}
	var answer struct{ Node, State string }
	n.call(t, request{method: http.MethodPost, path: "/api/v1/nodes/" + before.Node + "/drain"}).decode(t, &answer)
	if answer.Node != before.Node || answer.State != "draining" {
		t.Errorf("got %+v", answer)
	}
	told := false
	for m := range d.messages {
		if told = m.Type == wire.ServerShutdown; told {
			break
		}
	}
	if !told {
		t.Error("the client was not told")
	}
	for nodes().State != "drained" {
	}
	if after := nodes(); after.Connections != 0 || after.Drain == nil || after.Drain.Moved != 1 || after.Drain.Lost != 0 {
		t.Errorf("afterwards got %+v with %+v", after, after.Drain)
	}
	res, err := n.http.Get(n.URL() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %d from /readyz, want 503", res.StatusCode)
	}
}

func TestATenantsKeyDrainsNoNode(t *testing.T) {
	for _, tt := range []struct {
		tenants []string
		want    int
	}{{nil, http.StatusOK}, {[]string{"", "acme"}, http.StatusOK}, {[]string{"acme"}, http.StatusForbidden}} {
		a := testAPI(t, APIKey{Name: "test", Hash: HashKey(testKey), Tenants: tt.tenants})
		got := serve(a, request{
			method: http.MethodPost, path: "/api/v1/nodes/" + a.m.DrainReport().Node + "/drain", header: http.Header{"Authorization": {"Bearer " + testKey}},
		})
		if drains := a.m.DrainReport().State != switchboard.NodeReady; got.status != tt.want || drains && tt.want != http.StatusOK {
			t.Errorf("got %d for a key of %q, want %d", got.status, tt.tenants, tt.want)
		}
	}
}

func TestWhatIsLeftInMemoryIsCalledLost(t *testing.T) {
	for _, tt := range []struct {
		report switchboard.DrainReport
		broker broker.Driver
		want   bool
	}{
		{switchboard.DrainReport{Left: 3, Lost: 1}, nil, true},
		{switchboard.DrainReport{Left: 3, Lost: 3}, nil, false},
		{switchboard.DrainReport{Left: 3}, membroker.New(membroker.Options{}), false},
	} {
		var out strings.Builder
		s := &Server{cfg: Config{Report: &out, Broker: tt.broker}}
		s.report(tt.report)
		if got := strings.Contains(out.String(), "the 2 left in it are lost with this process"); got != tt.want {
			t.Errorf("got %s", out.String())
		}
		if tt.broker != nil {
			_ = tt.broker.Close()
		}
	}
}
