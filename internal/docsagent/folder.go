package docsagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a folder. What is beyond is skipped, and every answer of a tool says so.
const (
	maxFiles  = 2000
	maxFile   = 1 << 20  // bytes
	maxFolder = 32 << 20 // bytes of all files together
	maxLine   = 16 << 10 // bytes
	maxDepth  = 16       // folders in folders
)

// file is a document.
type file struct {
	name   string // with slashes, below the folder
	format format
	lines  []string // without their ends
	bytes  int
}

// title is the first heading, or "".
func (f file) title() string {
	for _, p := range split(f.lines, f.format) {
		if len(p.headings) > 0 {
			return p.headings[0]
		}
	}
	return ""
}

// A skip is something in the folder that is not read.
type skip struct {
	File string `json:"file"` // a folder ends with a slash
	Why  string `json:"why"`
}

// A reason is why a file is not read.
type reason string

func (r reason) Error() string { return string(r) }

// source opens the folder for one look at it; what it returns is closed after that.
type source func() (fs.FS, io.Closer, error)

// fromFS is a folder that is always there.
func fromFS(fsys fs.FS) source {
	return func() (fs.FS, io.Closer, error) { return fsys, io.NopCloser(nil), nil }
}

// fromDir is a folder of this machine. Symbolic links that lead out of it are not followed.
func fromDir(dir string) source {
	return func() (fs.FS, io.Closer, error) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, nil, err
		}
		return root.FS(), root, nil
	}
}

// folder is what a look found, ordered by name.
type folder struct {
	files   []file
	skipped []skip
	bytes   int
}

// look reads all documents, as they are now.
func (s source) look(ctx context.Context) (folder, error) {
	fsys, closer, err := s()
	if err != nil {
		return folder{}, fmt.Errorf("the folder cannot be opened: %w", pathless(err))
	}
	defer closer.Close()
	var f folder
	err = fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return f.visit(fsys, name, entry, err)
	})
	if err != nil {
		return folder{}, fmt.Errorf("the folder cannot be read: %w", pathless(err))
	}
	return f, nil
}

func (f *folder) visit(fsys fs.FS, name string, entry fs.DirEntry, err error) error {
	if name == "." {
		return err
	}
	isDir := entry.IsDir()
	why := refused(name)
	switch {
	case why != nil:
	case err != nil:
		why = pathless(err)
	case isDir && strings.Count(name, "/") >= maxDepth:
		why = reason("too deep")
	case isDir:
		return nil
	case len(f.files) >= maxFiles:
		why = reason(fmt.Sprintf("more than %d files", maxFiles))
	default:
		why = f.take(fsys, name)
	}
	if why == nil {
		return nil
	}
	if isDir {
		f.skipped = append(f.skipped, skip{File: name + "/", Why: why.Error()})
		return fs.SkipDir
	}
	f.skipped = append(f.skipped, skip{File: name, Why: why.Error()})
	return nil
}

func (f *folder) take(fsys fs.FS, name string) error {
	doc, err := open(fsys, name, maxFolder-f.bytes)
	if err != nil {
		return err
	}
	f.bytes += doc.bytes
	f.files = append(f.files, doc)
	return nil
}

// refused says why a name is not to be read, whatever is there.
func refused(name string) error {
	switch {
	case !fs.ValidPath(name) || name == ".":
		return reason("not a path below the folder")
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return reason("its name is not text")
	}
	for element := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(element, ".") {
			return reason("hidden")
		}
	}
	return nil
}

// open reads one document if it is one, and has at most space bytes.
func open(fsys fs.FS, name string, space int) (file, error) {
	if err := refused(name); err != nil {
		return file{}, err
	}
	info, err := fs.Stat(fsys, name) // before opening: to open a pipe would wait for its writer
	if err != nil {
		return file{}, pathless(err)
	}
	switch {
	case !info.Mode().IsRegular():
		return file{}, reason("not a file")
	case info.Size() > maxFile:
		return file{}, reason("larger than 1 MiB")
	}
	opened, err := fsys.Open(name)
	if err != nil {
		return file{}, pathless(err)
	}
	defer opened.Close()
	content, err := io.ReadAll(io.LimitReader(opened, maxFile+1))
	switch {
	case err != nil:
		return file{}, pathless(err)
	case len(content) > maxFile: // it grew
		return file{}, reason("larger than 1 MiB")
	case len(content) > space:
		return file{}, reason(fmt.Sprintf("the folder has more than %d MiB", maxFolder>>20))
	case bytes.IndexByte(content, 0) >= 0:
		return file{}, reason("binary")
	case !utf8.Valid(content):
		return file{}, reason("not UTF-8")
	}
	doc := file{name: name, format: formatOf(name), lines: lines(string(content)), bytes: len(content)}
	if slices.ContainsFunc(doc.lines, func(line string) bool { return len(line) > maxLine }) {
		return file{}, reason("has a line of more than 16 KiB")
	}
	return doc, nil
}

// lines cuts a text into lines without their ends.
func lines(text string) []string {
	text = strings.TrimPrefix(text, "\uFEFF")
	if text == "" {
		return nil
	}
	all := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range all {
		all[i] = strings.TrimSuffix(line, "\r")
	}
	return all
}

// pathless is err without the path, which may tell where the folder is.
func pathless(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		if errors.Is(err, fs.ErrNotExist) {
			return reason("there is no such file")
		}
		return pe.Err
	}
	return err
}
