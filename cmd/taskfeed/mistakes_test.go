package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/taskfeed/taskfeed/internal/cli"
)

// TestBadInput138MistypedSecrets: errors about a command line never repeat what was
// typed. Once, taskfeed doctor postgres://u:secret@h/db, the first thing that many try,
// printed the password, and so did a password in place of a flag, a value or a command.
func TestBadInput138MistypedSecrets(t *testing.T) {
	t.Parallel()
	const secret = "S3cretPass"
	ended, cancel := context.WithCancel(t.Context()) // so that no command starts its work
	cancel()
	paths := [][]string{{"help"}, {"completion"}, {"completion", "bash"}}
	flags := map[string]bool{}
	walk(rootCommand(&cli.Invocation{}), nil, func(path []string, cmd *cobra.Command) {
		paths = append(paths, path)
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Value.Type() != "string" && f.Value.Type() != "stringSlice" {
				flags[strings.Join(path, " ")+" --"+f.Name] = true
			}
		})
	})
	if len(paths) < 15 || !flags["token --ttl"] {
		t.Fatalf("%d commands, flags %v: want more, --ttl among them", len(paths), flags)
	}
	refuse := func(args ...string) {
		var errs bytes.Buffer
		status := cli.Run(ended, rootCommand, args, nil, io.Discard, &errs)
		if strings.Contains(errs.String(), secret) || status != 2 && args[0] != "help" && args[0] != "completion" {
			t.Errorf("taskfeed %q: exit status %d, %s, want 2 and nothing of what was typed", args, status, &errs)
		}
	}
	for _, path := range paths {
		for _, typed := range []string{"postgres://u:" + secret + "@h/db", "host=h password=" + secret, secret, "--" + secret, "-" + secret, "--" + secret + "=1", "-p" + secret, "--=" + secret, "---" + secret, "-\u00e4" + secret} {
			given := path
			if last := path[max(0, len(path)-1):]; len(path) > 0 && (last[0] == "show" || last[0] == "forget") {
				given = append(path[:len(path):len(path)], "x")
			}
			refuse(append(given[:len(given):len(given)], typed)...)
			refuse(append(given[:len(given):len(given)], "x", typed)...)
		}
	}
	for flag := range flags {
		refuse(append(strings.Fields(flag)[:len(strings.Fields(flag))-1], strings.Fields(flag)[len(strings.Fields(flag))-1]+"="+secret)...)
	}
	for args, want := range map[string]string{
		"doctor postgres://u:p@h/db": "takes no arguments; it was given 1; a database is named by DATABASE_URL; see taskfeed doctor --help",
		"tasks show":                 "takes 1 argument(s): taskfeed tasks show", "migrate upp": "did you mean up?", "sevre": "did you mean serve?", "serve --retantion=1h": "argument 2 is not a flag of taskfeed serve: did you mean --retention?",
		"token --ttl soon": "--ttl must be a duration with a unit", "token --user": "--user needs a value", "tail -x": "argument 2 begins with a dash",
	} {
		var errs bytes.Buffer
		if status := cli.Run(ended, rootCommand, strings.Fields(args), nil, io.Discard, &errs); status != 2 || !strings.Contains(errs.String(), want) {
			t.Errorf("taskfeed %s: exit status %d, %s, want 2 and %q", args, status, &errs, want)
		}
	}
}

// walk calls visit for a command and all below it.
func walk(cmd *cobra.Command, path []string, visit func([]string, *cobra.Command)) {
	visit(path, cmd)
	for _, sub := range cmd.Commands() {
		walk(sub, append(path[:len(path):len(path)], sub.Name()), visit)
	}
}
