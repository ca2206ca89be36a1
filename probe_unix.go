//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// lead makes cmd the leader of a new process group, which is killed as a whole
// when the context of cmd ends.
func lead(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		killGroup(cmd.Process.Pid)
		return nil
	}
}

// killGroup kills the process group that pid leads or led.
func killGroup(pid int) { syscall.Kill(-pid, syscall.SIGKILL) }

// openFileLimit returns how many descriptors this process may have open, or 0
// where that is not known. Package os has raised the limit as far as it may.
func openFileLimit() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return uint64(l.Cur)
}
