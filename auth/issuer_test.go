package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"

	"github.com/taskfeed/taskfeed"
)

// issuer publishes a key set and counts its fetches. It runs in a synctest bubble:
// its connections are pipes, and the time is the bubble's.
type issuer struct {
	fetches atomic.Int64
	server  *httptest.Server
	pipes   pipeListener

	mu     sync.Mutex
	answer http.HandlerFunc
}

func newIssuer(t *testing.T, keys ...object) *issuer {
	t.Helper()
	i := &issuer{pipes: pipeListener{connections: make(chan net.Conn), closed: make(chan struct{})}}
	i.publish(keys...)
	i.server = &httptest.Server{Listener: &i.pipes, Config: &http.Server{Handler: http.HandlerFunc(i.serve)}}
	i.server.Start()
	t.Cleanup(i.server.Close)
	return i
}

func (i *issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.fetches.Add(1)
	i.mu.Lock()
	answer := i.answer
	i.mu.Unlock()
	answer(w, r)
}

func (i *issuer) answers(f http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = f
}

func (i *issuer) answersText(text string) {
	i.answers(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
}

func (i *issuer) publish(keys ...object) {
	i.answersText(string(must(json.Marshal(object{"keys": append([]object{}, keys...)}))))
}

func (i *issuer) down() {
	i.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
}

// verifier returns a verifier that reaches the issuer, with the bubble's clock.
func (i *issuer) verifier(t *testing.T, cfg Config) *Verifier {
	t.Helper()
	cfg.JWKSURL, cfg.Now = i.server.URL+"/keys", time.Now
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	v := newVerifier(t, cfg)
	v.keySet.client.Transport.(*http.Transport).DialContext = i.pipes.dial
	return v
}

func (i *issuer) wantFetches(t *testing.T, want int64) {
	t.Helper()
	if got := i.fetches.Load(); got != want {
		t.Errorf("fetches of the key set: got %d, want %d", got, want)
	}
}

// pipeListener accepts connections in memory, as synctest needs them.
type pipeListener struct {
	connections chan net.Conn
	closed      chan struct{}
	once        sync.Once
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.connections <- server:
		return client, nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.connections:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

// jwk returns the public key in the form of a key set, with changes.
func jwk(kid string, private crypto.Signer, changes ...object) object {
	m := must(jwkset.NewJWKFromKey(private.Public(), jwkset.JWKOptions{})).Marshal()
	var set object
	if err := json.Unmarshal(must(json.Marshal(m)), &set); err != nil {
		panic(err)
	}
	return changed(set, append([]object{{"kid": kid}}, changes...)...)
}

// tokenOf returns a token that is valid for a thousand days.
func tokenOf(kid string, private *ecdsa.PrivateKey) string {
	var header object
	if kid != "" {
		header = object{"kid": kid}
	}
	return signedWith("ES256", private, header, claims(object{"exp": time.Now().AddDate(0, 0, 1000).Unix()}))
}

func wantUnavailable(t *testing.T, v *Verifier, token string) {
	t.Helper()
	p, err := v.Verify(t.Context(), token)
	if got := taskfeed.CodeOf(err); got != taskfeed.CodeUnavailable {
		t.Errorf("Verify: got user %q and error %v, want code %s", p.UserID, err, taskfeed.CodeUnavailable)
	}
	wantNothingOf(t, token, err)
}

// inBubble runs the test with fake time.
func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

// run runs v.Run in the background until the test ends.
func run(t *testing.T, v *Verifier) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: got %v, want nil", err)
		}
	})
	synctest.Wait()
}
