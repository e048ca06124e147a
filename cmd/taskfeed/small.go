package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskfeed/taskfeed/internal/cli"
)

func versionCommand(in *cli.Invocation) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(in.Stdout, "taskfeed", cli.Version())
			return err
		},
	}
}

func healthcheckCommand(in *cli.Invocation) *cobra.Command {
	var cfg config
	ss := newSettings([]*setting{
		{"TASKFEED_ADDR", "address that the server listens on (default: this machine)", "", host(&cfg.host)},
		{"PORT", "port that the server listens on", "8080", port(&cfg.port)},
	})
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Check whether the server on this machine is alive",
		Long:  "healthcheck exits with status 0 when the server answers /healthz. Use it in containers.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := ss.read(in.Env); err != nil {
				return cli.Usage(err)
			}
			return healthcheck(cmd.Context(), cfg.host, cfg.port)
		},
	}
	ss.register(cmd.Flags())
	return cmd
}

// ownHost is the host at which this machine reaches a server that listens on host.
func ownHost(host string) string {
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return "127.0.0.1"
	}
	return host
}

func healthcheck(ctx context.Context, host, port string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(ownHost(host), port)+"/healthz", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answers %s", res.Status)
	}
	return nil
}
