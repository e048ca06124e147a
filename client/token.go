package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// TokenReason says why a token is asked for.
type TokenReason string

// The reasons.
const (
	TokenInitial  TokenReason = "initial"  // Run has begun
	TokenExpired  TokenReason = "expired"  // the last one has expired or is about to
	TokenRejected TokenReason = "rejected" // the server refused the last one
)

// TokenFunc returns a token for the feed's user. It is called by one goroutine
// at a time, which may not be Run's, and should return when ctx is done. An
// error that wraps ErrRejected ends Run; after any other error, or a text that
// cannot be a token, the feed tries again later.
type TokenFunc func(ctx context.Context, reason TokenReason) (string, error)

// StaticToken returns a TokenFunc that always returns the token. A feed with it ends with
// ErrRejected once the server no longer accepts the token, and at once when the text cannot
// be a token.
func StaticToken(token string) TokenFunc {
	_, err := newCredential(token, time.Now())
	return func(context.Context, TokenReason) (string, error) {
		if err != nil {
			return "", fmt.Errorf("%w: it cannot be sent: %w", ErrRejected, err)
		}
		return token, nil
	}
}

// credential is a token and its expiry.
type credential struct {
	token   string
	expires time.Time // zero: unknown
}

// newCredential removes space around the token, as a file may have. If the token has
// expired by this machine's clock, its expiry is unknown: only the server's clock counts.
func newCredential(token string, now time.Time) (credential, error) {
	token = strings.TrimSpace(token)
	if token == "" {
		return credential{}, errors.New("it is empty")
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] >= 0x7f {
			return credential{}, errors.New("it holds characters that a header cannot carry")
		}
	}
	c := credential{token: token, expires: expiry(token)}
	if c.expired(now) {
		c.expires = time.Time{}
	}
	return c, nil
}

func (c credential) expired(now time.Time) bool {
	return !c.expires.IsZero() && !now.Before(c.expires)
}

// minRenewal is the shortest life at which a token is renewed.
const minRenewal = time.Second

// renewIn returns how long to wait before the token should be renewed: until a
// minute before it expires, or half the time that is left. It returns false
// when there is nothing to renew.
func (c credential) renewIn(now time.Time) (time.Duration, bool) {
	left := c.expires.Sub(now)
	if c.expires.IsZero() || left < minRenewal {
		return 0, false
	}
	return max(left-time.Minute, left/2), true
}

// expiry returns the expiry of a JWT, which only the server verifies. It returns the zero
// time for anything else.
func expiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Expires float64 `json:"exp"`
	}
	const year9999 = 253402300799
	if json.Unmarshal(payload, &claims) != nil || claims.Expires <= 0 || claims.Expires > year9999 {
		return time.Time{}
	}
	return time.UnixMilli(int64(claims.Expires * 1000))
}

// redact removes the token from a text of the server.
func (c credential) redact(text string) string {
	if c.token == "" {
		return text
	}
	return strings.ReplaceAll(text, c.token, "[token]")
}

// askToken asks the app for a token. An error that wraps ErrRejected is fatal.
func (f *Feed) askToken(ctx context.Context, reason TokenReason) (credential, error) {
	token, err := f.cfg.Token(ctx, reason)
	if err != nil {
		err = fmt.Errorf("client: get token (%s): %w", reason, err)
		if errors.Is(err, ErrRejected) {
			return credential{}, &fatal{err}
		}
		return credential{}, err
	}
	c, err := newCredential(token, time.Now())
	if err != nil {
		return credential{}, fmt.Errorf("client: the token that Token returned (%s) cannot be sent: %w", reason, err)
	}
	return c, nil
}
