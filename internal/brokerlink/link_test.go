package brokerlink_test

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/brokertest"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/internal/brokerlink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Harness {
		b := membroker.New(membroker.Options{Dedupe: 2 * time.Second})
		ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "b"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var serving sync.WaitGroup
		serving.Go(func() { brokerlink.Serve(ctx, ln, func() broker.Driver { return b.Node() }) })
		t.Cleanup(func() {
			cancel()
			serving.Wait()
			b.Close()
		})
		return brokertest.Harness{
			Node: func(t testing.TB) broker.Driver {
				l, err := brokerlink.Dial(t.Context(), "unix", ln.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				return l
			},
			Dedupe:         2 * time.Second,
			ExactRetention: true,
		}
	})
}
