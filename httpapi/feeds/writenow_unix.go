//go:build unix

package feeds

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// writeNow writes as much as the connection takes without waiting, and returns how many
// bytes that is. It reports no error: a write of the rest will.
func writeNow(conn net.Conn, p []byte) (n int) {
	direct, ok := conn.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := direct.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Write(func(fd uintptr) bool {
		n, _ = unix.Write(int(fd), p)
		return true // otherwise it would wait
	})
	return max(n, 0)
}
