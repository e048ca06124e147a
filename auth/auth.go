// Package auth turns a token into a [Principal], or refuses it.
//
// A token is a signed JWT (RFC 7519). Its signature is checked with keys that
// the configuration names: a shared secret, public key files, or a key set at a
// URL (JWKS). Which algorithms are allowed follows from the kinds of those keys
// and never from the token, so an unsigned token or one that presents a public
// key as a shared secret has nothing to be checked with and is refused. Nothing
// in a token makes the server fetch anything; an unknown key id may make it
// read the configured key set again, at most every ten seconds.
//
// A refusal is a *taskfeed.Error with CodeBadToken. It says what is wrong in
// general and repeats nothing of the token, neither to the caller nor for the
// log. A token that cannot be judged because the key set cannot be fetched is
// CodeUnavailable instead: the same token may be good a moment later.
//
// The package does not promise that a token can be taken back: it holds until
// it expires or its key leaves the key set. It reads no encrypted tokens and
// looks nothing up about the user.
package auth

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/taskfeed/taskfeed"
)

// RoleAdmin is the role that may see everything. No other role has a meaning.
const RoleAdmin = "admin"

// Principal is the authenticated caller, as a verified token names them. A
// Principal with an empty UserID is nobody.
type Principal struct {
	// UserID is the token's sub, byte for byte: no trimming, folding or Unicode
	// normalisation. It has 1 to 255 bytes and no control characters.
	UserID string
	// Role is the role claim where that is a string, else empty.
	Role string
	// ExpiresAt is the instant from which the token is refused: its exp plus
	// the leeway. Wall-clock time.
	ExpiresAt time.Time
}

// Admin reports whether the principal has the role "admin", spelled just so.
func (p Principal) Admin() bool { return p.Role == RoleAdmin }

// LogValue names the principal in a log line.
func (p Principal) LogValue() slog.Value {
	return slog.GroupValue(slog.String("user_id", p.UserID), slog.String("role", p.Role))
}

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	cfg        Config
	algorithms []string // those allowed
	parser     *jwt.Parser
	keys       []key // the shared secret and the public key files
	keySet     *keySet
}

// New returns a verifier for the configuration. It reads the public key files
// and fetches nothing. The error joins everything that is wrong with the
// configuration; each line begins with the name of a setting.
func New(cfg Config) (*Verifier, error) {
	knowFullySpecified()
	cfg = cfg.withDefaults()
	keys, keysErr := cfg.staticKeys()
	err := errors.Join(cfg.validate(), keysErr)
	if err == nil {
		err = cfg.checkAlgorithmsHaveKeys(keys)
	}
	if err != nil {
		return nil, err
	}
	v := &Verifier{cfg: cfg, keys: keys, algorithms: cfg.allowedAlgorithms(keys)}
	v.parser = jwt.NewParser(
		jwt.WithValidMethods(v.algorithms),
		jwt.WithStrictDecoding(),
		jwt.WithoutClaimsValidation(), // principal checks them, with exact boundaries and types
	)
	if cfg.JWKSURL != "" {
		v.keySet = newKeySet(cfg)
	}
	return v, nil
}

// Verify returns whom the token speaks for. It refuses with CodeBadToken, or
// with CodeUnavailable when the key that the token names is not known and the
// key set cannot be fetched. An unknown key id may make it wait for the key set,
// for 5 seconds at most; the caller that fetches does not stop when ctx is done,
// because others wait for what it fetches.
func (v *Verifier) Verify(ctx context.Context, token string) (Principal, error) {
	if err := checkShape(token); err != nil {
		return Principal{}, err
	}
	parsed, err := v.parser.Parse(token, func(t *jwt.Token) (any, error) { return v.candidates(ctx, t) })
	if err != nil {
		return Principal{}, v.refusal(parsed, err)
	}
	return v.principal(parsed)
}

// Run keeps the key set fresh until ctx is done and returns nil then; without a
// key set it only waits. One call at a time. Verify works without it, but
// notices only new keys by itself, never removed ones.
func (v *Verifier) Run(ctx context.Context) error {
	if v.keySet != nil {
		v.keySet.run(ctx)
	}
	<-ctx.Done()
	return nil
}

// candidates returns the keys that may have signed the token. Shared secrets
// serve HS algorithms; public keys, from files or from the key set, the others.
func (v *Verifier) candidates(ctx context.Context, t *jwt.Token) (any, error) {
	kid, err := checkHeader(t.Header)
	if err != nil {
		return nil, err
	}
	algorithm := t.Method.Alg()
	keys := fitting(v.keys, algorithm)
	if v.keySet != nil && !strings.HasPrefix(algorithm, "HS") {
		if keys, err = v.keySet.find(ctx, kid, algorithm); err != nil {
			return nil, err
		}
	}
	return verificationKeys(keys), nil
}

// refusal turns what the parser says into what the caller may know. The
// parser's own words are dropped: they may quote the token.
func (v *Verifier) refusal(t *jwt.Token, err error) error {
	if e, ok := errors.AsType[*taskfeed.Error](err); ok {
		return e
	}
	if errors.Is(err, jwt.ErrTokenMalformed) {
		return errMalformed
	}
	if t == nil || t.Method == nil || !slices.Contains(v.algorithms, t.Method.Alg()) {
		return errAlgorithm
	}
	return errUnknownKey
}
