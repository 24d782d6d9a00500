package main

import (
	"fmt"
	"runtime/debug"
)

type versionCmd struct{}

// Run prints what the build knows of itself.
func (*versionCmd) Run(term terminal) error {
	b := thisBuild()
	_, err := fmt.Fprintf(term.out, "switchboard %s\ncommit %s\n%s\n", b.version, b.commit, b.compiler)
	return err
}

// build is where this program comes from.
type build struct{ path, version, commit, compiler string }

func thisBuild() build {
	b := build{version: "unknown", commit: "unknown", compiler: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.path, b.version, b.compiler = info.Path, info.Main.Version, info.GoVersion
	changed := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.commit = s.Value
		case "vcs.modified":
			changed = s.Value == "true"
		}
	}
	if changed {
		b.commit += " with changes"
	}
	return b
}
