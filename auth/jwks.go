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
	fetchTimeout     = 4 * time.Second // connect to last byte; who waits for a token has a second more
	fetchCooldown    = 10 * time.Second
	maxKeySetBytes   = 1 << 20
	maxKeySetKeys    = 100 // a token without a key id is tried with each
	firstFetchRetry  = time.Second
	longestFetchWait = time.Minute
)

// keySet holds the keys that an issuer publishes at a URL. Each good fetch
// replaces them all, so that a key that was removed stops working; a failed one
// leaves them as they are. Fetches never overlap.
type keySet struct {
	url      *url.URL // logs and errors name its host alone; the rest may be confidential
	interval time.Duration
	client   *http.Client
	log      *slog.Logger

	mu      sync.Mutex
	keys    []key         // of the last good fetch
	err     error         // of the last fetch
	tried   time.Time     // when the last fetch began
	fetches chan struct{} // closed when the fetch under way ends; nil: none is
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

// run fetches at once and then each interval until ctx is done; after a failure
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
		s.log.Warn("key set comes without tls: whoever can answer in its place chooses the keys", "host", s.url.Host)
	}
}

// find returns the keys with the id that can serve the algorithm; without an id
// all that can. When the id is unknown it fetches the set, unless that was tried
// less than fetchCooldown ago. It refuses with CodeBadToken, or with
// CodeUnavailable when that fetch failed or ctx ended first, so that the key may
// exist.
func (s *keySet) find(ctx context.Context, kid, algorithm string) ([]key, error) {
	keys := s.named(kid)
	if len(keys) == 0 {
		// Not cancelled with ctx: others may wait for this fetch, and a caller
		// that hangs up must not spend the one fetch that the cooldown allows.
		err := s.refresh(ctx, context.WithoutCancel(ctx), fetchCooldown)
		if keys = s.named(kid); len(keys) == 0 && err != nil {
			return nil, &taskfeed.Error{
				Code:    taskfeed.CodeUnavailable,
				Message: "the token cannot be checked now, because its issuer's keys cannot be fetched; try again later",
				Err:     err,
			}
		}
	}
	if keys = fitting(keys, algorithm); len(keys) == 0 {
		return nil, errUnknownKey
	}
	return keys, nil
}

// named returns the keys with the id, or all without one.
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

// refresh fetches the set, or waits until wait is done for the fetch under way.
// It does nothing when the last fetch began less than cooldown ago. It returns
// the error of the last fetch, or why it did not wait for it.
func (s *keySet) refresh(wait, fetch context.Context, cooldown time.Duration) error {
	s.mu.Lock()
	if s.fetches != nil {
		fetches := s.fetches
		s.mu.Unlock()
		return s.join(wait, fetches)
	}
	if !s.tried.IsZero() && time.Since(s.tried) < cooldown {
		defer s.mu.Unlock()
		return s.err
	}
	s.tried = time.Now()
	s.fetches = make(chan struct{})
	s.mu.Unlock()

	keys, err := s.fetch(fetch)

	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.keys = keys
	}
	s.err = err
	close(s.fetches)
	s.fetches = nil
	return err
}

// join waits for a fetch under way and returns its error.
func (s *keySet) join(wait context.Context, fetches <-chan struct{}) error {
	select {
	case <-fetches:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.err
	case <-wait.Done():
		return context.Cause(wait)
	}
}

// fetch reads the set from the URL within fetchTimeout and maxKeySetBytes.
func (s *keySet) fetch(ctx context.Context) (keys []key, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	text, err := s.download(ctx)
	if err == nil {
		keys, err = parseKeySet(text)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch the key set from %s: %w", s.url.Host, err)
	}
	return keys, nil
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

// parseKeySet reads a JWK Set (RFC 7517). Keys that cannot check a token are
// left out, as the RFC asks. A set without keys is good: the issuer took all back.
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

// parseKey reads one public signing key. A shared or private one is no use: all
// the world can read it. (jwkset reads no shared ones unless told to.)
func parseKey(text []byte) (key, bool) {
	var m jwkset.JWKMarshal
	if err := json.Unmarshal(text, &m); err != nil {
		return key{}, false
	}
	if m.D != "" || m.USE != "" && m.USE != jwkset.UseSig ||
		len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify) {
		return key{}, false
	}
	m.ALG = jwkset.ALG(oneName(m.ALG.String()))
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
