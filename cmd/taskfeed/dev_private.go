//go:build unix

package main

import (
	"context"
	"fmt"

	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/internal/devpg"
)

// defaultDevDir returns the state directory of dev.
func defaultDevDir() (string, error) { return devpg.DefaultDir() }

func startPrivate(ctx context.Context, in *cli.Invocation, opts devOptions) (privatePostgres, error) {
	if opts.reset {
		if err := devpg.Reset(opts.dir); err != nil {
			return nil, err
		}
	}
	return devpg.Start(ctx, devpg.Config{
		Dir:      opts.dir,
		Port:     devpg.DefaultPort,
		BinDir:   in.Env("TASKFEED_PG_BIN"),
		User:     in.Env("TASKFEED_PG_USER"),
		Progress: func(message string) { fmt.Fprintln(in.Stderr, message) },
	})
}
