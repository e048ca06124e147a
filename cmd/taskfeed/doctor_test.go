package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// The log says that temp_file_limit is too low when a backlog is there. doctor says it
// before that.
func TestDoctorTempFileLimit(t *testing.T) {
	t.Parallel()
	dbURL := pgtest.New(t)
	for _, c := range []struct {
		limit string
		notes int
	}{{"63MB", 1}, {"64kB", 1}, {"0", 1}, {"64MB", 0}, {"-1", 0}} {
		pgtest.Exec(t, dbURL, fmt.Sprintf("DO $$ BEGIN EXECUTE format('ALTER DATABASE %%I SET temp_file_limit = %%L', current_database(), %s); END $$", "'"+c.limit+"'"))
		status, stdout, stderr := try(t, []string{"DATABASE_URL=" + dbURL}, "doctor")
		if got := strings.Count(stdout, "note: temp_file_limit is"); got != c.notes || status != 0 {
			t.Errorf("temp_file_limit %s: status %d and %q, want 0 and %d notes (%s)", c.limit, status, stdout, c.notes, stderr)
		}
	}
}
