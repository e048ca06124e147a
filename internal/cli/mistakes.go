package cli

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/taskfeed/taskfeed/internal/logs"
)

// Errors about a wrong command line never repeat what was typed: it may be a database
// URL or another secret, and errors end up in logs. They name the argument by its
// number and say what is allowed there.

// prepare turns errors about flags and arguments into usage errors. args is the
// command line.
func prepare(root *cobra.Command, args []string) {
	root.SilenceUsage, root.SilenceErrors = true, true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return mistake(cmd, flagMistake(cmd, args, err))
	})
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	root.InitDefaultCompletionCmd(args...) // so that its errors are usage errors too
	wrapArgs(root)
}

func wrapArgs(cmd *cobra.Command) {
	check := cmd.Args
	if check == nil {
		check = cobra.NoArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		return mistake(cmd, argumentMistake(cmd, check, args))
	}
	for _, sub := range cmd.Commands() {
		wrapArgs(sub)
	}
}

func mistake(cmd *cobra.Command, what string) error {
	return Usage(fmt.Errorf("%s; see %s --help", what, cmd.CommandPath()))
}

// argumentMistake says which arguments a command takes.
func argumentMistake(cmd *cobra.Command, check cobra.PositionalArgs, args []string) string {
	if cmd.HasAvailableSubCommands() {
		return fmt.Sprintf("%s has no such command%s", cmd.CommandPath(), meant(args[0], commandNames(cmd), ""))
	}
	takes := "no arguments"
	for n := 1; n < 4; n++ {
		if check(cmd, make([]string, n)) == nil {
			takes = fmt.Sprintf("%d argument(s): %s", n, cmd.UseLine())
			break
		}
	}
	what := fmt.Sprintf("%s takes %s; it was given %d", cmd.CommandPath(), takes, len(args))
	if cmd.Flags().Lookup("database-url") != nil {
		what += "; a database is named by DATABASE_URL"
	}
	return what
}

func commandNames(cmd *cobra.Command) (names []string) {
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}

// flagMistake rewrites an error of the parser. It names only flags that exist, and
// nothing else of the command line.
func flagMistake(cmd *cobra.Command, args []string, err error) string {
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Sprintf("--%s needs a value", e.GetFlag().Name)
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return fmt.Sprintf("--%s must be %s", e.GetFlag().Name, formOf(e.GetFlag().Value.Type()))
	}
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if group := e.GetSpecifiedShortnames(); group != "" {
			return fmt.Sprintf("argument %sbegins with a dash and is not a flag of %s", place(args, "-"+group), cmd.CommandPath())
		}
		name := e.GetSpecifiedName()
		return fmt.Sprintf("unknown flag: argument %sis not a flag of %s%s", place(args, "--"+name), cmd.CommandPath(), meant(name, flagNames(cmd), "--"))
	}
	if e, ok := errors.AsType[*pflag.InvalidSyntaxError](err); ok {
		return fmt.Sprintf("argument %sbegins with dashes and is not a flag", place(args, e.GetSpecifiedFlag()))
	}
	return "a flag cannot be read"
}

func flagNames(cmd *cobra.Command) (names []string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// place returns the number of the argument that begins with begins, followed by a
// space, or "".
func place(args []string, begins string) string {
	at := slices.IndexFunc(args, func(arg string) bool { return arg == begins || strings.HasPrefix(arg, begins+"=") })
	if at < 0 {
		return ""
	}
	return fmt.Sprintf("%d ", at+1)
}

// formOf describes the values of flags of a type.
func formOf(kind string) string {
	switch kind {
	case "duration":
		return "a duration with a unit, such as 10s, 5m or 12h"
	case "bool":
		return "true or false"
	case "stringSlice":
		return "words separated by commas"
	case "float64":
		return "a number"
	}
	return "a whole number in its range"
}

// meant suggests the names that are similar to what was typed.
func meant(typed string, names []string, dashes string) string {
	like := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, name := range names {
		like.AddCommand(&cobra.Command{Use: name, Run: func(*cobra.Command, []string) {}})
	}
	found := like.SuggestionsFor(typed)
	if len(typed) < 2 || len(found) == 0 {
		return ""
	}
	return ": did you mean " + dashes + strings.Join(found, " or "+dashes) + "?"
}

// Secrets in texts of any origin.
var (
	userinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)\S*@`)
	keyword  = regexp.MustCompile(`(?i)(password|passwd|pwd|secret)(\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&]+)`)
)

// plain returns the text of an error as it is shown: without tokens, without user and
// password of a URL, and without the values of password= and the like.
func plain(err error) string {
	text := userinfo.ReplaceAllString(logs.Redact(err.Error()), "${1}"+logs.Redacted+"@")
	return keyword.ReplaceAllString(text, "${1}${2}"+logs.Redacted)
}
