//go:build !linux

package crowd

import (
	"context"
	"errors"
)

func (c *crowd) serve(context.Context) error { return errors.New("a crowd runs on Linux only") }
