package feeds

import (
	"testing"
)

func TestChunkBoundary(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		n        int
		midFrame bool
		want     int
		ok       bool
	}{
		{0, false, 0, true}, {0, true, 10, true}, {1, false, 10, true}, {10, false, 10, true}, {11, false, 30, true}, {30, true, 30, true}, {31, false, 0, false},
	} {
		b := chunk{buf: make([]byte, 40), ends: []int{10, 30}, midFrame: tc.midFrame}
		if got, ok := b.boundary(tc.n); got != tc.want || ok != tc.ok {
			t.Errorf("boundary(%d) with midFrame %v: %d, %v; want %d, %v", tc.n, tc.midFrame, got, ok, tc.want, tc.ok)
		}
	}
}
