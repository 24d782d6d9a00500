package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// prefix is that of variables that are for this program.
const prefix = "SWITCHBOARD_"

// fileVariable names the file. It is the program's flag --config, not a setting.
const fileVariable = prefix + "CONFIG"

// urlVariable says to commands where a server is.
const urlVariable = prefix + "URL"

// apiKeyVariable has one key and is not split: commands send what is in it.
const apiKeyVariable = prefix + "API_KEY"

// isEmpty is said of a variable that is there for nothing.
const isEmpty = "is empty: unset the variable, or say something"

// variables returns the environment as a map.
func variables(environ []string) map[string]string {
	all := make(map[string]string, len(environ))
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok {
			all[name] = value
		}
	}
	return all
}

// readEnviron reads the variables that begin with the prefix. All of them must mean
// something: a misspelt one would be a setting that is not there.
func (l *loader) readEnviron(environ []string) {
	byVariable := map[string]setting{}
	for _, s := range settings() {
		byVariable[s.variable()] = s
	}
	env := variables(environ)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		s, known := byVariable[name]
		switch {
		case !strings.HasPrefix(name, prefix) || name == urlVariable:
			continue
		case name == fileVariable:
			if env[name] == "" {
				l.problems = append(l.problems, "environment: "+name+" "+isEmpty)
			}
			continue
		case !known:
			l.unknown("environment", name, slices.Sorted(maps.Keys(byVariable)))
			continue
		}
		l.set(s, "$"+name, func(dst reflect.Value) error { return setVariable(dst, name, env[name]) })
	}
}

func setVariable(dst reflect.Value, name, value string) error {
	switch {
	case value == "":
		return errors.New(isEmpty)
	case dst.Kind() != reflect.Slice:
		return setText(dst, value)
	case name == apiKeyVariable:
		return setList(dst, []string{value})
	}
	texts := strings.Split(value, ",")
	for i := range texts {
		texts[i] = strings.TrimSpace(texts[i])
	}
	return setList(dst, texts)
}

// oldName is a variable of the system that Switchboard replaces.
type oldName struct {
	variable, setting string
	convert           func(string) (string, error)
}

// oldNames are those for which there is something today.
func oldNames() []oldName {
	return []oldName{
		{"ENVIRONMENT", "environment", oldEnvironment},
		{"WEBSOCKET_HEARTBEAT_INTERVAL", "heartbeat-interval", seconds},
		{"WEBSOCKET_HEARTBEAT_TIMEOUT", "heartbeat-timeout", seconds},
	}
}

// readOldNames reads the old variables of settings that nothing else has set: others use
// such names too, so what was said to this program counts more.
func (l *loader) readOldNames(environ []string) {
	env := variables(environ)
	for _, old := range oldNames() {
		value := env[old.variable]
		origin := l.loaded.origin[old.setting]
		if value == "" || origin != "" && origin != fromDefault {
			continue
		}
		for _, s := range settings() {
			if s.name != old.setting {
				continue
			}
			l.set(s, "$"+old.variable, func(dst reflect.Value) error {
				text, err := old.convert(value)
				if err != nil {
					return err
				}
				return setText(dst, text)
			})
		}
	}
}

func oldEnvironment(text string) (string, error) {
	if text = strings.ToLower(text); text == "testing" {
		text = "development"
	}
	return text, nil
}

// maxSeconds is more than anybody means, and fits a time.Duration.
const maxSeconds = 365 * 24 * 60 * 60

func seconds(text string) (string, error) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || math.Abs(n) > maxSeconds {
		return "", fmt.Errorf("must be a number of seconds, not %q", text)
	}
	return time.Duration(n * float64(time.Second)).String(), nil
}
