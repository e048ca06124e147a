package auth

import (
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/taskfeed/taskfeed"
)

const (
	maxTokenBytes = 8 << 10
	maxSeconds    = 253_402_300_799 // the end of the year 9999; a time in milliseconds exceeds it
)

// The refusals. None quotes the token: text from strangers must not reach the log,
// and the contents of tokens are private.
var (
	errMissing     = refused("a token is needed")
	errTooLong     = refused("the token is longer than 8192 bytes")
	errMalformed   = refused("the token is not a signed JWT: three parts of unpadded base64url, the first two JSON objects")
	errAlgorithm   = refused("the token is signed with an algorithm that is not allowed here")
	errHeader      = refused("the token's header names its own key or an extension (jku, x5u, jwk, crit); none is accepted")
	errKeyID       = refused("the token's key id (kid) is not a string")
	errUnknownKey  = refused("the token is not signed with a known key")
	errType        = refused("the token is of another type (typ) than the one accepted here")
	errNoExpiry    = refused("the token's expiry (exp) is missing or not a number of seconds since 1970")
	errExpired     = refused("the token has expired")
	errBadTime     = refused("the token's nbf or iat is not a number of seconds since 1970")
	errNotYet      = refused("the token is not valid yet (nbf)")
	errIssuedLater = refused("the token was issued in the future (iat); the issuer's clock may be wrong")
	errIssuer      = refused("the token is from another issuer (iss)")
	errAudience    = refused("the token is for another audience (aud)")
	errSubject     = refused("the token's subject (sub) is not a user id: text of 1 to 255 bytes without control characters")
	errFeeds       = refused("the token's claim of further feeds is not a list of at most 64 ids: text of 1 to 255 bytes without control characters")
)

func refused(message string) *taskfeed.Error {
	return &taskfeed.Error{Code: taskfeed.CodeBadToken, Message: message}
}

// checkShape refuses what need not be parsed. Line breaks are refused here because
// Go's base64 skips them even in strict mode: one token would have two spellings.
func checkShape(token string) error {
	switch {
	case token == "":
		return errMissing
	case len(token) > maxTokenBytes:
		return errTooLong
	case strings.ContainsAny(token, "\r\n"):
		return errMalformed
	}
	return nil
}

// checkHeader returns the key id, or "" without one.
func checkHeader(header map[string]any) (kid string, err error) {
	for _, name := range []string{"jku", "x5u", "jwk", "crit"} {
		if _, ok := header[name]; ok {
			return "", errHeader
		}
	}
	value, ok := header["kid"]
	if !ok {
		return "", nil
	}
	if kid, ok = value.(string); !ok {
		return "", errKeyID
	}
	return kid, nil
}

// principal checks the claims of a token whose signature is valid.
func (v *Verifier) principal(t *jwt.Token) (Principal, error) {
	claims, _ := t.Claims.(jwt.MapClaims)
	if !v.typeAccepted(t.Header["typ"], claims["typ"]) {
		return Principal{}, errType
	}
	expires, err := v.checkTimes(claims)
	if err != nil {
		return Principal{}, err
	}
	if err := v.checkIssuer(claims); err != nil {
		return Principal{}, err
	}
	if err := v.checkAudience(claims); err != nil {
		return Principal{}, err
	}
	sub, ok := claims["sub"].(string)
	if !ok || !validUserID(sub) {
		return Principal{}, errSubject
	}
	feeds, err := v.feeds(claims, sub)
	if err != nil {
		return Principal{}, err
	}
	role, _ := claims[v.cfg.RoleClaim].(string)
	return Principal{UserID: sub, Role: role, Feeds: feeds, ExpiresAt: expires}, nil
}

// feeds returns the ids of the feeds claim, each once, without that of the user.
func (v *Verifier) feeds(claims jwt.MapClaims, userID string) (feeds []string, err error) {
	value, present := claims[v.cfg.FeedsClaim]
	if !present {
		return nil, nil
	}
	list, ok := value.([]any)
	if !ok || len(list) > MaxFeeds {
		return nil, errFeeds
	}
	for _, element := range list {
		id, ok := element.(string)
		if !ok || !validUserID(id) {
			return nil, errFeeds
		}
		if id != userID && !slices.Contains(feeds, id) {
			feeds = append(feeds, id)
		}
	}
	return feeds, nil
}

// typeAccepted checks both places in which issuers write the type: the header
// (RFC 9068: "at+jwt") and the claims (Keycloak: "Bearer", "ID", "Refresh").
func (v *Verifier) typeAccepted(types ...any) bool {
	return v.cfg.Type == "" || slices.ContainsFunc(types, func(value any) bool {
		name, ok := value.(string)
		return ok && strings.EqualFold(mediaType(name), mediaType(v.cfg.Type))
	})
}

// mediaType drops the prefix that is optional by RFC 7515.
func mediaType(name string) string {
	const prefix = "application/"
	if len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
		return name[len(prefix):]
	}
	return name
}

// checkTimes returns the instant from which the token is refused. The token is valid
// from nbf and iat minus the leeway, inclusive, to exp plus the leeway, exclusive.
func (v *Verifier) checkTimes(claims jwt.MapClaims) (expires time.Time, err error) {
	now := v.cfg.Now()
	exp, present, ok := instant(claims, "exp")
	if !present || !ok {
		return time.Time{}, errNoExpiry
	}
	expires = exp.Add(v.cfg.Leeway)
	if !now.Before(expires) {
		return time.Time{}, errExpired
	}
	if early, ok := v.before(now, claims, "nbf"); !ok {
		return time.Time{}, errBadTime
	} else if early {
		return time.Time{}, errNotYet
	}
	if early, ok := v.before(now, claims, "iat"); !ok {
		return time.Time{}, errBadTime
	} else if early {
		return time.Time{}, errIssuedLater
	}
	return expires, nil
}

// before reports whether now is before the claim minus the leeway, and whether the
// claim is well formed. A missing claim is well formed and in the past.
func (v *Verifier) before(now time.Time, claims jwt.MapClaims, name string) (early, ok bool) {
	at, present, ok := instant(claims, name)
	return present && now.Before(at.Add(-v.cfg.Leeway)), ok || !present
}

// instant reads a claim that is a number of seconds since 1970.
func instant(claims jwt.MapClaims, name string) (at time.Time, present, ok bool) {
	value, present := claims[name]
	seconds, ok := value.(float64)
	if !ok || seconds < 0 || seconds > maxSeconds {
		return time.Time{}, present, false
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)), true, true
}

func (v *Verifier) checkIssuer(claims jwt.MapClaims) error {
	value, present := claims["iss"]
	issuer, ok := value.(string)
	if present && !ok || v.cfg.Issuer != "" && issuer != v.cfg.Issuer {
		return errIssuer
	}
	return nil
}

func (v *Verifier) checkAudience(claims jwt.MapClaims) error {
	value, present := claims["aud"]
	audience, ok := texts(value)
	if present && !ok || v.cfg.Audience != "" && !slices.Contains(audience, v.cfg.Audience) {
		return errAudience
	}
	return nil
}

// texts reads a string or an array of strings.
func texts(value any) (list []string, ok bool) {
	switch value := value.(type) {
	case string:
		return []string{value}, true
	case []any:
		for _, element := range value {
			text, ok := element.(string)
			if !ok {
				return nil, false
			}
			list = append(list, text)
		}
		return list, true
	default:
		return nil, false
	}
}

// validUserID reports whether the schema accepts the user id. It also refuses U+FFFD:
// invalid UTF-8 and lone surrogates decode to it, so different subjects would become
// one user.
func validUserID(id string) bool {
	return taskfeed.ValidID(id) && !strings.ContainsRune(id, utf8.RuneError)
}
