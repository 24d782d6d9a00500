package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"
)

// maxFileBytes bounds what is read of a file.
const maxFileBytes = 1 << 20

// readFile reads settings from a file. It returns false if it could not read any.
func (l *loader) readFile(path string) bool {
	text, err := readBounded(path)
	if err != nil {
		l.problems = append(l.problems, err.Error()) // it names the file
		return false
	}
	root, err := mapping(text)
	if err != nil {
		l.problems = append(l.problems, fmt.Sprintf("%s: %s", path, err))
		return false
	}
	l.readMapping(path, root)
	return true
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the operator says which
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(text) > maxFileBytes {
		err = fmt.Errorf("%s has more than %d bytes", path, maxFileBytes)
	}
	return text, err
}

// mapping reads the one document that there may be, and returns its keys and values in turn.
func mapping(text []byte) ([]*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("must be one YAML document")
	}
	root := doc.Content[0]
	switch {
	case isNull(root): // nothing but comments
		return nil, nil
	case root.Kind != yaml.MappingNode:
		return nil, errors.New(`must be a mapping of settings, as "listen: 127.0.0.1:8080"`)
	}
	return root.Content, nil
}

// readMapping reads settings. path is only told.
func (l *loader) readMapping(path string, content []*yaml.Node) {
	all := settings()
	var names []string
	for _, s := range all {
		names = append(names, s.name)
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(content); i += 2 {
		key, value := content[i], resolve(content[i+1])
		origin := fmt.Sprintf("%s:%d", path, key.Line)
		at := slices.Index(names, key.Value)
		switch first, twice := seen[key.Value]; {
		case at < 0:
			l.unknown(origin, key.Value, names)
		case twice:
			l.problems = append(l.problems, fmt.Sprintf("%s: %s is there already, in line %d", origin, key.Value, first))
		default:
			seen[key.Value] = key.Line
			l.set(all[at], origin, func(dst reflect.Value) error { return setNode(dst, value) })
		}
	}
}

// resolve returns what an alias stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// setNode puts a value of the file into a field. A scalar is what its text would be as a
// flag, so that a secret of digits is no number; one may stand for a list of one.
func setNode(dst reflect.Value, n *yaml.Node) error {
	if dst.Kind() != reflect.Slice {
		return setScalar(dst, n)
	}
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	list := reflect.MakeSlice(dst.Type(), len(items), len(items))
	for i, item := range items {
		item = resolve(item)
		err := error(nil)
		if key, ok := list.Index(i).Addr().Interface().(*APIKey); ok && item.Kind == yaml.MappingNode {
			err = setAPIKey(key, item)
		} else {
			err = setScalar(list.Index(i), item)
		}
		if err != nil {
			return err
		}
	}
	dst.Set(list)
	return nil
}

func setScalar(dst reflect.Value, n *yaml.Node) error {
	switch {
	case isNull(n):
		return errors.New("has no value")
	case n.Kind != yaml.ScalarNode:
		return fmt.Errorf("must be a single value, not what is in line %d", n.Line)
	}
	return setText(dst, n.Value)
}

// setAPIKey reads a key with its name and what it may do.
func setAPIKey(key *APIKey, n *yaml.Node) error {
	fields := map[string]any{"name": &key.Name, "key": &key.Key, "tenants": &key.Tenants, "scopes": &key.Scopes, "expires": &key.Expires}
	known := []string{"name", "key", "tenants", "scopes", "expires"}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], resolve(n.Content[i+1])
		field, ok := fields[name.Value]
		if !ok {
			if slices.Contains(known, name.Value) {
				return fmt.Errorf("has a key with two %s, in line %d", name.Value, name.Line)
			}
			return fmt.Errorf("has a key with %s, in line %d, which is not known; the closest is %s", name.Value, name.Line, nearest(name.Value, known))
		}
		delete(fields, name.Value)
		if err := setNode(reflect.ValueOf(field).Elem(), value); err != nil {
			return fmt.Errorf("has a key whose %s, in line %d, %w", name.Value, name.Line, err)
		}
	}
	return nil
}
