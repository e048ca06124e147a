package feeds

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestUserTimeout(t *testing.T) {
	t.Parallel()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	defer listener.Close()
	conn := must(net.Dial("tcp", listener.Addr().String())).(*net.TCPConn)
	defer conn.Close()
	if err := setUserTimeout(conn, 25*time.Second); err != nil {
		t.Fatalf("set the timeout: %v", err)
	}
	raw := must(conn.SyscallConn())
	err := raw.Control(func(fd uintptr) {
		if got := must(unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)); got != 25_000 {
			t.Errorf("the kernel waits %d ms, want 25000", got)
		}
	})
	if err != nil {
		t.Errorf("look at the socket: %v", err)
	}
}
