package membroker_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/brokertest"
	"github.com/netra-systems/switchboard/broker/membroker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Harness {
		b := membroker.New(membroker.Options{Dedupe: 2 * time.Second})
		t.Cleanup(func() { b.Close() })
		return brokertest.Harness{
			Node:           func(testing.TB) broker.Driver { return b.Node() },
			Dedupe:         2 * time.Second,
			ExactRetention: true,
			CutLink:        func(_ testing.TB, d broker.Driver) { d.(*membroker.Broker).Faults().CutLink() },
			KillLeader: func(t testing.TB) {
				elect := b.Faults().KillLeader()
				timer := time.AfterFunc(100*time.Millisecond, elect)
				t.Cleanup(func() { timer.Stop() })
			},
			LoseTail: func(_ testing.TB, topic broker.Key, n int) { b.Faults().LoseTail(topic, n) },
			DropLive: func(_ testing.TB, topic broker.Key, n int) { b.Faults().DropLive(topic, n) },
		}
	})
}
