package rest

import (
	"slices"
	"testing"

	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestEscapeFormulas(t *testing.T) {
	t.Parallel()
	got := escapeFormulas([]string{"", "a", "=1", "+1", "-1", "@a", "\ta", "\ra", "\na", "a=1", "'=1", "1-1"})
	if want := []string{"", "a", "'=1", "'+1", "'-1", "'@a", "'\ta", "'\ra", "'\na", "a=1", "'=1", "1-1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
