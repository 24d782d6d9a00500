// Package web holds the pages that the server shows, as they were built.
package web

import (
	"embed"
	"io/fs"
)

//go:embed all:dist/chat
var dist embed.FS

// Chat returns the page on which the development server shows what it does: index.html, and
// below assets files that have a hash of their content in their names.
func Chat() fs.FS {
	chat, err := fs.Sub(dist, "dist/chat")
	if err != nil { // of a path that is a constant
		panic(err)
	}
	return chat
}
