package hub

import (
	"reflect"
	"testing"
	"unsafe"
)

// The garbage collector skips what holds no pointers: a million connections
// must be no work for it.
func TestRecordsHoldNoPointers(t *testing.T) {
	for _, typ := range []reflect.Type{reflect.TypeFor[conn](), reflect.TypeFor[topic](), reflect.TypeFor[follower](), reflect.TypeFor[Key]()} {
		if path := pointerIn(typ); path != "" {
			t.Errorf("%s%s is a pointer", typ.Name(), path)
		}
	}
	if pointerIn(reflect.TypeFor[moreRooms]()) == "" {
		t.Error("a slice is not taken for a pointer: this test cannot fail")
	}
}

func pointerIn(typ reflect.Type) string {
	switch typ.Kind() {
	case reflect.Struct:
		for field := range typ.Fields() {
			if path := pointerIn(field.Type); path != "" {
				return "." + field.Name + path
			}
		}
	case reflect.Array:
		return pointerIn(typ.Elem())
	case reflect.Pointer, reflect.UnsafePointer, reflect.Slice, reflect.String, reflect.Map, reflect.Chan, reflect.Func, reflect.Interface:
		return " (" + typ.Kind().String() + ")"
	}
	return ""
}

// Sizes are what a million connections cost; growing them is a decision.
func TestRecordsStaySmall(t *testing.T) {
	for _, rec := range []struct {
		name      string
		size, max uintptr
	}{
		{"conn", unsafe.Sizeof(conn{}), 192},
		{"topic", unsafe.Sizeof(topic{}), 112},
	} {
		if rec.size > rec.max {
			t.Errorf("%s: got %d bytes, want at most %d", rec.name, rec.size, rec.max)
		}
	}
}
