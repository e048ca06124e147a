//go:build !unix

package main

import (
	"context"
	"errors"

	"github.com/taskfeed/taskfeed/internal/cli"
)

var errNoPrivate = errors.New("a private Postgres runs on Linux and macOS only: set DATABASE_URL to a database to try things with")

// defaultDevDir returns an error: there is no private Postgres to keep the state of.
func defaultDevDir() (string, error) { return "", errNoPrivate }

func startPrivate(context.Context, *cli.Invocation, devOptions) (privatePostgres, error) {
	return nil, errNoPrivate
}
