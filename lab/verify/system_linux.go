package verify

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// mountTiny mounts a file system of size bytes that belongs to the owner of the path
// like.
func mountTiny(dir string, size int, like string) error {
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t) // of any Unix
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	options := fmt.Sprintf("size=%d,mode=0700,uid=%d,gid=%d", size, owner.Uid, owner.Gid)
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	return nil
}

func unmountTiny(dir string) error {
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}

// shrinkPipe lets a pipe hold no more than a page.
func shrinkPipe(f *os.File) {
	_, _ = unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize()) // else it holds more
}

// pipeHolds returns how many bytes are in a pipe, 0 when it is closed.
func pipeHolds(f *os.File) (n int) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	err = raw.Control(func(fd uintptr) {
		if n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ); err != nil {
			n = 0
		}
	})
	if err != nil {
		return 0
	}
	return n
}

// limitFiles keeps a process from opening more files than it has open; restore removes
// the limit.
func limitFiles(pid int) (restore func(), err error) {
	var before unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
		return nil, err
	}
	limit := unix.Rlimit{Max: before.Max}
	for { // up to the first free descriptor
		if _, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", pid, limit.Cur)); err != nil {
			break
		}
		limit.Cur++
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		return nil, fmt.Errorf("limit the files of process %d: %w", pid, err)
	}
	return func() { _ = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &before, nil) }, nil // the process may have ended
}
