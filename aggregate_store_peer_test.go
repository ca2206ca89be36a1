//go:build peer

package main

import "testing"

func TestPeerManyKills(t *testing.T) { killRounds(t, 200) }
