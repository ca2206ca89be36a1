//go:build !linux

package main

import "time"

// monotonic is of use to systemd only, which is where Linux is.
func monotonic() time.Duration { return 0 }
