package switchboard

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/internal/session"
	"github.com/netra-systems/switchboard/wire"
)

// keyMakers are the functions of this package that name something by a tenant and an id: of
// different tenants or ids they must never give the same, whatever clients call themselves.
func keyMakers() map[string]func(tenant, id string) string {
	room := func(tenant, id string) wire.Topic { return wire.Topic{Tenant: tenant, Kind: wire.KindRoom, ID: id} }
	user := func(tenant, id string) wire.Topic { return wire.Topic{Tenant: tenant, Kind: wire.KindUser, ID: id} }
	spec := func(tenant, id string) *runSpec { return &runSpec{Tenant: tenant, ID: id, Room: "r"} }
	return map[string]func(tenant, id string) string{
		"key of a revocation": func(tenant, id string) string {
			return (&session.Revocation{Tenant: tenant, ID: id}).Key()
		},
		"hubKey": func(tenant, id string) string {
			key := hubKey(room(tenant, id))
			return string(key[:])
		},
		"hubKey of a user": func(tenant, id string) string {
			key := hubKey(user(tenant, id))
			return string(key[:])
		},
		"seenKey": func(tenant, id string) string {
			key := seenKey(user(tenant, id), "m")
			return string(key[:])
		},
		"seenKey of a message": func(tenant, id string) string {
			key := seenKey(user(tenant, "u"), id)
			return string(key[:])
		},
		"memberKey":           func(tenant, id string) string { return memberKey(room(tenant, "r"), id) },
		"memberKey of a room": func(tenant, id string) string { return memberKey(room(tenant, id), "u") },
		"memberPrefix":        func(tenant, id string) string { return memberPrefix(room(tenant, id)) },
		"receiptPrefix":       func(tenant, id string) string { return receiptPrefix(broker.KeyOf(room(tenant, id))) },
		"key": func(tenant, id string) string {
			return receiptName{topic: hubKey(room(tenant, id)), session: hub.Session{1}}.key("u")
		},
		"key of a user": func(tenant, id string) string { // of a receipt
			return receiptName{topic: hubKey(room(tenant, "r")), session: hub.Session{1}}.key(id)
		},
		"prefix":    func(tenant, id string) string { return receiptName{topic: hubKey(room(tenant, "r"))}.prefix(id) },
		"ownPrefix": func(tenant, id string) string { return ownPrefix(user(tenant, id)) },
		"tenantPrefix": func(tenant, id string) string { // of a membership of the tenant
			return tenantPrefix(tenant) + broker.NameKey(memberKey(room(tenant, id), "u")).String()
		},
		"runHash":      runHash,
		"dedupeID":     dedupeID, // of a publisher and an id, in one topic
		"hash":         func(tenant, id string) string { return spec(tenant, id).hash() },
		"specKey":      func(tenant, id string) string { return spec(tenant, id).specKey() },
		"recordKey":    func(tenant, id string) string { return spec(tenant, id).recordKey() },
		"liveKey":      func(tenant, id string) string { return spec(tenant, id).liveKey() },
		"livePrefix":   func(tenant, id string) string { return livePrefix(room(tenant, id)) },
		"readMarksKey": func(tenant, id string) string { return readMarksKey(user(tenant, id)) },
		"eventID":      func(tenant, id string) string { return spec(tenant, id).eventID("agent_started") },
	}
}

// notOfTenants are functions with such a name that take neither a tenant nor an id.
func notOfTenants() map[string]string {
	return map[string]string{
		"permissionKey": "of a list of permissions, which means the same for everybody",
		"userHash":      "the place of a user among the receipts of a topic, which is a tenant's",
	}
}

// nasty are ids that are parts of others, look like keys, or are as long as ids may be.
func nasty() []string {
	hexKey := broker.KeyOf(wire.Topic{Kind: wire.KindRoom, ID: "a"}).String()
	return []string{
		"a", "b", "ab", "aa", "/", "a/", "/a", "a/b", "a/m/b", "b/m/", "b/w/", "b/r/", "b/live/", "user/a", "room/a", "all", "run", "run/a", "*", ">", "a.b",
		"\u00e4", "a\u0308", "🙂", "A", " a", "a ", hexKey, hexKey + "/m/", hexKey + "/w/", strings.Repeat("a", 127), strings.Repeat("a", 128),
		strings.Repeat("ä", 64), "\x01a", "1a",
	}
}

func TestNoTwoTenantsOrIDsShareAKey(t *testing.T) {
	for name, of := range keyMakers() {
		owner := make(map[string]string)
		for _, tenant := range append(nasty(), "") {
			for _, id := range nasty() {
				key, who := of(tenant, id), fmt.Sprintf("%q %q", tenant, id)
				if other, taken := owner[key]; taken {
					t.Errorf("%s: %s has the key of %s", name, who, other)
				}
				owner[key] = who
			}
		}
	}
}

// TestNoTwoKindsShareAKey is about a store and a hub, in which things of all kinds are.
func TestNoTwoKindsShareAKey(t *testing.T) {
	makers := keyMakers()
	for _, together := range [][]string{
		{"hubKey", "hubKey of a user"},
		{"memberKey of a room", "key", "key of a user", "ownPrefix", "tenantPrefix", "specKey", "recordKey", "liveKey", "readMarksKey", "key of a revocation"},
	} {
		owner := make(map[string]string)
		for _, name := range together {
			for _, tenant := range append(nasty(), "") {
				for _, id := range nasty() {
					key, who := makers[name](tenant, id), fmt.Sprintf("%s %q %q", name, tenant, id)
					if other, taken := owner[key]; taken {
						t.Errorf("%s has the key of %s", who, other)
					}
					owner[key] = who
				}
			}
		}
	}
}

func TestKeysThatAreListedByPrefixAreOfTheirTopicOnly(t *testing.T) {
	room := func(tenant, id string) wire.Topic { return wire.Topic{Tenant: tenant, Kind: wire.KindRoom, ID: id} }
	own := room("a", "r")
	for _, tenant := range append(nasty(), "") {
		for _, id := range nasty() {
			other := room(tenant, id)
			for _, key := range []string{
				memberKey(other, "u"), receiptName{topic: hubKey(other)}.key("u"), (&runSpec{Tenant: tenant, ID: "R", Room: id}).liveKey(),
			} {
				for _, prefix := range []string{memberPrefix(own), receiptPrefix(broker.KeyOf(own)), livePrefix(own)} {
					if strings.HasPrefix(key, prefix) {
						t.Errorf("the key %s of %q %q is listed with those of another topic", key, tenant, id)
					}
				}
			}
		}
	}
}

// TestEveryFunctionThatMakesAKeyIsInTheTable makes a new one noticed.
func TestEveryFunctionThatMakesAKeyIsInTheTable(t *testing.T) {
	keyName := regexp.MustCompile(`^(key|hash|eventID|dedupeID)$|(Key|Prefix|Hash)$`)
	makers, others := keyMakers(), notOfTenants()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || !keyName.MatchString(fn.Name.Name) {
				continue
			}
			found++
			if makers[fn.Name.Name] == nil && others[fn.Name.Name] == "" {
				t.Errorf("%s: %s makes a key: add it to keyMakers, or say in notOfTenants why it is none of a tenant's", f.Name(), fn.Name.Name)
			}
		}
	}
	if found < 10 {
		t.Errorf("found %d functions only", found)
	}
}
