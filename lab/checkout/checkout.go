// Package checkout finds the checkout that a test runs in.
package checkout

import (
	"errors"
	"os"
	"path/filepath"
)

// Root returns the directory of go.mod: the working directory or one above it.
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
			return "", errors.New("not in a checkout: found no go.mod in the working directory or above it")
		}
	}
}
