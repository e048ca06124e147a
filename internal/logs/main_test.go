package logs

import (
	"testing"

	"github.com/taskfeed/taskfeed/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
