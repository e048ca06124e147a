package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/httpapi/request"
)

// Check is one thing that must be well for the server to be ready.
type Check struct {
	// Name says what is checked, as "database".
	Name string
	// Run returns nil when it is well. The message of a *taskfeed.Error is shown
	// to whoever asks; any other error is only logged. It may be called by one
	// caller at a time and must heed ctx.
	Run func(ctx context.Context) error
	// Advice says that a failure is shown and does not make the server unready.
	Advice bool
}

// checkTimeout bounds each check; load balancers give up after a few seconds.
const checkTimeout = 2 * time.Second

// checkResult is what ?verbose shows of one check.
type checkResult struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
	advice bool
}

// readiness runs the checks. kept bounds how often, so that the unauthenticated URL
// is no way to load the database.
type readiness struct {
	checks  []Check
	changed func(name string, err error) // told when a check begins or ceases to fail
	failing map[string]bool
}

// run runs all checks; one call at a time.
func (r *readiness) run() ([]checkResult, error) {
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	errs := make([]error, len(r.checks))
	var wg sync.WaitGroup
	for i, check := range r.checks {
		wg.Go(func() { errs[i] = runCheck(ctx, check) })
	}
	wg.Wait()

	results := make([]checkResult, len(r.checks))
	for i, check := range r.checks {
		results[i] = checkResult{Name: check.Name, OK: errs[i] == nil, Detail: checkDetail(errs[i]), advice: check.Advice}
	}
	for i, check := range r.checks {
		if failing := errs[i] != nil; failing != r.failing[check.Name] {
			r.failing[check.Name] = failing
			r.changed(check.Name, errs[i])
		}
	}
	return results, nil
}

// runCheck keeps a panic in one check from ending the process.
func runCheck(ctx context.Context, check Check) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = request.PanicError(v)
		}
	}()
	return check.Run(ctx)
}

// checkDetail is what a stranger may know of a failure.
func checkDetail(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*taskfeed.Error](err); ok && e.Code != taskfeed.CodeInternal {
		return e.Message
	}
	return "the check failed; the server's log has the cause"
}

// handleHealth answers that the process runs. It depends on nothing, so that an
// outage of the database does not make a supervisor restart every server.
func (s *Server) handleHealth(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "ok"})
}

// readyState is the body of an answer that says whether the server is ready.
type readyState struct {
	Status string        `json:"status"`
	Checks []checkResult `json:"checks,omitempty"`
}

// state says whether requests should be sent here, and with checks also why not.
func (s *Server) state(checks bool) (body readyState, ready bool) {
	body.Checks = []checkResult{{Name: "not_draining", OK: !s.feeds.IsClosed()}}
	if body.Checks[0].OK {
		found := s.ready.Get()
		body.Checks = append(body.Checks, found.Value...)
		if found.Err != nil { // a panic around the checks
			body.Checks = append(body.Checks, checkResult{Name: "checks", Detail: checkDetail(found.Err)})
		}
	}
	ready = !slices.ContainsFunc(body.Checks, func(c checkResult) bool { return !c.OK && !c.advice })
	body.Status = "ready"
	if !ready {
		body.Status = "not ready"
	}
	if !checks {
		body.Checks = nil
	}
	return body, ready
}

// handleReady answers whether requests should be sent here, and with ?verbose
// why not.
func (s *Server) handleReady(c echo.Context) error {
	body, ready := s.state(request.Query(c.Request()).Has("verbose"))
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.JSON(status, body)
}

// handleStatus answers the same to whoever has a token, since proxies keep the
// health URLs from the public. The status is 200 whatever the answer is, for it
// is one; 503 would be a proxy's that finds no server. Which check fails is for
// admins.
func (s *Server) handleStatus(c echo.Context, p auth.Principal) error {
	if err := request.NoParams(c); err != nil {
		return err
	}
	body, _ := s.state(p.Admin())
	return request.WriteJSON(c, http.StatusOK, body)
}

// handleSocketHealth answers how many connections there are.
func (s *Server) handleSocketHealth(c echo.Context) error {
	stats := s.deps.Hub.Stats()
	return c.JSON(http.StatusOK, struct {
		Users       int `json:"total_users"`
		Connections int `json:"total_connections"`
	}{stats.Users, stats.Subscribers})
}
