package pgtest

import (
	"os"
	"syscall"
)

// memory is a file system in memory that Linux systems have; in containers it is often
// too small.
const memory = "/dev/shm"

// roomNeeded is more than the servers of two packages use.
const roomNeeded = 4 << 30

// place returns where temporary servers keep their files: in memory, where creating and
// dropping databases is cheapest, or in TMPDIR if that is set.
func place() string {
	var fs syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(memory, &fs) != nil || fs.Bavail*uint64(fs.Bsize) < roomNeeded {
		return os.TempDir()
	}
	return memory
}
