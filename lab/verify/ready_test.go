package verify

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/verify/check"
)

// A round whose servers never became ready ended with an error about its set-up and
// did not report the broken promise.
func TestServersThatNeverBecomeReady(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		args           []string // of the process
		borrowed, well bool
		status         int
		verdict        check.Verdict
		fails          string // what the error says
	}{
		{"ready", []string{"60"}, false, true, http.StatusOK, check.Invalid, ""}, // the fault was not run
		{"never ready", []string{"60"}, false, false, http.StatusServiceUnavailable, check.Fail, ""},
		{"on somebody's own database", []string{"60"}, true, false, http.StatusServiceUnavailable, check.Invalid, "status 503"},
		{"did not start", []string{"0"}, false, false, http.StatusServiceUnavailable, check.Invalid, "s1 has ended"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRound(t, os.Stderr)
			r.borrowed, r.dead = c.borrowed, &deadRows{}
			answers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(c.status) }))
			t.Cleanup(answers.Close)
			p, err := startChild("s1", "/bin/sleep", c.args, nil, nil, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Kill)
			if c.fails == "s1 has ended" {
				<-p.Done()
			}
			r.servers = []*server{{name: "s1", addr: answers.Listener.Addr().String(), process: p}}

			well, err := r.awaitFirstReady(t.Context())
			if well != c.well || (err != nil) != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("ready %t, error %v; want ready %t and an error of %q", well, err, c.well, c.fails)
			}
			report, _ := r.judged(t)
			if report.Verdict != c.verdict {
				t.Errorf("the verdict is %s, want %s", report.Verdict, c.verdict)
			}
			if broken := report.Counts["P11"] > 0; broken != (c.verdict == check.Fail) {
				t.Errorf("P11 is broken: %t, want %t: %v", broken, c.verdict == check.Fail, report.Violations)
			}
		})
	}
}
