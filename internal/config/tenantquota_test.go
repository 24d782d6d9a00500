package config

import (
	"strings"
	"testing"

	"github.com/netra-systems/switchboard"
)

func TestATenantHasItsQuotaOrThatOfAllOthers(t *testing.T) {
	l, err := Load(Sources{File: file(t, `
jwt-secret: 0123456789abcdef0123456789abcdef
environment: development
tenant-quota:
  - "* connections=10"
  - acme connections=500 messages-per-minute=6000 history-bytes=1000000
  - connections-per-second=3
  - '"two words" connections=1'
  - '"a=b" connections=2'
  - '"*" connections=3'
  - '"say \"hi\"" connections=4'
`)})
	if err != nil {
		t.Fatal(err)
	}
	for tenant, want := range map[string]switchboard.Quota{
		"acme": {Conns: 500, MessagesPerMinute: 6000, HistoryBytes: 1_000_000}, "": {ConnsPerSecond: 3}, "other": {Conns: 10},
		"two words": {Conns: 1}, "a=b": {Conns: 2}, "*": {Conns: 3}, `say "hi"`: {Conns: 4},
	} {
		if got := l.server.Quota(tenant); got != want {
			t.Errorf("%q: got %+v, want %+v", tenant, got, want)
		}
	}
}

func TestAQuotaThatCannotBeMeantIsAProblem(t *testing.T) {
	for text, want := range map[string]string{
		"acme":                                      "must be a tenant and its bounds",
		"acme conections=1":                         "no bound",
		"acme connections=0":                        "above 0",
		"acme connections=-1":                       "above 0",
		"acme connections=x":                        "above 0",
		"acme connections=1 connections=2":          "twice",
		`"two words connections=1`:                  "a quote behind",
		`"two words"`:                               "must be a tenant and its bounds",
		strings.Repeat("x", 129) + " connections=1": "names a tenant",
	} {
		var q TenantQuota
		if err := q.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an error with %q", text, err, want)
		}
	}
}
