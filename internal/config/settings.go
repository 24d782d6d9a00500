package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// setting is a field of Config.
type setting struct {
	name  string // in the file and as a flag
	index []int  // of the field
	tag   reflect.StructTag
}

// settings returns all of them, in the order of the struct.
func settings() (all []setting) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if name := f.Tag.Get("name"); name != "" {
			all = append(all, setting{name: name, index: f.Index, tag: f.Tag})
		}
	}
	return all
}

// variable is the setting's name in the environment.
func (s setting) variable() string {
	return prefix + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

// of returns the setting's field of c.
func (s setting) of(c *Config) reflect.Value { return reflect.ValueOf(c).Elem().FieldByIndex(s.index) }

// setText puts a text into a field that is no list.
func setText(dst reflect.Value, text string) error {
	switch p := dst.Addr().Interface().(type) {
	case *time.Time:
		return setTime(p, text)
	case encoding.TextUnmarshaler:
		return p.UnmarshalText([]byte(text))
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("must be a duration such as 25s or 2m30s, not %q", text)
		}
		*p = d
		return nil
	}
	switch dst.Kind() {
	case reflect.String:
		dst.SetString(text)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("must be a whole number, not %q", text)
		}
		dst.SetInt(int64(n))
	default:
		return fmt.Errorf("cannot be a %s", dst.Type()) // a field of Config that nobody can set
	}
	return nil
}

// setTime reads a moment, or the beginning of a day in UTC.
func setTime(dst *time.Time, text string) error {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil && !at.IsZero() {
			*dst = at
			return nil
		}
	}
	return fmt.Errorf("must be a time such as 2027-03-01T12:00:00Z, or a day such as 2027-03-01, not %q", text)
}

// setList puts texts into a field that is a list. The field is not changed if one does not
// fit.
func setList(dst reflect.Value, texts []string) error {
	list := reflect.MakeSlice(dst.Type(), len(texts), len(texts))
	for i, text := range texts {
		if err := setText(list.Index(i), text); err != nil {
			return err
		}
	}
	dst.Set(list)
	return nil
}

// outOfRange says what is wrong with a value by the tags of its setting; "": nothing.
func (s setting) outOfRange(v reflect.Value) string {
	if v.Kind() == reflect.String && v.Len() == 0 {
		return "must not be empty"
	}
	if enum := s.tag.Get("enum"); enum != "" {
		words := strings.Split(enum, ",")
		if slices.Contains(words, v.String()) {
			return ""
		}
		return fmt.Sprintf("must be one of %s, not %q", strings.Join(words, ", "), v.String())
	}
	bound := reflect.New(v.Type()).Elem()
	if low := s.tag.Get("min"); low != "" && setText(bound, low) == nil && v.Int() < bound.Int() {
		return "must be at least " + low
	}
	if high := s.tag.Get("max"); high != "" && setText(bound, high) == nil && v.Int() > bound.Int() {
		return "must be at most " + high
	}
	return ""
}

// nearest returns the known name that is most like name.
func nearest(name string, known []string) string {
	best, least := "", len(name)+100
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the bytes that must be added, removed or changed to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
