package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/taskfeed/taskfeed"
)

// Issue returns a token for the user that a verifier with the same Config accepts
// until ttl has passed. It is signed with Config.Secret by HS256, or by the first HS
// algorithm in Config.Algorithms, and has Issuer, Audience and Type as configured.
// An empty role leaves the role claim out; feeds are further feeds of the user. ttl is at least a second; fractions of a
// second are dropped. It is for tools, development and tests. What is wrong with the
// Config is a *FieldError.
func Issue(cfg Config, userID, role string, ttl time.Duration, feeds ...string) (string, error) {
	cfg = cfg.withDefaults()
	method, err := cfg.issuingMethod()
	if err != nil {
		return "", err
	}
	now := cfg.Now()
	switch {
	case !validUserID(userID):
		return "", fmt.Errorf("the user id is not text of 1 to %d bytes without control characters", taskfeed.MaxIDBytes)
	case !utf8.ValidString(role):
		return "", errors.New("the role is not valid UTF-8")
	case len(feeds) > MaxFeeds:
		return "", fmt.Errorf("%d further feeds are too many; a token has at most %d", len(feeds), MaxFeeds)
	case !allValid(feeds):
		return "", fmt.Errorf("the id of a further feed is not text of 1 to %d bytes without control characters", taskfeed.MaxIDBytes)
	case ttl < time.Second || now.Add(ttl).Unix() > maxSeconds:
		return "", fmt.Errorf("a token cannot live for %v; give it at least a second", ttl)
	}
	token := jwt.NewWithClaims(method, cfg.claims(userID, role, now, now.Add(ttl), feeds))
	if cfg.Type != "" {
		token.Header["typ"] = cfg.Type
	}
	return token.SignedString(cfg.Secret)
}

// issuingMethod returns the method to sign with.
func (c Config) issuingMethod() (jwt.SigningMethod, error) {
	if len(c.Secret) == 0 {
		return nil, fieldError("Secret", "tokens can only be issued with a shared secret; ask your issuer for a token")
	}
	if err := errors.Join(c.checkSecret(), c.checkClaims()); err != nil {
		return nil, err
	}
	allowed := c.Algorithms
	if len(allowed) == 0 {
		allowed = secretAlgorithms
	}
	for _, name := range secretAlgorithms {
		if slices.Contains(allowed, name) {
			return jwt.GetSigningMethod(name), nil
		}
	}
	return nil, fieldError("Algorithms", "none of %s is allowed, so no token can be issued", strings.Join(secretAlgorithms, ", "))
}

func (c Config) claims(userID, role string, now, expires time.Time, feeds []string) jwt.MapClaims {
	claims := jwt.MapClaims{"sub": userID, "iat": now.Unix(), "exp": expires.Unix()}
	for name, value := range map[string]string{"iss": c.Issuer, "aud": c.Audience, c.RoleClaim: role} {
		if value != "" {
			claims[name] = value
		}
	}
	if len(feeds) > 0 {
		claims[c.FeedsClaim] = feeds
	}
	return claims
}

func allValid(ids []string) bool {
	return !slices.ContainsFunc(ids, func(id string) bool { return !validUserID(id) })
}
