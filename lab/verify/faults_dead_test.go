package verify

import (
	"math/rand/v2"
	"testing"
)

// With an old snapshot, the fault old-snapshot comes first, and faults that would end
// the snapshot or copy the dead rows come last. Without one the seed alone decides.
func TestOrderOverDeadRows(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		r := &round{rand: rand.New(rand.NewPCG(seed, 1)), dead: &deadRows{}}
		for _, f := range catalogue {
			r.header.Faults = append(r.header.Faults, f.name)
		}
		faults := r.ordered()
		if got := faults[0].name; got != "old-snapshot" {
			t.Fatalf("seed %d begins with %s, want old-snapshot", seed, got)
		}
		over := 0
		for i, f := range faults[1:] {
			if !f.keepsDead() {
				continue
			}
			over++
			if i != over-1 {
				t.Errorf("seed %d: %s comes after a fault that ends the snapshot", seed, f.name)
			}
		}
		if 2*over < len(faults) {
			t.Errorf("%d of %d faults run over dead rows, want at least half", over, len(faults))
		}
	}
}
