package dial

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// errURL describes a valid URL and shows nothing of the one that was given.
var errURL = errors.New("the database URL cannot be parsed: it must have the form postgres://user:password@host:5432/database, " +
	"with %40 for @, %2F for /, %3A for :, %3F for ?, %23 for # and %25 for % in the user and the password")

// Clean removes what a file, a shell or a secret store may leave around a URL: spaces,
// line ends, a byte order mark and quotes.
func Clean(url string) string {
	const blank = " \t\r\n\v\f\u0000\u00a0\ufeff"
	for {
		url = strings.Trim(url, blank)
		if n := len(url); n >= 2 && url[0] == url[n-1] && strings.ContainsRune("\"'`", rune(url[0])) {
			url = url[1 : n-1]
			continue
		}
		return url
	}
}

var password = regexp.MustCompile(`(?i)//[^/?#@:]*:[^/?#@]+@|(^|[\s?&])(ssl)?password\s*=`)

// HasPassword reports whether a URL, or a text of keywords and values, has a password.
// It matches the text, so it also finds one in a URL that cannot be parsed.
func HasPassword(url string) bool { return password.MatchString(url) }

// parse parses a URL, or says what is wrong with it without showing it.
func parse(text string) (*pgxpool.Config, error) {
	text = Clean(text)
	if text == "" {
		return nil, errors.New("the database URL is empty")
	}
	if err := checkShape(text); err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(text)
	if err != nil {
		return nil, explainParse(err)
	}
	for name := range cfg.ConnConfig.RuntimeParams {
		if !parameter.MatchString(name) {
			return nil, errURL // part of something else, possibly of the password
		}
		if strings.EqualFold(name, "replication") {
			return nil, errors.New("the database URL: remove replication: such a connection accepts no queries")
		}
	}
	if err := checkPool(cfg); err != nil {
		return nil, err
	}
	decideMode(cfg.ConnConfig)
	return cfg, nil
}

// parameter matches names of parameters, including those of extensions.
var parameter = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$`)

// checkShape refuses a URL in which part of the password would be parsed as a fragment,
// a path or a host because it is not percent-encoded.
func checkShape(text string) error {
	scheme, rest, isURL := strings.Cut(text, "://")
	if !isURL || strings.ContainsAny(scheme, "= ") { // keywords and values
		if !strings.Contains(text, "=") || isURL {
			return errURL
		}
		return nil
	}
	if scheme != "postgres" && scheme != "postgresql" {
		return fmt.Errorf("%w; it must begin with postgres://", errURL)
	}
	authority := rest[:endOf(rest, "/?#")]
	path := strings.TrimPrefix(rest, authority)
	path = path[:endOf(path, "?#")]
	switch {
	case strings.Contains(rest, "#"), strings.Contains(path, "@"), strings.ContainsAny(rest, " \t\r\n"):
		return errURL
	case path == "" && !strings.Contains(authority, "@") && strings.Contains(rest, "@"):
		return errURL // user:pass?word@host
	}
	return nil
}

// endOf returns the index of the first of chars in text, or its length.
func endOf(text, chars string) int {
	if i := strings.IndexAny(text, chars); i >= 0 {
		return i
	}
	return len(text)
}

// advice says what to do about a parameter that pgx cannot parse, by the beginning of
// pgx's error. That error may contain any part of the URL and is not shown.
var advice = []struct{ begins, says string }{
	{"invalid port", "its port must be a number from 1 to 65535, one for each host or one for all"},
	{"could not match", "it must have one port for each host, or one for all"},
	{"invalid connect_timeout", "connect_timeout (PGCONNECT_TIMEOUT) must be a whole number of seconds"},
	{"invalid sslcertmode", "sslcertmode (PGSSLCERTMODE) must be disable, allow or require"},
	{"failed to configure TLS (sslmode is invalid", "sslmode (PGSSLMODE) must be disable, allow, prefer, require, verify-ca or verify-full"},
	{"failed to configure TLS (both", "sslcert and sslkey must be given both, or none"},
	{"failed to configure TLS (unable to read CA file", "the file of sslrootcert (PGSSLROOTCERT) cannot be read"},
	{"failed to configure TLS (unable to add CA", "the file of sslrootcert (PGSSLROOTCERT) holds no certificate"},
	{"failed to configure TLS (unable to read sslkey", "the file of sslkey (PGSSLKEY) cannot be read"},
	{"failed to configure TLS (unable to read cert", "the file of sslcert (PGSSLCERT) cannot be read"},
	{"failed to configure TLS", "sslmode, sslrootcert, sslcert, sslkey, sslpassword or sslnegotiation do not fit together"},
	{"failed to read service", "its service (PGSERVICE) is not in the service file (PGSERVICEFILE), or the file cannot be read"},
	{"unknown target_session_attrs", "target_session_attrs (PGTARGETSESSIONATTRS) must be any, read-write, read-only, primary, standby or prefer-standby"},
	{"invalid min_protocol_version", "min_protocol_version must be 3.0, 3.2 or latest"},
	{"invalid max_protocol_version", "max_protocol_version must be 3.0, 3.2 or latest"},
	{"min_protocol_version cannot", "min_protocol_version must not be greater than max_protocol_version"},
	{"unknown channel_binding", "channel_binding (PGCHANNELBINDING) must be disable, prefer or require"},
	{"invalid require_auth", "require_auth (PGREQUIREAUTH) must name authentication methods, separated by commas"},
	{"invalid default_query_exec_mode", "default_query_exec_mode must be cache_statement, cache_describe, describe_exec, exec or simple_protocol"},
	{"cannot parse statement_cache_capacity", "statement_cache_capacity must be a whole number"},
	{"cannot parse description_cache_capacity", "description_cache_capacity must be a whole number"},
	{"cannot parse pool_", "pool_max_conns, pool_min_conns and pool_min_idle_conns must be whole numbers, its other pool_ parameters durations such as 30s"},
	{"pool_max_conns too small", "pool_max_conns must be at least 1"},
}

// explainParse rewrites an error of the parser without any part of the URL.
func explainParse(err error) error {
	e, ok := errors.AsType[*pgconn.ParseConfigError](err)
	if !ok {
		return errURL
	}
	text := e.Error()
	msg := text[strings.LastIndex(text, "`: ")+len("`: "):]
	for _, a := range advice {
		if strings.HasPrefix(msg, a.begins) {
			if errors.Is(err, fs.ErrPermission) {
				return fmt.Errorf("the database URL: %s: permission denied", a.says)
			}
			return fmt.Errorf("the database URL: %s", a.says)
		}
	}
	return errURL
}
