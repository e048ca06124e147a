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

// Check is one condition of the server being ready.
type Check struct {
	// Name says what is checked, as "database".
	Name string
	// Run returns nil when the check passes. The message of a *taskfeed.Error is shown
	// to every caller; any other error is only logged. One call runs at a time, and it
	// must end with ctx.
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

// readiness runs the checks. A cache bounds how often, so that requests without a token
// cannot load the database.
type readiness struct {
	checks  []Check
	changed func(name string, err error) // called when a check starts or stops failing
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

// checkDetail is the part of a failure that callers without a token may see.
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
	return c.JSON(http.StatusOK, struct {
		Status  string `json:"status"`
		Version string `json:"version,omitempty"`
	}{"ok", s.deps.Version})
}

// readyState is the body of an answer that says whether the server is ready.
type readyState struct {
	Status string        `json:"status"`
	Checks []checkResult `json:"checks,omitempty"`
}

// state returns whether requests should be sent to this server, and with checks also
// why not.
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

// handleStatus answers the same to callers with a token, because proxies hide the health
// URLs. The status is always 200: a 503 could also come from a proxy that finds no
// server. Only admins see which check fails.
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
