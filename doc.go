// Package taskfeed has the basic types of taskfeed, a service that turns committed
// changes of rows in a Postgres table into notifications that no user misses.
//
// An app changes a row of taskfeed.tasks in plain SQL. A trigger writes a
// change beside it, in the app's own transaction. One server, the sequencer,
// moves committed changes into the log and numbers them: they are now events.
// The hub hands each event to the connections of the user who owns the task,
// over WebSocket or SSE, live or on reconnect.
//
//	app ── UPDATE ──▶ tasks ──trigger──▶ changes ──sequencer──▶ events ──▶ hub ──▶ user
//
// # Where to look
//
//   - migrations: the schema and the capture triggers.
//   - store: the log and the session, among them the move from changes to events.
//   - store/history: lists, timelines and statistics.
//   - listener: leadership, the doorbell, the sequencing loop, following.
//   - hub: who is connected, what they have seen, fan-out.
//   - auth: tokens in, a Principal out.
//   - httpapi: WebSocket, SSE, REST, health and metrics.
//   - client: the Go client.
//   - server: all of that as one server, for Go programs.
//   - cmd/taskfeed: configuration and commands.
//
// # What an event promises
//
// Events have a global, increasing ID, and every client, server and replay shows them in
// that order. An event is on disk before a client sees it. A client that connects with
// the last ID it handled as its [Cursor] gets every event that it missed, each once, or a
// feed_reset frame when the log no longer keeps them.
//
// The order of two concurrent transactions that did not see each other is not promised,
// but it never changes. TRUNCATE makes no events.
//
// This package imports only the standard library.
package taskfeed
