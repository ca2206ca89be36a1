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
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return nil
	}
}
