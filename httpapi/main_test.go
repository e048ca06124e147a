package httpapi

import (
	"os"
	"testing"

	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(idleClientsEnv); addr != "" {
		runIdleClients(addr) // this process is the client side of a benchmark
		return
	}
	leaktest.Main(m)
}
