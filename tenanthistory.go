package switchboard

import (
	"context"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/wire"
)

// owner is whose history the topics of a tenant are.
func (t *tenants) owner(tenant string, now time.Time) broker.Owner {
	o := broker.Owner{Key: broker.OwnerKey(tenant)}
	if t.quota != nil {
		o.Bytes = int64(max(0, t.account(tenant, now).quota.HistoryBytes))
	}
	return o
}

// historyFull counts text for which a tenant's history has no room, and is what its producer is
// told.
func (t *tenants) historyFull(tenant string, now time.Time) error {
	a := t.account(tenant, now)
	a.texts.Add(1)
	t.tell(a, tenant, "bytes of history", now)
	details := map[string]any{"scope": "tenant"}
	if a.quota.HistoryBytes > 0 {
		details["limit"] = a.quota.HistoryBytes
	}
	return &Error{Code: wire.CodeRateLimited, Message: "too much text of this tenant is being written", Details: details}
}

// keptTimeout bounds what is asked of the broker for counters.
const keptTimeout = time.Second

// keptOf is what the broker keeps of a tenant, nil if it does not answer.
func (m *Manager) keptOf(ctx context.Context, tenant string) *broker.Kept {
	ctx, cancel := context.WithTimeout(ctx, keptTimeout)
	defer cancel()
	kept, err := m.driver.Kept(ctx, broker.OwnerKey(tenant))
	if err != nil {
		return nil
	}
	return &kept
}
