//go:build !unix

package main

import (
	"os"
	"os/exec"
)

// lead does nothing where there are no process groups: when the context of
// cmd ends, cmd alone is killed.
func lead(*exec.Cmd) {}

func killGroup(*os.Process) {}
