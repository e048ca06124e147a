package pgtest

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// Unsettled has a harmful value for each parameter that changes what a session of the
// product reads or writes.
var Unsettled = map[string]string{
	"search_path": "public, pg_catalog", "row_security": "on", "gin_fuzzy_search_limit": "1",
	"client_encoding": "LATIN1", "datestyle": "SQL, DMY", "intervalstyle": "sql_standard", "timezone": "Europe/London",
	"extra_float_digits": "-15", "bytea_output": "escape", "xmlbinary": "hex", "xmloption": "document",
	"lc_monetary": "C.UTF-8", "lc_numeric": "C.UTF-8", "lc_time": "C.UTF-8", "quote_all_identifiers": "on",
	"standard_conforming_strings": "off", "escape_string_warning": "off", "backslash_quote": "off", "array_nulls": "off", "transform_null_equals": "on", "default_transaction_isolation": "serializable", "default_transaction_deferrable": "on",
	"idle_in_transaction_session_timeout": "7777", "exit_on_error": "on", "client_min_messages": "debug5",
	"check_function_bodies": "off", "default_table_access_method": "hostile", "plan_cache_mode": "force_custom_plan", "jit": "on", "geqo": "off",
	"geqo_threshold": "2", "from_collapse_limit": "1", "join_collapse_limit": "1", "constraint_exclusion": "on", "cursor_tuple_fraction": "0.5",
	"enable_partitionwise_aggregate": "on", "enable_partitionwise_join": "on",
	"statement_timeout": "7778", "lock_timeout": "7779", "idle_session_timeout": "7780",
	"enable_async_append":      "off",
	"enable_bitmapscan":        "off",
	"enable_gathermerge":       "off",
	"enable_hashagg":           "off",
	"enable_hashjoin":          "off",
	"enable_incremental_sort":  "off",
	"enable_indexonlyscan":     "off",
	"enable_indexscan":         "off",
	"enable_material":          "off",
	"enable_memoize":           "off",
	"enable_mergejoin":         "off",
	"enable_nestloop":          "off",
	"enable_parallel_append":   "off",
	"enable_parallel_hash":     "off",
	"enable_partition_pruning": "off",
	"enable_seqscan":           "off",
	"enable_sort":              "off",
	"enable_tidscan":           "off",
}

// Unsettle makes these values the defaults for sessions of a database.
func Unsettle(t testing.TB, databaseURL string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal("pgtest: the database URL cannot be parsed")
	}
	var script strings.Builder
	script.WriteString("CREATE ACCESS METHOD hostile TYPE TABLE HANDLER heap_tableam_handler;\n")
	for name, value := range Unsettled {
		fmt.Fprintf(&script, "ALTER DATABASE %s SET %s = '%s';\n", strings.TrimPrefix(u.Path, "/"), name, strings.ReplaceAll(value, ", ", "', '"))
	}
	Exec(t, databaseURL, script.String())
}
