//go:build unix

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// lead makes cmd the leader of a new process group, which is killed as a whole
// when the context of cmd ends.
func lead(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		killGroup(cmd.Process)
		return nil
	}
}

// killGroup kills what is left of the group that p led. The number of a group
// that still has members is not given to another process.
func killGroup(p *os.Process) {
	syscall.Kill(-p.Pid, syscall.SIGKILL)
}
