//go:build !unix

package feeds

import "net"

// writeNow writes nothing on systems where a write may wait.
func writeNow(net.Conn, []byte) int { return 0 }
