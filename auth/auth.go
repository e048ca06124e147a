// Package auth turns a token into a [Principal], or refuses it.
//
// A token is a signed JWT (RFC 7519). Its signature is checked with the keys of the
// configuration: a shared secret, public key files, or a key set at a URL (JWKS).
// The kinds of those keys decide which algorithms are allowed, never the token. So
// an unsigned token, or one that uses a public key as a shared secret, matches no
// key and is refused. No token makes the server fetch from another place; an unknown
// key id can make it fetch the configured key set again, at most every ten seconds.
//
// A refusal is a *taskfeed.Error with CodeBadToken. It says in general what is wrong
// and repeats nothing of the token, neither to the caller nor in the log. When a key
// set cannot be fetched and may have the key of the token, the error is
// CodeUnavailable instead: the same token may be accepted a moment later.
//
// The package cannot revoke a token: it is valid until it expires or its key leaves
// the key set. It does not read encrypted tokens and looks up nothing about the user.
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

// RoleAdmin is the role that may see everything. Other roles have no meaning.
const RoleAdmin = "admin"

// MaxFeeds is how many ids the feeds claim of a token may have.
const MaxFeeds = 64

// Principal is the authenticated caller, as named by a verified token. The zero
// value is nobody.
type Principal struct {
	// UserID is the token's sub, byte for byte: no trimming, folding or Unicode
	// normalisation. It has 1 to 255 bytes and no control characters.
	UserID string
	// Role is the role claim if that is a string, otherwise empty.
	Role string
	// Feeds are the ids of the groups whose feeds the principal sees besides their own:
	// those of the feeds claim, byte for byte, without repetitions and UserID. At most
	// MaxFeeds; nobody changes them.
	Feeds []string
	// ExpiresAt is the instant from which the token is refused: its exp plus
	// the leeway. Wall-clock time.
	ExpiresAt time.Time
}

// Admin reports whether the principal has the role "admin", in exactly this spelling.
func (p Principal) Admin() bool { return p.Role == RoleAdmin }

// Valid reports whether the principal's ids are such as a token can have.
func (p Principal) Valid() bool {
	for i, id := range p.Feeds {
		if !validUserID(id) || id == p.UserID || slices.Contains(p.Feeds[:i], id) {
			return false
		}
	}
	return validUserID(p.UserID) && len(p.Feeds) <= MaxFeeds
}

// Choose narrows what the principal sees to the feeds with these ids, or to nothing less
// when there are none. It reports false when one of them is not the principal's to see.
func (p Principal) Choose(ids []string) (userID string, feeds []string, ok bool) {
	if len(ids) == 0 {
		return p.UserID, p.Feeds, true
	}
	var chosen []string
	for _, id := range ids {
		if id != p.UserID && !slices.Contains(p.Feeds, id) {
			return "", nil, false
		}
		if !slices.Contains(chosen, id) {
			chosen = append(chosen, id)
		}
	}
	return chosen[0], chosen[1:], true
}

// LogValue names the principal in a log line.
func (p Principal) LogValue() slog.Value {
	return slog.GroupValue(slog.String("user_id", p.UserID), slog.String("role", p.Role))
}

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	cfg        Config
	algorithms []string // those allowed
	parser     *jwt.Parser
	keys       []key // the shared secret and the keys of the files
	keySet     *keySet
}

// New returns a verifier for the configuration. It reads the public key files and
// fetches nothing. Its error joins a *FieldError for each problem.
func New(cfg Config) (*Verifier, error) {
	registerEd25519()
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

// Verify returns the principal that the token names. It refuses with CodeBadToken,
// or with CodeUnavailable when the token's key is unknown and the key set cannot be
// fetched. An unknown key id can make it wait for the key set, for 5 seconds at most.
// A call that fetches does not stop when ctx is done, because others wait for the
// same fetch.
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

// Run refreshes the key set until ctx is done and returns nil then; without a key
// set it only waits. It takes one call at a time. Without it, Verify finds new keys
// and never notices removed ones.
func (v *Verifier) Run(ctx context.Context) error {
	if v.keySet != nil {
		v.keySet.run(ctx)
	}
	<-ctx.Done()
	return nil
}

// candidates returns the keys that may have signed the token: the shared secret for
// HS algorithms, public keys from files or the key set for the others.
func (v *Verifier) candidates(ctx context.Context, t *jwt.Token) (any, error) {
	kid, err := checkHeader(t.Header)
	if err != nil {
		return nil, err
	}
	algorithm := t.Method.Alg()
	keys := supporting(v.keys, algorithm)
	if v.keySet != nil && !strings.HasPrefix(algorithm, "HS") {
		if keys, err = v.keySet.find(ctx, kid, algorithm); err != nil {
			return nil, err
		}
	}
	return verificationKeys(keys), nil
}

// refusal turns an error of the parser into one for the caller. The parser's text is
// dropped: it may quote the token.
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
