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

// Nothing that was typed is repeated when a command line is wrong: what stands in
// the wrong place may be a database URL or any other secret, and an error ends in
// logs. It is named by its place, with what stands there in its stead.

// prepare makes wrong flags and arguments usage errors. args is the command line.
func prepare(root *cobra.Command, args []string) {
	root.SilenceUsage, root.SilenceErrors = true, true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return mistake(cmd, flagMistake(cmd, args, err))
	})
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	root.InitDefaultCompletionCmd(args...) // or its own mistakes would be cobra's
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

// argumentMistake says what a command takes in place of the arguments it got.
func argumentMistake(cmd *cobra.Command, check cobra.PositionalArgs, args []string) string {
	if cmd.HasAvailableSubCommands() {
		return fmt.Sprintf("what stands behind %s is none of its commands%s", cmd.CommandPath(), meant(args[0], commandNames(cmd), ""))
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

// flagMistake puts an error of the parser into words that hold names of flags that
// exist, and nothing else of the command line.
func flagMistake(cmd *cobra.Command, args []string, err error) string {
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Sprintf("--%s needs a value", e.GetFlag().Name)
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return fmt.Sprintf("--%s must be %s", e.GetFlag().Name, formOf(e.GetFlag().Value.Type()))
	}
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if group := e.GetSpecifiedShortnames(); group != "" {
			return fmt.Sprintf("argument %sbegins with a dash and is no flag of %s", place(args, "-"+group), cmd.CommandPath())
		}
		name := e.GetSpecifiedName()
		return fmt.Sprintf("unknown flag: argument %sis none of %s%s", place(args, "--"+name), cmd.CommandPath(), meant(name, flagNames(cmd), "--"))
	}
	if e, ok := errors.AsType[*pflag.InvalidSyntaxError](err); ok {
		return fmt.Sprintf("argument %sbegins with dashes and is no flag", place(args, e.GetSpecifiedFlag()))
	}
	return "a flag cannot be read"
}

func flagNames(cmd *cobra.Command) (names []string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// place returns the number of the argument that begins so, with a blank behind it,
// or nothing.
func place(args []string, begins string) string {
	at := slices.IndexFunc(args, func(arg string) bool { return arg == begins || strings.HasPrefix(arg, begins+"=") })
	if at < 0 {
		return ""
	}
	return fmt.Sprintf("%d ", at+1)
}

// formOf says how the value of a flag of this type looks.
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

// meant asks whether one of the names was meant that are like what was typed.
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

// Secrets as they stand in texts of whatever comes along.
var (
	userinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)\S*@`)
	keyword  = regexp.MustCompile(`(?i)(password|passwd|pwd|secret)(\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&]+)`)
)

// plain is the text of an error as it is shown: without tokens, without what stands
// before the @ of a URL, and without the values of password=.
func plain(err error) string {
	text := userinfo.ReplaceAllString(logs.Redact(err.Error()), "${1}"+logs.Redacted+"@")
	return keyword.ReplaceAllString(text, "${1}${2}"+logs.Redacted)
}
