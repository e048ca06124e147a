// Package checkout finds the sources that a test runs in.
package checkout

import (
	"errors"
	"os"
	"path/filepath"
)

// Root is the directory of go.mod, the working directory or one above it.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("this does not run in a checkout: there is no go.mod above it")
		}
	}
}
