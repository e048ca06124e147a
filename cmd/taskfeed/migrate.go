package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed/internal/cli"
	"github.com/taskfeed/taskfeed/migrations"
)

func migrateCommand(in *cli.Invocation) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Update or remove the database's schema",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(migrateUpCommand(in), migrateStatusCommand(in), migrateDownCommand(in))
	return cmd
}

// databaseCommand completes a subcommand that only needs the URL of a database.
func databaseCommand(in *cli.Invocation, cmd *cobra.Command, work func(cmd *cobra.Command, url string) error) *cobra.Command {
	var cfg config
	ss := newSettings(cfg.databaseSettings())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := ss.read(in.Env); err != nil {
			return cli.Usage(err)
		}
		url := cfg.store.URL
		if cfg.store.ListenURL != "" {
			url = cfg.store.ListenURL
		}
		if url == "" {
			return cli.Usage(errors.New("DATABASE_URL: it is missing"))
		}
		if err := checkSameDatabase(cmd.Context(), cfg.store); err != nil {
			return err
		}
		return work(cmd, url)
	}
	ss.register(cmd.Flags())
	return cmd
}

func migrateUpCommand(in *cli.Invocation) *cobra.Command {
	cmd := &cobra.Command{Use: "up", Short: "Apply the migrations that are missing"}
	return databaseCommand(in, cmd, func(cmd *cobra.Command, url string) error {
		if err := migrations.UpTelling(cmd.Context(), url, func(what string) { fmt.Fprintln(in.Stderr, what) }); err != nil {
			return err
		}
		return printVersions(in, cmd, url)
	})
}

func migrateStatusCommand(in *cli.Invocation) *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "Print the versions of the schema in the database and in this binary"}
	return databaseCommand(in, cmd, func(cmd *cobra.Command, url string) error {
		return printVersions(in, cmd, url)
	})
}

func migrateDownCommand(in *cli.Invocation) *cobra.Command {
	var sure bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Remove taskfeed's schema with every task and event in it",
	}
	cmd.Flags().BoolVar(&sure, "yes", false, "confirm that all tasks and events are deleted")
	return databaseCommand(in, cmd, func(cmd *cobra.Command, url string) error {
		if !sure {
			return cli.Usage(errors.New("this deletes every task and every event for good; confirm with --yes"))
		}
		if err := migrations.Down(cmd.Context(), url); err != nil {
			return err
		}
		_, err := fmt.Fprintln(in.Stdout, "removed the schema taskfeed")
		return err
	})
}

func printVersions(in *cli.Invocation, cmd *cobra.Command, url string) error {
	versions, err := migrations.Read(cmd.Context(), url)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(in.Stdout, versions)
	return err
}
