package presets

// ifOpen is what the deletion of a row means for libraries that delete jobs which
// ended long ago, to clean up: these tasks stay. An open one was deleted by somebody.
var ifOpen = map[string]any{"queued": "canceled", "running": "canceled", "final": "keep"}

// success is what it means for libraries that delete a job when it succeeds.
var success = map[string]any{"queued": "canceled", "running": "completed", "final": "keep"}

const jobError = `r.errors[array_upper(r.errors, 1)]->>'error'`

// All lists the presets, by their names.
var All = []Preset{dbos, djangoTasksDB, goodJob, graphileWorker, oban, pgBoss, procrastinate, river}

var river = Preset{
	Name: "river", Library: "River", Schema: "public", Table: "river_job", Has: []string{"state", "args", "metadata", "errors"},
	Versions: Versions{Min: 2, Max: 8, Where: "river_migration", Table: "river_migration",
		Query: `SELECT max(m.version)::text FROM {schema}.river_migration AS m WHERE coalesce(to_jsonb(m)->>'line', 'main') = 'main'`},
	Owners: []string{"args->>'user_id'", "metadata->>'user_id'"},
	Notes: []string{
		"a snoozed job and one that waits for a retry are queued again",
		"River has no progress: set metadata.progress from 0 to 100, and metadata.message, by an UPDATE of river_job",
	},
	mapping: map[string]any{
		"status": "state", "kind": "kind", "created_at": "created_at", "progress": "r.metadata->'progress'", "on_delete": ifOpen,
		"map": map[string]any{"available": "queued", "scheduled": "queued", "pending": "queued", "retryable": "queued", "running": "running",
			"completed": "completed", "discarded": "failed", "cancelled": "canceled"},
	},
	with: map[string]any{
		"error":   `CASE WHEN r.state::text = 'discarded' THEN ` + jobError + ` END`,
		"result":  `CASE WHEN r.state::text = 'completed' THEN r.metadata->'output' END`,
		"message": `r.metadata->>'message'`,
	},
}

var oban = Preset{
	Name: "oban", Library: "Oban", Schema: "public", Table: "oban_jobs", Has: []string{"state", "args", "worker", "errors"}, Plain: true,
	Versions: Versions{Min: 10, Max: 14, Where: "the comment of oban_jobs", Query: `SELECT obj_description(@relation::oid, 'pg_class')`},
	Owners:   []string{"args->>'user_id'", "meta->>'user_id'"},
	Notes: []string{
		"a job that waits for a retry is queued again",
		"Oban has no progress: set meta.progress from 0 to 100, and meta.message, by Oban.update_job",
		"a table that Oban Pro partitions cannot be attached",
	},
	mapping: map[string]any{
		"status": "state", "kind": "worker", "created_at": "inserted_at", "timezone": "UTC", "progress": "r.meta->'progress'", "on_delete": ifOpen,
		"map": map[string]any{"available": "queued", "scheduled": "queued", "suspended": "queued", "retryable": "queued", "executing": "running",
			"completed": "completed", "discarded": "failed", "cancelled": "canceled"},
	},
	with: map[string]any{
		"error":   `CASE WHEN r.state::text IN ('discarded', 'cancelled') THEN ` + jobError + ` END`,
		"message": `r.meta->>'message'`,
	},
	needs: map[string]string{"progress": "meta"},
}

var pgBoss = Preset{
	Name: "pg-boss", Library: "pg-boss", Schema: "pgboss", Table: "job", Has: []string{"state", "data", "name", "output", "singleton_key"},
	Versions: Versions{Min: 21, Max: 46, Where: "the table version", Table: "version", Query: `SELECT max(v.version)::text FROM {schema}.version AS v`},
	Owners:   []string{"data->>'userId'", "data->>'user_id'"},
	Notes: []string{
		"a job that waits for a retry is queued again; a copy in a dead letter queue is a job of its own, unless pg-boss says whose copy it is (12 and newer)",
		"pg-boss has no progress",
		"not seen: deleteAllJobs and deleteQueue, which empty or drop a partition",
	},
	mapping: map[string]any{
		"id": "id", "status": "state", "kind": "name", "created_at": "created_on", "on_delete": ifOpen,
		"when": `left(r.name, 10) <> '__pgboss__' AND r.source_id IS NULL`,
		"map": map[string]any{"created": "queued", "retry": "queued", "active": "running", "completed": "completed", "cancelled": "canceled",
			"failed": "failed"},
	},
	with: map[string]any{
		"error":  `CASE WHEN r.state::text = 'failed' THEN coalesce(r.output->>'message', r.output#>>'{value,message}') END`,
		"result": `CASE WHEN r.state::text = 'completed' THEN r.output END`,
	},
	needs: map[string]string{"when": "source_id"},
	older: map[string]any{"when": `left(r.name, 10) <> '__pgboss__'`},
}

var goodJob = Preset{
	Name: "good_job", Library: "GoodJob", Schema: "public", Table: "good_jobs", Has: []string{"serialized_params", "finished_at", "performed_at", "error"},
	Versions: Versions{Min: 4, Max: 4, Where: "the columns of good_jobs", Query: `
SELECT CASE WHEN count(*) = 2 THEN '4' ELSE '3' END
FROM pg_attribute AS a
WHERE a.attrelid = @relation
  AND a.attname IN ('locked_by_id', 'locked_at')`},
	Owners: []string{"serialized_params#>>'{arguments,0,user_id}'", "substring(r.serialized_params#>>'{arguments,0,_aj_globalid}' FROM '[^/]+$')"},
	Notes: []string{
		"a job that waits for a retry is queued again; one that was discarded has failed",
		"GoodJob has no progress and keeps no results",
		"jobs of cron have no owner, as a rule; add --when \"r.cron_key IS NULL\" to leave them out",
		"Rails' schema.rb holds no triggers: attach again after db:schema:load",
	},
	mapping: map[string]any{
		"status": `CASE WHEN r.finished_at IS NOT NULL AND r.error IS NULL THEN 'completed' WHEN r.finished_at IS NOT NULL THEN 'failed'` +
			` WHEN r.performed_at IS NOT NULL THEN 'running' ELSE 'queued' END`,
		"kind": "job_class", "created_at": "created_at", "timezone": "UTC", "on_delete": success,
	},
	with:  map[string]any{"error": "error"},
	needs: map[string]string{"kind": "job_class"},
}

var graphileWorker = Preset{
	Name: "graphile-worker", Library: "Graphile Worker", Schema: "graphile_worker", Table: "_private_jobs", Has: []string{"payload", "locked_at", "attempts", "last_error"},
	Versions: Versions{Min: 16, Max: 20, Where: "the table migrations", Table: "migrations", Query: `SELECT max(m.id)::text FROM {schema}.migrations AS m`},
	Owners:   []string{"payload->>'user_id'", "payload->>'userId'"},
	Notes: []string{
		"a job that succeeds is deleted: its task is completed; one that was deleted before it ran is canceled",
		"Graphile Worker has no progress and keeps no results",
		"the kind of a task is the name of the source; --with kind finds the identifier of the job's task",
		"its tables have row security: the role of the schema taskfeed must own them or have BYPASSRLS to read the jobs that are there",
	},
	mapping: map[string]any{
		"status":     `CASE WHEN r.locked_at IS NOT NULL THEN 'running' WHEN r.attempts >= r.max_attempts AND r.last_error IS NOT NULL THEN 'failed' ELSE 'queued' END`,
		"created_at": "created_at", "on_delete": success,
	},
	with: map[string]any{
		"error": "last_error",
		"kind":  map[string]any{"via": "task_id", "from": "_private_tasks", "key": "id", "kind": "identifier"},
	},
}

var procrastinate = Preset{
	Name: "procrastinate", Library: "Procrastinate", Schema: "public", Table: "procrastinate_jobs", Has: []string{"status", "args", "task_name", "attempts"},
	Versions: Versions{Min: 3, Max: 3, Where: "the columns of procrastinate_jobs", Query: `
SELECT CASE WHEN count(*) = 1 THEN '3' ELSE '2' END
FROM pg_attribute AS a
WHERE a.attrelid = @relation
  AND a.attname = 'worker_id'`},
	Owners: []string{"args->>'user_id'"},
	Notes: []string{
		"a job that waits for a retry is queued again",
		"Procrastinate has no progress, no errors, no results and no times in its table",
		"with delete_jobs=\"always\" a job that fails is deleted like one that succeeds, and its task is completed: do not use it",
	},
	mapping: map[string]any{
		"status": "status", "kind": "task_name", "on_delete": success,
		"map": map[string]any{"todo": "queued", "doing": "running", "aborting": "running", "succeeded": "completed", "failed": "failed",
			"cancelled": "canceled", "aborted": "canceled"},
	},
}

var dbos = Preset{
	Name: "dbos", Library: "DBOS", Schema: "dbos", Table: "workflow_status", Has: []string{"workflow_uuid", "status", "authenticated_user"},
	Versions: Versions{Min: 1, Max: 47, Where: "dbos_migrations", Table: "dbos_migrations", Query: `SELECT max(m.version)::text FROM {schema}.dbos_migrations AS m`},
	Owners:   []string{"authenticated_user", "attributes->>'user_id'"},
	Notes: []string{
		"workflows that another workflow started are left out",
		"outputs and errors are serialized by the app and are left out; set attributes.progress from 0 to 100 for progress",
		"DBOS has a database of its own unless told otherwise: attach there, or give it the app's",
	},
	mapping: map[string]any{
		"id": "workflow_uuid", "user": "authenticated_user", "status": "status", "kind": "name", "created_at": "to_timestamp(r.created_at / 1000.0)",
		"when": "r.parent_workflow_id IS NULL", "progress": "r.attributes->'progress'", "on_delete": ifOpen,
		"map": map[string]any{"ENQUEUED": "queued", "DELAYED": "queued", "PENDING": "running", "SUCCESS": "completed", "ERROR": "failed",
			"MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed", "CANCELLED": "canceled"},
	},
	needs: map[string]string{"when": "parent_workflow_id", "progress": "attributes"},
}

var djangoTasksDB = Preset{
	Name: "django-tasks-db", Library: "django-tasks-db", Schema: "public", Table: "django_tasks_database_dbtaskresult", Has: []string{"status", "task_path", "args_kwargs"},
	Versions: Versions{Min: 11, Max: 21, Where: "django_migrations", Table: "django_migrations",
		Query: `SELECT max(left(m.name, 4)) FROM {schema}.django_migrations AS m WHERE m.app = 'django_tasks_database'`},
	Owners: []string{"args_kwargs#>>'{kwargs,user_id}'", "args_kwargs#>>'{args,0}'"},
	Notes: []string{
		"django-tasks-db has no progress, no retries and no way to cancel",
	},
	mapping: map[string]any{
		"status": "status", "kind": "task_path", "created_at": "enqueued_at",
		"map": map[string]any{"NEW": "queued", "READY": "queued", "RUNNING": "running", "COMPLETE": "completed", "SUCCEEDED": "completed",
			"SUCCESSFUL": "completed", "FAILED": "failed"},
	},
	with: map[string]any{
		"error":  `nullif(r.exception_class_path, '')`,
		"result": `CASE WHEN r.status <> 'FAILED' THEN r.return_value END`,
	},
	needs: map[string]string{"created_at": "enqueued_at"},
}
