package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/pause"
)

const (
	fetchTimeout     = 4 * time.Second // connect to last byte; callers of Verify have a second more
	fetchCooldown    = 10 * time.Second
	maxKeySetBytes   = 1 << 20
	maxKeySetKeys    = 100 // a token without a key id is checked with each
	firstFetchRetry  = time.Second
	longestFetchWait = time.Minute
)

// keySet holds the keys that an issuer publishes at a URL. Each successful fetch
// replaces all of them, so that a removed key stops working; a failed fetch keeps
// them. Fetches never overlap.
type keySet struct {
	url      *url.URL // logs and errors show only its host; the rest may be confidential
	interval time.Duration
	client   *http.Client
	log      *slog.Logger

	mu   sync.Mutex
	keys []key  // of the last successful fetch
	last *fetch // the latest fetch, under way or ended; nil before the first
}

// fetch is one fetch of the key set, shared by all callers that need it.
type fetch struct {
	began time.Time
	ended chan struct{} // closed when it has ended
	err   error         // set before ended is closed
}

func newKeySet(cfg Config) *keySet {
	u, _ := url.Parse(cfg.JWKSURL) // validate has parsed it
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // the next fetch is minutes away
	transport.MaxResponseHeaderBytes = 64 << 10
	return &keySet{
		url:      u,
		interval: cfg.JWKSRefresh,
		log:      cfg.Logger,
		client: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// run fetches at once and then once per interval until ctx is done. After a failure
// it tries again sooner.
func (s *keySet) run(ctx context.Context) {
	s.warnWithoutTLS()
	failures, retry := 0, pause.Backoff{Least: firstFetchRetry, Most: longestFetchWait}
	for {
		err := s.refresh(ctx, ctx, 0)
		if ctx.Err() != nil {
			return
		}
		wait := s.interval*9/10 + rand.N(s.interval/5)
		if err != nil {
			wait = retry.Next()
			failures++
			s.log.Warn("key set not fetched", "host", s.url.Host, "error", err, "failures", failures, "retry_in", wait)
		} else if failures > 0 {
			s.log.Info("key set fetched again", "host", s.url.Host, "failures", failures)
			failures = 0
			retry.Reset()
		}
		if !pause.For(ctx, wait) {
			return
		}
	}
}

func (s *keySet) warnWithoutTLS() {
	ip, _ := netip.ParseAddr(s.url.Hostname())
	if s.url.Scheme == "http" && s.url.Hostname() != "localhost" && !ip.IsLoopback() {
		s.log.Warn("key set is fetched without tls: whoever can answer instead of the issuer chooses the keys", "host", s.url.Host)
	}
}

// find returns the keys with the id that support the algorithm, or without an id all
// that do. When the id is unknown it fetches the set, at most every fetchCooldown. It
// refuses with CodeBadToken, or with CodeUnavailable when that fetch failed or ctx
// ended first: the key may exist then.
func (s *keySet) find(ctx context.Context, kid, algorithm string) ([]key, error) {
	keys := s.named(kid)
	if len(keys) == 0 {
		// The fetch is not cancelled with ctx: others may wait for it, and a caller
		// that hangs up must not use up the one fetch that the cooldown allows.
		err := s.refresh(ctx, context.WithoutCancel(ctx), fetchCooldown)
		if keys = s.named(kid); len(keys) == 0 && err != nil {
			return nil, &taskfeed.Error{
				Code:    taskfeed.CodeUnavailable,
				Message: "the token cannot be checked now, because its issuer's keys cannot be fetched; try again later",
				Err:     err,
			}
		}
	}
	if keys = supporting(keys, algorithm); len(keys) == 0 {
		return nil, errUnknownKey
	}
	return keys, nil
}

// named returns the keys with the id, or all keys for an empty id.
func (s *keySet) named(kid string) (keys []key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kid == "" {
		return s.keys // the slice is replaced, never changed
	}
	for _, k := range s.keys {
		if k.id == kid {
			keys = append(keys, k)
		}
	}
	return keys
}

// refresh fetches the set within work and returns the fetch's error. When a fetch is
// under way, or began less than cooldown ago, it returns that one's error instead,
// and waits for it until wait is done.
//
// singleflight is no shorter here: its Do does not let a caller stop waiting, its
// DoChan leaves a goroutine that nobody waits for, and the cooldown needs the state
// anyway.
func (s *keySet) refresh(wait, work context.Context, cooldown time.Duration) error {
	f, isNew := s.join(cooldown)
	if isNew {
		f.err = s.fetch(work)
		close(f.ended)
		return f.err
	}
	return f.wait(wait)
}

// join returns the latest fetch if it can be shared, or a new one for the caller to
// make.
func (s *keySet) join(cooldown time.Duration) (f *fetch, isNew bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && (s.last.running() || time.Since(s.last.began) < cooldown) {
		return s.last, false
	}
	s.last = &fetch{began: time.Now(), ended: make(chan struct{})}
	return s.last, true
}

// wait returns the error of the fetch once it has ended, or why ctx ended first.
func (f *fetch) wait(ctx context.Context) error {
	if f.running() {
		select {
		case <-f.ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return f.err
}

func (f *fetch) running() bool {
	select {
	case <-f.ended:
		return false
	default:
		return true
	}
}

// fetch reads the set from the URL within fetchTimeout and maxKeySetBytes.
func (s *keySet) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	text, err := s.download(ctx)
	var keys []key
	if err == nil {
		keys, err = parseKeySet(text)
	}
	if err != nil {
		return fmt.Errorf("fetch the key set from %s: %w", s.url.Host, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = keys
	return nil
}

func (s *keySet) download(ctx context.Context) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := s.client.Do(request)
	if e, ok := errors.AsType[*url.Error](err); ok {
		return nil, e.Err // without the URL
	}
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered with status %d, not 200", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxKeySetBytes+1))
	if err == nil && len(text) > maxKeySetBytes {
		err = fmt.Errorf("it is larger than %d bytes", maxKeySetBytes)
	}
	return text, err
}

// parseKeySet reads a JWK Set (RFC 7517). Keys that cannot check a token are left
// out, as the RFC says. A set without keys is valid: the issuer has revoked all.
func parseKeySet(text []byte) ([]key, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	if set.Keys == nil {
		return nil, errors.New(`no array "keys"`)
	}
	if len(set.Keys) > maxKeySetKeys {
		return nil, fmt.Errorf("%d keys, more than %d", len(set.Keys), maxKeySetKeys)
	}
	var keys []key
	for _, text := range set.Keys {
		if k, ok := parseKey(text); ok {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// parseKey reads one public signing key. A shared or private key is useless because
// everybody can read it. (jwkset reads shared keys only when told to.)
func parseKey(text []byte) (key, bool) {
	var m jwkset.JWKMarshal
	if err := json.Unmarshal(text, &m); err != nil {
		return key{}, false
	}
	if m.D != "" || m.USE != "" && m.USE != jwkset.UseSig ||
		len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify) {
		return key{}, false
	}
	m.ALG = jwkset.ALG(canonicalName(m.ALG.String()))
	m.X5U, m.X5C, m.X5T, m.X5TS256 = "", nil, "", "" // jwkset would fetch x5u
	jwk, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return key{}, false
	}
	k, err := publicKey(jwk.Key())
	k.id = m.KID
	if m.ALG != "" && slices.Contains(k.algorithms, m.ALG.String()) {
		k.algorithms = []string{m.ALG.String()}
	} else if m.ALG != "" {
		return key{}, false
	}
	return k, err == nil
}
