package eventlog

import "github.com/taskfeed/taskfeed/store/internal/walk"

// A principal who may see everything reads a task whoever owns or owned it. The index
// of a task's events has them by owner, so that the reads of one user do not pass the
// events of others. So the owners are found first, with one step for each of them and
// not for each event, and then the events of each owner are walked.

// ofTask holds a walk to one task. Beside it a plain "=" will do for the owner: no
// other index has the order by task.
var ofTask = walk.Pinned("task_id", "@task_id")

// sqlOwners yields the owners of a task one after the other, and a null at the end,
// which no walk of an owner matches.
var sqlOwners = `WITH RECURSIVE owners AS (
    (SELECT user_id AS owner
    FROM taskfeed.events
    WHERE ` + ofTask + `
      AND user_id IS NOT NULL
    ORDER BY task_id, user_id
    LIMIT 1)
    UNION ALL
    SELECT (
        SELECT user_id
        FROM taskfeed.events
        WHERE ` + ofTask + `
          AND user_id > owner
        ORDER BY task_id, user_id
        LIMIT 1)
    FROM owners
    WHERE owner IS NOT NULL)
SELECT owner
FROM owners`

// forEachOwner repeats a walk, which may name the owner, for each owner of a task.
var forEachOwner = walk.ForEach(`(
` + walk.Indent(1, sqlOwners) + `) AS owners`)
