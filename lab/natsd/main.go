// Command natsd is a NATS server for tests. It takes the flags of nats-server. It is a
// module of its own, so that no server of taskfeed links it or depends on its modules.
//
// natsd credentials DIR writes credentials of users, and natsd credentials DIR DURATION
// those of one more, which expire after that time.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "natsd:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 1 && args[0] == "credentials" {
		return credentials(args[1], args[2:])
	}
	flags := flag.NewFlagSet("natsd", flag.ExitOnError)
	opts, err := server.ConfigureOptions(flags, args, server.PrintServerAndExit, flags.Usage, server.PrintTLSHelpAndDie)
	if err != nil {
		return err
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	s.WaitForShutdown()
	return nil
}
