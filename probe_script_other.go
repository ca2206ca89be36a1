//go:build !unix

package main

import "os/exec"

// lead does nothing where there are no process groups: when the context of
// cmd ends, cmd alone is killed.
func lead(*exec.Cmd) {}

func adoptOrphans() {}

func endRun(int, string) {}

func reapOrphans() {}
