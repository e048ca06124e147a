package check

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/taskfeed/taskfeed/lab/verify/history"
)

// play makes the history of an attached table of lines, each a commit:
//
//	mark attached
//	put 1 ann working 10 n1          a row is written: id, customer, state, done of 100, note
//	del 1                            it is deleted
//	again 1 ann error 10 n2          it is deleted and inserted again
//	told ann started 1@2 10 n1       an event: user, status or progress, task, progress, message
//	told ann deleted 1@3
//	task ann running 1@2 10 n1       the task that is listed: owner, status, task, progress, message
//	reset ann
//	fork                             commits since "lost" are lost
type play struct {
	h    *history.History
	rows map[string]bool
	ids  int
	lsn  uint64
	lost uint64 // position after which commits are lost
}

func played(t *testing.T, lines string) *history.History {
	p := &play{h: &history.History{Header: history.Header{Format: 1, Marker: "m", Truth: "slot"}}, rows: make(map[string]bool)}
	for line := range strings.Lines(lines) {
		if words := strings.Fields(line); len(words) > 0 {
			p.line(t, words)
		}
	}
	return p.h
}

func (p *play) commit(rows ...history.Row) {
	p.lsn++
	p.h.Truth = append(p.h.Truth, history.Truth{Commit: &history.Commit{LSN: p.lsn, XID: uint32(p.lsn), Rows: rows}})
}

func (p *play) line(t *testing.T, words []string) {
	switch do := words[0]; do {
	case "mark":
		p.commit(columns("marks", "INSERT", "mark", words[1]))
	case "put", "again":
		change := map[bool]string{true: "UPDATE", false: "INSERT"}[p.rows[words[1]] && do == "put"]
		customer := words[2]
		row := columns("jobs", change, "id", words[1], "customer", customer, "state", words[3], "done", words[4], "total", "100", "note", words[5])
		if customer == "nobody" {
			row.Columns["customer"] = nil
		}
		p.rows[words[1]] = true
		if do == "again" {
			p.commit(columns("jobs", "DELETE", "id", words[1]), row)
		} else {
			p.commit(row)
		}
	case "del":
		delete(p.rows, words[1])
		p.commit(columns("jobs", "DELETE", "id", words[1]))
	case "told":
		task, version, _ := strings.Cut(words[3], "@")
		p.event(t, words[1], "jobs:"+task, "task_"+words[2], version, data(words))
	case "task":
		id, version, _ := strings.Cut(words[3], "@")
		p.commit(columns("tasks", "INSERT", "id", "jobs:"+id, "source", "jobs", "user_id", words[1], "status", words[2], "progress", words[4], "message", words[5], "version", version))
	case "reset":
		p.event(t, words[1], "", "feed_reset", "", map[string]any{"reason": "source_broken", "source": "jobs", "cursor": p.ids + 1})
	case "lost":
		p.lost = p.lsn
	case "fork":
		p.h.Truth = append(p.h.Truth, history.Truth{Fork: &history.Fork{LSN: p.lost}})
		p.lsn = p.lost
	default:
		t.Fatalf("what is %q?", words)
	}
}

func data(words []string) map[string]any {
	if len(words) < 6 {
		return map[string]any{}
	}
	progress, _ := strconv.Atoi(words[4])
	d := map[string]any{"progress": progress, "message": words[5]}
	switch words[2] {
	case "completed":
		d["result"] = nil
	case "failed":
		d["error"] = nil
	}
	return d
}

func (p *play) event(t *testing.T, user, task, typ, version string, data map[string]any) {
	text, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	p.ids++
	p.commit(columns("events", "INSERT", "id", strconv.Itoa(p.ids), "user_id", user, "task_id", task, "type", typ, "version", version, "data", string(text)))
}

func columns(table, change string, pairs ...string) history.Row {
	r := history.Row{Table: table, Change: change, Columns: make(map[string]*string)}
	for i := 0; i < len(pairs); i += 2 {
		r.Columns[pairs[i]] = &pairs[i+1]
	}
	return r
}

func TestAttached(t *testing.T) {
	t.Parallel()
	const begin = `
		put 1 ann working 10 n1
		put 2 ann done 10 n1
		mark attached
		told ann started 1@1 10 n1
		`
	for name, c := range map[string]struct{ lines, want string }{
		"each change is told": {begin + `
			put 1 ann working 20 n2
			told ann progress 1@2 20 n2
			put 1 ann done 20 n3
			told ann completed 1@3 20 n3`, ""},
		"one is not":                                      {begin + `put 1 ann working 20 n2`, "P2"},
		"one is told twice":                               {begin + "told ann started 1@1 10 n1", "P3"},
		"another is told":                                 {begin + "put 1 ann working 20 n2\ntold ann progress 1@2 30 n2", "P7"},
		"a task without its prefix":                       {begin + "told ann started x@1 10 n1", "P1"},
		"a row that had ended is no task":                 {begin + "told ann completed 2@1 10 n1", "P1"},
		"nothing to be seen":                              {begin + "put 1 ann working 10 n1", ""},
		"an unknown status and an excluded":               {begin + "put 1 bob hidden 20 n2\nput 1 bob strange 30 n3", ""},
		"another value of the same status":                {begin + "put 1 ann done 10 n2\ntold ann completed 1@2 10 n2\nput 1 ann finished 10 n2", ""},
		"a new owner":                                     {begin + "put 1 bob working 10 n2\ntold ann deleted 1@2\ntold bob started 1@2 10 n2", ""},
		"a new owner, and the old one is told of the row": {begin + "put 1 bob working 10 n2\ntold ann started 1@2 10 n2\ntold bob started 1@2 10 n2", "P2 P3 P7"},
		"no owner":                                        {begin + "put 1 nobody working 10 n2\ntold ann deleted 1@2\nput 1 ann working 10 n3\ntold ann started 1@1 10 n3", ""},
		"an unfinished row is deleted":                    {begin + "del 1\ntold ann deleted 1@2", ""},
		"twice, with equal events": {begin + `
			del 1
			told ann deleted 1@2
			put 1 ann working 10 n1
			told ann started 1@1 10 n1
			del 1
			told ann deleted 1@2`, ""},
		"a queued row is deleted":        {begin + "put 3 ann pending 0 n1\ntold ann queued 3@1 0 n1\ndel 3\ntold ann canceled 3@2 0 n1", ""},
		"a finished row is deleted":      {begin + "put 1 ann done 10 n2\ntold ann completed 1@2 10 n2\ndel 1", ""},
		"and its user is told":           {begin + "put 1 ann done 10 n2\ntold ann completed 1@2 10 n2\ndel 1\ntold ann deleted 1@3", "P1"},
		"deleted and inserted again":     {begin + "again 1 ann error 10 n2\ntold ann failed 1@2 10 n2", ""},
		"the tasks of a row out of turn": {begin + "put 1 ann working 20 n2\nput 1 ann working 30 n3\ntold ann progress 1@3 30 n3\ntold ann progress 1@2 20 n2", "P5"},
		"the mapping fails, and the row is read at the end": {begin + `
			mark broken
			put 1 ann working 20 n2
			put 1 ann working 30 n3
			reset ann
			mark attached
			told ann progress 1@2 30 n3
			mark filled`, ""},
		"or after the next change": {begin + `
			mark broken
			put 1 ann working 20 n2
			mark attached
			put 1 ann done 30 n3
			told ann completed 1@2 30 n3`, ""},
		"or before it": {begin + `
			mark broken
			put 1 ann working 20 n2
			mark attached
			put 1 ann done 30 n3
			told ann progress 1@2 20 n2
			told ann completed 1@3 30 n3`, ""},
		"or never": {begin + `
			mark broken
			put 1 ann working 20 n2
			mark attached`, "P2"},
		"or after it should have been": {begin + `
			mark unwatched
			put 1 ann working 20 n2
			mark attached
			mark filled
			told ann progress 1@2 20 n2`, "P2"},
		"a row that comes and ends while the mapping fails may be told or not": {begin + `
			mark broken
			put 3 ann done 0 n1
			put 4 ann done 0 n1
			mark attached
			told ann completed 3@1 0 n1`, ""},
		"but not while nothing is captured": {begin + `
			mark unwatched
			put 3 ann done 0 n1
			mark attached
			told ann completed 3@1 0 n1`, "P1"},
		"a deletion is told while the mapping fails": {begin + "mark broken\nput 1 ann working 20 n2\ndel 1\ntold ann deleted 1@2", ""},
		"a reset without a reason":                   {begin + "reset ann", "P8"},
		"a row that went unseen is found to be gone": {begin + `
			mark unwatched
			del 1
			mark attached
			mark again
			told ann deleted 1@2
			mark compared`, ""},
		"or is not":                     {begin + "mark unwatched\ndel 1\nmark attached\nmark again\nmark compared", "P2"},
		"or is not yet":                 {begin + "mark unwatched\ndel 1\nmark attached\nmark again", ""},
		"tasks are kept":                {begin + "mark unwatched\nput 1 ann working 20 n2", ""},
		"the list has the task":         {begin + "task ann running 1@1 10 n1", ""},
		"the list has an earlier state": {begin + "task ann running 1@1 10 n1\nput 1 ann working 20 n2\ntold ann progress 1@2 20 n2", "P7"},
		"the list has what is no task":  {begin + "task ann running 1@1 10 n1\ntask ann completed 2@1 10 n1", "P7"},
		"tasks are deleted, and made again": {begin + `
			mark deleted
			told ann deleted 1@2
			put 1 ann working 20 n2
			mark attached
			told ann started 1@1 20 n2`, ""},
		"a commit is lost with its event": {begin + `
			lost
			put 1 ann working 20 n2
			told ann progress 1@2 20 n2
			fork
			put 1 ann done 10 n3
			told ann completed 1@2 10 n3`, ""},
		"an event is lost and its commit is not": {begin + `
			put 1 ann working 20 n2
			lost
			told ann progress 1@2 20 n2
			fork
			told ann progress 1@2 20 n2`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := Run(played(t, c.lines))
			if got := strings.Join(slices.Sorted(maps.Keys(r.Counts)), " "); got != c.want {
				t.Errorf("broken: %q, want %q\n%s", got, c.want, fmt.Sprint(texts(r)))
			}
		})
	}
}
