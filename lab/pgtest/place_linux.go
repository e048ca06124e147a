package pgtest

import (
	"os"
	"syscall"
)

// memory is a file system in memory that every Linux has; in containers it is
// often too small.
const memory = "/dev/shm"

// roomNeeded is more than the servers of two packages ever filled.
const roomNeeded = 4 << 30

// place returns where temporary servers keep their files: in memory, where making
// and dropping databases costs the least, or where TMPDIR says.
func place() string {
	var fs syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(memory, &fs) != nil || fs.Bavail*uint64(fs.Bsize) < roomNeeded {
		return os.TempDir()
	}
	return memory
}
