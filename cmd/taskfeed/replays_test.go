package main

// replay is what a library does to its table in the life of some jobs of alice, and
// what she must see of it. Tables have the names, columns and types of the library,
// as far as its statements below use them.
type replay struct {
	preset, attach string
	tables         string
	steps          []string
	want           []string
}

var replays = []replay{
	{
		preset: "oban", attach: `--user meta->>'user_id' --with error,message`,
		tables: `
			CREATE TYPE oban_job_state AS ENUM ('available', 'scheduled', 'executing', 'retryable', 'completed', 'discarded', 'cancelled', 'suspended');
			CREATE TABLE oban_jobs (id bigserial PRIMARY KEY, state oban_job_state NOT NULL DEFAULT 'available', queue text NOT NULL DEFAULT 'default', worker text NOT NULL,
				args jsonb NOT NULL DEFAULT '{}', meta jsonb DEFAULT '{}', tags text[] DEFAULT '{}', errors jsonb[] NOT NULL DEFAULT '{}', attempt int NOT NULL DEFAULT 0,
				max_attempts int NOT NULL DEFAULT 20, inserted_at timestamp NOT NULL DEFAULT timezone('UTC', now()), attempted_at timestamp, completed_at timestamp);
			COMMENT ON TABLE oban_jobs IS '14'`,
		steps: []string{
			`INSERT INTO oban_jobs (worker, meta) SELECT 'App.Export', jsonb_build_object('user_id', u) FROM unnest('{alice,alice,alice,bob}'::text[]) AS u ON CONFLICT DO NOTHING RETURNING id`,
			`UPDATE oban_jobs AS o SET state = 'executing', attempted_at = timezone('UTC', now()), attempt = attempt + 1
				FROM (SELECT id FROM oban_jobs WHERE state = 'available' ORDER BY id LIMIT 3 FOR UPDATE SKIP LOCKED) AS c WHERE o.id = c.id`,
			`UPDATE oban_jobs SET meta = meta || '{"progress": 40, "message": "rows"}' WHERE id = 1`,
			`UPDATE oban_jobs SET tags = '{seen}' WHERE id = 1`,
			`UPDATE oban_jobs SET state = 'completed', completed_at = timezone('UTC', now()) WHERE id = 1`,
			`UPDATE oban_jobs SET state = 'retryable', errors = array_append(errors, '{"attempt": 1, "error": "first"}') WHERE id = 2`,
			`UPDATE oban_jobs SET state = 'available' WHERE state = 'retryable'`,
			`UPDATE oban_jobs SET state = 'executing' WHERE id = 2`,
			`UPDATE oban_jobs SET state = 'discarded', errors = array_append(errors, jsonb_build_object('attempt', 2, 'error', E'** (RuntimeError) no disk\n    lib/app.ex:12: App.Export.perform/1')) WHERE id = 2`,
			`UPDATE oban_jobs SET state = 'cancelled' WHERE id IN (SELECT id FROM oban_jobs WHERE id = 3 FOR UPDATE)`,
			`DELETE FROM oban_jobs AS o USING (SELECT id FROM oban_jobs WHERE state IN ('completed', 'cancelled', 'discarded') LIMIT 10000) AS d WHERE o.id = d.id`,
		},
		want: []string{"task_queued oban:1", "task_queued oban:2", "task_queued oban:3", "task_started oban:1", "task_started oban:2", "task_started oban:3",
			`task_progress oban:1 40 "rows"`, `task_completed oban:1 40 "rows"`, "task_queued oban:2", "task_started oban:2",
			`task_failed oban:2 "** (RuntimeError) no disk"`, "task_canceled oban:3"},
	},
	{ // without partitions; the web tests run pg-boss itself
		preset: "pg-boss", attach: `--user data->>'userId' --with error,result`,
		tables: `
			CREATE SCHEMA pgboss;
			CREATE TYPE pgboss.job_state AS ENUM ('created', 'retry', 'active', 'completed', 'cancelled', 'failed');
			CREATE TABLE pgboss.version (version int PRIMARY KEY, cron_on timestamptz);
			INSERT INTO pgboss.version VALUES (37);
			CREATE TABLE pgboss.job (id uuid NOT NULL DEFAULT gen_random_uuid(), name text NOT NULL, data jsonb, state pgboss.job_state NOT NULL DEFAULT 'created',
				singleton_key text, retry_count int NOT NULL DEFAULT 0, created_on timestamptz NOT NULL DEFAULT now(), started_on timestamptz, completed_on timestamptz,
				heartbeat_on timestamptz, output jsonb, source_id uuid, PRIMARY KEY (name, id)) PARTITION BY LIST (name);
			CREATE TABLE pgboss.job_common PARTITION OF pgboss.job DEFAULT`,
		steps: []string{
			`INSERT INTO pgboss.job_common (id, name, data) SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'export', '{"userId": "alice"}' FROM json_to_recordset('[{"n": 1}, {"n": 2}, {"n": 3}]') AS j (n int)`,
			`INSERT INTO pgboss.job_common (name, data) VALUES ('__pgboss__send-it', '{"userId": "alice"}')`,
			`WITH next AS (SELECT name, id FROM pgboss.job_common WHERE state < 'active' AND name = 'export' ORDER BY id LIMIT 2 FOR UPDATE SKIP LOCKED)
				UPDATE pgboss.job_common AS j SET state = 'active', started_on = now() FROM next WHERE j.name = next.name AND j.id = next.id`,
			`UPDATE pgboss.job_common SET heartbeat_on = now() WHERE state = 'active'`,
			`WITH gone AS (DELETE FROM pgboss.job_common WHERE id::text LIKE '%2' RETURNING *)
				INSERT INTO pgboss.job_common (id, name, data, state, output) SELECT id, name, data, 'retry', '{"message": "again"}' FROM gone`,
			`UPDATE pgboss.job_common SET state = 'active' WHERE state = 'retry'`,
			`WITH gone AS (DELETE FROM pgboss.job_common WHERE id::text LIKE '%2' RETURNING *),
				failed AS (INSERT INTO pgboss.job_common (id, name, data, state, output) SELECT id, name, data, 'failed', '{"value": {"message": "job timed out"}}' FROM gone RETURNING *)
				INSERT INTO pgboss.job_common (name, data, source_id) SELECT 'dead', data, id FROM failed`,
			`UPDATE pgboss.job_common SET state = 'completed', completed_on = now(), output = '{"rows": 5}' WHERE id::text LIKE '%1' AND state = 'active'`,
			`UPDATE pgboss.job_common SET state = 'cancelled' WHERE id::text LIKE '%3' AND name = 'export'`,
			`CREATE TABLE pgboss.j1 (LIKE pgboss.job INCLUDING DEFAULTS); ALTER TABLE pgboss.j1 ADD PRIMARY KEY (name, id);
				ALTER TABLE pgboss.job ATTACH PARTITION pgboss.j1 FOR VALUES IN ('import'); INSERT INTO pgboss.j1 (id, name, data) VALUES ('00000000-0000-0000-0000-000000000009', 'import', '{"userId": "alice"}')`,
			`DELETE FROM pgboss.job WHERE name = 'import'`,
			`DELETE FROM pgboss.job_common WHERE state > 'active'`,
		},
		want: []string{"task_queued …1", "task_queued …2", "task_queued …3", "task_started …1", "task_started …2", "task_queued …2", "task_started …2",
			`task_failed …2 "job timed out"`, `task_completed …1 {"rows":5}`, "task_canceled …3", "task_queued …9", "task_canceled …9"},
	},
	{
		preset: "good_job", attach: `--user serialized_params#>>'{arguments,0,user_id}' --with error`,
		tables: `
			CREATE TABLE good_jobs (id uuid PRIMARY KEY, queue_name text, priority int, serialized_params jsonb, job_class text, scheduled_at timestamp, performed_at timestamp,
				finished_at timestamp, error text, error_event smallint, cron_key text, created_at timestamp NOT NULL DEFAULT timezone('UTC', now()), locked_by_id uuid, locked_at timestamptz)`,
		steps: []string{
			`INSERT INTO good_jobs (id, job_class, serialized_params) SELECT ('10000000-0000-0000-0000-00000000000' || n)::uuid, 'ExportJob', '{"arguments": [{"user_id": "alice"}]}' FROM generate_series(1, 3) AS n`,
			`UPDATE good_jobs SET locked_by_id = gen_random_uuid(), locked_at = now()`,
			`UPDATE good_jobs SET performed_at = timezone('UTC', now()) WHERE id::text LIKE '%1'`,
			`UPDATE good_jobs SET finished_at = timezone('UTC', now()) WHERE id::text LIKE '%1'`,
			`UPDATE good_jobs SET performed_at = timezone('UTC', now()) WHERE id::text LIKE '%2'`,
			`UPDATE good_jobs SET performed_at = NULL, scheduled_at = timezone('UTC', now()) WHERE id::text LIKE '%2'`,
			`UPDATE good_jobs SET error = 'Timeout: slow', error_event = 3 WHERE id::text LIKE '%2'`,
			`UPDATE good_jobs SET performed_at = timezone('UTC', now()) WHERE id::text LIKE '%2'`,
			`UPDATE good_jobs SET finished_at = timezone('UTC', now()), error = 'NoDisk: no disk', error_event = 1 WHERE id::text LIKE '%2'`,
			`UPDATE good_jobs SET locked_by_id = NULL, locked_at = NULL`,
			`UPDATE good_jobs SET performed_at = timezone('UTC', now()) WHERE id::text LIKE '%3'`,
			`DELETE FROM good_jobs WHERE id::text LIKE '%3'`, // jobs that succeed are not preserved
			`DELETE FROM good_jobs WHERE id IN (SELECT id FROM good_jobs WHERE finished_at IS NOT NULL LIMIT 1000)`,
		},
		want: []string{"task_queued …1", "task_queued …2", "task_queued …3", "task_started …1", "task_completed …1", "task_started …2", "task_queued …2", "task_started …2",
			`task_failed …2 "NoDisk: no disk"`, "task_started …3", "task_completed …3"},
	},
	{
		preset: "graphile-worker", attach: `--user payload->>'user_id' --with error,kind`,
		tables: `
			CREATE SCHEMA graphile_worker;
			CREATE TABLE graphile_worker.migrations (id int PRIMARY KEY, ts timestamptz DEFAULT now());
			INSERT INTO graphile_worker.migrations VALUES (18);
			CREATE TABLE graphile_worker._private_tasks (id int PRIMARY KEY, identifier text NOT NULL UNIQUE);
			INSERT INTO graphile_worker._private_tasks VALUES (1, 'send_mail');
			ALTER TABLE graphile_worker._private_tasks ENABLE ROW LEVEL SECURITY;
			CREATE TABLE graphile_worker._private_jobs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, task_id int NOT NULL DEFAULT 1, payload json NOT NULL DEFAULT '{}', attempts smallint NOT NULL DEFAULT 0,
				max_attempts smallint NOT NULL DEFAULT 25, last_error text, created_at timestamptz NOT NULL DEFAULT now(), run_at timestamptz NOT NULL DEFAULT now(), locked_at timestamptz, locked_by text,
				key text UNIQUE, revision int NOT NULL DEFAULT 0, flags jsonb);
			ALTER TABLE graphile_worker._private_jobs ENABLE ROW LEVEL SECURITY`,
		steps: []string{
			`INSERT INTO graphile_worker._private_jobs (payload, max_attempts, key) SELECT '{"user_id": "alice"}', 2, 'k' || n FROM generate_series(1, 4) AS n`,
			`INSERT INTO graphile_worker._private_jobs AS jobs (payload, key) VALUES ('{"user_id": "alice"}', 'k1') ON CONFLICT (key) DO UPDATE SET payload = excluded.payload, attempts = 0, revision = jobs.revision + 1`,
			`UPDATE graphile_worker._private_jobs AS jobs SET attempts = jobs.attempts + 1, locked_by = 'w', locked_at = now()
				FROM (SELECT id FROM graphile_worker._private_jobs WHERE locked_at IS NULL ORDER BY id LIMIT 3 FOR UPDATE SKIP LOCKED) AS j WHERE j.id = jobs.id`,
			`DELETE FROM graphile_worker._private_jobs AS jobs USING unnest('{1}'::bigint[]) AS n WHERE jobs.id = n`,
			`UPDATE graphile_worker._private_jobs AS jobs SET last_error = f->>'message', run_at = now(), locked_by = NULL, locked_at = NULL FROM json_array_elements('[{"id": 2, "message": "first"}]') AS f WHERE (f->>'id')::bigint = jobs.id`,
			`UPDATE graphile_worker._private_jobs SET attempts = attempts + 1, locked_by = 'w', locked_at = now() WHERE id = 2`,
			`UPDATE graphile_worker._private_jobs SET last_error = 'no disk', locked_by = NULL, locked_at = NULL WHERE id = 2`,
			`DELETE FROM graphile_worker._private_jobs WHERE id = 4`,
			`DELETE FROM graphile_worker._private_jobs WHERE id = 2`,
		},
		want: []string{"task_queued graphile_worker:1", "task_queued graphile_worker:2", "task_queued graphile_worker:3", "task_queued graphile_worker:4",
			"task_started graphile_worker:1", "task_started graphile_worker:2", "task_started graphile_worker:3", "task_completed graphile_worker:1", "task_queued graphile_worker:2",
			"task_started graphile_worker:2", `task_failed graphile_worker:2 "no disk"`, "task_canceled graphile_worker:4"},
	},
	{
		preset: "procrastinate", attach: `--user args->>'user_id'`,
		tables: `
			CREATE TYPE procrastinate_job_status AS ENUM ('todo', 'doing', 'succeeded', 'failed', 'cancelled', 'aborting', 'aborted');
			CREATE TABLE procrastinate_jobs (id bigserial PRIMARY KEY, queue_name text NOT NULL DEFAULT 'default', task_name text NOT NULL, priority int NOT NULL DEFAULT 0, args jsonb NOT NULL DEFAULT '{}',
				status procrastinate_job_status NOT NULL DEFAULT 'todo', scheduled_at timestamptz, attempts int NOT NULL DEFAULT 0, abort_requested boolean NOT NULL DEFAULT false, worker_id bigint)`,
		steps: []string{
			`INSERT INTO procrastinate_jobs (task_name, args) SELECT 'export', '{"user_id": "alice"}' FROM unnest(ARRAY[1, 2, 3, 4]) AS n`,
			`UPDATE procrastinate_jobs SET status = 'doing', worker_id = 1 FROM (SELECT j.id FROM procrastinate_jobs AS j WHERE status = 'todo' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) AS c WHERE procrastinate_jobs.id = c.id`,
			`UPDATE procrastinate_jobs SET status = 'succeeded', attempts = attempts + 1 WHERE id = 1 AND status = 'doing'`,
			`UPDATE procrastinate_jobs SET status = 'doing' WHERE id = 2`,
			`UPDATE procrastinate_jobs SET status = 'todo', attempts = attempts + 1, scheduled_at = now() WHERE id = 2`,
			`UPDATE procrastinate_jobs SET status = 'doing' WHERE id = 2`,
			`UPDATE procrastinate_jobs SET abort_requested = true WHERE id = 2`,
			`UPDATE procrastinate_jobs SET status = 'aborted' WHERE id = 2`,
			`UPDATE procrastinate_jobs SET status = 'cancelled' WHERE id = 3 AND status = 'todo'`,
			`UPDATE procrastinate_jobs SET status = 'doing' WHERE id = 4`,
			`DELETE FROM procrastinate_jobs WHERE id = 4`, // delete_jobs = successful
		},
		want: []string{"task_queued procrastinate:1", "task_queued procrastinate:2", "task_queued procrastinate:3", "task_queued procrastinate:4", "task_started procrastinate:1", "task_completed procrastinate:1",
			"task_started procrastinate:2", "task_queued procrastinate:2", "task_started procrastinate:2", "task_canceled procrastinate:2", "task_canceled procrastinate:3",
			"task_started procrastinate:4", "task_completed procrastinate:4"},
	},
	{
		preset: "dbos",
		tables: `
			CREATE SCHEMA dbos;
			CREATE TABLE dbos.dbos_migrations (version bigint PRIMARY KEY);
			INSERT INTO dbos.dbos_migrations VALUES (47);
			CREATE TABLE dbos.workflow_status (workflow_uuid text PRIMARY KEY, status text, name text, authenticated_user text, output text, error text, executor_id text,
				created_at bigint NOT NULL DEFAULT (extract(epoch FROM now()) * 1000)::bigint, updated_at bigint NOT NULL DEFAULT (extract(epoch FROM now()) * 1000)::bigint,
				recovery_attempts bigint DEFAULT 0, parent_workflow_id text, attributes jsonb)`,
		steps: []string{
			`INSERT INTO dbos.workflow_status (workflow_uuid, status, name, authenticated_user) VALUES ('w1', 'PENDING', 'export', 'alice') ON CONFLICT (workflow_uuid) DO UPDATE SET updated_at = 1`,
			`INSERT INTO dbos.workflow_status (workflow_uuid, status, name, authenticated_user) VALUES ('w1', 'PENDING', 'export', 'alice') ON CONFLICT (workflow_uuid) DO UPDATE SET updated_at = 2`,
			`INSERT INTO dbos.workflow_status (workflow_uuid, status, name, authenticated_user, parent_workflow_id) VALUES ('w1-1', 'PENDING', 'step', 'alice', 'w1')`,
			`UPDATE dbos.workflow_status SET attributes = '{"progress": 50}' WHERE workflow_uuid = 'w1'`,
			`UPDATE dbos.workflow_status SET status = 'SUCCESS', output = 'gASVAgAAAA==' WHERE workflow_uuid = 'w1'`,
			`INSERT INTO dbos.workflow_status (workflow_uuid, status, name, authenticated_user) SELECT 'w' || n, 'ENQUEUED', 'export', 'alice' FROM generate_series(2, 3) AS n`,
			`UPDATE dbos.workflow_status SET status = 'PENDING' WHERE workflow_uuid IN (SELECT workflow_uuid FROM dbos.workflow_status WHERE status = 'ENQUEUED' LIMIT 1 FOR UPDATE SKIP LOCKED)`,
			`UPDATE dbos.workflow_status SET status = 'MAX_RECOVERY_ATTEMPTS_EXCEEDED' WHERE status = 'PENDING' AND parent_workflow_id IS NULL`,
			`UPDATE dbos.workflow_status SET status = 'CANCELLED' WHERE workflow_uuid = 'w3'`,
			`DELETE FROM dbos.workflow_status WHERE status NOT IN ('PENDING', 'ENQUEUED')`,
		},
		want: []string{"task_started w1", "task_progress w1 50", "task_completed w1 50", "task_queued w2", "task_queued w3", "task_started w2", "task_failed w2", "task_canceled w3"},
	},
	{
		preset: "django-tasks-db", attach: `--user args_kwargs#>>'{kwargs,user_id}' --with error,result`,
		tables: `
			CREATE TABLE django_migrations (id bigserial PRIMARY KEY, app text NOT NULL, name text NOT NULL);
			INSERT INTO django_migrations (app, name) VALUES ('django_tasks_database', '0018_rename_succeeded_status'), ('auth', '0099_x');
			CREATE TABLE django_tasks_database_dbtaskresult (id uuid PRIMARY KEY, status varchar(10) NOT NULL, enqueued_at timestamptz NOT NULL DEFAULT now(), started_at timestamptz, finished_at timestamptz,
				args_kwargs jsonb NOT NULL, task_path text NOT NULL, return_value jsonb, exception_class_path text NOT NULL DEFAULT '', traceback text NOT NULL DEFAULT '')`,
		steps: []string{
			`INSERT INTO django_tasks_database_dbtaskresult (id, status, args_kwargs, task_path) SELECT ('20000000-0000-0000-0000-00000000000' || n)::uuid, 'READY', '{"args": [], "kwargs": {"user_id": "alice"}}', 'app.export' FROM generate_series(1, 2) AS n`,
			`UPDATE django_tasks_database_dbtaskresult SET status = 'RUNNING', started_at = now()`,
			`UPDATE django_tasks_database_dbtaskresult SET status = 'SUCCEEDED', return_value = '{"rows": 2}', finished_at = now() WHERE id::text LIKE '%1'`,
			`UPDATE django_tasks_database_dbtaskresult SET status = 'SUCCESSFUL' WHERE status = 'SUCCEEDED'`, // migration 0018
			`UPDATE django_tasks_database_dbtaskresult SET status = 'FAILED', exception_class_path = 'builtins.ValueError', traceback = 'Traceback', finished_at = now() WHERE id::text LIKE '%2'`,
			`DELETE FROM django_tasks_database_dbtaskresult WHERE finished_at IS NOT NULL`,
		},
		want: []string{"task_queued …1", "task_queued …2", "task_started …1", "task_started …2", `task_completed …1 {"rows":2}`, `task_failed …2 "builtins.ValueError"`},
	},
}
