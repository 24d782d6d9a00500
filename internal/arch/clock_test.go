package arch

import (
	"cmp"
	"go/types"
	"path"
	"slices"
)

// wallClocks finds, in what measures silence and finds the dead, calls that make a time without a
// monotonic reading or take it away. Two times that have one are compared by it, so that nobody
// seems silent for an hour, or active in the future, because somebody has set the clock.
func wallClocks(m *module) (found []violation) {
	for _, p := range m.packages {
		for id, obj := range p.info.Uses {
			fn, ok := obj.(*types.Func)
			if !ok || !losesMonotonic(fn) {
				continue
			}
			v := m.at(id.Pos(), "%s has no monotonic reading; what is compared here must have one", fn.Name())
			if p.path == hubPath || p.path == "internal/ws" || path.Dir(v.file) == "." && path.Base(v.file) == "heartbeat.go" {
				found = append(found, v)
			}
		}
	}
	slices.SortFunc(found, func(a, b violation) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.line, b.line))
	})
	return found
}

// losesMonotonic reports whether fn is of package time, and what it returns or is asked about is
// of the wall clock only.
func losesMonotonic(fn *types.Func) bool {
	if fn.Pkg() == nil || fn.Pkg().Path() != "time" {
		return false
	}
	recv := fn.Signature().Recv()
	if recv == nil {
		return slices.Contains([]string{"Unix", "UnixMilli", "UnixMicro", "Date", "Parse", "ParseInLocation"}, fn.Name())
	}
	of, ok := types.Unalias(recv.Type()).(*types.Named)
	return ok && of.Obj().Name() == "Time" && slices.Contains([]string{
		"Round", "Truncate", "UTC", "Local", "In", "AddDate", "Unix", "UnixMilli", "UnixMicro", "UnixNano",
	}, fn.Name())
}

func wallClockSeeds() []seed {
	return []seed{
		{
			name: "times of the wall clock where silence is measured",
			files: map[string]string{
				"internal/hub/seen.go":   "package hub\nimport \"time\"\nfunc Seen(at int64) bool {\n\treturn time.Since(time.UnixMilli(at)) > time.Second\n}\n",
				"internal/ws/late.go":    "package ws\nimport \"time\"\nvar Late = time.Now().UTC()\nfunc Now() int64 { return time.Now().UnixNano() }\n",
				"heartbeat.go":           "package switchboard\nimport \"time\"\nvar started = time.Now().Round(0)\n",
				"internal/hub/x_test.go": "package hub\nimport \"time\"\nvar zero = time.Unix(0, 0)\n",
			},
			want: []string{
				"heartbeat.go:3: Round has no monotonic reading; what is compared here must have one",
				"internal/hub/seen.go:4: UnixMilli has no monotonic reading; what is compared here must have one",
				"internal/ws/late.go:3: UTC has no monotonic reading; what is compared here must have one",
				"internal/ws/late.go:4: UnixNano has no monotonic reading; what is compared here must have one",
			},
		},
		{
			name: "durations, the monotonic clock, and dates elsewhere",
			files: map[string]string{
				"internal/hub/seen.go": "package hub\nimport \"time\"\nvar start = time.Now()\nfunc Age() time.Duration { return time.Since(start).Round(time.Second).Truncate(time.Second) }\nfunc At(d time.Duration) time.Time { return start.Add(d) }\n",
				"wire/at.go":           "package wire\nimport \"time\"\nfunc Seconds(t time.Time) int64 { return t.Unix() }\n",
				"receipts.go":          "package switchboard\nimport \"time\"\nvar began = time.UnixMilli(1)\n",
			},
		},
	}
}
