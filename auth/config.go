package auth

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"
)

// MinSecretBytes is the least length of a shared secret: as many bytes as
// HS256 has output, so that guessing it is no easier than forging a signature.
const MinSecretBytes = 32

const (
	defaultLeeway      = 30 * time.Second
	maxLeeway          = 10 * time.Minute
	defaultJWKSRefresh = 15 * time.Minute
	minJWKSRefresh     = 10 * time.Second
)

// Config says whose tokens are good. At least one of Secret, PublicKeyFiles and
// JWKSURL is needed. A secret may stand beside either of the others; files and
// a URL exclude each other, so that each algorithm has one source of keys. The
// zero value of any other field means its default.
type Config struct {
	// Secret is the key shared with the issuer, for HS256, HS384 and HS512; at
	// least MinSecretBytes random bytes. Whoever holds it can issue tokens for
	// anybody. TASKFEED_JWT_SECRET.
	Secret []byte
	// PublicKeyFiles are the paths of PEM files, each with one public key (PKIX
	// or PKCS #1) or one certificate, for RS, PS, ES and EdDSA algorithms. They
	// are read once, by New. Of a certificate only the key counts, not its
	// dates or its issuer. A token's key id is not looked at. TASKFEED_JWT_PUBLIC_KEY_FILE.
	PublicKeyFiles []string
	// JWKSURL is where the issuer publishes its key set, for RS, PS, ES and
	// EdDSA algorithms; https, or http inside a network that you trust, for
	// whoever can answer in its place chooses the keys. Redirects are not
	// followed. While it is down the keys last fetched stay good, however old.
	// TASKFEED_JWKS_URL.
	JWKSURL string
	// JWKSRefresh is the time between two fetches of the key set, plus or minus
	// a tenth, and so how long a removed key stays good. Default 15 minutes, at
	// least 10 seconds.
	JWKSRefresh time.Duration

	// Algorithms narrows what is allowed, for example to RS256. Default: all
	// that the configured keys can serve. Ed25519 is another name for EdDSA.
	// TASKFEED_JWT_ALGORITHMS.
	Algorithms []string
	// Issuer is the only iss accepted, compared byte for byte. Default: any or
	// none. TASKFEED_JWT_ISSUER.
	Issuer string
	// Audience must be the aud or among its elements. Without it, tokens that
	// the issuer made for other services are good here too. Default: any or
	// none. TASKFEED_JWT_AUDIENCE.
	Audience string
	// Type must be the typ of the header or of the claims, whatever its case;
	// "at+jwt" or "Bearer" keeps ID and refresh tokens of the same issuer out.
	// Default: any or none. TASKFEED_JWT_TYPE.
	Type string
	// RoleClaim names the top-level claim that holds the role, a string. Default
	// "role". TASKFEED_JWT_ROLE_CLAIM.
	RoleClaim string
	// Leeway is how far the clocks of issuer and server may differ: exp, nbf
	// and iat are that much softer. Default 30 seconds; negative means none; at
	// most 10 minutes. TASKFEED_JWT_LEEWAY.
	Leeway time.Duration

	// Now is the wall clock. Default time.Now.
	Now func() time.Time
	// Logger is told by Run when the key set cannot be fetched. Default
	// slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Secret = slices.Clone(c.Secret)
	if c.JWKSRefresh == 0 {
		c.JWKSRefresh = defaultJWKSRefresh
	}
	if c.RoleClaim == "" {
		c.RoleClaim = "role"
	}
	if c.Leeway == 0 {
		c.Leeway = defaultLeeway
	}
	c.Leeway = max(c.Leeway, 0)
	c.Algorithms = slices.Clone(c.Algorithms)
	for i, name := range c.Algorithms {
		c.Algorithms[i] = oneName(name)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// validate returns all that is wrong, by the names that the environment has for
// the settings. It repeats neither the secret nor the URL.
func (c Config) validate() error {
	return errors.Join(
		c.checkSources(),
		c.checkSecret(),
		c.checkURL(),
		c.checkAlgorithmNames(),
		c.checkRoleClaim(),
		c.checkDurations(),
	)
}

func (c Config) checkSources() error {
	switch {
	case len(c.Secret) == 0 && len(c.PublicKeyFiles) == 0 && c.JWKSURL == "":
		return errors.New("TASKFEED_JWT_SECRET, TASKFEED_JWT_PUBLIC_KEY_FILE or TASKFEED_JWKS_URL: " +
			"one is needed, else no token can be checked; for a shared secret: openssl rand -base64 48")
	case len(c.PublicKeyFiles) > 0 && c.JWKSURL != "":
		return errors.New("TASKFEED_JWT_PUBLIC_KEY_FILE and TASKFEED_JWKS_URL: set one of them, not both; " +
			"a key of a file can be added to the key set")
	}
	return nil
}

func (c Config) checkSecret() error {
	switch {
	case len(c.Secret) == 0:
		return nil
	case bytes.Contains(c.Secret, []byte("-----BEGIN")):
		return errors.New("TASKFEED_JWT_SECRET: this is a PEM key or certificate, not a shared secret; " +
			"put the public key into a file and name that in TASKFEED_JWT_PUBLIC_KEY_FILE")
	case len(c.Secret) < MinSecretBytes:
		return fmt.Errorf("TASKFEED_JWT_SECRET: %d bytes are too few, at least %d are needed; "+
			"make one with: openssl rand -base64 48", len(c.Secret), MinSecretBytes)
	}
	return nil
}

func (c Config) checkURL() error {
	if c.JWKSURL == "" {
		return nil
	}
	u, err := url.Parse(c.JWKSURL)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("TASKFEED_JWKS_URL: not an https or http URL such as https://issuer.example/.well-known/jwks.json")
	}
	if u.User != nil {
		return errors.New("TASKFEED_JWKS_URL: a user name or password in the URL is not supported; a key set is public")
	}
	return nil
}

func (c Config) checkAlgorithmNames() error {
	var errs []error
	for _, name := range c.Algorithms {
		if !slices.Contains(allAlgorithms, name) {
			errs = append(errs, fmt.Errorf("TASKFEED_JWT_ALGORITHMS: %q is not one of %s", name, strings.Join(allAlgorithms, ", ")))
		}
	}
	return errors.Join(errs...)
}

// checkAlgorithmsHaveKeys refuses an algorithm that no configured key can
// serve: every token that the operator expects would be refused.
func (c Config) checkAlgorithmsHaveKeys(keys []key) error {
	var errs []error
	for _, name := range c.Algorithms {
		if !slices.Contains(c.servedAlgorithms(keys), name) {
			errs = append(errs, fmt.Errorf("TASKFEED_JWT_ALGORITHMS: no configured key can check %s", name))
		}
	}
	return errors.Join(errs...)
}

// allowedAlgorithms returns what the keys can serve, narrowed by Algorithms.
func (c Config) allowedAlgorithms(keys []key) []string {
	if len(c.Algorithms) > 0 {
		return slices.Clone(c.Algorithms)
	}
	return c.servedAlgorithms(keys)
}

// servedAlgorithms returns the algorithms that the keys can serve. A key set
// may come to hold keys of any public kind.
func (c Config) servedAlgorithms(keys []key) (names []string) {
	for _, k := range keys {
		names = append(names, k.algorithms...)
	}
	if c.JWKSURL != "" {
		names = append(names, publicAlgorithms...)
	}
	return names
}

// checkRoleClaim keeps the role apart from claims with a meaning of their own:
// with "sub", a user who is named admin would be one.
func (c Config) checkRoleClaim() error {
	if slices.Contains([]string{"sub", "iss", "aud", "exp", "nbf", "iat", "jti", "typ"}, c.RoleClaim) {
		return fmt.Errorf("TASKFEED_JWT_ROLE_CLAIM: %s has another meaning in a token; name the claim that holds the role", c.RoleClaim)
	}
	return nil
}

func (c Config) checkDurations() error {
	var errs []error
	if c.Leeway > maxLeeway {
		errs = append(errs, fmt.Errorf("TASKFEED_JWT_LEEWAY: %v is more than %v; set the clocks right instead", c.Leeway, maxLeeway))
	}
	if c.JWKSRefresh < minJWKSRefresh {
		errs = append(errs, fmt.Errorf("JWKSRefresh: %v is less than %v", c.JWKSRefresh, minJWKSRefresh))
	}
	return errors.Join(errs...)
}
