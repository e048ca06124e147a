//go:build unix && !linux

package proc

import "syscall"

// dieWithParent does nothing: these systems have no such signal. A child whose
// parent is killed goes on.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}
