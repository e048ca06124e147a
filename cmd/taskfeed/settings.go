package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/taskfeed/taskfeed/internal/dial"
)

// A setting can be set by a flag, by an environment variable, or by the variable with
// _FILE after its name, which is the path of a file with the value. The flag overrides
// the others; it accepts no secret.
type setting struct {
	env   string
	usage string // what it is, its unit and its default, for people
	byDef string
	parse func(string) error
}

// private reports which values must not be on a command line, where every user of the
// machine can read them.
var private = map[string]func(value string) bool{
	"TASKFEED_JWT_SECRET":          func(string) bool { return true },
	"TASKFEED_ENGINE_PASSWORD":     func(string) bool { return true },
	"TASKFEED_ENGINE_URL":          engineSecret,
	"TASKFEED_FORWARD_SECRET":      func(string) bool { return true },
	"DATABASE_URL":                 dial.HasPassword,
	"TASKFEED_LISTEN_DATABASE_URL": dial.HasPassword,
}

// flag is the setting's name on the command line.
func (s *setting) flag() string {
	name := strings.TrimPrefix(strings.TrimPrefix(s.env, "TASKFEED_"), "FORWARD_") // that is a command of its own
	return strings.ToLower(strings.ReplaceAll(name, "_", "-"))
}

// private reports whether a value must not be on a command line.
func (s *setting) private(value string) bool {
	is := private[s.env]
	return is != nil && is(value)
}

// settings are the settings of one subcommand.
type settings struct {
	list   []*setting
	values map[string]*string // by flag, as given on the command line
	flags  *pflag.FlagSet
}

func newSettings(list []*setting) *settings {
	return &settings{list: list, values: make(map[string]*string)}
}

// register adds the flags to a command.
func (ss *settings) register(flags *pflag.FlagSet) {
	ss.flags = flags
	for _, s := range ss.list {
		usage := fmt.Sprintf("%s (%s)", s.usage, s.env)
		ss.values[s.flag()] = flags.String(s.flag(), "", usage)
		flag := flags.Lookup(s.flag())
		flag.DefValue = s.byDef
		flag.Hidden = s.private("") // it exists only for the error that says what to do instead
	}
}

// read parses every setting and returns all errors, each with the setting's name. No
// error repeats a value, which may be a secret.
func (ss *settings) read(env func(string) string) error {
	var errs []error
	for _, s := range ss.list {
		text, source, err := ss.lookup(s, env)
		if err == nil && text != "" {
			err = s.parse(text)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", source, err))
		}
	}
	return errors.Join(errs...)
}

func (ss *settings) lookup(s *setting, env func(string) string) (text, source string, err error) {
	if ss.flags != nil && ss.flags.Changed(s.flag()) {
		text, source = *ss.values[s.flag()], "--"+s.flag()
		if s.private(text) {
			return "", source, fmt.Errorf("every user of this machine can read a secret on a command line: set %s, or set %s_FILE to the path of a file with it", s.env, s.env)
		}
		return text, source, nil
	}
	if text = env(s.env); text != "" {
		return text, s.env, nil
	}
	if path := env(s.env + "_FILE"); path != "" {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", s.env + "_FILE", errors.New("the file cannot be read: check its path and its permissions")
		}
		return strings.TrimSpace(string(content)), s.env + "_FILE", nil
	}
	return s.byDef, s.env, nil
}

// unknown returns the variables with our prefix that are not settings.
func unknown(environ []string, known []*setting) []string {
	ours := map[string]bool{"TASKFEED_PG_BIN": true, "TASKFEED_PG_USER": true, "TASKFEED_TOKEN": true, "TASKFEED_URL": true}
	for _, s := range append((&forwardOptions{}).settings(), known...) { // one environment may be that of several commands
		ours[s.env], ours[s.env+"_FILE"] = true, true
	}
	var names []string
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "TASKFEED_") && !ours[name] {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

func text(into *string) func(string) error {
	return func(s string) error { *into = s; return nil }
}

// databaseURL accepts a valid URL and removes blanks and quotes around it.
func databaseURL(into *string) func(string) error {
	return func(s string) error {
		*into = dial.Clean(s)
		return dial.Check(s)
	}
}

func list(into *[]string) func(string) error {
	return func(s string) error {
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*into = append(*into, part)
			}
		}
		return nil
	}
}

func boolean(into *bool) func(string) error {
	return func(s string) (err error) {
		if *into, err = strconv.ParseBool(s); err != nil {
			return errors.New("must be true or false")
		}
		return nil
	}
}

// number accepts numbers from least up, and "off" (-1) if offable.
func number(into *int, least int, offable bool) func(string) error {
	return func(s string) error {
		if offable && s == "off" {
			*into = -1
			return nil
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < least {
			return fmt.Errorf("must be a whole number from %d up%s", least, orOff(offable))
		}
		*into = n
		return nil
	}
}

// memory accepts numbers of bytes from least up, and 0 or "off" (-1).
func memory(into *int, least int) func(string) error {
	return func(s string) error {
		if s == "0" || s == "off" {
			*into = -1
			return nil
		}
		return number(into, least, true)(s)
	}
}

// duration accepts Go's format, whole days ("30d"), and "off" (-1) if offable.
func duration(into *time.Duration, least time.Duration, offable bool) func(string) error {
	return func(s string) error {
		if offable && s == "off" {
			*into = -1
			return nil
		}
		d, err := parseDuration(s)
		if err != nil || d < least {
			return fmt.Errorf("must be a duration with a unit, such as 10s, 5m, 12h or 30d, and at least %v%s", least, orOff(offable))
		}
		if *into = d; d == 0 {
			*into = -1 // in a Config, zero means the default and negative means off
		}
		return nil
	}
}

func parseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(s)
}

func orOff(offable bool) string {
	if offable {
		return `, or "off"`
	}
	return ""
}

func choice(into *string, allowed ...string) func(string) error {
	return func(s string) error {
		for _, a := range allowed {
			if s == a {
				*into = s
				return nil
			}
		}
		return fmt.Errorf("must be one of %s", strings.Join(allowed, ", "))
	}
}

func prefixes(into *[]netip.Prefix) func(string) error {
	return func(s string) error {
		var parts []string
		_ = list(&parts)(s) // cannot fail
		for _, part := range parts {
			p, err := netip.ParsePrefix(part)
			if addr, addrErr := netip.ParseAddr(part); addrErr == nil {
				p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
			}
			if err != nil {
				return errors.New("must be addresses or networks separated by commas, such as 10.0.0.0/8,::1")
			}
			*into = append(*into, p)
		}
		return nil
	}
}

func port(into *string) func(string) error {
	return func(s string) error {
		if n, err := strconv.ParseUint(s, 10, 16); err != nil || n > 65535 {
			return errors.New("must be a port from 0 to 65535; 0 takes any free one")
		}
		*into = s
		return nil
	}
}

// host accepts a name or address without a port.
func host(into *string) func(string) error {
	return func(s string) error {
		if _, _, err := net.SplitHostPort(s); err == nil {
			return errors.New("must be an address without a port; PORT sets the port")
		}
		*into = strings.Trim(s, "[]")
		return nil
	}
}
