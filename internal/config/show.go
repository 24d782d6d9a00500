package config

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// YAML returns what counts, as a file would say it, with where each value is from. Secrets
// are hidden: as a file it would not work.
func (l *Loaded) YAML() ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, s := range settings() {
		origin := l.origin[s.name]
		if origin == "" {
			continue
		}
		key, value := text(s.name), show(s.of(&l.Config))
		if value.Kind == yaml.ScalarNode {
			value.LineComment = origin
		} else {
			key.HeadComment = origin
		}
		root.Content = append(root.Content, key, value)
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return nil, fmt.Errorf("show the configuration: %w", err)
	}
	return out.Bytes(), nil
}

func text(s string) *yaml.Node {
	n := new(yaml.Node)
	n.SetString(s)
	return n
}

// show returns a value as a file would say it.
func show(v reflect.Value) *yaml.Node {
	switch v := v.Interface().(type) {
	case time.Duration:
		return text(short(v))
	case time.Time:
		return text(v.Format(time.RFC3339))
	case TenantQuota:
		return text(v.text)
	case APIKey:
		return v.show()
	case Secret:
		return text(v.String())
	}
	if v.Kind() == reflect.Slice {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			list.Content = append(list.Content, show(v.Index(i)))
		}
		return list
	}
	if v.Kind() == reflect.Int {
		return &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(v.Int())}
	}
	return text(v.String())
}

func (k APIKey) show() *yaml.Node {
	if k.Name == "" && len(k.Tenants) == 0 && len(k.Scopes) == 0 && k.Expires.IsZero() {
		return show(reflect.ValueOf(k.Key))
	}
	m := &yaml.Node{Kind: yaml.MappingNode}
	add := func(name string, v any) {
		if v := reflect.ValueOf(v); !v.IsZero() {
			m.Content = append(m.Content, text(name), show(v))
		}
	}
	add("name", k.Name)
	add("key", k.Key)
	add("tenants", k.Tenants)
	add("scopes", k.Scopes)
	add("expires", k.Expires)
	return m
}

// short writes a duration without the zeros at its end.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
