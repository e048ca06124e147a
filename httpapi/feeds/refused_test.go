package feeds

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

// refuser is a verifier that refuses every token.
type refuser struct{}

func (refuser) Verify(context.Context, string) (auth.Principal, error) {
	return auth.Principal{}, &taskfeed.Error{Code: taskfeed.CodeBadToken, Message: "the token is not signed with a known key"}
}

// TestRefusedSocketsAreBounded: a refused token gets a socket with a close code only
// while few such sockets are open.
func TestRefusedSocketsAreBounded(t *testing.T) {
	t.Parallel()
	origins, err := request.ReadOrigins(nil)
	if err != nil {
		t.Fatal(err)
	}
	f := New(Deps{Guard: request.NewGuard(refuser{}, nil, time.Second, 0), Origins: origins, Log: slog.New(slog.DiscardHandler)}, Config{})
	f.refused.Store(maxRefused)
	r := httptest.NewRequest("GET", "/ws?user_id=alice&token=x", nil)
	r.Header = wstest.HandshakeHeader(nil)
	if err := f.ServeSocket(echo.New().NewContext(r, httptest.NewRecorder())); taskfeed.CodeOf(err) != taskfeed.CodeBadToken {
		t.Errorf("got %v, want a refusal by the code %s before the upgrade", err, taskfeed.CodeBadToken)
	}
	if got := f.refused.Load(); got != maxRefused {
		t.Errorf("%d sockets count as open, want %d", got, maxRefused)
	}
}
