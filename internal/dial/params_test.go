package dial_test

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/taskfeed/taskfeed/internal/dial"
	"github.com/taskfeed/taskfeed/lab/pgtest"
)

// Our parameters override those of databases, roles and URLs. Once, such parameters
// made lists answer 500, sent events to another user, and made names refer to objects
// that strangers had created in public.
func TestPinnedParametersWin(t *testing.T) {
	t.Parallel()
	target := pgtest.Empty(t)
	pgtest.Unsettle(t, target)
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	cfg := dial.Config{StatementTimeout: 3 * time.Second, LockTimeout: time.Second}
	want := cfg.Params()
	options, parameters := u.Query(), u.Query()
	all := ""
	for _, name := range slices.Sorted(maps.Keys(want)) {
		value := pgtest.Unsettled[name]
		if value == "" || value == want[name] {
			t.Fatalf("no hostile value for %s", name)
		}
		all += " -c " + name + "=" + strings.ReplaceAll(value, " ", `\ `)
		parameters.Set(strings.ToUpper(name), value)
	}
	options.Set("options", all)
	for how, query := range map[string]url.Values{"of the database": u.Query(), "options": options, "parameters of the URL": parameters} {
		u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
		cfg.URL = u.String()
		for _, bare := range []bool{false, true} {
			if cfg.Bare = bare; bare && how == "parameters of the URL" {
				continue // the server would refuse none of them, but a pooler all
			}
			conn, err := dial.Connect(t.Context(), cfg, nil)
			if err != nil {
				t.Fatalf("%s, bare %v: %v", how, bare, err)
			}
			checkParameters(t, fmt.Sprintf("%s, bare %v", how, bare), conn, want)
			_ = conn.Close(t.Context())
		}
	}
}

func checkParameters(t *testing.T, how string, conn *pgx.Conn, want map[string]string) {
	t.Helper()
	for name, value := range want {
		// Compared as the server prints the value.
		var got, wanted string
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if err := tx.QueryRow(t.Context(), "SELECT set_config($1, $2, true)", name, value).Scan(&wanted); err != nil {
			t.Fatal(err)
		}
		_ = tx.Rollback(t.Context())
		if got != wanted {
			t.Errorf("%s: %s is %q, want %q", how, name, got, wanted)
		}
	}
}

// Local sets the parameters for a transaction and not beyond it.
func TestLocalParameters(t *testing.T) {
	t.Parallel()
	conn := pgtest.Connect(t, pgtest.Empty(t))
	want := dial.Config{}.Params()
	delete(want, "idle_session_timeout")
	show := func() string {
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(want)) {
			var value string
			if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&value); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&b, name, value)
		}
		return b.String()
	}
	before := show()
	if _, err := conn.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	for _, statement := range (dial.Config{}).Local(conn.PgConn()) {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range want {
		var same bool
		err := conn.QueryRow(t.Context(), "SELECT current_setting($1) = set_config($1, $2, true)", name, value).Scan(&same)
		if err != nil || !same {
			t.Errorf("%s: got another value than %q (error %v)", name, value, err)
		}
	}
	if _, err := conn.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if after := show(); after != before {
		t.Errorf("after the transaction the session has\n%s\nwant what it had\n%s", after, before)
	}
}

// left says why a parameter that a role or a database may set is not pinned. An entry
// that ends in * is a prefix.
var left = map[string]string{
	// Left to the operator.
	"application_name": "a name for people", "role": "who we are; the start judges by its rights", "session_authorization": "likewise",
	"default_transaction_read_only": "an operator's decision: the sequencer waits and says why",
	"synchronous_commit":            "the move sets its own least", "default_tablespace": "where files lie", "temp_tablespaces": "likewise",
	"default_toast_compression": "either is read alike",
	"local_preload_libraries":   "what an administrator installed", "session_preload_libraries": "likewise", "dynamic_library_path": "likewise", "extension_*": "likewise",
	"lc_messages": "words for people, set by superusers; we look at SQLSTATEs",
	// Costs, memory, disks.
	"cpu_*": "cost", "seq_page_cost": "cost", "random_page_cost": "cost", "parallel_*": "cost", "jit_*": "of what is off", "min_parallel_*": "cost",
	"effective_*": "cost", "recursive_worktable_factor": "cost", "geqo_*": "how to search, not what", "work_mem": "memory", "hash_mem_multiplier": "memory",
	"maintenance_*": "memory", "logical_decoding_work_mem": "memory", "temp_buffers": "memory", "temp_file_limit": "disk", "max_stack_depth": "memory",
	"max_parallel_*": "workers", "backend_flush_after": "disk", "io_*": "disk", "vacuum_*": "of VACUUM", "gin_pending_list_limit": "of GIN indexes",
	"default_statistics_target": "of ANALYZE", "commit_*": "group commit", "deadlock_timeout": "when to look, by superusers", "wal_*": "of the log",
	"stats_fetch_consistency": "of statistics views", "compute_query_id": "of statistics", "synchronize_seqscans": "order of what has none",
	// Tracing, logging, debugging.
	"log_*": "logging", "debug_*": "debugging", "trace_*": "debugging", "track_*": "statistics", "update_process_title": "for ps",
	"backtrace_functions": "debugging", "post_auth_delay": "debugging", "ignore_*": "repair", "zero_damaged_pages": "repair", "force_parallel_mode": "debugging",
	"allow_in_place_tablespaces": "debugging", "allow_system_table_mods": "for superusers",
	// Timeouts of the network, which the listener's session sets itself.
	"tcp_*": "network", "client_connection_check_interval": "network",
	// Cannot be set beyond one transaction.
	"transaction_isolation": "of one transaction", "transaction_read_only": "of one transaction", "transaction_deferrable": "of one transaction", "seed": "of random()",
	// Newer than PostgreSQL 14, so the start of a connection cannot set them.
	"transaction_timeout": "set after the start where it exists", "restrict_nonsystem_relation_kind": "we read tables alone",
	"enable_presorted_aggregate": "no plan of ours hangs on it", "enable_group_by_reordering": "likewise", "enable_distinct_reordering": "likewise",
	"enable_self_join_elimination": "likewise", "icu_validation_level": "of CREATE COLLATION", "createrole_self_grant": "of CREATE ROLE",
	"event_triggers": "for superusers", "allow_alter_system": "for superusers", "scram_iterations": "of passwords", "send_abort_for_*": "debugging",
	"file_copy_method": "of CREATE DATABASE", "file_extend_method": "disk", "vacuum_truncate": "of VACUUM", "md5_password_warnings": "of passwords", "oauth_*": "of logins",
	"timezone_abbreviations": "we write offsets", "password_encryption": "of passwords", "default_text_search_config": "of text search", "lo_compat_privileges": "of large objects",
	"session_replication_role": "of superusers; our tables that we write have no triggers",
}

// Every parameter that a role may set is pinned, or left says why not. A new version of
// Postgres can add some.
func TestEveryParameterIsJudged(t *testing.T) {
	t.Parallel()
	conn := pgtest.Connect(t, pgtest.Empty(t))
	rows, _ := conn.Query(t.Context(), "SELECT lower(name) FROM pg_settings WHERE context IN ('user', 'superuser', 'backend', 'superuser-backend')")
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(names) < 100 {
		t.Fatalf("got %d parameters, error %v", len(names), err)
	}
	params := dial.Config{}.Params()
	for _, name := range names {
		if _, ok := params[name]; ok || judged(name) {
			continue
		}
		t.Errorf("%s is neither pinned nor left with a reason", name)
	}
}

func judged(name string) bool {
	for entry := range left {
		prefix, many := strings.CutSuffix(entry, "*")
		if entry == name || many && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
