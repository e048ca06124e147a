package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/client"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	var upgrader websocket.Upgrader
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			t.Errorf("upgrade: %v", err)
			return
		}
		defer conn.Close()
		_ = conn.WriteMessage(websocket.TextMessage, []byte(event(1)))
		_, _, _ = conn.ReadMessage()
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the client refuses its certificate below
	server.StartTLS()
	defer server.Close()
	cfg := client.Config{
		URL: server.URL, UserID: "alice", Token: client.StaticToken("x"),
		TLS: server.Client().Transport.(*http.Transport).TLSClientConfig,
	}
	err := mustNew(t, cfg).Run(t.Context(), func(context.Context, taskfeed.Event) error { return errTest })
	if !errors.Is(err, errTest) {
		t.Errorf("Run: got %v, want the event and then %v", err, errTest)
	}

	cfg.TLS = nil // the server's certificate is not trusted
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var why error
	cfg.Backoff.Min = time.Minute
	cfg.OnState = func(c client.StateChange) {
		if c.State == client.StateWaiting {
			why = c.Err
			stop()
		}
	}
	if err := mustNew(t, cfg).Run(ctx, nil); err != nil {
		t.Errorf("Run: got %v, want nil", err)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](why); !ok {
		t.Errorf("why it waits: got %v, want a certificate's fault", why)
	}
}
