package request

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
)

// TestGateGivesEverythingBack runs requests that succeed, fail and panic, and one more
// of a user than may run at the same time.
func TestGateGivesEverythingBack(t *testing.T) {
	t.Parallel()
	g := NewGate(GateLimits{Memory: LeastAnswers * AnswerBytes, Parallel: 1, Wait: time.Second, Handle: time.Second})
	call := func(userID string, next Handler) (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = errors.New("panicked")
			}
		}()
		c := echo.New().NewContext(httptest.NewRequest(http.MethodGet, "/v1/me", nil), httptest.NewRecorder())
		return g.Admit(next)(c, auth.Principal{UserID: userID})
	}
	err := call("alice", func(echo.Context, auth.Principal) error {
		if err := call("alice", nil); taskfeed.CodeOf(err) != taskfeed.CodeRateLimited {
			t.Errorf("a second request of alice: %v, want a refusal", err)
		}
		return call("bob", func(c echo.Context, _ auth.Principal) error {
			KeepMemory(c, 100)
			if got, want := g.memory.Used(), int64(AnswerBytes+leastBytes+100); got != want {
				t.Errorf("memory in use: %d bytes, want %d: bob needs less than is reserved", got, want)
			}
			return nil
		})
	})
	if err != nil {
		t.Errorf("alice and bob: %v, want both to be let in", err)
	}
	if err := call("carol", func(echo.Context, auth.Principal) error { return errors.New("failed") }); err == nil {
		t.Error("the error of a handler is lost")
	}
	if err := call("dave", func(echo.Context, auth.Principal) error { panic("a fault planted by a test") }); err == nil {
		t.Error("the panic of a handler is lost")
	}
	if got := len(g.open) + int(g.memory.Used()); got != 0 {
		t.Errorf("%v is open and %d bytes are in use, want nothing", g.open, g.memory.Used())
	}
}
