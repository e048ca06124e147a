package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// RoleError says that a role lacks the rights that a server needs in an existing
// schema. Its text has the GRANT to run.
type RoleError struct{ Role, Owner string }

func (e *RoleError) Error() string {
	return fmt.Sprintf("the schema taskfeed belongs to %[2]s, and %[1]s has not its rights: connect as %[2]s, or run GRANT %[2]s TO %[1]s", e.Role, e.Owner)
}

// GrantError says that the role may not use functions or views of Postgres that every
// role may use by default.
type GrantError struct{ Grants []string }

func (e *GrantError) Error() string {
	return "the role may not use what Postgres lets every role use; run as an administrator of this database: " + strings.Join(e.Grants, "; ")
}

// Refused reports whether an error of this package says that a role lacks rights.
// Missing rights are not retried: waiting does not help.
func Refused(err error) bool {
	_, role := errors.AsType[*RoleError](err)
	_, grant := errors.AsType[*GrantError](err)
	return role || grant
}

const sqlRole = `
SELECT quote_ident(current_user),
       quote_ident(o.rolname),
       CASE
           WHEN c.oid IS NULL THEN has_schema_privilege(n.oid, 'CREATE') AND has_schema_privilege(n.oid, 'USAGE')
           ELSE pg_has_role(o.oid, 'USAGE')
       END
FROM pg_namespace AS n
LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = 'tasks'
JOIN pg_roles AS o ON o.oid = coalesce(c.relowner, n.nspowner)
WHERE n.nspname = 'taskfeed'`

// sqlUsed returns the GRANTs that are missing on functions and views of Postgres which
// the product uses by name and which hardening guides revoke from PUBLIC. A test of
// store finds those that are missing here. Functions of one name are granted together.
const sqlUsed = `
SELECT format('GRANT EXECUTE ON FUNCTION pg_catalog.%s TO %I', p.oid::regprocedure, current_user)
FROM pg_proc AS p
WHERE p.pronamespace = 'pg_catalog'::regnamespace
  AND p.proname = ANY (ARRAY[{functions}])
  AND NOT has_function_privilege(p.oid, 'EXECUTE')
UNION ALL
SELECT format('GRANT SELECT ON pg_catalog.%I TO %I', c.relname, current_user)
FROM pg_class AS c
WHERE c.relnamespace = 'pg_catalog'::regnamespace
  AND c.relname = ANY (ARRAY[{relations}])
  AND NOT has_table_privilege(c.oid, 'SELECT')
ORDER BY 1`

// usedFunctions and usedRelations fill sqlUsed.
var (
	usedFunctions = []string{
		"acldefault", "aclexplode", "array_to_string", "col_description", "current_setting", "currval", "format_type", "has_database_privilege",
		"has_function_privilege", "has_schema_privilege", "has_table_privilege", "nextval", "obj_description", "pg_advisory_lock",
		"pg_advisory_lock_shared", "pg_advisory_unlock", "pg_advisory_unlock_shared", "pg_advisory_xact_lock", "pg_column_compression",
		"pg_column_size", "pg_control_system", "pg_current_snapshot", "pg_current_wal_lsn", "pg_current_xact_id", "pg_get_constraintdef",
		"pg_get_expr", "pg_get_functiondef", "pg_get_indexdef", "pg_get_publication_tables", "pg_get_ruledef", "pg_get_partkeydef",
		"pg_get_triggerdef", "pg_has_role", "pg_lock_status", "pg_notification_queue_usage", "pg_notify", "pg_partition_root", "pg_prepared_xact", "pg_relation_size", "pg_show_all_settings",
		"pg_snapshot_in", "pg_snapshot_xip", "pg_snapshot_xmax", "pg_stat_get_activity", "pg_terminate_backend", "pg_try_advisory_lock",
		"pg_try_advisory_xact_lock", "pg_try_advisory_xact_lock_shared", "pg_visible_in_snapshot", "pg_walfile_name", "row_security_active",
		"set_config", "setval", "to_regclass", "to_regprocedure", "to_regnamespace",
	}
	usedRelations = []string{
		"pg_attrdef", "pg_attribute", "pg_class", "pg_constraint", "pg_database", "pg_db_role_setting", "pg_default_acl", "pg_description", "pg_index", "pg_inherits",
		"pg_locks", "pg_namespace", "pg_prepared_xacts", "pg_proc", "pg_publication", "pg_publication_rel", "pg_publication_tables", "pg_rewrite",
		"pg_roles", "pg_sequence", "pg_settings", "pg_stat_activity", "pg_tables", "pg_trigger", "pg_type",
	}
)

// checkRole refuses a role that may not use the functions and views of Postgres that we
// need, or may not create and drop partitions of the log.
func checkRole(ctx context.Context, db *sql.DB) error {
	if err := checkGrants(ctx, db); err != nil {
		return err
	}
	var e RoleError
	var ok bool
	switch err := db.QueryRowContext(ctx, sqlRole).Scan(&e.Role, &e.Owner, &ok); {
	case errors.Is(err, sql.ErrNoRows) || err == nil && ok:
		return nil
	case err != nil:
		return fmt.Errorf("read who owns schema taskfeed: %w", err)
	}
	return &e
}

func checkGrants(ctx context.Context, db *sql.DB) error {
	statement := strings.NewReplacer("{functions}", literals(usedFunctions), "{relations}", literals(usedRelations)).Replace(sqlUsed)
	rows, err := db.QueryContext(ctx, statement)
	if err != nil {
		return denied(ctx, db, err)
	}
	defer rows.Close()
	var e GrantError
	for rows.Next() {
		var grant string
		if err := rows.Scan(&grant); err != nil {
			return denied(ctx, db, err)
		}
		e.Grants = append(e.Grants, grant)
	}
	if err := rows.Err(); err != nil {
		return denied(ctx, db, err)
	}
	if len(e.Grants) > 0 {
		return &e
	}
	return nil
}

// denied returns a GrantError when the query for the rights itself failed because a
// right is missing.
func denied(ctx context.Context, db *sql.DB, err error) error {
	const insufficientPrivilege = "42501"
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	var role string
	if !ok || pgErr.Code != insufficientPrivilege || db.QueryRowContext(ctx, "SELECT current_user").Scan(&role) != nil {
		return fmt.Errorf("read what the role may use: %w", err)
	}
	role = pgx.Identifier{role}.Sanitize()
	return &GrantError{[]string{
		"GRANT SELECT ON pg_catalog.pg_proc, pg_catalog.pg_class TO " + role,
		"GRANT EXECUTE ON FUNCTION pg_catalog.has_function_privilege(oid, text), pg_catalog.has_table_privilege(oid, text) TO " + role,
	}}
}

// literals writes names that need no quoting as SQL literals.
func literals(names []string) string { return "'" + strings.Join(names, "', '") + "'" }
