// Package locks defines the advisory locks by which servers agree, and finds other
// sessions that hold one.
//
// Every session of a database may take advisory locks: Postgres has no privilege for
// them. So a session that is not a server can keep servers from leading, following or
// migrating, by mistake or on purpose. It can be found: pg_locks shows it, and its
// role is not a member of the schema's owner. Only a session of the owner could pass
// for a server, and that could do anything else too.
package locks

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The locks. Each is two integers, a class and the lock's number. Capture
// (migrations/00002_capture.sql) uses the doorbell's too.
const (
	Doorbell  = "1952543595, 1" // exclusive while the sequencer sleeps, shared by writers while it does not
	Leader    = "1952543595, 2" // held by the sequencer's session
	Followers = "1952543595, 3" // shared by the sessions that follow the log
	Migration = "1952543595, 4" // held while the database is migrated
	Engine    = "1952543595, 5" // shared by the sessions of servers that reach the engine of gateways
)

// Names (application_name) of the sessions that may hold the locks.
const (
	Listener  = "taskfeed listener"
	Migrating = "taskfeed migrations"
)

var names = map[int]string{1: "doorbell", 2: "leader", 3: "followers", 4: "migration", 5: "engine"}

// Names returns the names of the locks in the order of their numbers.
func Names() []string { return []string{names[1], names[2], names[3], names[4], names[5]} }

// Query selects the sessions that hold or wait for one of the locks in this database,
// except the session that asks; see Holder.Targets. A writer shares the doorbell's
// lock until the end of its transaction, which has a transaction id by then. There may
// be any number of writers, so they come last, after the leader, those that reach the
// engine, and intruders. A prepared transaction has no session. All of it comes from one
// look at pg_locks: in a second one, the transaction of a busy writer would have ended.
const Query = `
WITH held AS MATERIALIZED (
    SELECT *
    FROM pg_catalog.pg_locks
    WHERE locktype IN ('advisory', 'transactionid'))
SELECT l.objid::int, coalesce(l.pid, 0), coalesce(a.usename::text, p.owner::text, ''), coalesce(a.application_name, ''), coalesce(p.gid, ''),
    l.granted, CASE WHEN l.objid = 1 AND l.mode = 'ShareLock' AND l.granted THEN coalesce(l.virtualtransaction, '') ELSE '' END, coalesce(CASE
        WHEN l.objid = 1 AND l.mode = 'ShareLock' AND l.granted THEN l.pid IS NULL OR EXISTS (
            SELECT
            FROM held AS t
            WHERE t.pid = l.pid
              AND t.locktype = 'transactionid'
              AND t.mode = 'ExclusiveLock'
              AND t.granted)
        ELSE a.application_name = CASE l.objid WHEN 4 THEN '` + Migrating + `' ELSE '` + Listener + `' END
            AND pg_catalog.pg_has_role(a.usesysid, coalesce(
                (SELECT c.relowner
                FROM pg_catalog.pg_class AS c
                JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                WHERE n.nspname = 'taskfeed' AND c.relname = 'changes'),
                (SELECT n.nspowner FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'taskfeed'),
                (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user)), 'MEMBER')
    END, false)
FROM held AS l
LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
LEFT JOIN held AS x ON l.pid IS NULL AND x.pid IS NULL AND x.virtualtransaction = l.virtualtransaction AND x.locktype = 'transactionid'
LEFT JOIN pg_catalog.pg_prepared_xacts AS p ON p.transaction = x.transactionid
WHERE l.locktype = 'advisory'
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
  AND l.classid = 1952543595
  AND l.objsubid = 2
  AND l.objid BETWEEN 1 AND 5
  AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
ORDER BY l.objid IN (2, 5) AND l.granted DESC, 8, l.objid, l.pid
LIMIT 1000`

// End ends the session of the process $1. That needs the privileges of the session's
// role or pg_signal_backend, and for a superuser's session a superuser.
const End = `SELECT pg_catalog.pg_terminate_backend($1::int)`

// Holder is a session or prepared transaction that holds a lock or waits for it.
type Holder struct {
	Lock        string // doorbell, leader, followers, migration or engine
	PID         int    // 0: a prepared transaction
	Role        string
	Application string // application_name
	Prepared    string // the name of a prepared transaction
	Has         bool   // holds the lock; otherwise it waits for it
	Transaction string // of a session that shares the doorbell's lock, as writers do: it is another one in each look
	Ours        bool   // a server, or for the doorbell an app's transaction

	number int
}

// Targets returns the destinations for scanning a row of Query. After that, Named
// completes the holder.
func (h *Holder) Targets() []any {
	return []any{&h.number, &h.PID, &h.Role, &h.Application, &h.Prepared, &h.Has, &h.Transaction, &h.Ours}
}

// Named returns the holder with the name of its lock.
func (h Holder) Named() Holder {
	h.Lock = names[h.number]
	return h
}

// Intruders returns the holders that are not Ours.
func Intruders(all []Holder) []Holder {
	var found []Holder
	for _, h := range all {
		if !h.Ours {
			found = append(found, h)
		}
	}
	return found
}

// Seen is what a look at the locks, or two in a row, have shown.
type Seen struct {
	Led       bool    // a server leads
	Engine    bool    // another server than the one that looks reaches the engine
	Intruders []Found // of two looks in a row
}

// Led reports whether a server leads.
func Led(all []Holder) bool { return held(all, "leader") }

// ReachEngine reports whether a server reaches the engine.
func ReachEngine(all []Holder) bool { return held(all, "engine") }

// held reports whether a server holds a lock.
func held(all []Holder, lock string) bool {
	return slices.ContainsFunc(all, func(h Holder) bool { return h.Lock == lock && h.Has && h.Ours })
}

// String says who the holder is and how to end it.
func (h Holder) String() string {
	has := "holds"
	if !h.Has {
		has = "waits for"
	}
	if h.PID == 0 {
		return fmt.Sprintf("a prepared transaction of the role %q %s taskfeed's %s lock: ROLLBACK PREPARED %s", h.Role, has, h.Lock, literal(h.Prepared))
	}
	return fmt.Sprintf("session %d of the role %q (application_name %q) is not a taskfeed server and %s taskfeed's %s lock: end it with SELECT pg_terminate_backend(%d), and see SECURITY.md",
		h.PID, h.Role, h.Application, has, h.Lock, h.PID)
}

// literal returns a text as an SQL literal of printable characters, which can be
// pasted. A stranger may have chosen the text.
func literal(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	b := []byte("E'")
	for _, r := range s {
		switch {
		case r == '\'' || r == '\\':
			b = append(b, byte(r), byte(r))
		case unicode.IsPrint(r):
			b = utf8.AppendRune(b, r)
		default:
			b = fmt.Appendf(b, `\U%08X`, r)
		}
	}
	return string(append(b, '\''))
}

// Watch finds the intruders that two looks in a row have seen: a look may see a writer
// after the end of its transaction, before its lock is released. A writer that is seen so
// twice was in two transactions, and so is another holder each time. The zero value has
// seen nobody.
type Watch struct {
	since map[Holder]time.Time
}

// Found is an intruder that two looks have seen.
type Found struct {
	Holder
	Since time.Time // of the first look that saw it
}

// Note takes the holders of a look and returns the intruders that the look before had
// seen too.
func (w *Watch) Note(all []Holder, now time.Time) []Found {
	seen := make(map[Holder]time.Time)
	var found []Found
	for _, h := range Intruders(all) {
		if since, again := w.since[h]; again {
			seen[h] = since
			found = append(found, Found{h, since})
		} else {
			seen[h] = now
		}
	}
	w.since = seen
	return found
}
