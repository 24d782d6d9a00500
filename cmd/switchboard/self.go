package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// self is how this program can be called from another terminal: by its name if it is
// installed, by its path if not, and by go run if that made it for this one run.
func self() string {
	path, err := os.Executable()
	if err != nil {
		return quote(os.Args[0])
	}
	if fromGoRun(path) {
		if dir, err := os.Stat("cmd/switchboard"); err == nil && dir.IsDir() {
			return "go run ./cmd/switchboard"
		}
		b := thisBuild()
		return "go run " + quote(b.path+"@"+b.version)
	}
	if found, err := exec.LookPath(filepath.Base(path)); err == nil && same(found, path) {
		return quote(filepath.Base(path))
	}
	return quote(path)
}

// fromGoRun reports whether path is where the go command puts what it builds for a run:
// a temporary folder, or since Go 1.24 an entry of its cache, named by a hash.
func fromGoRun(path string) bool {
	dir := filepath.Dir(path)
	temporary := filepath.Base(dir) == "exe" && strings.Contains(filepath.ToSlash(dir), "/go-build")
	cached, _ := regexp.MatchString(`^[0-9a-f]{64}-d$`, filepath.Base(dir))
	return temporary || cached
}

func same(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// quote writes s as one word for a shell.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@%+=:,./_-", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
