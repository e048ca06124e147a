package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed/migrations"
)

func migrateCommand(in *invocation) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema up to date, or take it away",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(migrateUpCommand(in), migrateStatusCommand(in), migrateDownCommand(in))
	return cmd
}

// databaseCommand completes a subcommand that needs the URL of a database only.
func databaseCommand(in *invocation, cmd *cobra.Command, work func(cmd *cobra.Command, url string) error) *cobra.Command {
	var cfg config
	ss := newSettings(cfg.databaseSettings())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := ss.read(in.env); err != nil {
			return usageError{err}
		}
		url := cfg.store.URL
		if cfg.store.ListenURL != "" {
			url = cfg.store.ListenURL
		}
		if url == "" {
			return usageError{errors.New("DATABASE_URL: it is missing")}
		}
		return work(cmd, url)
	}
	ss.register(cmd.Flags())
	return cmd
}

func migrateUpCommand(in *invocation) *cobra.Command {
	cmd := &cobra.Command{Use: "up", Short: "Apply the migrations that are missing"}
	return databaseCommand(in, cmd, func(cmd *cobra.Command, url string) error {
		if err := migrations.UpTelling(cmd.Context(), url, func(what string) { fmt.Fprintln(in.stderr, what) }); err != nil {
			return err
		}
		return printVersions(in, cmd, url)
	})
}

func migrateStatusCommand(in *invocation) *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "Say which schema the database has and which one this binary knows"}
	return databaseCommand(in, cmd, func(cmd *cobra.Command, url string) error {
		return printVersions(in, cmd, url)
	})
}

func migrateDownCommand(in *invocation) *cobra.Command {
	var sure bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Remove taskfeed's schema with every task and event in it",
	}
	cmd.Flags().BoolVar(&sure, "yes", false, "yes, all tasks and events shall be gone")
	return databaseCommand(in, cmd, func(cmd *cobra.Command, url string) error {
		if !sure {
			return usageError{errors.New("this removes every task and every event for good; say --yes if you mean it")}
		}
		if err := migrations.Down(cmd.Context(), url); err != nil {
			return err
		}
		_, err := fmt.Fprintln(in.stdout, "the schema taskfeed is gone")
		return err
	})
}

func printVersions(in *invocation, cmd *cobra.Command, url string) error {
	versions, err := migrations.Read(cmd.Context(), url)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(in.stdout, versions)
	return err
}
