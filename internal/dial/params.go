package dial

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// searchPath makes unqualified names refer only to objects of Postgres itself. pg_temp
// is last; if it were not named, it would be searched first for tables and types.
const searchPath = "pg_catalog, pg_temp"

// pinned are the parameters of every connection. They exist since PostgreSQL 14 and any
// role may set them; params_test.go says why others are not pinned.
var pinned = map[string]string{
	// What names refer to, and which rows a read returns.
	"search_path":            searchPath,
	"row_security":           "off", // an error instead of rows that are silently left out
	"gin_fuzzy_search_limit": "0",

	// How text is read and written.
	"client_encoding":             "UTF8",
	"datestyle":                   "ISO, MDY",
	"intervalstyle":               "postgres",
	"timezone":                    "UTC",
	"extra_float_digits":          "1",
	"bytea_output":                "hex",
	"xmlbinary":                   "base64",
	"xmloption":                   "content",
	"lc_monetary":                 "C",
	"lc_numeric":                  "C",
	"lc_time":                     "C",
	"quote_all_identifiers":       "off",
	"standard_conforming_strings": "on",
	"escape_string_warning":       "on",
	"backslash_quote":             "safe_encoding",
	"array_nulls":                 "on",
	"transform_null_equals":       "off",

	// Transactions and their timeouts.
	"default_transaction_isolation":       "read committed",
	"default_transaction_deferrable":      "off",
	"idle_in_transaction_session_timeout": "60000",
	"exit_on_error":                       "off",
	"client_min_messages":                 "warning",

	// What is created.
	"check_function_bodies":       "on",
	"default_table_access_method": "heap",

	// Plans. Costs of disks and caches are left to the operator.
	"plan_cache_mode":                "auto",
	"jit":                            "off",
	"geqo":                           "on",
	"geqo_threshold":                 "12",
	"from_collapse_limit":            "8",
	"join_collapse_limit":            "8",
	"constraint_exclusion":           "partition",
	"cursor_tuple_fraction":          "0.1",
	"enable_async_append":            "on",
	"enable_bitmapscan":              "on",
	"enable_gathermerge":             "on",
	"enable_hashagg":                 "on",
	"enable_hashjoin":                "on",
	"enable_incremental_sort":        "on",
	"enable_indexonlyscan":           "on",
	"enable_indexscan":               "on",
	"enable_material":                "on",
	"enable_memoize":                 "on",
	"enable_mergejoin":               "on",
	"enable_nestloop":                "on",
	"enable_parallel_append":         "on",
	"enable_parallel_hash":           "on",
	"enable_partition_pruning":       "on",
	"enable_partitionwise_aggregate": "off",
	"enable_partitionwise_join":      "off",
	"enable_seqscan":                 "on",
	"enable_sort":                    "on",
	"enable_tidscan":                 "on",
}

// params returns the parameters of a connection. Some have a meaning only for a whole
// session.
func (c Config) params(session bool) map[string]string {
	params := maps.Clone(pinned)
	params["statement_timeout"] = milliseconds(c.StatementTimeout)
	params["lock_timeout"] = milliseconds(c.LockTimeout)
	if session {
		params["idle_session_timeout"] = "0"
	}
	return params
}

func milliseconds(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }

// begin adds the parameters of a connection to those of its URL. Their names are not
// case-sensitive, so it first deletes those of the URL. Parameters in options (-c
// name=value) need no deletion: Postgres applies them first.
func (c Config) begin(params map[string]string) {
	if c.Bare {
		return
	}
	ours := c.params(true)
	for name := range params {
		if _, ok := ours[strings.ToLower(name)]; ok {
			delete(params, name)
		}
	}
	maps.Copy(params, ours)
	if params["application_name"] == "" && c.Name != "" {
		params["application_name"] = c.Name
	}
}

// session returns a statement that sets the parameters for the rest of a session.
func (c Config) session() string { return set(c.params(true), "false") }

// Local returns statements that set the parameters for the rest of a transaction on this
// connection. They must be its first statements; no name in them depends on
// search_path.
func (c Config) Local(conn *pgconn.PgConn) []string {
	statements := []string{set(c.params(false), "true")}
	if more := newer(conn, "true"); more != "" {
		statements = append(statements, more)
	}
	return statements
}

func set(params map[string]string, local string) string {
	calls := make([]string, 0, len(params))
	for _, name := range slices.Sorted(maps.Keys(params)) {
		calls = append(calls, "pg_catalog.set_config('"+name+"', '"+params[name]+"', "+local+")")
	}
	return "SELECT " + strings.Join(calls, ", ")
}

// newer returns a statement that sets parameters newer than PostgreSQL 14, if the server
// has them.
func newer(conn *pgconn.PgConn, local string) string {
	version := conn.ParameterStatus("server_version") // 17.2 (Debian 17.2-1), 18beta1
	major := version[:len(version)-len(strings.TrimLeft(version, "0123456789"))]
	if n, err := strconv.Atoi(major); err != nil || n < 17 {
		return ""
	}
	if local == "false" {
		return "SET transaction_timeout = 0"
	}
	return set(map[string]string{"transaction_timeout": "0"}, local)
}
