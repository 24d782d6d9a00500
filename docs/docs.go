// Package docs holds the project's documentation, for programs that show or search it.
package docs

import "embed"

// Files are the Markdown files of this folder.
//
//go:embed *.md
var Files embed.FS
