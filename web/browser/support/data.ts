import type { Server } from "./server.js";

/** Sample data: a few tasks of two users, one in each status, one of them with several events. */
export async function seed(server: Server): Promise<void> {
  await server.sql(`
    INSERT INTO taskfeed.tasks (id, user_id, kind, message) VALUES
      ('export-orders', 'alice', 'export', NULL), ('render-intro', 'alice', 'render', NULL), ('import-crm', 'alice', 'import', NULL),
      ('export-invoices', 'bob', 'export', NULL), ('summary-q3', 'bob', 'summary', 'waiting for a worker'), ('render-outro', 'bob', 'render', NULL);
    UPDATE taskfeed.tasks SET status = 'running', message = 'collecting rows' WHERE id IN ('export-orders', 'render-intro', 'import-crm', 'export-invoices');
    UPDATE taskfeed.tasks SET progress = 18, message = 'reading customers' WHERE id = 'import-crm';
    UPDATE taskfeed.tasks SET progress = 34, message = 'ray tracing' WHERE id = 'render-intro';
    UPDATE taskfeed.tasks SET status = 'canceled' WHERE id = 'render-outro';`);
  for (const progress of [12, 30, 47, 63, 81, 96]) {
    await server.sql(`UPDATE taskfeed.tasks SET progress = ${progress}, message = 'writing part ${progress}' WHERE id = 'export-orders'`);
  }
  await server.sql(`
    CREATE SCHEMA app; CREATE TABLE app.exports (id bigint PRIMARY KEY, owner_id text, state text);
    SELECT taskfeed.attach('app.exports', 'exports', '{"map": {"pending": "queued", "done": "completed"}}');
    INSERT INTO app.exports VALUES (1, 'alice', 'paused');`); // a state that makes no task
  await server.sql(`
    UPDATE taskfeed.tasks SET status = 'completed', progress = 100, message = NULL,
      result = '{"rows": 48211, "file": {"name": "orders.csv", "bytes": 7340032}, "warnings": ["2 rows without a customer"]}' WHERE id = 'export-orders';
    UPDATE taskfeed.tasks SET status = 'failed', progress = 62, error = 'the disk is full: free some space and start again' WHERE id = 'export-invoices';`);
}
