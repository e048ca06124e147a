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

// MinSecretBytes is the least length of a shared secret: the length of an HS256
// signature, so that guessing the secret is no easier than forging a signature.
const MinSecretBytes = 32

const (
	defaultLeeway      = 30 * time.Second
	maxLeeway          = 10 * time.Minute
	defaultJWKSRefresh = 15 * time.Minute
	minJWKSRefresh     = 10 * time.Second
)

// Config says which tokens are accepted. At least one of Secret, PublicKeyFiles and
// JWKSURL is needed. Secret can be combined with either of the others; files and a
// URL exclude each other, so that each algorithm has one source of keys. The zero
// value of any other field means its default.
type Config struct {
	// Secret is the key shared with the issuer, for HS256, HS384 and HS512: at least
	// MinSecretBytes random bytes. Whoever has it can issue tokens for any user.
	Secret []byte
	// PublicKeyFiles are the paths of PEM files, each with one public key (PKIX
	// or PKCS #1) or one certificate, for RS, PS, ES and EdDSA algorithms. New reads
	// them once. Of a certificate only the key is used, not its dates or its issuer.
	// A token's key id is ignored.
	PublicKeyFiles []string
	// JWKSURL is where the issuer publishes its key set, for RS, PS, ES and EdDSA
	// algorithms. Use https, or http inside a network that you trust: whoever can
	// answer instead of the issuer chooses the keys. Redirects are not followed.
	// While the URL is down, the keys of the last fetch stay valid, however old.
	JWKSURL string
	// JWKSRefresh is the time between two fetches of the key set, plus or minus a
	// tenth. A removed key stays valid for that long. Default 15 minutes, at least 10
	// seconds.
	JWKSRefresh time.Duration

	// Algorithms are the only algorithms allowed, for example RS256. Default: all
	// that the configured keys support. Ed25519 is another name for EdDSA.
	Algorithms []string
	// Issuer is the only iss accepted, compared byte for byte. Default: any or
	// none.
	Issuer string
	// Audience must be the aud or one of its elements. Without it, tokens that the
	// issuer made for other services are accepted too. Default: any or none.
	Audience string
	// Type must be the typ of the header or of the claims, in any case; "at+jwt" or
	// "Bearer" refuses ID and refresh tokens of the same issuer. Default: any or none.
	Type string
	// RoleClaim names the top-level claim that holds the role, a string. Default
	// "role".
	RoleClaim string
	// FeedsClaim names the top-level claim that holds the ids of the groups whose feeds
	// the user sees too, a list of strings. Default "feeds".
	FeedsClaim string
	// Leeway is how far the clocks of issuer and server may differ; it is added to
	// exp and subtracted from nbf and iat. Default 30 seconds; negative means none; at
	// most 10 minutes.
	Leeway time.Duration

	// Now is the wall clock. Default time.Now.
	Now func() time.Time
	// Logger is where Run logs that the key set cannot be fetched. Default
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
	if c.FeedsClaim == "" {
		c.FeedsClaim = "feeds"
	}
	if c.Leeway == 0 {
		c.Leeway = defaultLeeway
	}
	c.Leeway = max(c.Leeway, 0)
	c.Algorithms = slices.Clone(c.Algorithms)
	for i, name := range c.Algorithms {
		c.Algorithms[i] = canonicalName(name)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// FieldError says what is wrong with fields of a Config. It repeats neither the
// secret nor the URL.
type FieldError struct {
	Fields  []string // names of the fields
	Problem string   // what is wrong with them and what to do; it may name other fields
}

// Error returns the names of the fields, and the problem.
func (e *FieldError) Error() string { return strings.Join(e.Fields, ", ") + ": " + e.Problem }

func fieldError(field, format string, args ...any) error {
	return &FieldError{Fields: []string{field}, Problem: fmt.Sprintf(format, args...)}
}

// validate returns a FieldError for each problem, joined.
func (c Config) validate() error {
	return errors.Join(
		c.checkSources(),
		c.checkSecret(),
		c.checkURL(),
		c.checkAlgorithmNames(),
		c.checkClaims(),
		c.checkDurations(),
	)
}

func (c Config) checkSources() error {
	switch {
	case len(c.Secret) == 0 && len(c.PublicKeyFiles) == 0 && c.JWKSURL == "":
		return &FieldError{[]string{"Secret", "PublicKeyFiles", "JWKSURL"},
			"set one of them, otherwise no token can be checked; to make a shared secret: openssl rand -base64 48"}
	case len(c.PublicKeyFiles) > 0 && c.JWKSURL != "":
		return &FieldError{[]string{"PublicKeyFiles", "JWKSURL"},
			"set one of them, not both; the key of a file can be added to the key set"}
	}
	return nil
}

func (c Config) checkSecret() error {
	switch {
	case len(c.Secret) == 0:
		return nil
	case bytes.Contains(c.Secret, []byte("-----BEGIN")):
		return fieldError("Secret", "this is a PEM key or certificate, not a shared secret; "+
			"put the public key into a file and set PublicKeyFiles to its path")
	case len(c.Secret) < MinSecretBytes:
		return fieldError("Secret", "%d bytes are too few, at least %d are needed; "+
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
		return fieldError("JWKSURL", "not an https or http URL such as https://issuer.example/.well-known/jwks.json")
	}
	if u.User != nil {
		return fieldError("JWKSURL", "a user name or password in the URL is not supported; a key set is public")
	}
	return nil
}

func (c Config) checkAlgorithmNames() error {
	var errs []error
	for _, name := range c.Algorithms {
		if !slices.Contains(allAlgorithms, name) {
			errs = append(errs, fieldError("Algorithms", "%q is not one of %s", name, strings.Join(allAlgorithms, ", ")))
		}
	}
	return errors.Join(errs...)
}

// checkAlgorithmsHaveKeys refuses an algorithm that no configured key supports:
// every token with it would be refused.
func (c Config) checkAlgorithmsHaveKeys(keys []key) error {
	var errs []error
	for _, name := range c.Algorithms {
		if !slices.Contains(c.supportedAlgorithms(keys), name) {
			errs = append(errs, fieldError("Algorithms", "no configured key can check %s", name))
		}
	}
	return errors.Join(errs...)
}

// allowedAlgorithms returns Algorithms, or without it all that the keys support.
func (c Config) allowedAlgorithms(keys []key) []string {
	if len(c.Algorithms) > 0 {
		return slices.Clone(c.Algorithms)
	}
	return c.supportedAlgorithms(keys)
}

// supportedAlgorithms returns the algorithms that the keys support. A key set may
// hold keys of any public kind.
func (c Config) supportedAlgorithms(keys []key) (names []string) {
	for _, k := range keys {
		names = append(names, k.algorithms...)
	}
	if c.JWKSURL != "" {
		names = append(names, publicAlgorithms...)
	}
	return names
}

// checkClaims refuses claims that have another meaning: with "sub" as RoleClaim, a user
// with the name admin would be an admin.
func (c Config) checkClaims() error {
	registered := []string{"sub", "iss", "aud", "exp", "nbf", "iat", "jti", "typ"}
	var errs []error
	if slices.Contains(registered, c.RoleClaim) {
		errs = append(errs, fieldError("RoleClaim", "%s has another meaning in a token; name the claim that holds the role", c.RoleClaim))
	}
	if slices.Contains(append(registered, c.RoleClaim), c.FeedsClaim) {
		errs = append(errs, fieldError("FeedsClaim", "%s has another meaning in a token; name the claim that lists further feeds", c.FeedsClaim))
	}
	return errors.Join(errs...)
}

func (c Config) checkDurations() error {
	var errs []error
	if c.Leeway > maxLeeway {
		errs = append(errs, fieldError("Leeway", "%v is more than %v; set the clocks right instead", c.Leeway, maxLeeway))
	}
	if c.JWKSRefresh < minJWKSRefresh {
		errs = append(errs, fieldError("JWKSRefresh", "%v is less than %v", c.JWKSRefresh, minJWKSRefresh))
	}
	return errors.Join(errs...)
}
