package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// FuzzSettings gives a setting any value by flag, variable and file. The value is refused
// with the setting's name and without the value, or accepted in the same way by all
// three and within the bounds.
func FuzzSettings(f *testing.F) {
	var names config
	list := names.serveSettings()
	f.Fuzz(func(t *testing.T, which uint8, value string) {
		name := list[int(which)%len(list)].env
		if strings.ContainsRune(value, 0) || value == "" {
			return // neither a variable nor an argument can hold it
		}
		flag := readSettings(t, name, value, func(flags *pflag.FlagSet, s *setting) map[string]string {
			if err := flags.Set(s.flag(), value); err != nil {
				t.Fatalf("set --%s: %v", s.flag(), err)
			}
			return nil
		})
		variable := readSettings(t, name, value, func(_ *pflag.FlagSet, s *setting) map[string]string {
			return map[string]string{s.env: value}
		})
		if private := private[name]; private != nil && private(value) {
			if !strings.Contains(flag, "refused: every user of this machine can read") {
				t.Errorf("%s=%q: got %s as a flag, want a secret refused", name, value, flag)
			}
		} else if flag != variable {
			t.Errorf("%s=%q: got %s as a flag and %s as a variable", name, value, flag, variable)
		}
		if strings.TrimSpace(value) != value {
			return // a file's line end is not part of the value
		}
		file := readSettings(t, name, value, func(_ *pflag.FlagSet, s *setting) map[string]string {
			path := filepath.Join(t.TempDir(), "value")
			if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return map[string]string{s.env + "_FILE": path}
		})
		if file != variable {
			t.Errorf("%s=%q: got %s from a file and %s as a variable", name, value, file, variable)
		}
	})
}

// readSettings reads all settings, one of which is given, and returns a summary of them,
// or the error without the place of the value.
func readSettings(t *testing.T, name, value string, give func(*pflag.FlagSet, *setting) map[string]string) string {
	t.Helper()
	var cfg config
	ss := newSettings(cfg.serveSettings())
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	ss.register(flags)
	var env map[string]string
	var source []string
	for _, s := range ss.list {
		if s.env == name {
			env = give(flags, s)
			source = []string{s.env, "--" + s.flag()}
		}
	}
	err := ss.read(func(name string) string { return env[name] })
	if err != nil {
		_, why, _ := strings.Cut(err.Error(), ": ")
		if !strings.HasPrefix(err.Error(), source[0]) && !strings.HasPrefix(err.Error(), source[1]) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s=%q: got %v, want one line that begins with its name", name, value, err)
		}
		if strings.Contains(why, "C4N4RY") {
			t.Errorf("%s=%q: got %v, want it without the value", name, value, err)
		}
		return "refused: " + why
	}
	for what, d := range map[string]time.Duration{"leeway": cfg.auth.Leeway, "ping interval": cfg.http.PingInterval, "drain": cfg.http.Drain, "retention": cfg.listener.Retention,
		"stall timeout": cfg.store.StallTimeout, "start wait": cfg.startWait} {
		if d == 0 || d < -1 {
			t.Errorf("%s=%q: got %s %v, want -1 or more than 0", name, value, what, d)
		}
	}
	cfg.warnings()
	return fmt.Sprintf("%+v", cfg)
}
