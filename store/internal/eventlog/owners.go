package eventlog

import "strings"

// Who may see all reads a task whoever it belongs or belonged to. The index that
// holds a task's events has them by owner, for a user's reads to pass nobody
// else's. So the owners are found first, in one step each and not in one for each
// event, and then each one's events are walked.

// OfTask holds a walk to one task, see pinned. Where the owner is held to a
// value too, a plain "=" will do for that: the order by the task is enough for no
// other index to have it.
const OfTask = `task_id = ANY (ARRAY[@task_id::text])`

// sqlOwners yields the owners of a task one after the other, and a null at last,
// whose events are not among those of an owner.
const sqlOwners = `
        WITH RECURSIVE owners AS (
            (SELECT user_id AS owner
            FROM taskfeed.events
            WHERE ` + OfTask + `
              AND user_id IS NOT NULL
            ORDER BY task_id, user_id
            LIMIT 1)
            UNION ALL
            SELECT (
                SELECT user_id
                FROM taskfeed.events
                WHERE ` + OfTask + `
                  AND user_id > owner
                ORDER BY task_id, user_id
                LIMIT 1)
            FROM owners
            WHERE owner IS NOT NULL)
        SELECT owner
        FROM owners`

const sqlOfEachOwner = `
    (SELECT walked.*
    FROM (` + sqlOwners + `) AS owners
    CROSS JOIN LATERAL {walk} AS walked)`

// OfEachOwner returns the SQL of a walk once for each owner of a task. It may
// name the owner, and stands in brackets.
func OfEachOwner(walk string) string { return strings.ReplaceAll(sqlOfEachOwner, "{walk}", walk) }
