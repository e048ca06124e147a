package dial_test

import (
	"testing"

	"github.com/taskfeed/taskfeed/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
