package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/taskfeed/taskfeed/lab/mutations"
	"github.com/taskfeed/taskfeed/lab/verify/check"
)

// MutationCommand returns the command that shows that a mistake is caught.
func MutationCommand(name string) string { return "taskfeed-lab verify --planted " + name }

// ErrNoSuchMutation is the error for an unknown name.
var ErrNoSuchMutation = errors.New("there is no such mistake; docs/PROMISES.md lists them")

// RunMutations builds a server with each of the named mistakes, or with "all" one
// after the other, from the checkout of the working directory. It runs a round with
// each and prints a line for it. The error says why a round could not run, or which
// mistakes were not caught.
func RunMutations(ctx context.Context, cfg Config, names []string, out io.Writer) error {
	chosen, err := chooseMutations(names)
	if err != nil {
		return err
	}
	source, err := mutations.Source(ctx, ".")
	if err != nil {
		return err
	}
	var missed []string
	for _, m := range chosen {
		began := time.Now()
		round, err := runMutation(ctx, cfg, m, source)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
		mark, broken := "caught", round.broken()
		if !slices.Contains(broken, m.Property) {
			mark, missed = "MISSED", append(missed, m.Name)
		}
		fmt.Fprintf(out, "%s  %-14s  want %-3s  broken %-18s  %v, seed %d %s\n", mark, m.Name, m.Property, strings.Join(broken, " "), time.Since(began).Round(time.Second), round.Seed, round.Dir)
	}
	if len(missed) > 0 {
		return fmt.Errorf("not caught: %s", strings.Join(missed, ", "))
	}
	return nil
}

func chooseMutations(names []string) ([]mutations.Mutation, error) {
	all, err := mutations.All()
	if err != nil || slices.Equal(names, []string{"all"}) {
		return all, err
	}
	var chosen []mutations.Mutation
	for _, name := range names {
		i := slices.IndexFunc(all, func(m mutations.Mutation) bool { return m.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("%q: %w", name, ErrNoSuchMutation)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// runMutation runs a round with servers that have the mistake. It keeps the history
// when the expected property is not found broken, or when the caller wants it.
func runMutation(ctx context.Context, cfg Config, m mutations.Mutation, source string) (*Round, error) {
	dir, err := os.MkdirTemp("", "taskfeed-mutation-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if cfg.Binary, err = m.Build(ctx, source, dir); err != nil {
		return nil, err
	}
	cfg.Mutation, cfg.Faults, cfg.Rounds, cfg.Duration = m.Name, m.Faults, 1, -time.Second
	if cfg.Keep != "" {
		cfg.Keep = filepath.Join(cfg.Keep, m.Name)
	}
	result, err := Run(ctx, cfg)
	if err != nil {
		return nil, err
	}
	round := &result.Rounds[0]
	if cfg.Keep == "" && round.Dir != "" && slices.Contains(round.broken(), m.Property) {
		err, round.Dir = os.RemoveAll(round.Dir), ""
	}
	return round, err
}

// broken lists the properties that a round found broken.
func (r *Round) broken() []string {
	var names []string
	for _, p := range check.Properties {
		if r.Counts[p.Name] > 0 {
			names = append(names, p.Name)
		}
	}
	return names
}
