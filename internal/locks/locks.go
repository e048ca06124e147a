// Package locks knows the advisory locks by which servers agree, and tells whoever
// else has one.
//
// Advisory locks belong to everybody who may connect to a database: Postgres has
// no right for them. So a session that is no server's can keep servers from
// leading, following or migrating, by mistake or not. It cannot hide: the view of
// locks names it, and its role is not one that may act as the schema's owner. An
// owner's session could pass itself off as a server's, as it could do anything
// else.
package locks

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The locks: two integers each, the class and what is locked. Capture
// (migrations/00002_capture.sql) has the doorbell's too.
const (
	Doorbell  = "1952543595, 1" // exclusive while the sequencer sleeps, shared by writers while it does not
	Leader    = "1952543595, 2" // held by the sequencer's session
	Followers = "1952543595, 3" // shared by the sessions that follow the log
	Migration = "1952543595, 4" // held by whoever migrates the database
)

// Names of sessions that may have the locks.
const (
	Listener  = "taskfeed listener"
	Migrating = "taskfeed migrations"
)

var names = map[int]string{1: "doorbell", 2: "leader", 3: "followers", 4: "migration"}

// Names are those of the locks, in the order of their numbers.
func Names() []string { return []string{names[1], names[2], names[3], names[4]} }

// Query selects who has one of our locks in this database, or waits for one, but
// for the session that asks; see Holder.Targets. Writers share the doorbell to the
// end of a transaction that has a number; there may be any number of them, so they
// come last, behind the leader and whoever is none of ours. A prepared transaction
// has no session. What another database locks is none of ours.
const Query = `
SELECT l.objid::int, coalesce(l.pid, 0), coalesce(a.usename::text, p.owner::text, ''), coalesce(a.application_name, ''), coalesce(p.gid, ''),
    l.granted, coalesce(CASE
        WHEN l.objid = 1 AND l.mode = 'ShareLock' AND l.granted THEN l.pid IS NULL OR EXISTS (
            SELECT
            FROM pg_catalog.pg_locks AS t
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
FROM pg_catalog.pg_locks AS l
LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
LEFT JOIN pg_catalog.pg_locks AS x ON l.pid IS NULL AND x.pid IS NULL AND x.virtualtransaction = l.virtualtransaction AND x.locktype = 'transactionid'
LEFT JOIN pg_catalog.pg_prepared_xacts AS p ON p.transaction = x.transactionid
WHERE l.locktype = 'advisory'
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
  AND l.classid = 1952543595
  AND l.objsubid = 2
  AND l.objid BETWEEN 1 AND 4
  AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
ORDER BY l.objid = 2 AND l.granted DESC, 7, l.objid, l.pid
LIMIT 1000`

// End ends a session: $1 is its process. It takes the rights of the session's role
// or pg_signal_backend, and those of a superuser for one of a superuser's.
const End = `SELECT pg_catalog.pg_terminate_backend($1::int)`

// Holder has a lock, or waits for it.
type Holder struct {
	Lock        string // its name: doorbell, leader, followers or migration
	PID         int    // 0: a prepared transaction
	Role        string
	Application string // as the session calls itself
	Prepared    string // the name of a prepared transaction
	Has         bool   // it waits otherwise
	Ours        bool   // a server's, or for the doorbell an app's in a transaction

	number int
}

// Targets are for scanning a row of Query; Named completes the holder then.
func (h *Holder) Targets() []any {
	return []any{&h.number, &h.PID, &h.Role, &h.Application, &h.Prepared, &h.Has, &h.Ours}
}

// Named returns the holder with the name of its lock.
func (h Holder) Named() Holder {
	h.Lock = names[h.number]
	return h
}

// Intruders are those that are not ours.
func Intruders(all []Holder) []Holder {
	var found []Holder
	for _, h := range all {
		if !h.Ours {
			found = append(found, h)
		}
	}
	return found
}

// Led reports whether a server leads.
func Led(all []Holder) bool {
	for _, h := range all {
		if h.Lock == "leader" && h.Has && h.Ours {
			return true
		}
	}
	return false
}

// String says who it is and what to do about it.
func (h Holder) String() string {
	has := "has"
	if !h.Has {
		has = "waits for"
	}
	if h.PID == 0 {
		return fmt.Sprintf("a prepared transaction of the role %q %s taskfeed's %s lock: ROLLBACK PREPARED %s", h.Role, has, h.Lock, literal(h.Prepared))
	}
	return fmt.Sprintf("the session %d of the role %q, which calls itself %q and is no server's, %s taskfeed's %s lock: end it with SELECT pg_terminate_backend(%d), and see SECURITY.md",
		h.PID, h.Role, h.Application, has, h.Lock, h.PID)
}

// literal writes a text as SQL that can be printed and pasted, whatever is in it: a
// stranger has chosen it.
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

// Watch remembers who was found before: one look may catch a writer between the
// end of its transaction and that of its locks. The zero value has found nobody.
type Watch struct {
	since map[Holder]time.Time
}

// Found is an intruder that more than one look has found.
type Found struct {
	Holder
	Since time.Time // of the first look that found it
}

// Note takes note of what a look found and returns the intruders that the one
// before had found too.
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
