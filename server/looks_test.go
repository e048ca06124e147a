package server

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store"
)

// countedLog counts its reads.
type countedLog struct {
	last, erased int64
	epoch        int64
	err          error
	reads        int
}

func (l *countedLog) CommandsAfter(_ context.Context, id int64) (commands []taskfeed.Command, err error) {
	l.reads++
	for id < l.last {
		id++
		commands = append(commands, taskfeed.Command{ID: id})
	}
	return commands, l.err
}

func (l *countedLog) Erasures(context.Context) (int64, error) {
	l.reads++
	return l.erased, l.err
}

func (l *countedLog) LogState(context.Context) (store.LogState, error) {
	l.reads++
	return store.LogState{Epoch: l.epoch}, l.err
}

// What this server's looks have found holds for gateways until it is old, or until a look
// fails.
func TestLooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &countedLog{last: 7, erased: 3, epoch: 1}
		l := &looks{log: log}
		known := func(when string, commands, erasures bool) {
			t.Helper()
			before := log.reads
			n, ok := l.knownErasures()
			if got := l.noCommandsAfter(7); got != commands || ok != erasures || ok && n != log.erased || log.reads != before {
				t.Errorf("%s: known are commands %v and erasures %v (%d), want %v and %v, without a read", when, got, ok, n, commands, erasures)
			}
		}
		look := func(after int64) {
			_, _ = l.CommandsAfter(t.Context(), after) // an error is forgotten, as it should be
			_, _ = l.Erasures(t.Context())
		}
		known("before a look", false, false)
		look(6)
		known("after a look that found a command", false, true)
		look(7)
		known("after a look that found none", true, true)
		if l.noCommandsAfter(6) || l.noCommandsAfter(8) {
			t.Error("nothing is known of what comes after another command, got that there is none")
		}
		time.Sleep(lookFresh)
		known("when the look is old", false, false)
		look(7)
		log.err = errors.New("the database is away")
		look(7)
		known("after a look that failed", false, false)
	})
}

// The name of the log is read once, again when it is old, and again after a failure.
func TestLooksLineage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &countedLog{epoch: 1}
		l := &looks{log: log}
		read := func(want int64, reads int) {
			t.Helper()
			got, err := l.lineage(t.Context())
			if err != nil || got.Epoch != want || log.reads != reads {
				t.Errorf("got epoch %d after %d reads (%v), want %d after %d", got.Epoch, log.reads, err, want, reads)
			}
		}
		read(1, 1)
		log.epoch = 2
		read(1, 1)
		time.Sleep(nameFresh)
		read(2, 2)
		log.epoch, log.err = 3, errors.New("the database is away")
		_, _ = l.Erasures(t.Context())
		log.err = nil
		read(3, 4)
	})
}
