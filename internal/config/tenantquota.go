package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// everyTenant is the name that stands for tenants without a quota of their own.
const everyTenant = "*"

// TenantQuota is what one tenant may cost, as "acme connections=100 messages-per-minute=6000".
type TenantQuota struct {
	Every  bool   // it is that of all that are not named
	Tenant string // if it is not
	Quota  switchboard.Quota
	text   string
}

// quotaField returns the field of q that a word names; nil: none.
func quotaField(q *switchboard.Quota, word string) *int {
	switch word {
	case "connections":
		return &q.Conns
	case "connections-per-second":
		return &q.ConnsPerSecond
	case "rooms":
		return &q.Rooms
	case "runs":
		return &q.Runs
	case "memberships":
		return &q.Memberships
	case "tickets-per-minute":
		return &q.TicketsPerMinute
	case "messages-per-minute":
		return &q.MessagesPerMinute
	case "bytes-per-minute":
		return &q.BytesPerMinute
	case "backend-messages-per-minute":
		return &q.BackendMessagesPerMinute
	case "backend-bytes-per-minute":
		return &q.BackendBytesPerMinute
	case "history-bytes":
		return &q.HistoryBytes
	}
	return nil
}

// cutTenant splits a text into the name of a tenant and the rest. A name in quotes, as Go writes
// them, may have anything in it.
func cutTenant(text string) (name string, quoted bool, rest []string, err error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, `"`) {
		prefix, err := strconv.QuotedPrefix(text)
		if err != nil {
			return "", true, nil, errors.New("must have a quote behind the name of the tenant, too")
		}
		name, err = strconv.Unquote(prefix)
		return name, true, strings.Fields(text[len(prefix):]), err
	}
	rest = strings.Fields(text)
	if len(rest) > 0 && !strings.Contains(rest[0], "=") {
		name, rest = rest[0], rest[1:]
	}
	return name, false, rest, nil
}

// UnmarshalText reads a quota: the name of a tenant, then bounds. Without a name it is that of the
// tenant without one.
func (q *TenantQuota) UnmarshalText(text []byte) error {
	name, quoted, words, err := cutTenant(string(text))
	if err != nil {
		return err
	}
	got := TenantQuota{text: string(text)}
	if got.Every = name == everyTenant && !quoted; !got.Every {
		got.Tenant = name
	}
	if name != "" {
		if err := wire.CheckID(name); err != nil {
			return fmt.Errorf("names a tenant that %w", err)
		}
	}
	if len(words) == 0 {
		return fmt.Errorf(`must be a tenant and its bounds, as "acme connections=100", not %q`, text)
	}
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		field := quotaField(&got.Quota, name)
		if field == nil {
			return fmt.Errorf("has no bound %q", name)
		}
		if *field != 0 {
			return fmt.Errorf("has %s twice", name)
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return fmt.Errorf("must have a whole number above 0 for %s, not %q", name, value)
		}
		*field = n
	}
	*q = got
	return nil
}

// checkQuotas makes of the list what the server asks for a tenant.
func (l *loader) checkQuotas(c *Config) {
	if len(c.TenantQuotas) == 0 {
		return
	}
	of := make(map[string]switchboard.Quota, len(c.TenantQuotas))
	every, given := switchboard.Quota{}, false
	for _, q := range c.TenantQuotas {
		if q.Every {
			if given {
				l.problem("tenant-quota", "is there twice for %q", everyTenant)
			}
			every, given = q.Quota, true
			continue
		}
		if _, twice := of[q.Tenant]; twice {
			l.problem("tenant-quota", "is there twice for %q", q.Tenant)
		}
		of[q.Tenant] = q.Quota
	}
	l.loaded.server.Quota = func(tenant string) switchboard.Quota {
		if q, ok := of[tenant]; ok {
			return q
		}
		return every
	}
}
