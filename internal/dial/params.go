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

// searchPath finds nothing by an unqualified name but what Postgres brings.
// pg_temp stands last: unnamed it would come first for tables and types.
const searchPath = "pg_catalog, pg_temp"

// pinned are the parameters of every connection. They exist from PostgreSQL 14 on
// and any role may set them; params_test.go says why the others are not here.
var pinned = map[string]string{
	// What names mean, and what a read may leave out.
	"search_path":            searchPath,
	"row_security":           "off", // an error in place of rows that are left out without a word
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

	// Transactions and their bounds.
	"default_transaction_isolation":       "read committed",
	"default_transaction_deferrable":      "off",
	"idle_in_transaction_session_timeout": "60000",
	"exit_on_error":                       "off",
	"client_min_messages":                 "warning",

	// What is made.
	"check_function_bodies":       "on",
	"default_table_access_method": "heap",

	// Plans. What a disk or a cache costs is the operator's to say.
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

// params returns the parameters of a connection. Those of a session alone mean
// nothing for one transaction.
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

// begin adds to the parameters that a URL has what a connection begins with. Names
// of parameters have no case, so the URL's go first; as options, -c name=value,
// they lose, for Postgres reads those before.
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

// Session returns a statement that sets the parameters for the rest of a session.
func (c Config) Session() string { return set(c.params(true), "false") }

// Local returns statements, each for itself, that set the parameters for the rest
// of a transaction over this connection. They must be the first of it; no name in
// them depends on search_path.
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

// newer returns a statement for parameters that are younger than PostgreSQL 14, if
// the server has them.
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
