package server

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/netra-systems/switchboard/wire"
)

// decode reads a body as strictly as a frame is read, and refuses members that v does
// not have: a misspelt option must not be ignored. v points to a struct with json tags;
// pointers to structs in it are objects too.
func decode(body []byte, v any) error {
	if err := wire.Unmarshal(body, v); err != nil {
		return err
	}
	if path := unknown(body, reflect.TypeOf(v).Elem()); path != nil {
		return invalid(strings.Join(path, "."), "is not known")
	}
	return nil
}

// unknown returns the path of a member of object that t does not have, the first one in
// the order of the alphabet, or nil. object has been decoded into a t before.
func unknown(object []byte, t reflect.Type) []string {
	var members map[string]json.RawMessage
	if err := wire.Unmarshal(object, &members); err != nil {
		return nil // null
	}
	fields := fieldsOf(t)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		field, known := fields[name]
		if !known {
			return []string{name}
		}
		if field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		if field.Kind() != reflect.Struct {
			continue
		}
		if path := unknown(members[name], field); path != nil {
			return append([]string{name}, path...)
		}
	}
	return nil
}

func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := make(map[string]reflect.Type, t.NumField())
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			fields[name] = f.Type
		}
	}
	return fields
}
