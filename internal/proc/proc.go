// Package proc runs child processes that do not outlive their parent.
//
// A child that is prepared with Attach has a process group of its own, so that the
// keys pressed at the terminal do not reach it, and on Linux the kernel signals it
// when the parent ends, however it ends. That signal is tied to the thread that
// started the child (golang/go#27505), so Start keeps one goroutine on one thread
// for the life of the child.
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

// Attach gives the command a process group of its own and, on Linux, the signal
// that its process gets when this process ends.
func Attach(cmd *exec.Cmd, atParentsDeath syscall.Signal) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd.SysProcAttr, atParentsDeath)
}

// Start starts the command and waits for its end in the background. The caller
// ends the process.
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

// PID is the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// OS is the process as package os knows it.
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

// Err waits for the end and says how it came: nil for exit status 0.
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

// Stop asks the process to end, kills it when it has not within the limit, and
// waits for its end. It reports whether asking was enough.
func (p *Process) Stop(limit time.Duration) (ordered bool) {
	p.Signal(syscall.SIGTERM)
	if p.Wait(limit) {
		return true
	}
	p.Kill()
	return false
}

// Kill ends the process, also a stopped one, and waits for its end.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}
