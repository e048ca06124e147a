package forward_test

import (
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/forward"
)

// wantRefused runs a forwarder that gives up at once, and waits for the reason.
func (f *fixture) wantRefused(t *testing.T, cfg forward.Config, reason string) {
	t.Helper()
	cfg.GiveUpAfter = time.Nanosecond
	f.tell(t, 1, "alice")
	f.start(t, cfg)
	eventually(t, "the event is a failure", func() bool { return len(f.failures(t)) == 1 })
	got := f.failures(t)[0].Reason
	if !strings.Contains(got, reason) || strings.Contains(got, "S3cret") || strings.Contains(f.logged.String(), "S3cret") {
		t.Errorf("reason: got %q, want %q, and no secret there and in the log", got, reason)
	}
}

// counted is a server that counts connections.
func counted(t *testing.T, start func(*httptest.Server)) (server *httptest.Server, connections *atomic.Int64) {
	t.Helper()
	connections = &atomic.Int64{}
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	start(server)
	t.Cleanup(server.Close)
	return server, connections
}

// A name that leads to this machine is refused when it is dialled.
func TestPrivateAddressRefused(t *testing.T) {
	t.Parallel()
	f := setup(t)
	server, connections := counted(t, (*httptest.Server).StartTLS)
	cfg := f.config()
	cfg.URL = "https://localhost:" + server.URL[strings.LastIndex(server.URL, ":")+1:] + "/?S3cret"
	cfg.AllowPrivate = false
	f.wantRefused(t, cfg, "the address of the endpoint is not public")
	if n := connections.Load(); n != 0 {
		t.Errorf("the server saw %d connections, want none", n)
	}
}

func TestRedirectNotFollowed(t *testing.T) {
	t.Parallel()
	f := setup(t)
	server, connections := counted(t, (*httptest.Server).Start)
	f.to.answers(func(w http.ResponseWriter, r *http.Request, _ got) bool {
		http.Redirect(w, r, server.URL+"/latest/meta-data?S3cret", http.StatusTemporaryRedirect)
		return false
	})
	f.wantRefused(t, f.config(), "the endpoint answered 307, and redirects are not followed")
	if n := connections.Load(); n != 0 {
		t.Errorf("the other server saw %d connections, want none", n)
	}
}

func TestSlowHeader(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.to.answers(func(_ http.ResponseWriter, r *http.Request, _ got) bool {
		<-r.Context().Done()
		return false
	})
	cfg := f.config()
	cfg.Timeout = 100 * time.Millisecond
	cfg.URL += "/?S3cret"
	f.wantRefused(t, cfg, "the endpoint did not answer in time")
}

func TestConnectionRefused(t *testing.T) {
	t.Parallel()
	f := setup(t)
	cfg := f.config()
	f.to.Close()
	cfg.URL += "/?S3cret"
	f.wantRefused(t, cfg, "connection refused")
}

// A status of 2xx is enough: neither an endless body nor one that is cut matters.
func TestBodyOfAnswer(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.to.answers(func(w http.ResponseWriter, r *http.Request, m got) bool {
		switch m.N {
		case 1: // endless and fast
			w.WriteHeader(http.StatusAccepted)
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					break
				}
			}
		case 2: // endless and slow
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case 3: // cut
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("ok"))
		}
		return true
	})
	for i := range 4 {
		f.tell(t, i+1, "alice")
	}
	f.start(t, f.config())
	eventually(t, "the endpoint takes all, in any order: it is told at the end of its answers", func() bool { return len(f.to.of("alice")) == 4 })
	if got := f.to.count(); got != 4 {
		t.Errorf("the endpoint was sent %d messages, want 4", got)
	}
}

func TestCertificateVerified(t *testing.T) {
	t.Parallel()
	f := setup(t)
	server := httptest.NewTLSServer(f.to)
	t.Cleanup(server.Close)
	cfg := f.config()
	cfg.URL = server.URL
	f.wantRefused(t, cfg, "certificate")
	cfg.Name = "trusting"
	cfg.RootCAs = x509.NewCertPool()
	cfg.RootCAs.AddCert(server.Certificate())
	f.start(t, cfg)
	f.wantTaken(t, "alice", 1)
}

// The endpoint says when it wants to be asked again.
func TestRetryAfterHonoured(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var refused, again atomic.Int64
	f.to.answers(func(w http.ResponseWriter, _ *http.Request, m got) bool {
		if m.Try == 1 {
			refused.Store(time.Now().UnixNano())
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return false
		}
		again.Store(time.Now().UnixNano())
		return true
	})
	f.tell(t, 1, "alice")
	f.start(t, f.config())
	f.wantTaken(t, "alice", 1)
	if waited := time.Duration(again.Load() - refused.Load()); waited < time.Second {
		t.Errorf("sent again after %v, want 1s", waited)
	}
}
