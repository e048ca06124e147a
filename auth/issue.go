package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

// Issue returns a token for the user that a verifier with the same Config
// accepts until ttl has passed: signed with Config.Secret by HS256 (or the first
// HS algorithm that Config.Algorithms leaves), with Issuer, Audience and Type as
// configured. An empty role leaves the role out. ttl is at least a second and
// counts in whole seconds. It is for tools, development and tests; the error
// names what is wrong with the arguments or the setting.
func Issue(cfg Config, userID, role string, ttl time.Duration) (string, error) {
	cfg = cfg.withDefaults()
	method, err := cfg.issuingMethod()
	if err != nil {
		return "", err
	}
	now := cfg.Now()
	switch {
	case !validUserID(userID):
		return "", fmt.Errorf("the user id is not text of 1 to %d bytes without control characters", maxUserIDBytes)
	case !utf8.ValidString(role):
		return "", errors.New("the role is not valid UTF-8")
	case ttl < time.Second || now.Add(ttl).Unix() > maxSeconds:
		return "", fmt.Errorf("a token cannot live for %v; give it at least a second", ttl)
	}
	token := jwt.NewWithClaims(method, cfg.claims(userID, role, now, now.Add(ttl)))
	if cfg.Type != "" {
		token.Header["typ"] = cfg.Type
	}
	return token.SignedString(cfg.Secret)
}

// issuingMethod returns the method to sign with, if the configuration has one.
func (c Config) issuingMethod() (jwt.SigningMethod, error) {
	if len(c.Secret) == 0 {
		return nil, errors.New("TASKFEED_JWT_SECRET: tokens can be issued with a shared secret only; ask your issuer for one")
	}
	if err := errors.Join(c.checkSecret(), c.checkRoleClaim()); err != nil {
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
	return nil, fmt.Errorf("TASKFEED_JWT_ALGORITHMS: none of %s is allowed, so no token can be issued", strings.Join(secretAlgorithms, ", "))
}

func (c Config) claims(userID, role string, now, expires time.Time) jwt.MapClaims {
	claims := jwt.MapClaims{"sub": userID, "iat": now.Unix(), "exp": expires.Unix()}
	for name, value := range map[string]string{"iss": c.Issuer, "aud": c.Audience, c.RoleClaim: role} {
		if value != "" {
			claims[name] = value
		}
	}
	return claims
}
