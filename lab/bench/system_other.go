//go:build !linux

package bench

import (
	"context"
	"time"
)

func (s *server) memory() (float64, error)    { return 0, errNotHere }
func (s *server) cpu() (time.Duration, error) { return 0, errNotHere }
func hardware() []string                      { return nil }

func othersBusy(context.Context, time.Duration) (float64, bool) { return 0, false }
func diskFree(string) (uint64, bool)                            { return 0, false }
func fileLimit() (int, bool)                                    { return 0, false }
func memoryFree() (float64, bool)                               { return 0, false }
