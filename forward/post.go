package forward

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxAnswer      = 64 << 10    // bytes of an answer that are read, so that its connection can be used again
	answerTime     = time.Second // how long they may take
	maxHeader      = 64 << 10    // bytes of an answer's header
	maxRetryAfter  = time.Hour   // the longest pause that the endpoint may ask for
	maxReason      = 300         // bytes
	idleConnection = 90 * time.Second
)

// poster sends messages to the endpoint. It is safe for concurrent use.
type poster struct {
	url     *url.URL
	secrets []Secret
	timeout time.Duration
	client  *http.Client
}

// newPoster returns a poster for a valid configuration. The caller closes it.
func newPoster(cfg Config) (*poster, error) {
	u, err := parseURL(cfg.URL, cfg.AllowPrivate)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: cfg.Timeout}
	if !cfg.AllowPrivate {
		dialer.Control = refusePrivate
	}
	transport := &http.Transport{
		Proxy:                  nil, // a proxy would connect on our behalf, to any address
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    cfg.Parallel,
		IdleConnTimeout:        idleConnection,
		MaxResponseHeaderBytes: maxHeader,
	}
	return &poster{url: u, secrets: cfg.Secrets, timeout: cfg.Timeout, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (p *poster) close() { p.client.CloseIdleConnections() }

// outcome is how the endpoint took a message.
type outcome struct {
	delivered  bool
	gone       bool          // the endpoint wants no more messages
	retryAfter time.Duration // that it asks for
	reason     string        // why not
}

// post sends a message once. A status of 2xx means that it was taken: what follows does
// not matter.
func (p *poster) post(ctx context.Context, m *message) outcome {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(p.timeout, func() { cancel(errTooSlow) })
	defer timer.Stop()
	now := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url.String(), bytes.NewReader(m.body))
	if err != nil {
		return outcome{reason: "the request cannot be made"}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "taskfeed")
	req.Header.Set("webhook-id", m.id())
	req.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("webhook-signature", sign(p.secrets, m.id(), now, m.body))
	res, err := p.client.Do(req)
	if err != nil {
		return outcome{reason: reasonOf(ctx, err)}
	}
	defer res.Body.Close()
	timer.Reset(min(answerTime, p.timeout))
	_, _ = io.CopyN(io.Discard, res.Body, maxAnswer) // the status has said it all
	return outcomeOf(res, now)
}

func outcomeOf(res *http.Response, now time.Time) outcome {
	o := outcome{
		delivered:  res.StatusCode >= 200 && res.StatusCode <= 299,
		gone:       res.StatusCode == http.StatusGone,
		retryAfter: retryAfter(res.Header.Get("Retry-After"), now),
		reason:     fmt.Sprintf("the endpoint answered %d", res.StatusCode),
	}
	if res.StatusCode >= 300 && res.StatusCode <= 399 {
		o.reason += ", and redirects are not followed"
	}
	return o
}

var errTooSlow = errors.New("the endpoint did not answer in time")

// reasonOf describes an error without the URL, which may contain a secret.
func reasonOf(ctx context.Context, err error) string {
	if errors.Is(err, errNotPublic) {
		return errNotPublic.Error()
	}
	if errors.Is(context.Cause(ctx), errTooSlow) {
		return errTooSlow.Error()
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	text := strings.ToValidUTF8(err.Error(), "?")
	return strings.ToValidUTF8(text[:min(len(text), maxReason)], "")
}

// retryAfter parses the header of that name: seconds, or a time.
func retryAfter(header string, now time.Time) time.Duration {
	var wait time.Duration
	if n, err := strconv.ParseInt(header, 10, 32); err == nil {
		wait = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
