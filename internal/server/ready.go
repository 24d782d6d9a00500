package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// readiness is the content of a ready file.
type readiness struct {
	URL string `json:"url"`
	PID int    `json:"pid"`
	Key string `json:"api_key,omitempty"`
}

// writeReady puts r at path in one step: whoever waits for the file never sees a part of
// it. The file is new, so that nobody else has it open, and only its owner may read it.
func writeReady(path string, r readiness) (err error) {
	r.PID = os.Getpid()
	content, err := json.Marshal(r) //nolint:gosec // the file is for who may call
	if err != nil {
		return fmt.Errorf("ready file: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("ready file: %w", err)
	}
	_, err = f.Write(append(content, '\n'))
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("ready file: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

func removeReady(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("ready file: %w", err)
	}
	return nil
}
