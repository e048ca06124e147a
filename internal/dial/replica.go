package dial

// SetsReplica is a condition on a row s of pg_db_role_setting: the setting makes new
// sessions play a replica, so that only triggers fire which are enabled ALWAYS.
const SetsReplica = `EXISTS (SELECT FROM unnest(s.setconfig) AS c WHERE lower(c) ~ '^session_replication_role=.?replica.?$')`
