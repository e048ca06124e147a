package forward

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"time"

	"github.com/taskfeed/taskfeed"
)

// Config says what is sent where.
type Config struct {
	// Name is the forward's name, by which its cursor is kept. Required; at most 64
	// letters, digits and _ . -
	Name string

	// URL is the endpoint: https, without user and password. Required.
	URL string

	// Secrets sign what is sent. An endpoint accepts one signature of several, so a new
	// secret is added before the old one is removed. Required.
	Secrets []Secret

	// Types are the types of events that are sent; none means all. A feed_reset is always
	// sent: it tells that events are missing.
	Types []taskfeed.Type

	// UserID narrows to the feed of one user. Empty means the events of all.
	UserID string

	// After is where a new name begins; 0 is the oldest event that is kept. Nil means
	// with the next event.
	After *taskfeed.Cursor

	// UnlessRead delays each event by so long, and leaves it out if its user has read it
	// by then. 0 is off.
	UnlessRead time.Duration

	// AllowPrivate allows endpoints at addresses that are not public, and http. Whoever
	// can choose the URL can then reach servers that only this machine can.
	AllowPrivate bool

	// RootCAs verify the endpoint's certificate. Default: those of the system.
	RootCAs *x509.CertPool

	// Parallel is how many requests are under way at the same time. Default 16.
	Parallel int

	// Timeout bounds one request. Default 15 s.
	Timeout time.Duration

	// GiveUpAfter is how long an event is tried before it becomes a failure. Default 24 h.
	GiveUpAfter time.Duration

	// MinPause and MaxPause bound the time between two tries. It doubles from one to the
	// other. Default 1 s and 5 min.
	MinPause, MaxPause time.Duration

	// Window is how many events after the cursor may have been read, and WindowBytes how
	// much memory those that are not delivered may use. Default 10,000 and 64 MiB.
	Window, WindowBytes int

	// Drain is how long requests under way may take to end at shutdown. Default 10 s.
	Drain time.Duration

	// Lease is how long another process with the same name waits for one that has died.
	// Default 15 s, at least 1 s.
	Lease time.Duration

	// Poll is the time between two looks for new events. Default 500 ms.
	Poll time.Duration

	// Logger gets warnings, failures and counts. Default: slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *time.Duration
		byDef time.Duration
	}{{&c.Timeout, 15 * time.Second}, {&c.GiveUpAfter, 24 * time.Hour}, {&c.MinPause, time.Second}, {&c.MaxPause, 5 * time.Minute},
		{&c.Drain, 10 * time.Second}, {&c.Lease, 15 * time.Second}, {&c.Poll, 500 * time.Millisecond}} {
		if *d.field == 0 {
			*d.field = d.byDef
		}
	}
	for _, n := range []struct {
		field *int
		byDef int
	}{{&c.Parallel, 16}, {&c.Window, 10_000}, {&c.WindowBytes, 64 << 20}} {
		if *n.field == 0 {
			*n.field = n.byDef
		}
	}
	c.MaxPause = max(c.MaxPause, c.MinPause)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// maxName is the greatest length of a name.
const maxName = 64

func (c *Config) validate() error {
	var errs []error
	if err := CheckName(c.Name); err != nil {
		errs = append(errs, err)
	}
	if _, err := parseURL(c.URL, c.AllowPrivate); err != nil {
		errs = append(errs, err)
	}
	if len(c.Secrets) == 0 {
		errs = append(errs, errors.New("the secret is missing"))
	}
	for _, t := range c.Types {
		if !t.Valid() {
			errs = append(errs, fmt.Errorf("%q is no type of events", string(t)))
		}
	}
	if c.Lease < time.Second {
		errs = append(errs, fmt.Errorf("the lease is %v, want at least 1s", c.Lease))
	}
	return errors.Join(errs...)
}

// CheckName returns an error for what cannot be the name of a forward.
func CheckName(name string) error {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-' {
			return errors.New("the name may have letters, digits and _ . - only")
		}
	}
	if name == "" || len(name) > maxName {
		return fmt.Errorf("the name must have 1 to %d characters", maxName)
	}
	return nil
}

// parseURL returns the endpoint. No error repeats the URL, which may contain a secret.
func parseURL(text string, allowPrivate bool) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("the URL must be of the form https://host/path")
	case u.User != nil:
		return nil, errors.New("the URL must have no user and password: the endpoint checks the signature")
	case u.Scheme == "http" && !allowPrivate:
		return nil, errors.New("the URL must begin with https; http is allowed together with private addresses")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !allowPrivate && !public(ip) {
		return nil, errNotPublic
	}
	u.Fragment = ""
	return u, nil
}
