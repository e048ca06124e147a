// Package proc runs child processes that do not outlive their parent.
//
// A child prepared with Attach has its own process group, so that Ctrl-C in the
// terminal does not reach it. On Linux the kernel signals it when the parent ends, for
// whatever reason. The kernel sends that signal when the thread that started the child
// ends (golang/go#27505), so Start keeps a goroutine on one thread for the life of the
// child.
package proc

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Process is one child. It is safe for concurrent use.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; set before done is closed
}

// Attach gives the command its own process group and, on Linux, the signal that its
// process gets when this process ends.
func Attach(cmd *exec.Cmd, atParentsDeath syscall.Signal) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd.SysProcAttr, atParentsDeath)
}

// Start starts the command and waits for its end in the background. The caller must
// end the process.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// OS returns the process of package os.
func (p *Process) OS() *os.Process { return p.cmd.Process }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Err waits for the end and returns nil for exit status 0, else what Wait returned.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Exit waits for the end and describes it.
func (p *Process) Exit() string {
	if err := p.Err(); err != nil {
		return err.Error()
	}
	return "exit status 0"
}

// Signal sends a signal. A process that has ended ignores it.
func (p *Process) Signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// Wait waits for the end, and reports whether it came within the limit.
func (p *Process) Wait(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// Stop sends SIGTERM, kills the process if it has not ended within the limit, and waits
// for its end. It reports whether the process ended without the kill.
func (p *Process) Stop(limit time.Duration) (ordered bool) {
	p.Signal(syscall.SIGTERM)
	if p.Wait(limit) {
		return true
	}
	p.Kill()
	return false
}

// Kill kills the process, even a stopped one, and waits for its end.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}
