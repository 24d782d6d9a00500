package config

import "reflect"

// netra names the preset with the bounds of the system that Switchboard replaces.
const netra = "netra"

// readPreset gives the values of a preset to settings of which nothing else was said. It comes last,
// since the preset itself, and the environment, may be said anywhere.
func (l *loader) readPreset() {
	if l.loaded.Preset != netra {
		return
	}
	values := map[string]string{
		"max-connections":          "100",
		"max-connections-per-user": "3",
		"max-connects-per-address": "30",
		"max-message-bytes":        "8192",
		"max-messages-per-minute":  map[string]string{production: "30", "staging": "100", "development": "300"}[l.loaded.Environment],
	}
	for _, s := range settings() {
		if text := values[s.name]; text != "" && l.loaded.origin[s.name] == fromDefault {
			l.set(s, "preset "+netra, func(dst reflect.Value) error { return setText(dst, text) })
		}
	}
}
