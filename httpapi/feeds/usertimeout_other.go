//go:build !linux

package feeds

import (
	"net"
	"time"
)

// setUserTimeout does nothing: only Linux knows the option. Elsewhere a peer that
// vanished is found when the system gives up sending, after minutes.
func setUserTimeout(*net.TCPConn, time.Duration) error { return nil }
