package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed/internal/cli"
)

func tokenCommand(in *cli.Invocation) *cobra.Command {
	var cfg config
	var user, role string
	ttl := time.Hour
	var feeds []string
	ss := newSettings(cfg.tokenSettings())
	cmd := &cobra.Command{
		Use:     "token",
		Short:   "Print a token for a user",
		Long:    "token signs a token with TASKFEED_JWT_SECRET and prints only that on standard output.",
		Example: "  taskfeed token --user alice --ttl 1h\n  taskfeed token --user root --role admin\n  taskfeed token --user alice --feed team:blue --feed org:7",
		RunE: func(*cobra.Command, []string) error {
			if err := ss.read(in.Env); err != nil {
				return cli.Usage(err)
			}
			if user == "" {
				return cli.Usage(errors.New("--user is missing: name the user with --user"))
			}
			cfg.auth.Secret = []byte(cfg.secret)
			token, err := issueToken(cfg.auth, user, role, ttl, feeds...)
			if err != nil {
				return cli.Usage(err)
			}
			_, err = fmt.Fprintln(in.Stdout, token)
			return err
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "id of the user")
	cmd.Flags().StringVar(&role, "role", "", `role, such as "admin" (default: none)`)
	cmd.Flags().StringArrayVar(&feeds, "feed", nil, "id of a group whose feed the user sees too; may be repeated")
	cmd.Flags().Var(durationFlag{&ttl}, "ttl", "how long the token is valid, such as 10m, 12h or 30d")
	ss.register(cmd.Flags())
	return cmd
}

// durationFlag takes days too, as settings do.
type durationFlag struct{ *time.Duration }

func (f durationFlag) Type() string { return "duration" }

// Set implements pflag.Value.
func (f durationFlag) Set(s string) (err error) {
	*f.Duration, err = parseDuration(s)
	return err
}
