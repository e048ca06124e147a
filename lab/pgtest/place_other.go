//go:build !linux

package pgtest

import "os"

// place returns where temporary servers keep their files.
func place() string { return os.TempDir() }
