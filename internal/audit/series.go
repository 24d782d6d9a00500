package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The series. Each tenant has one of its own, see [seriesOf], but for these:
const (
	actors    = "actors"    // of the tenant without a name, and what logs of before have of all tenants
	others    = "others"    // of all tenants for which there was no series left
	strangers = "strangers" // what was refused to those who have shown no good credential

	ofTenant = "tenant-" // is what the others begin with
)

// hashedName is how long the rest of the name of a tenant's series is.
const hashedName = 32

// seriesOf names the series of a tenant. A tenant may be any text, and is in each line, so a hash
// of it is the name.
func seriesOf(tenant string) string {
	if tenant == "" {
		return actors
	}
	sum := sha256.Sum256([]byte(tenant))
	return ofTenant + hex.EncodeToString(sum[:hashedName/2])
}

// isSeries reports whether there is a series of that name.
func isSeries(name string) bool {
	hash, ok := strings.CutPrefix(name, ofTenant)
	if !ok {
		return name == actors || name == others || name == strangers
	}
	return len(hash) == hashedName && strings.Trim(hash, "0123456789abcdef") == ""
}

const extension = ".jsonl"

// file is a part of a series. Its name has the sequence number of its first line.
type file struct {
	path  string
	first uint64
}

func filePath(dir, series string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s-%020d%s", series, first, extension))
}

// filesIn returns the files of each series in dir, oldest first. One with a name that this package
// does not give is an error: it may be a part of the log that somebody renamed.
func filesIn(dir string) (map[string][]file, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	all := make(map[string][]file)
	for _, e := range entries {
		name := e.Name()
		if kind, _, ok := strings.Cut(name, "-"); !ok || !isSeries(kind) && kind+"-" != ofTenant {
			continue
		}
		path, dash := filepath.Join(dir, name), strings.LastIndexByte(name, '-')
		series := name[:dash]
		first, err := strconv.ParseUint(strings.TrimSuffix(name[dash+1:], extension), 10, 64)
		if err != nil || !isSeries(series) || path != filePath(dir, series, first) {
			return nil, fmt.Errorf("%s: is no name of a file of the log", path)
		}
		all[series] = append(all[series], file{path: path, first: first})
	}
	for _, files := range all {
		slices.SortFunc(files, func(a, b file) int {
			if a.first < b.first {
				return -1
			}
			return 1
		})
	}
	return all, nil
}

// namesOf returns the series that have files, in the order in which reports tell of them: those
// two that every log had first, even without files.
func namesOf(files map[string][]file) []string {
	names := []string{actors, strangers}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if name != actors && name != strangers {
			names = append(names, name)
		}
	}
	return names
}
