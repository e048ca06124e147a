package natsrelay

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/taskfeed/taskfeed/relay"
)

// audience collects what was heard on the subject of the log.
type audience struct {
	logs    map[relay.Lineage]*publisher
	refused map[string]int // messages by what is wrong with them
}

// publisher is what was heard of one log and epoch.
type publisher struct {
	servers map[string]bool
	through int64
}

func newAudience() *audience {
	return &audience{make(map[relay.Lineage]*publisher), make(map[string]int)}
}

func (a *audience) add(message []byte) {
	heard, err := relay.Overhear(message)
	if err != nil {
		a.refused[err.Error()]++
		return
	}
	if heard == nil {
		return // a probe
	}
	p := a.logs[heard.Lineage]
	if p == nil {
		p = &publisher{servers: make(map[string]bool)}
		a.logs[heard.Lineage] = p
	}
	if heard.Server != "" {
		p.servers[heard.Server] = true
	}
	p.through = max(p.through, int64(heard.Through))
}

// report tells what was heard, and what is wrong with it.
func (a *audience) report(i *inspection) {
	lineages := slices.SortedFunc(maps.Keys(a.logs), func(a, b relay.Lineage) int {
		return cmp.Or(slices.Compare(a.ID[:], b.ID[:]), cmp.Compare(a.Epoch, b.Epoch))
	})
	for _, l := range lineages {
		p := a.logs[l]
		from := strings.Join(slices.Sorted(maps.Keys(p.servers)), ", ")
		i.note("heard on %s: log %x, epoch %d, up to event %d, from %s", i.log, l.ID, l.Epoch, p.through, cmp.Or(from, "a core"))
	}
	for _, why := range slices.Sorted(maps.Keys(a.refused)) {
		i.problem("heard on %s: %d messages that gateways refuse: %s", i.log, a.refused[why], why)
	}
	if len(lineages) == 0 {
		a.silence(i)
	}
	compare(i, lineages)
}

func (a *audience) silence(i *inspection) {
	const what = "nothing is heard on %s in %v: no core leads that has this engine and this prefix"
	if i.cfg.Gateway {
		i.problem(what+", so this gateway would serve nothing new", i.log, i.cfg.Listen)
		return
	}
	i.note(what, i.log, i.cfg.Listen)
}

const anotherEpoch = "does an old primary still run after a failover? Stop it and its servers; a copy of the database needs another prefix"

// compare finds logs that should not be there together.
func compare(i *inspection, lineages []relay.Lineage) {
	for n, l := range lineages {
		if n == 0 {
			continue
		}
		if last := lineages[n-1]; l.ID == last.ID {
			i.problem("log %x is published with the epochs %d and %d: "+anotherEpoch, l.ID, last.Epoch, l.Epoch)
		} else {
			i.problem("two deployments publish on %s: give each a prefix of its own", i.log)
		}
	}
	if own := i.cfg.Own; own != nil {
		for _, l := range lineages {
			switch {
			case l.ID != own.ID:
				i.problem("another deployment publishes on %s: this database has the log %x; give each a prefix of its own", i.log, own.ID)
			case l.Epoch != own.Epoch:
				i.problem("the epoch %d is published on %s and this database has %d: "+anotherEpoch, l.Epoch, i.log, own.Epoch)
			}
		}
	}
}
