//go:build !linux

package verify

import (
	"errors"
	"os"
)

var errLinuxOnly = errors.New("it needs Linux")

func mountTiny(string, int, string) error { return errLinuxOnly }

func unmountTiny(string) error { return nil }

func shrinkPipe(*os.File) {}

func pipeHolds(*os.File) int { return 0 }

func limitFiles(int) (restore func(), err error) { return nil, errLinuxOnly }
