package dial_test

import (
	"testing"

	"github.com/taskfeed/taskfeed/lab/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
