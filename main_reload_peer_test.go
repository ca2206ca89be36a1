//go:build peer

package main

import "testing"

func TestPeerManyReloads(t *testing.T) { reloadRounds(t, 100) }
