package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of CPU time in /proc, the same on every Linux that Go
// runs on.
const clockTick = 10 * time.Millisecond

// memory returns the resident memory of the process in bytes.
func (s *server) memory() (float64, error) {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.proc.PID()))
	if err != nil {
		return 0, err
	}
	var size, resident float64
	_, err = fmt.Sscan(string(statm), &size, &resident)
	return resident * float64(os.Getpagesize()), err
}

// cpu returns the CPU time that the process has used.
func (s *server) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.proc.PID()))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // the first is the third of proc(5)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", s.proc.PID(), len(fields))
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, err
}

// hardware describes the processor, the memory and the kernel, as far as /proc does.
func hardware() []string {
	var parts []string
	if model := lineOf("/proc/cpuinfo", "model name"); model != "" {
		parts = append(parts, model)
	}
	if kb, err := strconv.ParseFloat(strings.TrimSuffix(lineOf("/proc/meminfo", "MemTotal"), " kB"), 64); err == nil {
		parts = append(parts, fmt.Sprintf("%.0f GB of memory", kb/(1<<20)))
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		parts = append(parts, "Linux "+strings.TrimSpace(string(release)))
	}
	return parts
}

// lineOf returns the value of the first line "key : value" of a file.
func lineOf(file, key string) string {
	text, _ := os.ReadFile(file) // without the file there is no such line
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// othersBusy returns how many processors other processes kept busy, on average
// over the time. Time stolen by other virtual machines of the host counts too.
func othersBusy(ctx context.Context, during time.Duration) (mean float64, ok bool) {
	used := func() (time.Duration, bool) {
		var own syscall.Rusage
		all, err := busyCPU()
		if err != nil || syscall.Getrusage(syscall.RUSAGE_SELF, &own) != nil {
			return 0, false
		}
		return all - time.Duration(own.Utime.Nano()+own.Stime.Nano()), true
	}
	before, ok := used()
	start := time.Now()
	if !ok || sleep(ctx, during) != nil {
		return 0, false
	}
	after, ok := used()
	return max(0, (after-before).Seconds()/time.Since(start).Seconds()), ok
}

// busyCPU is the CPU time that the machine has used, and that its host has stolen.
func busyCPU() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	var user, nice, system, idle, iowait, irq, softirq, steal int64
	_, err = fmt.Sscanf(string(stat), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal)
	return time.Duration(user+nice+system+irq+softirq+steal) * clockTick, err
}

// diskFree returns the free bytes of a file system.
func diskFree(path string) (uint64, bool) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(path, &fs); err != nil {
		return 0, false
	}
	return fs.Bavail * uint64(fs.Bsize), true
}

// fileLimit returns how many files this process may have open. The Go runtime has
// raised the soft limit to the hard one.
func fileLimit() (int, bool) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, false
	}
	return int(min(limit.Cur, 1<<30)), true
}

// memoryFree returns how many bytes of memory new processes can have.
func memoryFree() (float64, bool) {
	kb, err := strconv.ParseFloat(strings.TrimSuffix(lineOf("/proc/meminfo", "MemAvailable"), " kB"), 64)
	return kb * 1024, err == nil
}
