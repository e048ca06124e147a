package bench

import (
	"testing"

	"github.com/taskfeed/taskfeed/relay"
)

// A fleet is large enough that one gateway can die.
func TestGatewaysFor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ n, files, want int }{
		{1, 1000, 2}, {20, 19_800, 2}, {20_000, 19_800, 3}, {100_000, 19_800, 7}, {100_000, 1 << 20, 2}, {100_001, 1 << 20, 3}, {1_000_000, 1 << 20, 20},
	} {
		got := gatewaysFor(tt.n, tt.files)
		if got != tt.want {
			t.Errorf("%d connections, %d files: got %d gateways, want %d", tt.n, tt.files, got, tt.want)
		}
		if rest := (tt.n-1)/(got-1) + 1; rest > tt.files {
			t.Errorf("%d connections, %d files: after a death %d are on one gateway", tt.n, tt.files, rest)
		}
	}
}

// subscribed is a transport with one subscriber.
type subscribed struct {
	relay.Transport
	handle func([]byte)
}

func (s *subscribed) Subscribe(_ string, handle func([]byte)) (stop func(), err error) {
	s.handle = handle
	return func() {}, nil
}

// Batches are lost, and so many beacons after each.
func TestLossy(t *testing.T) {
	t.Parallel()
	batch, beacon := []byte("TF\x01\x01..."), []byte("TF\x01\x02...")
	for beacons, want := range []int{4, 2} {
		under, got := &subscribed{}, 0
		if _, err := (lossy{under, beacons}).Subscribe("x", func([]byte) { got++ }); err != nil {
			t.Fatal(err)
		}
		for _, message := range [][]byte{batch, beacon, beacon, batch, batch, beacon, beacon} {
			under.handle(message)
		}
		if got != want {
			t.Errorf("with %d beacons lost: got %d messages, want %d", beacons, got, want)
		}
	}
}
