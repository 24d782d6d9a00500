package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"

	"github.com/netra-systems/switchboard/internal/server"
)

const schemaFile = "../../docs/configuration.schema.json"

var update = flag.Bool("update", false, "write generated files instead of comparing them")

// golden compares got with the file, or writes the file with -update.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is stale: run go test ./internal/config -update (-file +got):\n%s", path, diff)
	}
}

// TestTheSchemaIsThatOfTheStruct generates the JSON Schema of the file.
func TestTheSchemaIsThatOfTheStruct(t *testing.T) {
	r := jsonschema.Reflector{
		Anonymous: true, DoNotReference: true, FieldNameTag: "name", RequiredFromJSONSchemaTags: true, Mapper: schemaOf,
	}
	schema := r.Reflect(new(Config))
	schema.ID = "https://github.com/netra-systems/switchboard/docs/configuration.schema.json"
	schema.Title = "Configuration of switchboard serve"
	for _, s := range settings() {
		p, ok := schema.Properties.Get(s.name)
		if !ok {
			t.Fatalf("the schema has no %s", s.name)
		}
		describe(p, s)
	}
	if got, want := schema.Properties.Len(), len(settings()); got != want {
		t.Errorf("got %d properties, want %d", got, want)
	}
	out, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, schemaFile, append(bytes.TrimSpace(out), '\n'))
}

// schemaOf describes the types that are texts in the file, and lists, for which a single
// value may stand.
func schemaOf(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`}
	case reflect.TypeFor[time.Time]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2}))?$`}
	case reflect.TypeFor[Secret](), reflect.TypeFor[TenantQuota]():
		return &jsonschema.Schema{Type: "string"}
	case reflect.TypeFor[server.Scope]():
		return &jsonschema.Schema{Type: "string", Enum: enumOf(server.Scopes())}
	case reflect.TypeFor[APIKey]():
		fields := jsonschema.NewProperties()
		for f := range t.Fields() {
			fields.Set(strings.ToLower(f.Name), schemaOf(f.Type))
		}
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
			{Type: "string"},
			{Type: "object", Properties: fields, Required: []string{"key"}, AdditionalProperties: jsonschema.FalseSchema},
		}}
	}
	switch t.Kind() {
	case reflect.Slice:
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{schemaOf(t.Elem()), {Type: "array", Items: schemaOf(t.Elem())}}}
	case reflect.String:
		return &jsonschema.Schema{Type: "string"}
	}
	return nil
}

func enumOf[T any](values []T) (all []any) {
	for _, v := range values {
		all = append(all, v)
	}
	return all
}

// describe adds what the tags of a setting say.
func describe(p *jsonschema.Schema, s setting) {
	p.Description = s.tag.Get("help")
	if p.Type != "integer" {
		if text := s.tag.Get("default"); text != "" {
			p.Default = text
		}
		if enum := s.tag.Get("enum"); enum != "" {
			p.Enum = enumOf(strings.Split(enum, ","))
		}
		return
	}
	p.Default = json.Number(s.tag.Get("default"))
	p.Minimum, p.Maximum = json.Number(s.tag.Get("min")), json.Number(s.tag.Get("max"))
}

// TestTheTagsOfTheStructAreSound holds what the flag parser, the schema and the loader rely
// on: a setting without help, or with a default that is refused, is a mistake in the struct.
func TestTheTagsOfTheStructAreSound(t *testing.T) {
	var names []string
	for _, s := range settings() {
		names = append(names, s.name)
		if help := s.tag.Get("help"); !strings.HasSuffix(help, ".") || strings.Contains(help, "|") {
			t.Errorf("%s: got help %q, want sentences without |", s.name, help)
		}
		field := s.of(new(Config))
		if field.Kind() == reflect.Slice != (s.tag.Get("sep") == "none") {
			t.Errorf(`%s: got sep %q, want "none" for lists and only for them`, s.name, s.tag.Get("sep"))
		}
		for _, tag := range []string{"default", "min", "max"} {
			text := s.tag.Get(tag)
			if text == "" {
				continue
			}
			if err := setText(field, text); err != nil {
				t.Errorf("%s: %s %q: %v", s.name, tag, text, err)
			} else if rule := s.outOfRange(field); rule != "" {
				t.Errorf("%s: %s %q %s", s.name, tag, text, rule)
			}
		}
	}
	if slices.Sort(names); len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("got %q, want each name once", names)
	}
	for field := range reflect.TypeFor[Config]().Fields() {
		for f := range field.Type.Fields() {
			if f.Tag.Get("name") == "" {
				t.Errorf("%s has no name", f.Name)
			}
		}
	}
}
